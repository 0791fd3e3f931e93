"""Heads are logistic regressions as scikit-learn fits them, and never saw what they are asked."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from components.label_review import heads
from components.label_review.heads import NOT_GIVEN, Heads, Level, cross_fitted

PENALTY = 0.02


@pytest.fixture
def to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits until the loss is least, as scikit-learn does."""
    monkeypatch.setattr(heads, "_LEAST_STEPS", 6_000)


def drawn(products: int = 1500, size: int = 6, labels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(products, size)).astype(np.float32)
    truth = vectors[:, :labels] + generator.normal(size=(products, labels))
    return vectors, truth.argmax(axis=1)


@pytest.mark.usefixtures("to_the_end")
def test_a_head_is_scikit_learns_logistic_regression() -> None:
    vectors, given = drawn()
    level = {"kind": Level(["a", "b", "c"], given)}
    ours = Heads.fitted(vectors, level, np.arange(len(given)), penalty=PENALTY)(vectors)["kind"]
    # Its C weighs the sum of the losses, ours the squared weights beside the mean.
    reference = LogisticRegression(C=1 / (PENALTY * len(given)), max_iter=1000)
    expected = reference.fit(vectors, given).predict_proba(vectors)
    np.testing.assert_allclose(ours, expected, atol=0.02)


@pytest.mark.usefixtures("to_the_end")
def test_labels_that_a_product_may_have_several_of_are_a_regression_each() -> None:
    vectors, given = drawn()
    several = np.stack([given == 0, vectors[:, 3] > 0], axis=1)
    level = {"kind": Level(["a", "b"], several)}
    ours = Heads.fitted(vectors, level, np.arange(len(given)), penalty=PENALTY)(vectors)["kind"]
    for place in range(2):
        reference = LogisticRegression(C=1 / (PENALTY * len(given)), max_iter=1000)
        expected = reference.fit(vectors, several[:, place]).predict_proba(vectors)[:, 1]
        np.testing.assert_allclose(ours[:, place], expected, atol=0.03)


@pytest.mark.usefixtures("to_the_end")
def test_levels_do_not_change_one_another_and_products_without_a_label_teach_nothing() -> None:
    vectors, given = drawn()
    partly = np.where(np.arange(len(given)) % 3, given, NOT_GIVEN)
    places = np.arange(len(given))
    both = {"kind": Level(["a", "b", "c"], given), "other": Level(["a", "b", "c"], partly)}
    together = Heads.fitted(vectors, both, places, penalty=PENALTY)(vectors)
    alone = Heads.fitted(vectors, {"kind": both["kind"]}, places, penalty=PENALTY)(vectors)
    np.testing.assert_allclose(together["kind"], alone["kind"], atol=1e-5)
    known = np.flatnonzero(partly >= 0)
    reference = LogisticRegression(C=1 / (PENALTY * len(given)), max_iter=1000)
    expected = reference.fit(vectors[known], partly[known]).predict_proba(vectors)
    np.testing.assert_allclose(together["other"], expected, atol=0.03)


def test_what_a_product_is_said_to_be_does_not_depend_on_its_own_label() -> None:
    vectors, given = drawn(300)
    fold = np.arange(300) % 3
    other = given.copy()
    other[fold == 0] = (other[fold == 0] + 1) % 3
    said, said_otherwise = (
        cross_fitted(vectors, {"kind": Level(["a", "b", "c"], of)}, fold, penalty=PENALTY)["kind"]
        for of in (given, other)
    )
    assert said.shape == (300, 3)
    np.testing.assert_allclose(said.sum(axis=1), 1, rtol=1e-5)
    # The temperature, one number a fold, is all that its own labels change.
    assert (said[fold == 0].argmax(axis=1) == said_otherwise[fold == 0].argmax(axis=1)).all()
    assert np.abs(said[fold == 1] - said_otherwise[fold == 1]).max() > 0.05


def test_scores_are_made_honest(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, given = drawn(600)
    fold = np.arange(600) % 3
    level = {"kind": Level(["a", "b", "c"], given)}
    said = cross_fitted(vectors, level, fold, penalty=1e-4)["kind"]
    monkeypatch.setattr(heads, "_calibrated", lambda probabilities, given: probabilities)
    plain = cross_fitted(vectors, level, fold, penalty=1e-4)["kind"]
    loss, before = (-np.log(of[np.arange(600), given]).mean() for of in (said, plain))
    assert loss <= before
