"""Measures how each step grows with the catalog, and says what a large one would take.

    python benchmarks/scale.py measure --json FILE [--products 5000 20000 80000] [--workers 1 2]
    python benchmarks/scale.py foresee FILE [--machines 20] [--cores 8]

`measure` draws a catalog of each size, runs the whole pipeline of `demo.yaml` on it, with one epoch
and without what would refuse the model, and notes of each step how long it took, the seconds of
processors, the bytes of its artifacts and the memory by then. A size and a count of workers that
FILE has already is not measured again. `foresee` fits each of them a product by least squares, with
a constant part of at least 0, and prints what the sizes `--for` would take: on this machine, and on
`--machines` of `--cores` cores each, where the seconds of processors of what Beam computes are
spread evenly over all of them and the rest stays on one machine like this. That is arithmetic, no
measurement: a cluster has a network, and stragglers.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import optimize

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "pipeline" / "configs" / "demo.yaml"

SPREAD = {
    "CatalogExampleGen",
    "StatisticsGen",
    "Transform",
    "Predictions",
    "BaselinePredictions",
    "TrainPredictions",
    "Evaluator",
    "LabelReview",
}
"""Steps whose work is Beam's to spread over machines."""

OPTIONS = (
    "evaluation.gates=[]",
    "evaluation.guards=false",
    "training.epochs=1",
    "serving.canary_questions=4",
)


