"""The TFX component around the asking."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.predictions import artifacts, executor


class PredictionsSpec(ComponentSpec):
    """What goes in and what comes out. Lists are JSON, the only nested form MLMD stores."""

    PARAMETERS = {
        executor.SPLITS: ExecutionParameter(type=str),
        executor.SLICES: ExecutionParameter(type=str),
        executor.SEVERAL_PICTURES: ExecutionParameter(type=int),
        executor.RESUME_DIR: ExecutionParameter(type=str),
        executor.CODE: ExecutionParameter(type=str),
    }
    INPUTS = {
        executor.EXAMPLES: ChannelParameter(type=standard_artifacts.Examples),
        executor.MODEL: ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {executor.PREDICTIONS: ChannelParameter(type=artifacts.Predictions)}


class Predictions(base_beam_component.BaseBeamComponent):
    """Asks a model about every product of some splits; see `components.predictions.table`.

    Args:
        examples: What to ask about.
        model: Who is asked.
        splits: Which splits.
        slices: The catalog's slice columns, which the table has too.
        several_pictures: Whether products may have several pictures.
        resume_dir: Where the files are kept that a killed step was done with.
        code: A fingerprint of the sources, so that changed ones are not taken from the cache.
    """

    SPEC_CLASS = PredictionsSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        *,
        splits: Sequence[str],
        slices: Sequence[str],
        several_pictures: bool = False,
        resume_dir: str,
        code: str = "",
    ) -> None:
        super().__init__(
            PredictionsSpec(
                **{
                    executor.EXAMPLES: examples,
                    executor.MODEL: model,
                    executor.SPLITS: json.dumps(list(splits)),
                    executor.SLICES: json.dumps(list(slices)),
                    executor.SEVERAL_PICTURES: int(several_pictures),
                    executor.RESUME_DIR: resume_dir,
                    executor.CODE: code,
                    executor.PREDICTIONS: types.Channel(type=artifacts.Predictions),
                }
            )
        )
