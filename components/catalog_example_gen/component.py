"""CatalogExampleGen: from a catalog's CSV and pictures to Examples, and what was odd in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.catalog_example_gen import executor
from components.catalog_example_gen.artifacts import Conflicts, Corrections, Rejects


class CatalogExampleGenSpec(component_spec.ComponentSpec):
    """What goes in and what comes out. Options are JSON, the only nested form MLMD stores."""

    PARAMETERS = {
        executor.CATALOG: component_spec.ExecutionParameter(type=str),
        executor.SPLIT: component_spec.ExecutionParameter(type=str),
        executor.DOMAINS: component_spec.ExecutionParameter(type=str),
        executor.CODE: component_spec.ExecutionParameter(type=str),
        executor.INPUT_FINGERPRINT: component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {}
    OUTPUTS = {
        executor.EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples),
        executor.REJECTS: component_spec.ChannelParameter(type=Rejects),
        executor.CONFLICTS: component_spec.ChannelParameter(type=Conflicts),
        executor.CORRECTIONS: component_spec.ChannelParameter(type=Corrections),
    }


class CatalogExampleGen(base_beam_component.BaseBeamComponent):
    """Turns every row of the CSV into an Example or a reject with a reason.

    Runs again when an option, the labels or a picture have changed, and only then: a step's inputs
    are known by their artifacts, and a catalog is none, so its fingerprint is one of the options.
    """

    SPEC_CLASS = CatalogExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        catalog: Mapping[str, Any],
        split: Mapping[str, Any],
        domains: Mapping[str, Sequence[str]],
        input_fingerprint: str,
        code: str = "",
    ) -> None:
        """Names the catalog.

        Args:
            catalog: The config's section `catalog` as a plain dict.
            split: The config's section `split` as a plain dict.
            domains: The allowed labels of the levels that the schema closes, as
                `schema.catalog.label_domains` gives them.
            input_fingerprint: Of the labels and the pictures, see `sources.fingerprint`.
            code: Fingerprint of this package's sources; another one ingests anew.
        """
        super().__init__(
            CatalogExampleGenSpec(
                **{
                    executor.CATALOG: json.dumps(dict(catalog), sort_keys=True),
                    executor.SPLIT: json.dumps(dict(split), sort_keys=True),
                    executor.DOMAINS: json.dumps(dict(domains), sort_keys=True),
                    executor.CODE: code,
                    executor.INPUT_FINGERPRINT: input_fingerprint,
                    executor.EXAMPLES: channel.Channel(type=standard_artifacts.Examples),
                    executor.REJECTS: channel.Channel(type=Rejects),
                    executor.CONFLICTS: channel.Channel(type=Conflicts),
                    executor.CORRECTIONS: channel.Channel(type=Corrections),
                }
            )
        )
