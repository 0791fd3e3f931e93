"""Runs the pipeline on this machine, step after step, and tells an observer how it goes."""

from __future__ import annotations

import datetime
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.components.util import model_utils
from tfx.dsl.compiler import constants
from tfx.orchestration import data_types_utils, metadata
from tfx.orchestration.local import local_dag_runner, runner_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import inputs_utils, launcher, runtime_parameter_utils
from tfx.orchestration.portable.mlmd import execution_lib
from tfx.proto import pusher_pb2
from tfx.proto.orchestration import pipeline_pb2
from tfx.types import standard_component_specs
from tfx.utils import path_utils, proto_utils

from components import storage
from components.atomic_pusher import object_store, versions
from components.atomic_pusher.executor import SERVING_STATE_KEY
from components.label_review import page as label_review
from components.ledger.recording import record
from components.report.page import FILES
from pipeline import metadata_database
from pipeline.config import Config
from pipeline.mirror import Mirror, MirroredLauncher, mirrored
from pipeline.pipeline import create_pipeline
from pipeline.step_summaries import summarize
from pipeline.steps import LOOK_UPS, OPTIONAL_STEPS, STEPS
from pipeline.workspace import Workspace

Execution = metadata_store_pb2.Execution


@dataclass(frozen=True)
class StepResult:
    """What became of one step: its state, wall seconds, one sentence, and its output artifacts."""

    state: Literal["done", "cached"]
    seconds: float
    summary: str
    outputs: Mapping[str, Sequence[types.Artifact]]


class StepObserver(Protocol):
    """Told for each step `left_out`, or `started` and then `finished` or `failed`."""

    def planned(self, steps: Sequence[str]) -> None:
        """All steps that there are, in the order in which they run."""

    def left_out(self, step: str, reason: str) -> None:
        """`step` is not part of this run, because of an option."""

    def started(self, step: str) -> None:
        """`step` begins."""

    def finished(self, step: str, result: StepResult) -> None:
        """`step` ended well, or its result was taken from an earlier run."""

    def failed(self, step: str, seconds: float) -> None:
        """`step` raised after `seconds`; the exception follows."""


class _Metadata(metadata.Metadata):
    """TFX's, by the client that `metadata_database` chooses."""

    def __enter__(self) -> _Metadata:
        self._store = metadata_database.opened(self._connection_config)
        self._users += 1
        return self


