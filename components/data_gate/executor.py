"""Reads what was found, writes the verdict, and stops the run if it must."""

from __future__ import annotations

import json
import os
from typing import Any, TypeVar

from google.protobuf.message import Message
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.components.example_validator import executor as example_validator
from tfx.components.statistics_gen import executor as statistics_gen
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from components.catalog_example_gen.rejects import (
    REJECTS_FILE,
    SUMMARY_FILE,
    asked,
    expected_rejects,
    top_reasons,
)
from components.data_gate.distances import Statistics, drift, skew, too_far
from components.data_gate.findings import WARNING, Distance, Finding, findings, stopping
from components.data_gate.verdict import Verdict, write_verdict
from schema import features
from schema.errors import UserError

ANOMALIES = "anomalies"
STATISTICS = "statistics"
PREVIOUS_STATISTICS = "previous_statistics"
REJECTS = "rejects"
STOP_ON = "stop_on"
MAX_REJECTED = "max_rejected"
MAX_AMBIGUOUS = "max_ambiguous"
DRIFT = "drift"
SKEW = "skew"
CODE = "code"
VERDICT = "verdict"

_Proto = TypeVar("_Proto", bound=Message)


class Executor(base_executor.BaseExecutor):
    """Judges all splits together."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes verdict.json.

        Raises:
            UserError: More rows were rejected than `max_rejected` allows, of more products the
                picture is ambiguous than `max_ambiguous` allows, or something was found of the
                severity `stop_on` or above; lists all of it.
        """
        anomalies = artifact_utils.get_single_instance(input_dict[ANOMALIES])
        statistics = artifact_utils.get_single_instance(input_dict[STATISTICS])
        rejects = artifact_utils.get_single_instance(input_dict[REJECTS])
        verdict = artifact_utils.get_single_instance(output_dict[VERDICT])
        stop_on = exec_properties[STOP_ON]

        with fileio.open(os.path.join(rejects.uri, SUMMARY_FILE)) as file:
            ingested = json.load(file)
        _require_few_rejects(ingested, exec_properties[MAX_REJECTED], rejects.uri)
        _require_few_ambiguous(ingested, exec_properties[MAX_AMBIGUOUS])

        splits = artifact_utils.decode_split_names(anomalies.split_names)
        measured = {split: _statistics(statistics, split) for split in splits}
        found: list[Finding] = []
        for split in splits:
            anomalous = _read(
                anomalies, split, example_validator.DEFAULT_FILE_NAME, anomalies_pb2.Anomalies
            )
            found += findings(split, anomalous, measured[split])

        schema = anomalous.baseline
        train = measured[features.TRAIN]
        distances: list[Distance] = []
        for previous in input_dict.get(PREVIOUS_STATISTICS, []):
            earlier = _statistics(previous, features.TRAIN)
            distances += drift(train, earlier, schema, exec_properties.get(DRIFT))
        for split in splits:
            if split != features.TRAIN:
                distances += skew(split, measured[split], train, schema, exec_properties.get(SKEW))
        found += too_far(distances)
        found.sort(key=lambda one: one.severity == WARNING)
        if reasons := stopping(found, stop_on):
            listed = "\n".join(f"  {one.split}: {one.sentence}." for one in reasons)
            raise UserError(
                f"The data are not what they should be:\n{listed}\n"
                "Mend the catalog, widen the schema (`catalog.schema_file`) or the thresholds "
                f"(`checks`), or let such data pass with `checks.stop_on` (now {stop_on})."
            )

        write_verdict(Verdict(stop_on, found, distances), verdict.uri)
        verdict.set_string_custom_property("summary", _sentence(found, ingested))


def _require_few_rejects(ingested: dict[str, Any], max_rejected: float, rejects: str) -> None:
    all_asked, left_out, unit = _counted(ingested)
    expected = expected_rejects(ingested)
    if expected > max_rejected * all_asked:
        share = f"{expected / all_asked:.1%}"
        if left_out:
            share += f", if the {left_out:,} that were left out are like the rest"
        hints = "".join(f" {hint}" for hint in ingested.get("hints", ()))
        raise UserError(
            f"{ingested['rejected']:,} of {all_asked:,} {unit} ({share}) were rejected, and "
            f"`checks.max_rejected` allows {max_rejected:.1%}: "
            f"{top_reasons(ingested['rejected_by_reason'])}.{hints} "
            f"Every rejected row is in {os.path.join(rejects, REJECTS_FILE)}."
        )


def _counted(ingested: dict[str, Any]) -> tuple[int, int, str]:
    """How many rows or pictures there are, how many of them were left out, and which of the two."""
    all_asked = asked(ingested)
    left_out = all_asked - ingested["accepted"] - ingested["rejected"]
    return all_asked, left_out, "pictures" if ingested.get("further_pictures") else "rows"


def _require_few_ambiguous(ingested: dict[str, Any], max_ambiguous: float) -> None:
    ambiguous, products = ingested.get("ambiguous", 0), ingested.get("products", 0)
    if ambiguous > max_ambiguous * products:
        raise UserError(
            f"For {ambiguous:,} of {products:,} products ({ambiguous / products:.1%}) there are "
            "several different pictures of that name, so nobody knows which is the product's, and "
            f"`checks.max_ambiguous` allows {max_ambiguous:.1%}. Take the others out of the images "
            "folder, name the right ones in a column (`catalog.picture`), or allow more."
        )


def _sentence(found: list[Finding], ingested: dict[str, Any]) -> str:
    all_asked, left_out, unit = _counted(ingested)
    of_rows = f"{ingested['accepted']:,} of {all_asked:,} {unit}"
    rows = f"{of_rows} used, {left_out:,} left out" if left_out else f"{of_rows} usable"
    if not found:
        return f"{rows}, all as the schema says"
    more = f" and {len(found) - 1:,} more" if len(found) > 1 else ""
    return f"{rows}; {found[0].split}: {found[0].sentence}{more}"


def _statistics(artifact: types.Artifact, split: str) -> Statistics:
    return _read(artifact, split, statistics_gen.DEFAULT_FILE_NAME, Statistics)


def _read(artifact: types.Artifact, split: str, name: str, kind: type[_Proto]) -> _Proto:
    # By the folder alone: what comes from an earlier run may have lost its properties.
    path = os.path.join(artifact.uri, f"Split-{split}", name)
    with fileio.open(path, "rb") as file:
        return kind.FromString(file.read())
