"""Run, run again, change something, run again: what is computed, and what comes out."""

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipeline.pipeline import LOOK_UPS, STEPS

pytestmark = pytest.mark.slow


def versions(runs) -> list[Path]:
    return sorted(runs.workspace.serving.glob("catalog/*"))


def test_a_first_run_computes_every_step_and_pushes_a_version(demo_runs):
    assert tuple(demo_runs.steps.states) == STEPS
    assert demo_runs.steps.computed() == set(STEPS) - {"Tuner", *LOOK_UPS}
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


def test_a_second_run_computes_nothing(demo_runs):
    assert demo_runs.run() == set()
    assert len(versions(demo_runs)) == 1


def test_other_gates_judge_again_and_ask_and_train_nothing(demo_runs):
    computed = demo_runs.run(
        "evaluation.gates=[{metric: category/accuracy, at_least: 1}, "
        "{metric: subcategory/accuracy, at_least: 1}]"
    )
    assert computed == {"Judge", "Pusher", "Report"}
    assert demo_runs.results["Judge"].summary.startswith("not blessed: 2 bounds held")
    assert len(versions(demo_runs)) == 1, "a model that was not blessed must not go live"


def test_another_option_of_training_trains_again_and_ingests_nothing(demo_runs):
    computed = demo_runs.run("training.epochs=1")
    assert computed == {
        *("Trainer", "Predictions", "BaselinePredictions", "Evaluator", "Judge"),
        *("ModelCanary", "Pusher", "Report"),
    }
    assert len(versions(demo_runs)) == 2
    assert "compared with blessed model" in demo_runs.results["Resolver"].summary


def test_what_the_cache_pushed_goes_live_again_where_it_no_longer_is(demo_runs):
    """Options there and back, twice: then every verdict is in the cache, and so is the push."""
    weights = "saved_model.pb"
    [_, one_epoch] = versions(demo_runs)
    demo_runs.run()
    assert demo_runs.run("training.epochs=1") == {"Pusher", "Report"}
    live = versions(demo_runs)[-1]
    assert (live / weights).read_bytes() == (one_epoch / weights).read_bytes()
    assert live.name in demo_runs.results["Pusher"].summary
    shutil.rmtree(live)
    assert demo_runs.run("training.epochs=1") == {"Pusher", "Report"}
    assert demo_runs.run("training.epochs=1") == set()


def test_a_picture_that_changed_is_noticed(demo_runs):
    picture = next((demo_runs.catalog / "images").glob("*.jpg"))
    stamp = time.time() + 10
    os.utime(picture, (stamp, stamp))
    computed = demo_runs.run("training.epochs=1")
    assert {"CatalogExampleGen", "Trainer", "Pusher"} <= computed
    assert "ImportSchemaGen" not in computed


def test_the_metrics_file_beside_the_report_holds_every_level_and_slice(demo_runs):
    metrics = json.loads((demo_runs.workspace.report / "metrics.json").read_text())
    assert {"category/accuracy", "subcategory/overall_f1", "attributes/macro_f1"} <= set(
        metrics["metrics"]
    )
    assert set(metrics["slices"]) == {"gender"}
    counts = [values["example_count"] for values in metrics["slices"]["gender"].values()]
    assert sum(counts) == metrics["example_count"]
