"""The TFX component around the review of labels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.catalog_example_gen.artifacts import Conflicts, Corrections
from components.label_review import artifacts, executor
from components.predictions.artifacts import Predictions


class LabelReviewSpec(ComponentSpec):
    """What goes in and what comes out. Options are JSON, the only nested form MLMD stores."""

    PARAMETERS = {
        executor.OPTIONS: ExecutionParameter(type=str),
        executor.MODEL: ExecutionParameter(type=str),
        executor.EXTRA_LABELS: ExecutionParameter(type=str),
        executor.GROUPS: ExecutionParameter(type=str),
        executor.NAME: ExecutionParameter(type=str),
        executor.FEATURES_DIR: ExecutionParameter(type=str),
        executor.CODE: ExecutionParameter(type=str),
    }
    INPUTS = {
        executor.EXAMPLES: ChannelParameter(type=standard_artifacts.Examples),
        executor.PREDICTIONS: ChannelParameter(type=Predictions),
        executor.CONFLICTS: ChannelParameter(type=Conflicts),
        executor.CORRECTIONS: ChannelParameter(type=Corrections),
    }
    OUTPUTS = {executor.REVIEW: ChannelParameter(type=artifacts.LabelReview)}


class LabelReview(base_beam_component.BaseBeamComponent):
    """Lists the labels of all products that are probably wrong; see `components.label_review`.

    Args:
        examples: All products.
        predictions: The final model's answers about eval and test.
        conflicts: The ingest's.
        corrections: What became of people's decisions, which are not asked for again.
        options: The config's section `label_review` as a plain dict.
        model: The config's section `model` as a plain dict.
        extra_labels: The extra labels.
        groups: The groups of attributes.
        name: The pipeline's name.
        features_dir: Where the pictures' features are kept from run to run.
        code: A fingerprint of the sources, so that changed ones are not taken from the cache.
    """

    SPEC_CLASS = LabelReviewSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        predictions: types.BaseChannel,
        conflicts: types.BaseChannel,
        corrections: types.BaseChannel,
        options: Mapping[str, Any],
        model: Mapping[str, Any],
        extra_labels: Sequence[str],
        groups: Sequence[str],
        name: str,
        features_dir: str,
        code: str = "",
    ) -> None:
        super().__init__(
            LabelReviewSpec(
                **{
                    executor.EXAMPLES: examples,
                    executor.PREDICTIONS: predictions,
                    executor.CONFLICTS: conflicts,
                    executor.CORRECTIONS: corrections,
                    executor.OPTIONS: json.dumps(dict(options), sort_keys=True),
                    executor.MODEL: json.dumps(dict(model), sort_keys=True),
                    executor.EXTRA_LABELS: json.dumps(list(extra_labels)),
                    executor.GROUPS: json.dumps(list(groups)),
                    executor.NAME: name,
                    executor.FEATURES_DIR: features_dir,
                    executor.CODE: code,
                    executor.REVIEW: types.Channel(type=artifacts.LabelReview),
                }
            )
        )
