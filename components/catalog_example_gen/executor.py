"""Runs the ingest on what TFX hands over."""

from __future__ import annotations

import json
from typing import Any

from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from components.catalog_example_gen.catalog import ingest_catalog
from schema import features

CATALOG = "catalog"
SPLIT = "split"
DOMAINS = "domains"
INPUT_FINGERPRINT = "input_fingerprint"
CODE = "code"
EXAMPLES = "examples"
REJECTS = "rejects"
CONFLICTS = "conflicts"
CORRECTIONS = "corrections"


class Executor(base_beam_executor.BaseBeamExecutor):
    """Hands options and output folders to `catalog.ingest_catalog`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Fills the artifacts, which `ingest_catalog` describes; raises as it does."""
        del input_dict
        examples = artifact_utils.get_single_instance(output_dict[EXAMPLES])
        rejects = artifact_utils.get_single_instance(output_dict[REJECTS])
        summary = ingest_catalog(
            catalog=json.loads(exec_properties[CATALOG]),
            split=json.loads(exec_properties[SPLIT]),
            domains=json.loads(exec_properties[DOMAINS]),
            examples=examples.uri,
            rejects=rejects.uri,
            conflicts=artifact_utils.get_single_instance(output_dict[CONFLICTS]).uri,
            make_pipeline=self._make_beam_pipeline,
            corrections=artifact_utils.get_single_instance(output_dict[CORRECTIONS]).uri,
        )
        examples.split_names = artifact_utils.encode_split_names(list(features.SPLITS))
        examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
        accepted = f"{summary['accepted']:,} products"
        if summary["products"] < summary["accepted"]:
            accepted = f"{summary['accepted']:,} pictures of {summary['products']:,} products"
        sentence = f"{accepted}, {summary['rejected']:,} rejected"
        if told := [*summary["hints"], *summary["notes"]]:
            sentence += f"; {' '.join(told)}"
        examples.set_string_custom_property("summary", sentence)