class ObservedLocalDagRunner(local_dag_runner.LocalDagRunner):
    """TFX's LocalDagRunner with an observer of its steps, up to the step `last`.

    Where the workspace lies in a bucket, `mirror` is its copy here, and artifacts of results have
    the paths of their copies.

    After `run`, `results` holds a `StepResult` for each step by its name.
    """

    def __init__(
        self, observer: StepObserver, last: str = STEPS[-1], mirror: Mirror | None = None
    ) -> None:
        super().__init__()
        self._mirror = mirror
        self._steps = STEPS[: STEPS.index(last) + 1]
        self.results: dict[str, StepResult] = {}
        self._observer = observer

    def run_with_ir(
        self,
        pipeline: pipeline_pb2.Pipeline,
        run_options: pipeline_pb2.RunOptions | None = None,
    ) -> None:
        """Launches every node, as the base class does, in the order of `STEPS`."""
        if run_options is not None:
            raise ValueError("Partial runs are not supported: finished steps come from the cache.")
        runtime_parameter_utils.substitute_runtime_parameter(
            pipeline,
            {constants.PIPELINE_RUN_ID_PARAMETER_NAME: datetime.datetime.now().isoformat()},
        )
        deployment = runner_utils.extract_local_deployment_config(pipeline)
        kind = deployment.metadata_connection_config.WhichOneof("connection_config")
        mlmd = _Metadata(getattr(deployment.metadata_connection_config, kind))
        nodes = {node.pipeline_node.node_info.id: node.pipeline_node for node in pipeline.nodes}
        self._observer.planned(self._steps)
        for step in self._steps:
            if step not in nodes:
                self._observer.left_out(step, OPTIONAL_STEPS[step])
                continue
            node = nodes[step]
            self._observer.started(step)
            start = time.monotonic()
            try:
                if step == "Pusher":
                    self._tell_serving_state(node)
                execution = self._launcher(
                    pipeline_node=node,
                    mlmd_connection=mlmd,
                    pipeline_info=pipeline.pipeline_info,
                    pipeline_runtime_spec=pipeline.runtime_spec,
                    executor_spec=runner_utils.extract_executor_spec(deployment, step),
                    custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, step),
                ).launch()
                result = self._result(mlmd, node, execution.execution_id, time.monotonic() - start)
            except BaseException:
                self._observer.failed(step, time.monotonic() - start)
                raise
            self.results[step] = result
            self._observer.finished(step, result)

    def _tell_serving_state(self, pusher: pipeline_pb2.PipelineNode) -> None:
        """Lets the step and its cache know what the serving folder holds of the model now.

        The cache may remember a push of this model from before another one's, or before a rollback.
        """
        parameters = pusher.parameters.parameters
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(
            parameters[standard_component_specs.PUSH_DESTINATION_KEY].field_value.string_value,
            destination,
        )
        serving_root = destination.filesystem.base_directory
        [verdict] = self.results["Judge"].outputs["blessing"]
        [answer] = self.results["ModelCanary"].outputs["blessing"]
        [model] = self.results["Trainer"].outputs["model"]
        blessed = model_utils.is_model_blessed(verdict) and model_utils.is_infra_validated(answer)
        if blessed:
            uri = self._mirror.fetched(model.uri) if self._mirror else model.uri
            saved_model = path_utils.serving_model_path(uri)
            outcome: versions.Outcome | object_store.Outcome
            if storage.is_url(serving_root):
                outcome = object_store.expected_outcome(saved_model, serving_root)
            else:
                outcome = versions.expected_outcome(Path(saved_model), Path(serving_root))
            parameters[SERVING_STATE_KEY].field_value.string_value = _serving_state(outcome)

    @property
    def _launcher(self) -> Callable[..., launcher.Launcher]:
        return partial(MirroredLauncher, self._mirror) if self._mirror else launcher.Launcher

    def _result(
        self,
        mlmd: metadata.Metadata,
        node: pipeline_pb2.PipelineNode,
        execution_id: int | None,
        seconds: float,
    ) -> StepResult:
        """What became of a step, which is noted in the ledger."""
        step = node.node_info.id
        if execution_id is None:
            raise RuntimeError(f"{step} was skipped: an input that it needs does not exist.")
        with mlmd as handle:
            [execution] = handle.store.get_executions_by_id([execution_id])
            if not execution_lib.is_execution_successful(execution):
                raise RuntimeError(f"{step} could not find its inputs; the log says which.")
            inputs = execution_lib.get_input_artifacts(handle, execution_id)
            outputs = execution_lib.get_output_artifacts(handle, execution_id)
        options = data_types_utils.build_parsed_value_dict(
            inputs_utils.resolve_parameters_with_schema(node.parameters)
        )
        record(inputs, outputs, options)
        if self._mirror:
            self._mirror.write_metadata()
            self._mirror.read_here(outputs)
        cached = execution.last_known_state == Execution.CACHED and step not in LOOK_UPS
        return StepResult(
            "cached" if cached else "done", seconds, summarize(step, outputs), dict(outputs)
        )


def _serving_state(outcome: versions.Outcome | object_store.Outcome) -> str:
    """The same as in the run whose result still holds, if there is one, and else another."""
    if outcome.state == "new":
        return f"new at {time.time_ns()}"
    if outcome.state == "rolled back":
        return outcome.summary
    record = outcome.version.record
    return (record and record.origin.serving_state) or f"live as {outcome.version.number}"


def local_pipeline(config: Config, workspace: Workspace) -> Pipeline:
    """The pipeline of `config`, with everything it writes below `workspace`.

    Raises:
      UserError: the catalog's folders cannot be listed; the ledger is damaged; the database cannot
        be reached, or is another workspace's.
    """
    connection = metadata_database.claimed(workspace, config.metadata.postgresql)
    return create_pipeline(config, workspace.places, connection)