class _Costs:
    """A `StepObserver` that keeps what each step took.

    Attributes:
        seconds: by the clock.
        processor_seconds: of this process and of those that ended.
        peak_mb: the most that one process had until the step's end, in MB.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.processor_seconds: dict[str, float] = {}
        self.peak_mb: dict[str, float] = {}
        self._before = 0.0

    def planned(self, steps: Sequence[str]) -> None:
        """Nothing to keep."""

    def left_out(self, step: str, reason: str) -> None:
        """Nothing to keep."""

    def started(self, step: str) -> None:
        """Tells that there is something to wait for."""
        print(f"  {step} ...", file=sys.stderr)
        self._before = sum(os.times()[:4])

    def finished(self, step: str, result: Any) -> None:
        """Keeps what it took."""
        self.seconds[step] = result.seconds
        self.processor_seconds[step] = sum(os.times()[:4]) - self._before
        usage = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        self.peak_mb[step] = max(one.ru_maxrss for one in usage) / 1024

    def failed(self, step: str, seconds: float) -> None:
        """Nothing to keep; the exception follows."""


def run_once(catalog: Path, workspace: Path, workers: int) -> dict[str, Any]:
    """One run in this process: what each step took, and the bytes of its artifacts."""
    from pipeline import local_runner
    from pipeline.config import load_config
    from pipeline.workspace import Workspace

    config = load_config(CONFIG, [f"catalog.folder={catalog}", f"beam.workers={workers}", *OPTIONS])
    place = Workspace(workspace)
    place.create()
    costs = _Costs()
    local_runner.run(config, place, costs)
    sizes = {
        step: sum(
            file.stat().st_size
            for file in (place.artifacts / step).rglob("*")
            if file.is_file() and not file.is_symlink()
        )
        for step in costs.seconds
    }
    return {**vars(costs), "bytes": sizes}


def measure(file: Path, sizes: Sequence[int], workers: Sequence[int]) -> None:
    """Adds to `file` what it does not have yet, each run in a process of its own."""
    from pipeline.demo_catalog import draw_demo_catalog

    found: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
    for products in sizes:
        wanted = [n for n in workers if (products, n) not in _keys(found)]
        if not wanted:
            continue
        with tempfile.TemporaryDirectory() as folder:
            catalog = Path(folder, "catalog")
            print(f"drawing {products:,} products", file=sys.stderr)
            draw_demo_catalog(catalog, products=products, seed=7, faults=False)
            for count in wanted:
                print(f"{products:,} products, {count} workers", file=sys.stderr)
                run = [sys.executable, __file__, "run", str(catalog), f"{folder}/{count}"]
                told = subprocess.run(
                    [*run, str(count)], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
                ).stdout
                found.append(
                    {"products": products, "workers": count, **json.loads(told.splitlines()[-1])}
                )
                file.write_text(json.dumps(found, indent=1) + "\n")


def _keys(found: Sequence[Mapping[str, Any]]) -> set[tuple[int, int]]:
    return {(one["products"], one["workers"]) for one in found}


def line(sizes: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """The constant part and the part a product, neither below 0, that fit best.

    Relative errors are made small, for the largest catalog would else decide alone.
    """
    x, y = np.asarray(sizes, float), np.asarray(values, float)
    scale = 1 / np.maximum(y, y.max() * 1e-3 + 1e-9)
    terms = np.stack([np.ones_like(x), x], axis=1) * scale[:, None]
    (constant, slope), _ = optimize.nnls(terms, y * scale)
    return float(constant), float(slope)


def foresee(file: Path, wanted: Sequence[int], machines: int, cores: int) -> None:
    """Prints the slopes of each step, and what catalogs of other sizes would take."""
    found = json.loads(file.read_text())
    one = [run for run in found if run["workers"] == 1]
    console = Console(width=150)
    sizes = ", ".join(f"{run['products']:,}" for run in one)
    table = Table(title=f"measured at {sizes} products, one worker")
    table.add_column("step")
    headings = ["constant s", "products/s", "processor s per 1,000", "bytes a product"]
    headings += [f"{size:,} {place}, h" for size in wanted for place in ("here", "cluster")]
    for name in headings:
        table.add_column(name, justify="right")
    totals = np.zeros(2 * len(wanted))
    for step in one[-1]["seconds"]:
        of_step = [run for run in one if step in run["seconds"]]
        products = [run["products"] for run in of_step]

        def fitted(what: str) -> tuple[float, float]:
            return line(products, [run[what][step] for run in of_step])  # noqa: B023

        constant, slope = fitted("seconds")
        _, work = fitted("processor_seconds")
        _, size = fitted("bytes")
        there = work / (machines * cores) if step in SPREAD else slope
        hours = [(constant + each * many) / 3600 for many in wanted for each in (slope, there)]
        totals += hours
        rate = f"{1 / slope:,.0f}" if slope else "-"
        table.add_row(
            *(step, f"{constant:.1f}", rate, f"{work * 1000:.2f}", f"{size:,.0f}"),
            *(f"{hour:.2f}" for hour in hours),
        )
    table.add_row("all", "", "", "", "", *(f"{hour:.1f}" for hour in totals), style="bold")
    console.print(table)
    console.print(
        f"cluster: {machines} machines of {cores} cores, each as fast as one of these, for "
        f"{', '.join(step for step in one[-1]['seconds'] if step in SPREAD)}; the rest on one "
        "machine like this. Arithmetic, not measured."
    )
    for size, count in sorted(_keys(found)):
        [run] = [of for of in found if (of["products"], of["workers"]) == (size, count)]
        seconds, peaks = run["seconds"], run["peak_mb"]
        highest = max(peaks.values())
        console.print(
            f"{size:>9,} products, {count} workers: {sum(seconds.values()):,.0f} s, of which "
            f"the ingest {seconds['CatalogExampleGen']:,.0f}; peak {highest:,.0f} MB, by "
            f"{next(step for step in peaks if peaks[step] == highest)}"
        )


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("--json", type=Path, required=True, help="gets the measurements")
    measuring.add_argument("--products", type=int, nargs="+", default=[5_000, 20_000, 80_000])
    measuring.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    foreseeing = commands.add_parser("foresee")
    foreseeing.add_argument("file", type=Path)
    foreseeing.add_argument(
        "--for", dest="wanted", type=int, nargs="+", default=[1_000_000, 10_000_000]
    )
    foreseeing.add_argument("--machines", type=int, default=20)
    foreseeing.add_argument("--cores", type=int, default=8)
    running = commands.add_parser("run")
    running.add_argument("catalog", type=Path)
    running.add_argument("workspace", type=Path)
    running.add_argument("workers", type=int)
    given = parser.parse_args()
    if given.command == "measure":
        measure(given.json, given.products, given.workers)
    elif given.command == "foresee":
        foresee(given.file, given.wanted, given.machines, given.cores)
    else:
        print(json.dumps(run_once(given.catalog, given.workspace, given.workers)))


if __name__ == "__main__":
    main()
