"""Which run's statistics a version is held against, and what is read out of them."""

import numpy as np
import pandas as pd
import pytest
import tensorflow_data_validation as tfdv

from components.evaluation.results import Evaluation
from components.live_traffic.reference import (
    ANSWERS_ON_TEST,
    LABELS_OF_TRAIN,
    attribute_scores,
    figures,
    find_lineage,
    levels,
    read_reference,
    scores,
)
from schema.errors import UserError
from tests.components.live_traffic.conftest import Runs


@pytest.fixture
def runs(tmp_path) -> Runs:
    return Runs(tmp_path / "workspace")


def lineage(runs: Runs, *versions: int):
    return find_lineage(runs.root / "metadata.sqlite", runs.root / "artifacts", versions)


def test_a_version_is_followed_to_its_own_run_s_data_and_evaluation(runs):
    first = runs.run(1)
    runs.run(2, baseline=first)
    runs.run(3, baseline=first, pushed=False)
    found = lineage(runs, 101)
    # Not the second's, which took the first as its baseline; and nothing that a failed step left.
    artifacts = runs.root / "artifacts"
    assert found.model == artifacts / "Trainer/model/1"
    assert found.statistics == artifacts / "StatisticsGen/statistics/1"
    assert found.evaluation == artifacts / "Evaluator/evaluation/1"
    assert found.uri == "/as/it/was/artifacts/Trainer/model/1"
    assert lineage(runs, 102).statistics == artifacts / "StatisticsGen/statistics/2"
    assert lineage(runs, 999, 102).statistics == artifacts / "StatisticsGen/statistics/2"


def test_a_version_of_another_workspace_is_compared_with_nothing(runs, tmp_path):
    runs.run(1)
    with pytest.raises(UserError, match=r"Version 7 was not pushed by a run .* pushed were: 101\."):
        lineage(runs, 7)
    with pytest.raises(UserError, match="holds no run of a pipeline"):
        find_lineage(tmp_path / "metadata.sqlite", tmp_path, [101])


def test_files_that_are_gone_are_named(runs):
    runs.run(1)
    with pytest.raises(UserError, match=r"FeatureStats.pb cannot be read: No such file"):
        read_reference(lineage(runs, 101))


def statistics():
    frame = pd.DataFrame(
        {
            "category": ["Bags"] * 150 + ["Shoes"] * 50,
            "gender": ["Men"] * 120 + ["unknown"] * 80,
            "season": ["Summer"] * 200,
            "image_height": np.arange(200),
        }
    )
    return tfdv.generate_statistics_from_dataframe(frame).datasets[0]


LABELS = {"category": ["Shoes", "Bags"], "gender": ["Men", "Women"], "attributes": ["a=1", "b=1"]}


def evaluation(products: int) -> Evaluation:
    table = np.zeros((15, 3))
    table[14] = products, products * 0.97, products * 0.9
    return Evaluation(
        example_count=products,
        metrics={},
        baseline={},
        slices={},
        confusion={"category": np.array([[0, 0, products - 30], [0, 1, 20], [-1, 1, 10]])},
        attribute_counts=np.array([[30, 20, 5], [10, 0, 90]]),
        reliability={"category": table},
        uncalibrated_reliability={},
    )


def test_answers_are_compared_with_the_answers_on_the_test_part_where_these_are_enough():
    found = levels(statistics(), evaluation(100), LABELS)
    assert found["category"].counts == {"Shoes": 70, "Bags": 30}
    assert found["category"].origin == ANSWERS_ON_TEST
    assert found["category"].scores.right == pytest.approx(0.9)
    assert found["attributes"].counts == {"a=1": 50, "b=1": 10}
    # Nobody judged the gender; a season is no label that the model names.
    assert found["gender"].counts == {"Men": 120}
    assert found["gender"].origin == LABELS_OF_TRAIN
    assert "season" not in found


def test_answers_are_compared_with_the_train_part_s_labels_where_the_test_part_is_small():
    found = levels(statistics(), evaluation(99), LABELS)
    assert found["category"].counts == {"Bags": 150, "Shoes": 50}
    assert found["category"].origin == LABELS_OF_TRAIN
    assert found["category"].scores.mean == pytest.approx(0.97)
    assert levels(statistics(), None, LABELS)["category"].scores is None


def test_figures_are_the_quantiles_of_the_train_part():
    (height,) = figures(statistics()).values()
    assert height.median == pytest.approx(99.5, abs=1)
    assert height.edges == pytest.approx(np.linspace(0, 199, 11), abs=3)
    assert height.counts.sum() == pytest.approx(200)


def test_scores_of_bins_are_nearly_those_of_the_answers():
    generator = np.random.default_rng(1)
    drawn = generator.beta(6, 2, 5000)
    right = generator.random(5000) < drawn
    table = np.zeros((15, 3))
    bins = np.minimum((drawn * 15).astype(int), 14)
    np.add.at(table, bins, np.stack([np.ones(5000), drawn, right], axis=1))
    found = scores(table)
    assert (found.answers, found.mean, found.right) == (
        5000,
        pytest.approx(drawn.mean()),
        pytest.approx(right.mean()),
    )
    root = np.sqrt(5000)
    assert found.mean_error == pytest.approx(drawn.std() / root, rel=0.01)
    assert found.honesty_error == pytest.approx((right - drawn).std() / root, rel=0.02)


def test_the_scores_of_named_attributes_are_found_in_the_bins_from_the_threshold_on():
    generator = np.random.default_rng(2)
    drawn = generator.uniform(0, 1, 60_000)
    right = generator.random(60_000) < drawn
    table = np.zeros((15, 3))
    np.add.at(table, (drawn * 15).astype(int), np.stack([np.ones(60_000), drawn, right], axis=1))
    named = drawn >= 0.75
    judged = evaluation(100)
    judged.reliability["attributes"] = table
    judged.attribute_counts[:] = 0
    judged.attribute_counts[0] = (named & right).sum(), (named & ~right).sum(), 0
    found = attribute_scores(judged, 0.75)
    assert found.answers == named.sum()
    assert found.right == pytest.approx(right[named].mean())
    assert found.mean == pytest.approx(drawn[named].mean(), abs=0.002)
    assert attribute_scores(judged, 0.5) is None, "the model was judged by another threshold"
    assert attribute_scores(evaluation(100), 0.75) is None