def run(config: Config, workspace: Workspace, observer: StepObserver) -> dict[str, StepResult]:
    """Runs the pipeline of `config` in `workspace`; returns each step's result by its name.

    The caller holds the workspace's lock.

    Raises:
      UserError: the data or the options do not allow the run to go on.
    """
    with mirrored(workspace) as mirror:
        runner = ObservedLocalDagRunner(observer, mirror=mirror)
        pipeline = local_pipeline(config, workspace)
        forget_killed_steps(pipeline, mirror)
        workspace.remember_schema(config.catalog.tfmd_schema())
        if mirror:
            mirror.write(workspace.last_schema)
        runner.run(pipeline)
        report = Path(runner.results["Report"].outputs["report"][0].uri)
        publish_report(report, workspace.report)
        if mirror:
            mirror.publish(report, FILES)
        if reviewed := runner.results.get("LabelReview"):
            review = Path(reviewed.outputs["label_review"][0].uri)
            publish_review(review, workspace)
            if mirror:
                mirror.publish(review / label_review.PAGE_FOLDER, label_review.FILES)
                mirror.write(workspace.label_review)
        return runner.results


def measure(config: Config, workspace: Workspace, observer: StepObserver) -> StepResult:
    """Runs the ingest and the statistics alone, and returns what became of the statistics.

    Both are taken from the workspace where the catalog and its options have not changed since, and
    a later run of the pipeline finds them there. The caller holds the workspace's lock.

    Raises:
      UserError: the data or the options do not allow it.
    """
    with mirrored(workspace) as mirror:
        runner = ObservedLocalDagRunner(observer, "StatisticsGen", mirror)
        pipeline = local_pipeline(config, workspace)
        forget_killed_steps(pipeline, mirror)
        runner.run(pipeline)
        return runner.results["StatisticsGen"]


def publish_report(source: Path, destination: Path, files: str = FILES) -> None:
    """Puts a report where people look for the last run's.

    The folder that the page reads comes first and its page then, each whole or not at all, so that
    a page never lacks what it shows; those of earlier pages, whose names begin with `files`, go
    last.
    """
    destination.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.iterdir(), key=lambda file: file.is_file()):
        if file.is_file():
            _place(file, destination)
            continue
        placed, unfinished = destination / file.name, destination / f".{file.name}"
        shutil.rmtree(unfinished, ignore_errors=True)
        if not placed.exists():
            shutil.copytree(file, unfinished)
            unfinished.replace(placed)
    for old in destination.glob(f"{files}*"):
        if not (source / old.name).exists():
            shutil.rmtree(old, ignore_errors=True)


def publish_review(source: Path, workspace: Workspace) -> None:
    """Puts a review of labels where people look for it: its page beside the report's, and its list.

    Both stay until the next one comes, for people may be at work on them.
    """
    publish_report(source / label_review.PAGE_FOLDER, workspace.report, label_review.FILES)
    _place(source / workspace.label_review.name, workspace.label_review.parent)


def _place(file: Path, folder: Path) -> None:
    """Puts a copy of a file into a folder, whole or not at all."""
    unfinished = folder / f".{file.name}"
    shutil.copyfile(file, unfinished)
    unfinished.replace(folder / file.name)


def forget_killed_steps(pipeline: Pipeline, mirror: Mirror | None = None) -> None:
    """Marks steps of a pipeline that were killed as failed and deletes the halves that they wrote.

    Steps of other pipelines are left alone, even in the same database. Only to be called by who
    holds the workspace's lock: then no run of this pipeline is alive, whichever machine it is on.
    """
    with _Metadata(pipeline.metadata_connection_config) as handle:
        context = handle.store.get_context_by_type_and_name(
            constants.PIPELINE_CONTEXT_TYPE_NAME, pipeline.pipeline_info.pipeline_name
        )
        if context is None:
            return
        killed = [
            execution
            for execution in handle.store.get_executions_by_context(context.id)
            if execution.last_known_state in (Execution.NEW, Execution.RUNNING)
        ]
        for execution in killed:
            execution.last_known_state = Execution.FAILED
        handle.store.put_executions(killed)
    for execution in killed:
        if mirror:
            mirror.remove_halves(execution.id)
            continue
        for pattern in (f"*/*/{execution.id}", f"*/.system/*/{execution.id}"):
            for path in Path(pipeline.pipeline_info.pipeline_root).glob(pattern):
                shutil.rmtree(path, ignore_errors=True)
