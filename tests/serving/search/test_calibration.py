"""The threshold of what is close, held against the closeness of all pairs."""

from __future__ import annotations

import numpy as np
import pytest

from serving.search import ExactIndex, Space, UnknownProduct, calibrate

SPACE = Space({"kind": 4, "colour": 3}, {"colour": 0.5})


def _index(count, groups=None):
    vectors = np.random.default_rng(3).standard_normal((count, 7))
    index = ExactIndex(SPACE)
    ids = [f"p{at}" for at in range(count)]
    index.upsert(ids, vectors, groups=groups)
    return index, ids, vectors


def _closeness(vectors):
    kind, colour = (
        of / np.linalg.norm(of, axis=1, keepdims=True) for of in (vectors[:, :4], vectors[:, 4:])
    )
    return (kind @ kind.T + 0.5 * colour @ colour.T) / 1.5


def test_so_many_products_have_something_close():
    index, ids, vectors = _index(400)
    threshold = calibrate(index, ids, 0.9)

    near = _closeness(vectors)
    np.fill_diagonal(near, -np.inf)
    assert np.mean(near.max(axis=1) >= threshold) == pytest.approx(0.9)
    index.threshold = threshold
    told = [index.search(index.vectors([id_]), 1, exclude=[id_])[0].nothing_close for id_ in ids]
    assert np.mean(told) == pytest.approx(0.1)


def test_a_products_doubles_are_not_what_is_close_to_it():
    groups = [f"p{at - at % 2}" for at in range(100)]
    index, ids, vectors = _index(100, groups)
    near = _closeness(vectors)
    near[np.equal.outer(groups, groups)] = -np.inf
    assert calibrate(index, ids, 1) == pytest.approx(near.max(axis=1).min(), abs=1e-6)


def test_of_many_products_some_are_asked_for_and_always_the_same(monkeypatch):
    index, ids, _ = _index(700)
    assert calibrate(index, ids) == calibrate(index, ids)
    asked = []
    search = index.search
    monkeypatch.setattr(
        index,
        "search",
        lambda vectors, k, **of: asked.extend(of["exclude"]) or search(vectors, k, **of),
    )
    calibrate(index, ids)
    assert len(set(asked)) == 500 and asked != ids[:500]


def test_a_catalog_of_one_group_has_no_threshold():
    index, ids, _ = _index(3, ["p0"] * 3)
    assert calibrate(index, ids) is None
    assert calibrate(index, []) is None


def test_an_unknown_product_is_named():
    index, _, _ = _index(3)
    with pytest.raises(UnknownProduct, match="gone"):
        calibrate(index, ["gone"])
