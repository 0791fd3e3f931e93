"""One small drawn catalog and the means to run its pipeline in this process."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline.config import load_config
from pipeline.demo_catalog import draw_demo_catalog
from pipeline.steps import LOOK_UPS
from pipeline.workspace import Workspace

CONFIGS = Path(__file__).parents[2] / "pipeline" / "configs"

QUICK = [
    "evaluation.gates=[]",
    "evaluation.guards=false",
    "training.epochs=2",
    "model.dense_units=64",
    "model.filters=8",
    "serving.canary_questions=4",
]
"""Options for a run whose model may be bad."""

SEARCHED = {"TrainPredictions", "SimilarityIndex"}
"""The optional steps that the configs here ask for."""


@dataclass
class Steps:
    """A `StepObserver` that remembers each step's state."""

    states: dict[str, str] = field(default_factory=dict)

    def planned(self, steps: Sequence[str]) -> None:
        self.states = dict.fromkeys(steps, "waiting")

    def left_out(self, step: str, reason: str) -> None:
        self.states[step] = "off"

    def started(self, step: str) -> None:
        self.states[step] = "running"

    def finished(self, step: str, result) -> None:
        self.states[step] = result.state

    def failed(self, step: str, seconds: float) -> None:
        self.states[step] = "failed"

    def computed(self) -> set[str]:
        """The steps that were not taken from the cache; `LOOK_UPS` compute nothing."""
        return {step for step, state in self.states.items() if state == "done"} - LOOK_UPS


@dataclass
class DemoRuns:
    """A catalog and a workspace in which its pipeline is run again and again."""

    catalog: Path
    workspace: Workspace
    steps: Steps = field(default_factory=Steps)
    results: dict = field(default_factory=dict)

    def run(self, *overrides: str) -> set[str]:
        """Runs the pipeline; returns the names of the steps that were computed."""
        from pipeline import local_runner

        config = load_config(
            CONFIGS / "demo.yaml", [f"catalog.folder={self.catalog}", *QUICK, *overrides]
        )
        self.workspace.create()
        self.results = local_runner.run(config, self.workspace, self.steps)
        return self.steps.computed()


@pytest.fixture
def steps() -> Steps:
    """An observer that remembers each step's state."""
    return Steps()


@pytest.fixture(scope="session")
def drawn_catalog(tmp_path_factory) -> Path:
    """240 drawn products with the demo's faults among them."""
    folder = tmp_path_factory.mktemp("drawn") / "catalog"
    draw_demo_catalog(folder, products=240, seed=11)
    return folder


@pytest.fixture
def copy_of_catalog(drawn_catalog, tmp_path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(drawn_catalog, tmp_path / "catalog"))


@pytest.fixture(scope="session")
def demo_runs(drawn_catalog, tmp_path_factory) -> DemoRuns:
    """A workspace in which the pipeline was run once."""
    root = tmp_path_factory.mktemp("runs")
    runs = DemoRuns(Path(shutil.copytree(drawn_catalog, root / "catalog")), Workspace(root / "w"))
    runs.run()
    return runs


def _demo_arguments(catalog: Path, *overrides: str) -> list[str]:
    options = [f"catalog.folder={catalog}", *QUICK, *overrides]
    return [str(CONFIGS / "demo.yaml"), *(word for each in options for word in ("--set", each))]


@pytest.fixture
def demo_arguments():
    """Config and options of a quick run on a drawn catalog, as a command line takes them."""
    return _demo_arguments


@dataclass
class Seamline:
    """The console script beside this Python, run in a folder of its own."""

    folder: Path

    def command(self, *arguments: object) -> list[str]:
        return [str(Path(sys.executable).with_name("seamline")), *map(str, arguments)]

    def __call__(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), cwd=self.folder, capture_output=True, text=True, check=False
        )

    def run_demo(self, catalog: Path, *overrides: str) -> list[str]:
        """The arguments of a quick `seamline run` on a drawn catalog."""
        return ["run", *_demo_arguments(catalog, *overrides), "--workspace", "work"]


@pytest.fixture
def seamline(tmp_path) -> Seamline:
    """Calls `seamline` as a person would, in an empty folder."""
    return Seamline(tmp_path)
