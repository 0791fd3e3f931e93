"""Confident learning as cleanlab has it, but for two of its quirks."""

from __future__ import annotations

import numpy as np
import pytest
from cleanlab.count import compute_confident_joint, get_confident_thresholds
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores

from components.label_review import confident


def drawn(seed: int, products: int = 400, labels: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that mostly are of the given label; every label is given to some product."""
    generator = np.random.default_rng(seed)
    given = np.concatenate([np.arange(labels), generator.integers(0, labels, products - labels)])
    truth = np.where(
        generator.random(products) < 0.2, generator.integers(0, labels, products), given
    )
    scores = generator.normal(size=(products, labels))
    scores[np.arange(products), truth] += 2
    return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True), given


@pytest.mark.parametrize("seed", range(5))
def test_thresholds_are_mean_self_confidences(seed: int) -> None:
    probabilities, given = drawn(seed)
    expected = get_confident_thresholds(given, probabilities)
    np.testing.assert_allclose(confident.mean_self_confidence(probabilities, given), expected)


@pytest.mark.parametrize("seed", range(5))
def test_the_joint_is_cleanlabs_where_the_likeliest_label_is_a_sure_one(seed: int) -> None:
    probabilities, given = drawn(seed)
    sure = probabilities >= confident.mean_self_confidence(probabilities, given) - 1e-6
    # Of several sure labels cleanlab takes the likeliest of all, which may be none of them.
    quirk = (sure.sum(axis=1) > 1) & ~sure[np.arange(len(given)), probabilities.argmax(axis=1)]
    assert quirk.sum() < 10
    thresholds = get_confident_thresholds(given, probabilities)
    plain, labels = probabilities[~quirk], given[~quirk]
    expected = compute_confident_joint(labels, plain, thresholds=thresholds, calibrate=False)
    found = np.zeros_like(expected)
    of = confident.sure_labels(plain, thresholds)
    np.add.at(found, (labels[of >= 0], of[of >= 0]), 1)
    # cleanlab counts at least one on the diagonal.
    np.fill_diagonal(found, np.maximum(found.diagonal(), 1))
    np.testing.assert_array_equal(found, expected)
    if not quirk.any():
        joint = confident.confident_joint(probabilities, given)
        np.testing.assert_array_equal(joint, found)


@pytest.mark.parametrize("seed", range(5))
def test_issues_are_cleanlabs(seed: int) -> None:
    probabilities, given = drawn(seed)
    expected = find_label_issues(
        given, probabilities, filter_by="confident_learning", min_examples_per_class=0
    )
    np.testing.assert_array_equal(confident.issues(probabilities, given), expected)


def test_the_margin_orders_as_cleanlabs_normalized_margin() -> None:
    probabilities, given = drawn(9)
    expected = get_label_quality_scores(given, probabilities, method="normalized_margin")
    np.testing.assert_allclose((confident.margin(probabilities, given) + 1) / 2, expected)


def test_of_several_sure_labels_it_is_the_likeliest_sure_one() -> None:
    thresholds = np.array([0.6, 0.2, 0.1])
    probabilities = np.array([[0.55, 0.25, 0.2], [0.65, 0.25, 0.1], [0.5, 0.1, 0.05]])
    assert confident.sure_labels(probabilities, thresholds).tolist() == [1, 0, -1]


def test_nothing_is_surely_of_a_label_that_no_product_has() -> None:
    probabilities = np.array([[0.1, 0.9], [0.2, 0.8]])
    given = np.array([0, 0])
    assert confident.mean_self_confidence(probabilities, given)[1] == np.inf
    assert confident.confident_joint(probabilities, given).tolist() == [[1, 0], [0, 0]]
    assert not confident.issues(probabilities, given).any()
