"""A small catalog, and the demo's options on it as a cluster would run them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import Config, load_config
from pipeline.demo_catalog import draw_demo_catalog

CONFIGS = Path(__file__).parents[3] / "pipeline" / "configs"

QUICK = [
    "evaluation.gates=[]",
    "evaluation.guards=false",
    "training.epochs=1",
    "model.dense_units=32",
    "model.filters=8",
    "serving.canary_questions=2",
]
"""What makes a run of the demo short, and has it push whatever it learned."""


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Path:
    """A small drawn catalog."""
    folder = tmp_path_factory.mktemp("drawn")
    return draw_demo_catalog(folder / "catalog", products=20, seed=1, faults=False).folder


@pytest.fixture
def options(catalog) -> list[str]:
    """What a config needs to run on a cluster, as a command line takes it."""
    return [
        f"catalog.folder={catalog}",
        "kubeflow.root=s3://bucket/demo",
        f"kubeflow.volumes={{data: {catalog.parent}}}",
    ]


@pytest.fixture
def config(options):
    """A config by its name, with more options given."""

    def read(*more: str, name: str = "demo.yaml") -> Config:
        return load_config(CONFIGS / name, [*options, *more])

    return read
