"""Trains named variations of a config and prints a table of how well each does.

    python benchmarks/quality.py CONFIG --set catalog.folder=DIR --workspace WORKSPACE [NAME...]

The variations are in `quality.yaml` beside this file: a name and the options it changes; `base`
changes none. All run in one workspace, so that the data are read once, and what has been trained
there is taken from its cache. Each takes as long as its training; the table grows line by line.
Choose by the figures of the eval part; those of the test part are for the one that was chosen.
The table is printed to standard output, what a run tells of itself to standard error.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
VARIATIONS = Path(__file__).with_suffix(".yaml")


def seamline(*arguments: str, stdout: int | IO[str]) -> subprocess.CompletedProcess[str]:
    """Runs the command line; a model that was not blessed (exit status 3) is a result too."""
    run = "import sys; from pipeline.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", run, *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=stdout, text=True)
    if done.returncode not in (0, 3):
        sys.exit(f"seamline {' '.join(arguments)} failed")
    return done


def measured(config: Path, workspace: Path, overrides: list[str]) -> dict[str, Any]:
    """Trains one variation: its history and its metrics on the test part."""
    options = [argument for override in overrides for argument in ("--set", override)]
    run = ["run", str(config), "--workspace", str(workspace), *options]
    seamline(*run, stdout=sys.stderr)
    printed = seamline("metrics", str(workspace), "--json", stdout=subprocess.PIPE).stdout
    metrics = json.loads(printed)
    return {"history": metrics["training"], "test": metrics["metrics"]}


def row(name: str, result: dict[str, Any], levels: list[str]) -> str:
    """A line of the table; figures without the leading zero."""
    history = result["history"]
    best = history["epochs"][history["best_epoch"] - 1]
    minutes = sum(epoch["seconds"] for epoch in history["epochs"]) / 60

    def figure(level: str, of: str) -> str:
        if of == "eval":
            value = best.get(f"val_{level}_accuracy", best.get(f"val_{level}_f1"))
        else:
            metrics = result["test"]
            value = metrics.get(f"{level}/accuracy", metrics.get(f"{level}/overall_f1"))
        return f"{value:.4f}".removeprefix("0")

    cells = [f"{figure(level, 'eval')} / {figure(level, 'test')}" for level in levels]
    return " | ".join(["", name, *cells, str(len(history["epochs"])), f"{minutes:.0f}", ""]).strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help="variations; all by default")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.OPTION=VALUE")
    parser.add_argument("--workspace", type=Path, required=True)
    arguments = parser.parse_intermixed_args()
    variations = {"base": []} | yaml.safe_load(VARIATIONS.read_text(encoding="utf-8"))
    if unknown := set(arguments.names) - set(variations):
        sys.exit(f"{', '.join(sorted(unknown))} are not in {VARIATIONS.name}: {list(variations)}")

    # Stopped, it stops its run as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    levels: list[str] = []
    for name in arguments.names or variations:
        result = measured(
            arguments.config.resolve(),
            arguments.workspace.resolve(),
            [*arguments.set, *variations[name]],
        )
        if not levels:
            levels = list(dict.fromkeys(metric.split("/")[0] for metric in result["test"]))
            print(" | ".join(["| configuration", *levels, "epochs", "minutes |"]))
            print("| --- " * (len(levels) + 3) + "|")
        print(row(name, result, levels), flush=True)


if __name__ == "__main__":
    main()
