"""Data steps whose workers see nothing of this machine, and a workspace in a bucket.

As by Dataflow, of which there is none here: by Beam's Prism, and a worker pool that has the wheel
alone and the bucket. Both sides read and write `gs://` by TensorFlow's C++ and by Beam's client.
"""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import _portable, _recomputed, _wheel
from benchmarks._portable import Pool, Prism
from components import storage
from components.evaluation.results import read_evaluation
from components.predictions import table
from pipeline.session import measure_in_console
from pipeline.workspace import Workspace
from schema import features
from tests.end_to_end.test_portable import HERE, as_in_the_run, config_of, statistics_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def prism(gs_url, cloud_storage, tmp_path, monkeypatch):
    """Beam's runner in Go, with a worker pool to which this machine's files are hidden."""
    try:
        _portable.prism()
    except _portable.NotHere as reason:
        pytest.skip(str(reason))
    installed = _wheel.unpacked(_wheel.built(tmp_path), tmp_path / "installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    hidden = [tmp_path / "cache", *(HERE / name for name in _wheel.PACKAGES)]
    hidden[0].mkdir()
    pool = Pool(tmp_path / "pool", installed, hidden, cloud_storage.environment)
    started = Prism(tmp_path / "prism.log", pool.address)
    yield started
    started.kill()
    pool.kill()


def in_bucket(results, url: str) -> dict:
    """Results of steps, all of whose artifacts lie in a bucket."""
    moved = {}
    for step in ("CatalogExampleGen", "ImportSchemaGen", "Trainer", "Predictions"):
        outputs = copy.deepcopy(dict(results[step].outputs))
        for key, artifacts in outputs.items():
            for artifact in artifacts:
                for name in storage.files(artifact.uri):
                    storage.copy(f"{artifact.uri}/{name}", f"{url}/{step}/{key}/{name}")
                artifact.uri = f"{url}/{step}/{key}"
        moved[step] = SimpleNamespace(outputs=outputs)
    return moved


def test_a_workspace_in_a_bucket_is_read_and_written_by_workers_anywhere(
    demo_runs, prism, gs_url, tmp_path
):
    config = config_of(demo_runs, prism)
    url = f"{gs_url}/shop"
    workspace = Workspace.named(Path(url))
    measure_in_console(config, workspace, verbose=True)
    assert {name.split("/")[0] for name in storage.files(f"{url}/artifacts")} == {
        "CatalogExampleGen",
        "StatisticsGen",
    }
    [statistics] = (workspace.root / "artifacts" / "StatisticsGen" / "statistics").glob("[0-9]")
    assert statistics_of(statistics) == statistics_of(
        as_in_the_run(demo_runs, "StatisticsGen", "statistics")
    )

    results = in_bucket(demo_runs.results, f"{url}/run")

    def again(step: str, **properties) -> dict[str, str]:
        return _recomputed.computed(
            step, config, demo_runs.workspace, results, f"{url}/again/{step}", **properties
        )

    graph = again("Transform")["transform_graph"]
    local = Path(as_in_the_run(demo_runs, "Transform", "transform_graph"))
    assets = sorted((local / "transform_fn" / "assets").iterdir())
    assert assets
    for file in assets:
        with storage.opened(f"{graph}/transform_fn/assets/{file.name}") as found:
            assert found.read() == file.read_bytes()

    answers = again("Predictions", resume_dir=f"{url}/answers")["predictions"]
    local = as_in_the_run(demo_runs, "Predictions", "predictions")
    for split in (features.EVAL, features.TEST):
        found, wanted = table.read(answers, split), table.read(local, split)
        assert found.schema == wanted.schema
        assert found[features.ID] == wanted[features.ID]
        for level in ("category", "subcategory"):
            np.testing.assert_allclose(
                found[f"{level}/true_score"], wanted[f"{level}/true_score"], atol=1e-5
            )
    assert not storage.files(f"{url}/answers")

    evaluated = read_evaluation(again("Evaluator")["evaluation"])
    as_local = read_evaluation(as_in_the_run(demo_runs, "Evaluator", "evaluation"))
    assert as_local.metrics and evaluated.metrics == pytest.approx(as_local.metrics, nan_ok=True)
    for level, confusion in as_local.confusion.items():
        np.testing.assert_array_equal(evaluated.confusion[level], confusion)
