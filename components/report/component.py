"""The TFX component that writes the report."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.catalog_example_gen.artifacts import Conflicts, Corrections, Rejects
from components.data_gate.artifacts import DataGateVerdict
from components.judge.artifacts import Judgement
from components.label_review.artifacts import LabelReview
from components.predictions.artifacts import Predictions
from components.report.artifacts import HtmlReport
from components.report.executor import Executor
from components.similarity_index.artifacts import SimilarityIndex


class ReportSpec(types.ComponentSpec):
    """What goes into the report and what comes out of it."""

    PARAMETERS = {
        "name": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str),
        "attribute_threshold": ExecutionParameter(type=float),
        "slices": ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "rejects": ChannelParameter(type=Rejects),
        "conflicts": ChannelParameter(type=Conflicts, optional=True),
        "corrections": ChannelParameter(type=Corrections, optional=True),
        "label_review": ChannelParameter(type=LabelReview, optional=True),
        "statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "schema": ChannelParameter(type=standard_artifacts.Schema),
        "verdict": ChannelParameter(type=DataGateVerdict),
        "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
        "model_run": ChannelParameter(type=standard_artifacts.ModelRun),
        "tuner_results": ChannelParameter(type=standard_artifacts.TunerResults, optional=True),
        "predictions": ChannelParameter(type=Predictions),
        "baseline_predictions": ChannelParameter(type=Predictions, optional=True),
        "evaluation": ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "judgement": ChannelParameter(type=Judgement),
        "infra_blessing": ChannelParameter(type=standard_artifacts.InfraBlessing, optional=True),
        "pushed_model": ChannelParameter(type=standard_artifacts.PushedModel, optional=True),
        "similarity_index": ChannelParameter(type=SimilarityIndex, optional=True),
    }
    OUTPUTS = {"report": ChannelParameter(type=HtmlReport)}


class Report(base_component.BaseComponent):
    """Tells in one HTML page what came in, what was learned, how good it is and whether it is live.

    Args:
        examples: What the model was trained and judged on; the test part's pictures are shown.
        rejects: CatalogExampleGen's rejects.
        statistics: StatisticsGen's output.
        schema: What the data must look like.
        verdict: DataGate's output.
        transform_graph: Has the vocabularies of the labels.
        model_run: Has the Trainer's history.json.
        predictions: The model's answers about single products.
        evaluation: The Evaluator's output.
        judgement: The Judge's.
        name: The pipeline's name, the page's title.
        code: Fingerprint of this package's sources; another one writes the report anew.
        attribute_threshold: Score from which on (>=) an attribute counts as predicted.
        slices: The catalog's slice columns.
        baseline_predictions: The last blessed model's answers.
        conflicts: CatalogExampleGen's conflicts.
        corrections: What became of people's decisions on labels.
        label_review: Labels that are probably wrong.
        tuner_results: The Tuner's trials.
        infra_blessing: The canary's output.
        pushed_model: Pusher's output.
        similarity_index: How good the search by pictures is.
    """

    SPEC_CLASS = ReportSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        rejects: types.BaseChannel,
        statistics: types.BaseChannel,
        schema: types.BaseChannel,
        verdict: types.BaseChannel,
        transform_graph: types.BaseChannel,
        model_run: types.BaseChannel,
        predictions: types.BaseChannel,
        evaluation: types.BaseChannel,
        judgement: types.BaseChannel,
        name: str,
        code: str,
        attribute_threshold: float,
        slices: Sequence[str],
        baseline_predictions: types.BaseChannel | None = None,
        conflicts: types.BaseChannel | None = None,
        corrections: types.BaseChannel | None = None,
        label_review: types.BaseChannel | None = None,
        tuner_results: types.BaseChannel | None = None,
        infra_blessing: types.BaseChannel | None = None,
        pushed_model: types.BaseChannel | None = None,
        similarity_index: types.BaseChannel | None = None,
    ):
        super().__init__(
            ReportSpec(
                examples=examples,
                rejects=rejects,
                conflicts=conflicts,
                corrections=corrections,
                label_review=label_review,
                statistics=statistics,
                schema=schema,
                verdict=verdict,
                transform_graph=transform_graph,
                model_run=model_run,
                tuner_results=tuner_results,
                predictions=predictions,
                baseline_predictions=baseline_predictions,
                evaluation=evaluation,
                judgement=judgement,
                infra_blessing=infra_blessing,
                pushed_model=pushed_model,
                similarity_index=similarity_index,
                name=name,
                code=code,
                attribute_threshold=attribute_threshold,
                slices=json.dumps(list(slices)),
                report=types.Channel(type=HtmlReport),
            )
        )
