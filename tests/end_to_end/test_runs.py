"""Run, run again, change something, run again: what is computed, and what comes out.

All of it in one workspace, test after test, for a run takes most of a minute whatever its catalog.
"""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
import tensorflow_transform as tft
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from benchmarks import published
from components.predictions import table
from pipeline.steps import LOOK_UPS, OPTIONAL_STEPS, STEPS
from schema.picture_figures import opened, upright_rgb
from serving.client import CatalogClient
from serving.model_server import ModelServer
from serving.search.catalog import IndexedCatalog
from serving.search.recipe import Answers
from tests.end_to_end.conftest import SEARCHED

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ASKED = 12
"""Products whose own pictures are looked for."""


def versions(runs) -> list[Path]:
    return sorted(runs.workspace.serving.glob("catalog/*"))


def cached(said: str) -> list[str]:
    """The steps that a run says it took from the cache, by name."""
    return sorted(re.findall(r"(\w+) .*\(cached\)", said))


def wait_until(condition, timeout_s: float):
    """The first true value of `condition()`, polled; fails the test after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    pytest.fail(f"nothing happened within {timeout_s} s")


def test_a_first_run_computes_every_step_and_pushes_a_version(demo_runs):
    assert tuple(demo_runs.steps.states) == STEPS
    assert demo_runs.steps.computed() == set(STEPS) - {*OPTIONAL_STEPS, *LOOK_UPS} | SEARCHED
    [version] = versions(demo_runs)
    assert version.name.isdigit()
    assert (demo_runs.workspace.report / "index.html").is_file()
    assert all(result.summary for result in demo_runs.results.values())


def test_the_pushed_version_answers_as_tensorflow_serving_would_load_it(demo_runs):
    [version] = versions(demo_runs)
    picture = next((demo_runs.catalog / "images").glob("*.jpg")).read_bytes()
    answer = tf.saved_model.load(str(version)).signatures["serving_default"](
        image_bytes=tf.constant([picture, picture])
    )
    np.testing.assert_allclose(answer["category_scores"].numpy().sum(axis=1), 1, atol=1e-5)
    assert answer["category"].shape == (2,)


def test_a_field_is_carried_by_every_example_and_seen_by_nothing_that_learns_or_judges(demo_runs):
    artifacts = demo_runs.workspace.root / "artifacts"
    with (demo_runs.catalog / "labels.csv").open(encoding="utf-8", newline="") as file:
        # Reversed, so that of a doubled id the first row speaks.
        names = {row["id"]: row["name"] for row in reversed(list(csv.DictReader(file)))}
    carried = {}
    for path in artifacts.glob("CatalogExampleGen/examples/*/Split-*/*.gz"):
        for record in tf.data.TFRecordDataset(str(path), "GZIP").as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            [product], [name] = (feature[of].bytes_list.value for of in ("id", "field/name"))
            carried[product.decode()] = name.decode()
    assert carried and carried.items() <= names.items()

    [statistics] = artifacts.glob("StatisticsGen/statistics/*/Split-train/FeatureStats.pb")
    measured = tfdv.load_stats_binary(str(statistics)).datasets[0].features
    [transformed] = artifacts.glob("Transform/transform_graph/*")
    read = tft.TFTransformOutput(str(transformed)).raw_feature_spec()
    [answers] = artifacts.glob("Predictions/predictions/*")
    columns = pq.read_schema(next(answers.rglob("*.parquet"))).names
    for seen in ({of.path.step[0] for of in measured}, read, columns):
        assert any("gender" in of for of in seen)
        assert not any("name" in of for of in seen)


def test_the_metrics_file_beside_the_report_holds_every_level_and_slice(demo_runs):
    metrics = json.loads((demo_runs.workspace.report / "metrics.json").read_text())
    assert {"category/accuracy", "subcategory/overall_f1", "attributes/macro_f1"} <= set(
        metrics["metrics"]
    )
    assert set(metrics["slices"]) == {"attributes", "gender"}
    counts = [values["example_count"] for values in metrics["slices"]["gender"].values()]
    assert sum(counts) == metrics["example_count"]
    # The demo's model decides both levels jointly.
    of_slices = [of for values in metrics["slice_figures"].values() for of in values.values() if of]
    assert of_slices
    for figures in (metrics["figures"], *of_slices):
        assert figures["subcategory/hierarchical_consistency"]["value"] == 1


def test_the_pushed_versions_card_has_the_figures_of_the_metrics_file(demo_runs):
    [version] = versions(demo_runs)
    metrics = json.loads((demo_runs.workspace.report / "metrics.json").read_text())
    text = (version / "assets.extra" / "model_card.md").read_text(encoding="utf-8")
    head = yaml.safe_load(text.split("---\n")[1])
    told = {
        metric["name"]: metric["value"]
        for result in head["model-index"][0]["results"]
        for metric in result["metrics"]
    }
    assert {"category/accuracy", "subcategory/macro_f1", "attributes/overall_f1"} <= set(told)
    for name, value in told.items():
        assert value == metrics["figures"][name]["value"] == pytest.approx(metrics["metrics"][name])
    bom = (version / "assets.extra" / "bom.cdx.json").read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bom) is None
    of_model = json.loads(bom)["metadata"]["component"]
    listed = of_model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    overall = {one["type"]: float(one["value"]) for one in listed if "slice" not in one}
    assert overall == {
        name: of["value"] for name, of in metrics["figures"].items() if of["value"] is not None
    }
    assert len(listed) > len(overall)
    record = json.loads((version / "assets.extra" / "seamline_version.json").read_text())
    assert {f"{file['name']}" for file in of_model["components"]} <= set(record["files"])
    assert re.search(r"\| trained until \| \d{4}-\d\d-\d\dT[\d:]+Z", text)


@pytest.fixture(scope="module")
def catalog(demo_runs) -> IndexedCatalog:
    """The index that the first run pushed."""
    [version] = versions(demo_runs)
    return IndexedCatalog.of_version(version)


@pytest.fixture
def client(demo_runs):
    """Asks the model that it pushed; for a test alone, or the server loads what later ones push."""
    with (
        ModelServer(demo_runs.workspace.serving, enable_model_warmup=False) as server,
        CatalogClient(server.endpoint, timeout_s=60) as client,
    ):
        yield client


def test_a_products_own_picture_finds_it_with_the_whole_score(catalog, client):
    """As the app asks: the index by way of the model."""
    ids = catalog.index.ids()[:: len(catalog.index.ids()) // ASKED][:ASKED]
    pictures = [catalog.picture(id_) for id_ in ids]

    answers, labels = Answers.of_outputs(client.outputs("everything", pictures))
    catalog.recipe.check(labels)
    images = [upright_rgb(opened(picture)) for picture in pictures]
    vectors = catalog.recipe.vectors(answers, images)

    # What is indexed came by way of tables in 16 bits, whose error whitening makes larger, and
    # through another signature.
    np.testing.assert_allclose(vectors, catalog.index.vectors(ids), atol=0.05)
    whole = sum(catalog.index.space.weights.values())
    for id_, found in zip(ids, catalog.index.search(vectors, 3, fold=False), strict=True):
        assert found.hits[0].score == pytest.approx(whole, abs=0.02)
        # A near-duplicate may come as near.
        near = [hit.id for hit in found.hits if hit.score > found.hits[0].score - 0.005]
        assert id_ in near
        assert found.nothing_close is False


def test_what_the_places_of_a_picture_add_is_what_the_features_add(catalog, client):
    asked, other = catalog.index.ids()[:2]
    picture = catalog.picture(asked)
    told = client.outputs("explain", [picture], inputs={"label": ""})

    block = catalog.index.space.part(catalog.index.vectors([other]), "features")[0]
    maps = catalog.recipe.feature_maps(told["regions"][0], block)

    (answer,) = catalog.index.search(catalog.index.vectors([asked]), 1000, fold=False)
    (hit,) = [hit for hit in answer.hits if hit.id == other]
    weight = catalog.index.space.weights["features"]
    assert weight * maps.sum() == pytest.approx(hit.parts["features"], abs=0.02)


def test_a_second_run_computes_nothing(demo_runs):
    assert demo_runs.run() == set()
    assert len(versions(demo_runs)) == 1


def test_metrics_of_a_finished_run_as_a_table_and_as_json(seamline, demo_runs):
    table = seamline("metrics", demo_runs.workspace.root)
    assert table.returncode == 0
    assert "products of the test part" in table.stdout
    assert "Unisex" in table.stdout
    figures = json.loads(seamline("metrics", demo_runs.workspace.root, "--json").stdout)
    assert 0 <= figures["metrics"]["category/accuracy"] <= 1


def cells_of(printed: str) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in printed.splitlines()]


def test_benchmarks_of_quality_take_a_finished_run_from_the_cache(
    demo_runs, demo_arguments, tmp_path, monkeypatch, capsys
):
    """Both give the accuracy that the Evaluator measured."""
    workspace = demo_runs.workspace.root
    script = Path(__file__).parents[2] / "benchmarks" / "quality.py"
    options = [*demo_arguments(demo_runs.catalog), "--workspace", str(workspace), "base"]
    process = subprocess.run(
        [sys.executable, str(script), *options], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    heading, _, base = cells_of(process.stdout)
    on_test = float(dict(zip(heading, base, strict=True))["category"].split(" / ")[1])

    figures = tmp_path / "figures.yaml"
    figures.write_text("elsewhere: {category: {accuracy: 0.5, smallest_share: 0}}\n")
    monkeypatch.setattr(sys, "argv", ["published.py", str(workspace), "--figures", str(figures)])
    published.main()
    heading, _, row = cells_of(capsys.readouterr().out)
    row = dict(zip(heading, row, strict=True))
    assert float(row["all"]) == float(row["among these"]) == pytest.approx(on_test, abs=1e-4)


def test_report_says_where_the_page_is(seamline, demo_runs):
    process = seamline("report", demo_runs.workspace.root)
    assert process.stdout.strip() == str(demo_runs.workspace.report / "index.html")


def test_other_gates_judge_again_and_ask_and_train_nothing(demo_runs):
    computed = demo_runs.run(
        "evaluation.gates=[{metric: category/accuracy, at_least: 1}, "
        "{metric: subcategory/accuracy, at_least: 1}]",
    )
    assert computed == {"Judge", "ModelCard", "Pusher", "Report"}
    # The train part is answered whatever the verdict was.
    [answers] = demo_runs.results["TrainPredictions"].outputs["predictions"]
    count = table.read(answers.uri, "train").num_rows
    assert f" {count} train" in demo_runs.results["StatisticsGen"].summary
    assert table.read(answers.uri, "test") is None
    assert demo_runs.results["Judge"].summary.startswith("not blessed: 2 bounds held")
    assert len(versions(demo_runs)) == 1, "a model that was not blessed must not go live"


def test_another_option_of_training_trains_again_and_ingests_nothing(demo_runs):
    computed = demo_runs.run("training.epochs=4")
    assert computed == {
        *("Trainer", "Predictions", "BaselinePredictions", "Evaluator", "Judge"),
        *("ModelCanary", "ModelCard", "Pusher", "Report", *SEARCHED),
    }
    assert len(versions(demo_runs)) == 2
    assert "compared with the blessed Trainer/model/" in demo_runs.results["BaselineModel"].summary


def test_what_the_cache_pushed_goes_live_again_where_it_no_longer_is(demo_runs):
    """Options there and back, twice: then every verdict is in the cache, and so is the push."""
    weights = "saved_model.pb"
    [_, four_epochs] = versions(demo_runs)
    demo_runs.run()
    assert demo_runs.run("training.epochs=4") == {"Pusher", "Report"}
    live = versions(demo_runs)[-1]
    assert (live / weights).read_bytes() == (four_epochs / weights).read_bytes()
    assert live.name in demo_runs.results["Pusher"].summary
    shutil.rmtree(live)
    assert demo_runs.run("training.epochs=4") == {"Pusher", "Report"}
    assert demo_runs.run("training.epochs=4") == set()


def test_a_changed_picture_then_kill_9_in_training_then_run_again_then_serve_and_ask(
    seamline, demo_runs, demo_arguments
):
    """With the options of the last run, so that nothing is computed but for the picture."""
    workspace, before = demo_runs.workspace.root, versions(demo_runs)
    arguments = ["run", *demo_arguments(demo_runs.catalog, "training.epochs=4")]
    arguments += ["--workspace", workspace]
    pictures = sorted((demo_runs.catalog / "images").glob("*.jpg"))[:3]
    stamp = time.time() + 10
    os.utime(pictures[0], (stamp, stamp))

    run = subprocess.Popen(
        seamline.command(*arguments), cwd=seamline.folder, stdout=subprocess.PIPE, text=True
    )
    state = wait_until(lambda: sorted(workspace.glob("training/*/state.json")), timeout_s=240)[0]
    first_epochs = json.loads(state.read_text())["epochs"]
    os.kill(run.pid, signal.SIGKILL)
    said, _ = run.communicate()
    assert "CatalogExampleGen" in said and cached(said) == ["ImportSchemaGen"]
    assert versions(demo_runs) == before

    again = seamline(*arguments)
    assert again.returncode == 0, again.stdout + again.stderr
    assert cached(again.stdout) == [
        "CatalogExampleGen",
        "DataGate",
        "ExampleValidator",
        "ImportSchemaGen",
        "StatisticsGen",
        "Transform",
    ]
    assert len(versions(demo_runs)) == len(before) + 1
    histories = workspace.glob("artifacts/Trainer/model_run/*/history.json")
    history = max(histories, key=lambda file: int(file.parent.name))
    epochs = json.loads(history.read_text())["epochs"]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3, 4]
    assert epochs[: len(first_epochs)] == first_epochs, "finished epochs must not run again"
    assert not list(workspace.glob("training/*"))

    server = subprocess.Popen(
        seamline.command("serve", workspace, "--port", 0),
        cwd=seamline.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        address = wait_until(
            lambda: re.search(r"127\.0\.0\.1:\d+", server.stdout.readline()), timeout_s=60
        )[0]
        taken = seamline("serve", workspace, "--port", address.split(":")[1])
        assert taken.returncode == 1
        assert "--port" in taken.stderr
        answer = seamline("predict", *pictures, "--server", address, "--json")
        assert answer.returncode == 0, answer.stderr
        predictions = [json.loads(line) for line in answer.stdout.splitlines()]
        assert [prediction["image"] for prediction in predictions] == list(map(str, pictures))
        assert all(0 < prediction["category_score"] <= 1 for prediction in predictions)
    finally:
        # Not an interrupt, which whatever starts this test may have made its children ignore.
        server.terminate()
        server.communicate(timeout=90)
    assert server.returncode == 0
