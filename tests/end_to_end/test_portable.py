"""Data steps past this process: Beam's Prism, and two worker pools that are strangers here.

The pools have the wheel alone, other working folders and, as root, another user who sees neither
the checkout nor this process' temporary folder.
"""

import gzip
import tempfile
import threading
import time
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import ExternalEnvironment
from tensorflow_metadata.proto.v0 import statistics_pb2

from benchmarks import _portable, _recomputed, _wheel
from benchmarks._portable import Dispatcher, Pool, Prism
from components.catalog_example_gen.catalog import ingest_catalog
from components.evaluation.results import read_evaluation
from components.predictions import table
from pipeline.config import Config, load_config
from pipeline.session import measure_in_console
from pipeline.workspace import Workspace
from schema import features
from schema.catalog import label_domains
from schema.errors import UserError
from schema.records import records
from tests.end_to_end.conftest import CONFIGS, QUICK

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

HERE = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def submitter(tmp_path_factory):
    """The temporary folder of this process, which is no other machine's."""
    folder = tmp_path_factory.mktemp("submitter")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", None)
        yield folder


@pytest.fixture(scope="module")
def started_pools(tmp_path_factory, submitter):
    root = tmp_path_factory.mktemp("machines")
    installed = _wheel.unpacked(_wheel.built(root), root / "installed")
    hidden = [submitter, *(HERE / name for name in _wheel.PACKAGES)]
    started = [Pool(root / name, installed, hidden) for name in ("first", "second")]
    yield started
    for pool in started:
        pool.kill()


@pytest.fixture
def pools(started_pools):
    """Two pools; a test may kill one."""
    for pool in started_pools:
        if not pool.lives:
            pool.start()
    return started_pools


@pytest.fixture
def dispatcher(pools):
    """The address of both."""
    made = Dispatcher(pools)
    yield made
    made.stop()


@pytest.fixture
def prism(tmp_path, dispatcher):
    """Beam's runner in Go, whose workers are in the pools."""
    try:
        _portable.prism()
    except _portable.NotHere as reason:
        pytest.skip(str(reason))
    started = Prism(tmp_path / "prism.log", dispatcher.address)
    yield started
    started.kill()


def config_of(runs, prism: Prism | None = None, *overrides: str) -> Config:
    """The finished run's config, with Prism as its runner where that is given."""
    config = load_config(
        CONFIGS / "demo.yaml", [f"catalog.folder={runs.catalog}", *QUICK, *overrides]
    )
    return config.model_copy(update={"beam": prism.beam} if prism else {})


def examples_of(folder: str | Path) -> dict[str, list[bytes]]:
    """The records of every file of Examples, in order."""
    found = {}
    for file in sorted(Path(folder).glob("Split-*/*")):
        with gzip.open(file) as stream:
            found[f"{file.parent.name}/{file.name}"] = list(records(stream))
    return found


def statistics_of(folder: str | Path) -> dict[str, list]:
    """What the statistics say of every split's features: counts, labels with theirs, figures."""
    found = {}
    for file in sorted(Path(folder).glob("*/FeatureStats.pb")):
        read = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read_bytes())
        [dataset] = read.datasets
        for feature in dataset.features:
            [name] = feature.path.step
            kind = feature.WhichOneof("stats")
            of = getattr(feature, kind)
            told = [of.common_stats.num_non_missing, of.common_stats.max_num_values]
            if kind == "string_stats":
                buckets = of.rank_histogram.buckets
                told += sorted((one.label, one.sample_count) for one in buckets)
            else:
                # Sums of other parts are other sums in the last digits.
                told += [float(f"{one:.9g}") for one in (of.min, of.max, of.mean, of.std_dev)]
            found[f"{file.parent.name}/{name}"] = [dataset.num_examples, *told]
    return found


def test_a_pool_is_a_stranger_with_the_wheel_alone(pools, submitter):
    (submitter / "own").touch()
    for pool in pools:
        said = pool.run(
            "import os, pathlib, components, pipeline, schema, serving, trainer\n"
            "packages = (components, pipeline, schema, serving, trainer)\n"
            "print(*{pathlib.Path(one.__file__).parents[1].name for one in packages})\n"
            f"print(os.getcwd(), os.geteuid(), os.listdir({str(submitter)!r}))"
        )
        installed, working = said.splitlines()
        assert installed == "installed"
        if _portable.stranger([]):
            assert working == f"{pool.folder} 65534 []"
        else:
            assert working.startswith(str(pool.folder))
    assert pools[0].folder != pools[1].folder


def test_one_job_that_is_spread_over_both_pools_writes_the_same_examples(
    demo_runs, dispatcher, pools, tmp_path
):
    """By the runner of this process, for Prism gives a job one worker."""
    [local] = demo_runs.results["CatalogExampleGen"].outputs["examples"]
    config = config_of(demo_runs)
    runner = FnApiRunner(default_environment=ExternalEnvironment(dispatcher.address))
    summary = ingest_catalog(
        config.catalog.model_dump(),
        config.split.model_dump(),
        label_domains(config.catalog.tfmd_schema()),
        *(str(tmp_path / name) for name in ("examples", "rejects", "conflicts")),
        lambda: beam.Pipeline(runner, argv=["--direct_num_workers=2"]),
    )
    assert set(dispatcher.started_by) == set(pools)
    assert examples_of(tmp_path / "examples") == examples_of(local.uri)
    assert summary["accepted"] == sum(map(len, examples_of(local.uri).values()))


