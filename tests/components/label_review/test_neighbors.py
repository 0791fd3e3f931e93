"""Neighbors as scikit-learn finds them, of other groups alone."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from components.label_review import judging, neighbors


def unit(seed: int, products: int, size: int = 8) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(products, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize(("rows", "columns"), [(512, 32_768), (7, 11)])
def test_they_are_scikit_learns(rows: int, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "_ROWS", rows)
    monkeypatch.setattr(neighbors, "_COLUMNS", columns)
    vectors = unit(0, 100)
    group = np.random.default_rng(1).integers(0, 40, 100)
    found, cosines = neighbors.nearest_of_other_groups(vectors, group, 5)
    for place in range(100):
        others = np.flatnonzero(group != group[place])
        search = NearestNeighbors(n_neighbors=5, metric="cosine").fit(vectors[others])
        distances, at = search.kneighbors(vectors[place : place + 1])
        assert found[place].tolist() == others[at[0]].tolist()
        np.testing.assert_allclose(cosines[place], 1 - distances[0], atol=1e-5)


def test_where_there_are_too_few_there_are_gaps() -> None:
    found, cosines = neighbors.nearest_of_other_groups(unit(0, 4), np.array([0, 0, 0, 1]), 3)
    assert found[:3].tolist() == [[3, -1, -1]] * 3
    assert np.isneginf(cosines[:3, 1:]).all()
    assert sorted(found[3].tolist()) == [0, 1, 2]


def test_votes_are_counted_by_hand() -> None:
    given = np.array([0, 1, 1, -1])
    near = np.array([[1, 2, 3], [0, 2, -1], [0, 1, 3], [0, 1, 2]])
    assert neighbors.votes(given, near, 2).tolist() == [[0, 2], [1, 1], [1, 1], [1, 2]]
    several = np.array([[1, 0], [1, 1], [0, 1], [0, 0]], bool)
    assert neighbors.votes(several, near, 2).tolist() == [[1, 2], [1, 1], [2, 1], [2, 2]]


def test_shares_sum_to_one_and_nearer_neighbors_count_more() -> None:
    given = np.array([0, 1, 1, 0])
    near = np.array([[1, 2], [0, 2], [0, 3], [1, 2]])
    cosines = np.array([[0.9, 0.9], [0.9, 0.5], [0.5, 0.9], [0.1, 0.1]], np.float32)
    shares = judging.shares_of(given, near, cosines, 2)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    assert shares[1, 0] > shares[1, 1]
    # Two of one label, and one more that is spread as the labels are, half and half.
    np.testing.assert_allclose(shares[0], [0.5 / 3, 2.5 / 3], rtol=1e-6)
