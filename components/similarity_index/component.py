"""The TFX component that makes the catalog searchable."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.predictions.artifacts import Predictions
from components.similarity_index import artifacts, executor


class SimilarityIndexSpec(ComponentSpec):
    """What goes in and what comes out. Options are JSON, the only nested form MLMD stores."""

    PARAMETERS = {
        executor.COLUMNS: ExecutionParameter(type=str),
        executor.OPTIONS: ExecutionParameter(type=str),
        executor.FEATURES_DIR: ExecutionParameter(type=str),
        executor.CODE: ExecutionParameter(type=str),
    }
    INPUTS = {
        executor.EXAMPLES: ChannelParameter(type=standard_artifacts.Examples),
        executor.MODEL: ChannelParameter(type=standard_artifacts.Model),
        executor.PREDICTIONS: ChannelParameter(type=Predictions),
        executor.TRAIN_PREDICTIONS: ChannelParameter(type=Predictions),
    }
    OUTPUTS = {executor.INDEX: ChannelParameter(type=artifacts.SimilarityIndex)}


class SimilarityIndex(base_beam_component.BaseBeamComponent):
    """Makes the index that is pushed with a model; see `components.similarity_index`.

    Args:
        examples: All products.
        model: The candidate.
        predictions: Its answers about eval and test.
        train_predictions: Its answers about train.
        columns: `build.Columns` as a plain dict.
        options: `build.Options` as a plain dict.
        features_dir: Where the pictures' colors are kept from run to run.
        code: A fingerprint of the sources, so that changed ones are not taken from the cache.
    """

    SPEC_CLASS = SimilarityIndexSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        predictions: types.BaseChannel,
        train_predictions: types.BaseChannel,
        columns: Mapping[str, Any],
        options: Mapping[str, Any],
        features_dir: str,
        code: str = "",
    ):
        super().__init__(
            SimilarityIndexSpec(
                examples=examples,
                model=model,
                predictions=predictions,
                train_predictions=train_predictions,
                columns=json.dumps(dict(columns)),
                options=json.dumps(dict(options)),
                features_dir=features_dir,
                code=code,
                similarity_index=types.Channel(type=artifacts.SimilarityIndex),
            )
        )