def test_a_pool_that_is_killed_leaves_no_half_and_the_next_run_goes_on(
    demo_runs, dispatcher, prism, pools, tmp_path
):
    workspace = Workspace(tmp_path / "workspace")
    artifacts = workspace.artifacts / "CatalogExampleGen"
    stopped = threading.Event()

    def kill_in_the_middle():
        while len(list(artifacts.glob("examples/*/scratch-*/*"))) < 3 and not stopped.is_set():
            time.sleep(0.01)
        dispatcher.started_by[-1].kill()

    killer = threading.Thread(target=kill_in_the_middle)
    killer.start()
    try:
        with pytest.raises(UserError, match="run the same command again") as told:
            measure_in_console(config_of(demo_runs, prism), workspace, verbose=True)
    finally:
        stopped.set()
        killer.join()
    assert str(told.value).startswith(f"Beam's job server at {prism.address} ")
    assert "\n" not in str(told.value)
    assert not [path for path in artifacts.rglob("*") if path.is_file()]
    assert [pool.lives for pool in pools].count(False) == 1

    if not prism.lives:  # It may end with a worker that it lost.
        prism.start()
    measure_in_console(config_of(demo_runs, prism), workspace, verbose=True)
    [local] = demo_runs.results["CatalogExampleGen"].outputs["examples"]
    [made] = artifacts.glob("examples/*")
    assert examples_of(made) == examples_of(local.uri)
    [measured] = (workspace.artifacts / "StatisticsGen" / "statistics").iterdir()
    [as_local] = demo_runs.results["StatisticsGen"].outputs["statistics"]
    assert statistics_of(as_local.uri)
    assert statistics_of(measured) == statistics_of(as_local.uri)


@pytest.fixture
def again(demo_runs, tmp_path):
    """Computes a step of the finished run once more, from what it read, by Prism or here."""

    def computed(step: str, prism: Prism | None, **properties):
        config = config_of(demo_runs, prism, "label_review.enabled=true")
        folder = tmp_path / step / ("there" if prism else "here")
        made = _recomputed.computed(
            step, config, demo_runs.workspace, demo_runs.results, folder, **properties
        )
        return {key: Path(uri) for key, uri in made.items()}

    return computed


def as_in_the_run(runs, step: str, output: str) -> str:
    [made] = runs.results[step].outputs[output]
    return made.uri


def test_transform_learns_the_same_vocabularies(demo_runs, prism, again):
    made = again("Transform", prism)["transform_graph"]
    local = Path(as_in_the_run(demo_runs, "Transform", "transform_graph"))
    found, wanted = (
        {file.name: file.read_bytes() for file in (of / "transform_fn" / "assets").iterdir()}
        for of in (made, local)
    )
    assert wanted and found == wanted


def test_the_model_answers_the_same_and_is_judged_the_same(demo_runs, prism, again, tmp_path):
    made = again("Predictions", prism, resume_dir=str(tmp_path / "resume"))["predictions"]
    local = as_in_the_run(demo_runs, "Predictions", "predictions")
    for split in (features.EVAL, features.TEST):
        found, wanted = table.read(made, split), table.read(local, split)
        assert found.schema == wanted.schema
        for name in wanted.column_names:
            if "score" in name or name.endswith("brier") or name == features.EMBEDDING:
                continue
            assert found[name] == wanted[name], name
        for level in ("category", "subcategory"):
            np.testing.assert_allclose(
                found[f"{level}/true_score"], wanted[f"{level}/true_score"], atol=1e-5
            )

    evaluated = read_evaluation(str(again("Evaluator", prism)["evaluation"]))
    as_local = read_evaluation(as_in_the_run(demo_runs, "Evaluator", "evaluation"))
    assert as_local.metrics and evaluated.metrics == pytest.approx(as_local.metrics, nan_ok=True)
    assert evaluated.example_count == as_local.example_count
    for level, confusion in as_local.confusion.items():
        np.testing.assert_array_equal(evaluated.confusion[level], confusion)


def test_vectors_and_the_review_of_labels_are_the_same(demo_runs, prism, again, tmp_path):
    again("SimilarityIndex", prism, features_dir=str(tmp_path / "features"))
    found, wanted = (
        {file.name: np.load(file) for file in sorted(folder.glob("colors/*/*/*.npy"))}
        for folder in (tmp_path / "features", demo_runs.workspace.features)
    )
    assert wanted and found.keys() == wanted.keys()
    for name, colors in wanted.items():
        np.testing.assert_array_equal(found[name], colors)

    review = {
        runner: again("LabelReview", options, features_dir=str(tmp_path / runner))["label_review"]
        / "label_review.csv"
        for runner, options in (("there", prism), ("here", None))
    }
    assert review["there"].read_bytes() == review["here"].read_bytes()
