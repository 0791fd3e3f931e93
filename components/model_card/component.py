"""The TFX component that writes a model's card."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.catalog_example_gen.artifacts import Conflicts, Rejects
from components.data_gate.artifacts import DataGateVerdict
from components.judge.artifacts import Judgement
from components.model_card import artifacts
from components.model_card.executor import Executor


class ModelCardSpec(types.ComponentSpec):
    """What goes into the card and what comes out of it."""

    PARAMETERS = {
        "name": ExecutionParameter(type=str),
        "attribute_threshold": ExecutionParameter(type=float),
        "license": ExecutionParameter(type=str, optional=True),
        "contact": ExecutionParameter(type=str, optional=True),
        "code": ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "rejects": ChannelParameter(type=Rejects),
        "conflicts": ChannelParameter(type=Conflicts),
        "verdict": ChannelParameter(type=DataGateVerdict),
        "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
        "model": ChannelParameter(type=standard_artifacts.Model),
        "model_run": ChannelParameter(type=standard_artifacts.ModelRun),
        "evaluation": ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "judgement": ChannelParameter(type=Judgement),
        "infra_blessing": ChannelParameter(type=standard_artifacts.InfraBlessing),
    }
    OUTPUTS = {"model_card": ChannelParameter(type=artifacts.ModelCard)}


class ModelCard(base_component.BaseComponent):
    """Tells what a model is, what it learned from and how good it is: a card and an ML-BOM.

    Args:
        examples: CatalogExampleGen's Examples.
        rejects: Its rejects.
        conflicts: Its conflicts.
        verdict: DataGate's output.
        transform_graph: Has the vocabularies of the labels.
        model: The candidate.
        model_run: Has the Trainer's history.json.
        evaluation: The Evaluator's output.
        judgement: The Judge's.
        infra_blessing: The canary's.
        name: The pipeline's name.
        attribute_threshold: Score from which on (>=) an attribute counts as predicted.
        code: Fingerprint of this package's sources; another one writes the card anew.
        license: Of the model, an SPDX identifier; None where nobody says.
        contact: Whom to ask about the model; None where nobody says.
    """

    SPEC_CLASS = ModelCardSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        rejects: types.BaseChannel,
        conflicts: types.BaseChannel,
        verdict: types.BaseChannel,
        transform_graph: types.BaseChannel,
        model: types.BaseChannel,
        model_run: types.BaseChannel,
        evaluation: types.BaseChannel,
        judgement: types.BaseChannel,
        infra_blessing: types.BaseChannel,
        name: str,
        attribute_threshold: float,
        code: str,
        license: str | None = None,  # noqa: A002 The option's name.
        contact: str | None = None,
    ):
        super().__init__(
            ModelCardSpec(
                examples=examples,
                rejects=rejects,
                conflicts=conflicts,
                verdict=verdict,
                transform_graph=transform_graph,
                model=model,
                model_run=model_run,
                evaluation=evaluation,
                judgement=judgement,
                infra_blessing=infra_blessing,
                name=name,
                attribute_threshold=attribute_threshold,
                license=license,
                contact=contact,
                code=code,
                model_card=types.Channel(type=artifacts.ModelCard),
            )
        )
