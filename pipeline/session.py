"""One run as a person sees it: steps on the console, the libraries' noise in a log, a verdict."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text
from tensorflow_metadata.proto.v0 import statistics_pb2

from components.catalog_example_gen.preflight import check_catalog
from components.label_review.preflight import check_weights
from components.storage import check_writable, copy, is_url
from pipeline import beam_runner
from pipeline.config import Config
from pipeline.console import StepsView, library_output_in, waiting_for
from pipeline.metadata_database import check_reachable
from pipeline.system_faults import system_fault
from pipeline.workspace import Workspace
from schema.errors import UserError

_MOST_FINDINGS = 10


def run_in_console(config: Config, workspace: Workspace, verbose: bool = False) -> bool:
    """Runs the pipeline of `config` and shows how it goes.

    Returns:
      Whether the model of this run was blessed.

    Raises:
      UserError: the run cannot go on; the log has the traceback.
    """
    with _steps_in_console(config, workspace, verbose) as (console, run_steps):
        results = run_steps(lambda local_runner, view: local_runner.run(config, workspace, view))
        return _tell_verdict(console, results, workspace)


def measure_in_console(
    config: Config, workspace: Workspace, verbose: bool = False
) -> list[statistics_pb2.DatasetFeatureStatistics]:
    """Runs the ingest and the statistics of `config`, shows how it goes, and returns each split's.

    Raises:
      UserError: the run cannot go on; the log has the traceback.
    """
    with _steps_in_console(config, workspace, verbose) as (_, run_steps):
        result = run_steps(lambda local_runner, view: local_runner.measure(config, workspace, view))
        folder = Path(result.outputs["statistics"][0].uri)
        recorded = [path.read_bytes() for path in sorted(folder.glob("*/FeatureStats.pb"))]
        read = statistics_pb2.DatasetFeatureStatisticsList.FromString
        return [dataset for content in recorded for dataset in read(content).datasets]


@contextmanager
def _steps_in_console(
    config: Config, workspace: Workspace, verbose: bool
) -> Iterator[tuple[Console, Callable[[Callable[..., Any]], Any]]]:
    """The console, and what calls a function with `pipeline.local_runner` and a view of the steps.

    Holds the workspace's lock, and keeps the libraries' noise in its log.
    """
    check_catalog(config.catalog.model_dump(), config.split.model_dump())
    if config.serving.push_to:
        check_writable(config.serving.push_to)
    if config.label_review.enabled:
        check_weights(config.model.weights)
    if config.beam.runner == "dataflow":
        _check_in_buckets(config, workspace)
    beam_runner.check_service(config.beam)
    if config.metadata.postgresql:
        check_reachable(config.metadata.postgresql)
    if workspace.url:
        _check_alone(config, workspace.url)
    workspace.create()
    log_file = workspace.log / f"{datetime.now():%Y%m%d-%H%M%S}.log"
    tell = partial(Console(stderr=True).print, highlight=False, markup=False, soft_wrap=True)
    with (
        workspace.locked(f"`{config.name}`", tell),
        quiet_terminal(log_file, verbose) as terminal,
    ):
        console = Console(file=terminal)
        place = workspace.url or shown(workspace.root)
        console.print(f"[bold]{config.name}[/] in {place}", highlight=False)

        def run_steps(run: Callable[..., Any]) -> Any:
            try:
                with waiting_for("loading TensorFlow and TFX", console):
                    from pipeline import local_runner
                with StepsView(console) as view:
                    return run(local_runner, view)
            except UserError:
                raise
            except Exception as error:
                with suppress(OSError):  # The disk may be full.
                    traceback.print_exc()
                if lost := beam_runner.failure(error, config.beam):
                    raise UserError(f"{lost} The whole story is in {log_file}.") from error
                if isinstance(error, OSError) or system_fault(error):
                    raise
                raise UserError(
                    f"{type(error).__name__}: {_last_line(error)} The whole story is in {log_file}."
                ) from error

        try:
            yield console, run_steps
        finally:
            if workspace.url:
                with suppress(OSError, UserError):
                    copy(str(log_file), f"{workspace.url}/log/{log_file.name}")


def _check_alone(config: Config, url: str) -> None:
    """Refuses other machines for trials and training, which read this one's files by their paths.

    Raises:
      UserError: the options ask for them.
    """
    for option, wanted in (
        ("tuning.listen", config.tuning.enabled and config.tuning.listen),
        ("training.machines", config.training.machines > 1),
    ):
        if wanted:
            raise UserError(
                f"{option} has other machines read what this one does, by the same path, and "
                f"{url} is in a bucket. Name a folder that all of them mount with --workspace."
            )


def _check_in_buckets(config: Config, workspace: Workspace) -> None:
    """Refuses folders where the workers are Dataflow's machines, which mount none.

    Raises:
      UserError: the catalog or the workspace is one.
    """
    for option, place in (
        ("catalog.folder", config.catalog.folder),
        ("--workspace", workspace.place),
    ):
        if not is_url(str(place)):
            raise UserError(
                f"{place} is a folder, and Dataflow's workers see buckets alone. Name one with "
                f"{option}, for example gs://bucket/shop, or compute on this machine with "
                "--set beam.runner=local."
            )


@contextmanager
def quiet_terminal(log_file: Path, verbose: bool) -> Iterator[TextIO]:
    """A stream to the terminal, while the libraries' output goes to `log_file` unless `verbose`."""
    if verbose:
        yield sys.stdout
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    with library_output_in(log_file) as terminal:
        yield terminal


def shown(path: Path) -> Path:
    """The path as a person would type it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no message."]
    return lines[-1] if lines[-1].endswith(".") else f"{lines[-1]}."


def _tell_verdict(console: Console, results: dict, workspace: Workspace) -> bool:
    from components.data_gate.findings import ERROR
    from components.data_gate.verdict import read_verdict
    from components.judge import judgement

    gate = read_verdict(results["DataGate"].outputs["verdict"][0].uri)
    for finding in gate.findings[:_MOST_FINDINGS]:
        style = "red" if finding.severity == ERROR else "yellow"
        said = Text.assemble((finding.severity, style), f": {finding.split}: {finding.sentence}")
        console.print(said, highlight=False, soft_wrap=True)
    more = len(gate.findings) - _MOST_FINDINGS
    if more > 0:
        console.print(f"{more:,} more findings are in the report", highlight=False)
    judged = judgement.read(results["Judge"].outputs["judgement"][0].uri)
    for warning in judged.warnings:
        said = Text.assemble(("warning", "yellow"), f": {warning}")
        console.print(said, highlight=False, soft_wrap=True)
    canary = results["ModelCanary"]
    [infra_blessing] = canary.outputs["blessing"]
    healthy = infra_blessing.get_int_custom_property("blessed") == 1
    if judged.blessed and healthy:
        pushed = f"[bold green]blessed:[/] {results['Pusher'].summary}"
        console.print(pushed, highlight=False, soft_wrap=True)
    else:
        refused = canary.summary.removeprefix("not blessed: ")
        reasons = judged.failures if not judged.blessed else [refused]
        console.print("[bold red]not blessed, so not pushed:[/]", highlight=False)
        for reason in reasons:
            console.print(f"  {reason}", highlight=False, markup=False, soft_wrap=True)
    page = str(shown(workspace.report / "index.html"))
    if workspace.url:
        page = f"{workspace.url}/report/index.html (here: {page})"
    console.print(f"report: {page}", highlight=False, soft_wrap=True)
    return judged.blessed and healthy
