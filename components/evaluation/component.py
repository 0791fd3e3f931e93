"""The TFX component around TFMA."""

from __future__ import annotations

import json
from collections.abc import Sequence

from google.protobuf import json_format
from tensorflow_model_analysis.proto import config_pb2
from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.evaluation import executor
from components.predictions.artifacts import Predictions


class EvaluatorSpec(ComponentSpec):
    """What goes in and what comes out. Options are JSON, the only nested form MLMD stores."""

    PARAMETERS = {
        executor.EVAL_CONFIG: ExecutionParameter(type=str),
        executor.SLICES: ExecutionParameter(type=str),
        executor.CODE: ExecutionParameter(type=str),
    }
    INPUTS = {
        executor.PREDICTIONS: ChannelParameter(type=Predictions),
        executor.BASELINE_PREDICTIONS: ChannelParameter(type=Predictions, optional=True),
    }
    OUTPUTS = {executor.EVALUATION: ChannelParameter(type=standard_artifacts.ModelEvaluation)}


class Evaluator(base_beam_component.BaseBeamComponent):
    """Computes metrics with TensorFlow Model Analysis, as TFX's own Evaluator does.

    That one asks both models about every product once more, which takes twice the time of all the
    rest; this one reads what they have said. It gives no verdict: the Judge does.

    Args:
        predictions: The candidate's answers.
        baseline_predictions: Those of the last blessed model about the same products, if any.
        eval_config: What to compute, see `eval_config.eval_config`.
        slices: The catalog's slice columns.
        code: A fingerprint of the sources, so that changed ones are not taken from the cache.
    """

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        predictions: types.BaseChannel,
        baseline_predictions: types.BaseChannel | None = None,
        *,
        eval_config: config_pb2.EvalConfig,
        slices: Sequence[str],
        code: str = "",
    ) -> None:
        super().__init__(
            EvaluatorSpec(
                **{
                    executor.PREDICTIONS: predictions,
                    executor.BASELINE_PREDICTIONS: baseline_predictions,
                    executor.EVAL_CONFIG: json_format.MessageToJson(eval_config),
                    executor.SLICES: json.dumps(list(slices)),
                    executor.CODE: code,
                    executor.EVALUATION: types.Channel(type=standard_artifacts.ModelEvaluation),
                }
            )
        )
