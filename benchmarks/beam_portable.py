"""Times every data step here and by Prism with two worker pools, and prints the ratios.

    python benchmarks/beam_portable.py                           a drawn catalog
    python benchmarks/beam_portable.py CONFIG --set catalog.sample=5000 --set training.epochs=1

The pipeline is run here first, once. Then each data step is computed again from what it read, by
either runner in turn, into folders of its own. A pool has the wheel alone; each job starts a worker
that imports everything, which is told beside: the same job with nothing to do. Prism is made by Go
where it is not there yet.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import apache_beam as beam
from rich.console import Console

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import _catalog, _portable, _recomputed, _wheel
from pipeline.beam_runner import arguments as beam_arguments
from pipeline.config import Config
from pipeline.console import StepsView
from pipeline.local_runner import ObservedLocalDagRunner, forget_killed_steps, local_pipeline
from pipeline.workspace import Workspace

STEPS = {
    "CatalogExampleGen": {},
    "StatisticsGen": {},
    "Transform": {},
    "Predictions": {"resume_dir": "resume"},
    "Evaluator": {},
    "SimilarityIndex": {"features_dir": "features"},
    "LabelReview": {"features_dir": "features"},
}
"""The data steps, and where each keeps what it would otherwise find from the run."""


def main() -> None:
    """Prints a row a step."""
    parser = _catalog.parser(__doc__.splitlines()[0])
    parser.set_defaults(rounds=1)
    parser.add_argument("--workspace", type=Path, help="keeps the run; a new one by default")
    parser.add_argument(
        "--steps", nargs="+", choices=STEPS, default=[*STEPS], help="all by default"
    )
    arguments = parser.parse_args()
    with _catalog.configured(arguments) as (config, scratch):
        own = scratch / "own"
        own.mkdir()
        # Of this process alone, as a temporary folder is where workers are on other machines.
        os.environ["TMPDIR"] = str(own)
        tempfile.tempdir = None
        config = config.model_copy(
            update={"label_review": config.label_review.model_copy(update={"enabled": True})}
        )
        workspace = Workspace((arguments.workspace or scratch / "workspace").absolute())
        workspace.create()
        try:
            _portable.prism()
        except _portable.NotHere as reason:
            sys.exit(f"error: {reason}.")
        with workspace.locked():
            results = run_here(config, workspace)
            installed = _wheel.unpacked(_wheel.built(scratch), scratch / "installed")
            pools = [_portable.Pool(scratch / name, installed, [own]) for name in ("a", "b")]
            dispatcher = _portable.Dispatcher(pools)
            prism = _portable.Prism(scratch / "prism.log", dispatcher.address)
            try:
                there = config.model_copy(update={"beam": prism.beam})
                report(config, there, workspace, results, scratch, arguments)
                print(f"\nworkers started: {[pools.index(one) for one in dispatcher.started_by]}")
            finally:
                prism.kill()
                dispatcher.stop()
                for pool in pools:
                    pool.kill()


def run_here(config: Config, workspace: Workspace) -> dict:
    """The results of all steps, from the workspace where they are there."""
    pipeline = local_pipeline(config, workspace)
    forget_killed_steps(pipeline)
    with StepsView(Console(stderr=True)) as view:
        runner = ObservedLocalDagRunner(view, last="LabelReview")
        runner.run(pipeline)
    return runner.results


def report(
    here: Config,
    there: Config,
    workspace: Workspace,
    results: dict,
    scratch: Path,
    arguments: argparse.Namespace,
) -> None:
    """Prints the best of so many rounds of each step, by either runner."""
    rounds = arguments.rounds
    idle = min(seconds_of(partial(nothing_to_do, there)) for _ in range(rounds))
    print(f"a job with nothing to do: {idle:.1f} s\n")
    print("| step | here | Prism, two pools | ratio |\n| --- | --- | --- | --- |")
    for step in arguments.steps:
        kept = STEPS[step]
        best: dict[str, float] = {}
        for number in range(rounds):
            for name, config in (("here", here), ("there", there)):
                folder = scratch / f"{step}-{name}-{number}"
                properties = {key: str(folder / value) for key, value in kept.items()}
                again = partial(
                    _recomputed.computed, step, config, workspace, results, folder, **properties
                )
                best[name] = min(best.get(name, math.inf), seconds_of(again))
        here_s, there_s = best["here"], best["there"]
        print(f"| {step} | {here_s:.1f} s | {there_s:.1f} s | {there_s / here_s:.2f} |", flush=True)


def seconds_of(work: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.monotonic()
    work()
    return time.monotonic() - started


def nothing_to_do(config: Config) -> None:
    """A job of one element."""
    with beam.Pipeline(argv=beam_arguments(config.beam)) as pipeline:
        _ = pipeline | beam.Create([1]) | beam.Map(abs)


if __name__ == "__main__":
    main()
