"""One run as a person sees it: steps on the console, the libraries' noise in a log, a verdict."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TextIO

from rich.console import Console

from components.catalog_example_gen.preflight import check_catalog
from pipeline.config import Config
from pipeline.console import StepsView, library_output_in, waiting_for
from pipeline.workspace import Workspace
from schema.errors import UserError


def run_in_console(config: Config, workspace: Workspace, verbose: bool = False) -> bool:
    """Runs the pipeline of `config` and shows how it goes.

    Returns:
      Whether the model of this run was blessed.

    Raises:
      UserError: the run cannot go on; the log has the traceback.
    """
    check_catalog(config.catalog.model_dump())
    workspace.create()
    log_file = workspace.log / f"{datetime.now():%Y%m%d-%H%M%S}.log"
    with workspace.locked(), quiet_terminal(log_file, verbose) as terminal:
        console = Console(file=terminal)
        console.print(f"[bold]{config.name}[/] in {shown(workspace.root)}", highlight=False)
        try:
            with waiting_for("loading TensorFlow and TFX", console):
                from pipeline import local_runner
            with StepsView(console) as view:
                results = local_runner.run(config, workspace, view)
        except UserError:
            raise
        except Exception as error:
            traceback.print_exc()
            raise UserError(
                f"{type(error).__name__}: {_last_line(error)} The whole story is in {log_file}."
            ) from error
        return _tell_verdict(console, results, workspace)


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
    from components.evaluation.results import read_evaluation

    evaluation = read_evaluation(results["Evaluator"].outputs["evaluation"][0].uri)
    canary = results["ModelCanary"]
    [infra_blessing] = canary.outputs["blessing"]
    healthy = infra_blessing.get_int_custom_property("blessed") == 1
    if evaluation.blessed and healthy:
        console.print(f"[bold green]blessed:[/] {results['Pusher'].summary}", highlight=False)
    else:
        refused = canary.summary.removeprefix("not blessed: ")
        reasons = evaluation.failures if not evaluation.blessed else [refused]
        console.print("[bold red]not blessed, so not pushed:[/]", highlight=False)
        for reason in reasons:
            console.print(f"  {reason}", highlight=False, markup=False, soft_wrap=True)
    page = shown(workspace.report / "index.html")
    console.print(f"report: {page}", highlight=False, soft_wrap=True)
    return evaluation.blessed and healthy
