"""The TFX component around the verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.judge import artifacts, executor
from components.ledger import recording
from components.predictions.artifacts import Predictions


class JudgeSpec(ComponentSpec):
    """What goes in and what comes out. Options are JSON, the only nested form MLMD stores."""

    PARAMETERS = {
        executor.GATES: ExecutionParameter(type=str),
        executor.SLICES: ExecutionParameter(type=str),
        executor.ATTRIBUTE_THRESHOLD: ExecutionParameter(type=float),
        executor.ATTRIBUTES: ExecutionParameter(type=int),
        executor.SEVERAL_PICTURES: ExecutionParameter(type=int),
        executor.GUARDS: ExecutionParameter(type=int),
        executor.AUTOMATIC: ExecutionParameter(type=float, optional=True),
        recording.LEDGER: ExecutionParameter(type=str),
        recording.INPUTS: ExecutionParameter(type=str),
        recording.TRAINING: ExecutionParameter(type=str),
        executor.CODE: ExecutionParameter(type=str),
    }
    INPUTS = {
        executor.MODEL: ChannelParameter(type=standard_artifacts.Model),
        executor.BASELINE_MODEL: ChannelParameter(type=standard_artifacts.Model, optional=True),
        executor.PREDICTIONS: ChannelParameter(type=Predictions),
        executor.BASELINE_PREDICTIONS: ChannelParameter(type=Predictions, optional=True),
        executor.BASELINE_JUDGEMENT: ChannelParameter(type=artifacts.Judgement, optional=True),
    }
    OUTPUTS = {
        executor.BLESSING: ChannelParameter(type=standard_artifacts.ModelBlessing),
        executor.JUDGEMENT: ChannelParameter(type=artifacts.Judgement),
    }


class Judge(base_component.BaseComponent):
    """Blesses the candidate, or says which gate it does not pass; see `components.judge.gates`.

    Args:
        model: The candidate.
        predictions: The candidate's answers.
        baseline_model: The last blessed model, if there is one.
        baseline_predictions: Those of the last blessed model, about the same products.
        baseline_judgement: What the Judge said of that one, on the products of its own run.
        gates: Fields of `gates.Gate`, in the order in which they are told.
        guards: Whether `gates.guards` hold beside them.
        automatic: The share of right answers that is wanted of what is labelled without a person;
            None where nothing is.
        slices: The catalog's slice columns.
        attribute_threshold: Score from which an attribute counts as predicted.
        attributes: Whether the catalog has attributes.
        several_pictures: Whether products may have several pictures.
        ledger: Path or URL of the ledger, which learns of models that are blessed.
        inputs: Fingerprint of the data that the candidate learned from, as DataGate has it.
        training: Fingerprint of those and of all else that the training was given.
        code: A fingerprint of the sources, so that changed ones are not taken from the cache.
    """

    SPEC_CLASS = JudgeSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        predictions: types.BaseChannel,
        *,
        baseline_model: types.BaseChannel | None = None,
        baseline_predictions: types.BaseChannel | None = None,
        baseline_judgement: types.BaseChannel | None = None,
        gates: Sequence[Mapping[str, Any]],
        guards: bool = True,
        automatic: float | None = None,
        slices: Sequence[str],
        attribute_threshold: float,
        attributes: bool = True,
        several_pictures: bool = False,
        ledger: str,
        inputs: str,
        training: str,
        code: str = "",
    ) -> None:
        super().__init__(
            JudgeSpec(
                **{
                    executor.MODEL: model,
                    executor.BASELINE_MODEL: baseline_model,
                    executor.PREDICTIONS: predictions,
                    executor.BASELINE_PREDICTIONS: baseline_predictions,
                    executor.BASELINE_JUDGEMENT: baseline_judgement,
                    executor.GATES: json.dumps([dict(gate) for gate in gates], sort_keys=True),
                    executor.GUARDS: int(guards),
                    executor.AUTOMATIC: automatic,
                    executor.SLICES: json.dumps(list(slices)),
                    executor.ATTRIBUTE_THRESHOLD: attribute_threshold,
                    executor.ATTRIBUTES: int(attributes),
                    executor.SEVERAL_PICTURES: int(several_pictures),
                    recording.LEDGER: ledger,
                    recording.INPUTS: inputs,
                    recording.TRAINING: training,
                    executor.CODE: code,
                    executor.BLESSING: types.Channel(type=standard_artifacts.ModelBlessing),
                    executor.JUDGEMENT: types.Channel(type=artifacts.Judgement),
                }
            )
        )
