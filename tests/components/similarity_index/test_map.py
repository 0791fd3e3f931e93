"""The map of a test part, against distances and components computed by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from components.similarity_index import map as drawn_map
from components.similarity_index.map import SIDE, embedding_map
from serving.search import FaissIndex, Space

KINDS = ["Boots", "Heels", "Bags"]


def made(count, weights, seed=4):
    """Products of three kinds and two colors, each told by a block of its own."""
    rng = np.random.default_rng(seed)
    kind, color = rng.integers(0, 3, count), rng.integers(0, 2, count)
    blocks = [np.eye(3)[kind], np.eye(2)[color]]
    vectors = np.concatenate([of + 0.05 * rng.random(of.shape) for of in blocks], axis=1)
    index = FaissIndex(Space({"kind": 3, "colour": 2}, weights), "float32")
    index.upsert(
        [f"p{at}" for at in range(count)],
        vectors,
        {
            "article": [KINDS[code] for code in kind],
            "season": [("Winter", "Fall") if of else None for of in color],
            "name": [f"Nr. {at}" for at in range(count)],
            "brand": ["ours"] * count,
        },
    )
    return index, kind, color


def places(told):
    return np.stack([told["x"], told["y"]], axis=1)


def alike_nearby(told, labels):
    """How often the ten that lie nearest on the map have a product's own label."""
    distances = np.linalg.norm(places(told)[:, None] - places(told)[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    near = np.argsort(distances, axis=1)[:, :10]
    return (labels[near] == labels[:, None]).mean()


def test_what_the_weights_count_as_alike_lies_together():
    index, kind, color = made(300, {"kind": 1, "colour": 0})
    told = embedding_map(index, index.ids())
    assert told["way"] == "t-SNE"
    assert alike_nearby(told, kind) > 0.98
    assert 0.35 < alike_nearby(told, color) < 0.65
    index.space.weights.update({"kind": 0.0, "colour": 1.0})
    told = embedding_map(index, index.ids())
    assert alike_nearby(told, color) > 0.98
    assert alike_nearby(told, kind) < 0.5


def test_few_products_lie_by_their_two_main_components():
    index, *_ = made(30, {"kind": 4, "colour": 1})
    told = embedding_map(index, index.ids())
    assert told["way"] == "PCA"
    vectors = index.vectors(index.ids()).astype(float) * [2, 2, 2, 1, 1]
    left, singular, _ = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    wanted = left[:, :2] * singular[:2]
    on_paper = places(told) - places(told).mean(0)
    # Up to the axes' directions, and one scale for both of them.
    scale = np.ptp(on_paper[:, 0]) / np.ptp(wanted[:, 0])
    np.testing.assert_allclose(np.abs(on_paper), np.abs(wanted - wanted.mean(0)) * scale, atol=1.5)


@pytest.mark.parametrize("count", [40, 200])
def test_coordinates_fill_the_paper_and_are_always_the_same(count):
    index, *_ = made(count, None)
    told = embedding_map(index, index.ids())
    found = places(told)
    assert found.min() == 0 and found.max() == SIDE
    # The shorter side has as much room on both of its ends.
    assert np.abs(found.min(0) + found.max(0) - SIDE).max() <= 1
    assert embedding_map(index, index.ids()) == told
    assert json.loads(json.dumps(told)) == told


def test_of_a_large_test_part_some_are_drawn_the_same_ones_again(monkeypatch):
    monkeypatch.setattr(drawn_map, "MOST_PRODUCTS", 20)
    index, kind, _ = made(80, None)
    test = index.ids()[10:]
    told = embedding_map(index, test)
    assert told["count"] == 70
    assert len(set(told["ids"])) == 20 and set(told["ids"]) <= set(test)
    assert told["ids"] != test[:20]
    assert embedding_map(index, test)["ids"] == told["ids"]
    of = told["fields"]["article"]
    shown = [of["values"][code] for code in of["of"]]
    assert shown == [KINDS[kind[int(id_[1:])]] for id_ in told["ids"]]


def test_fields_with_few_values_are_told_the_most_frequent_first():
    index, kind, color = made(60, None)
    told = embedding_map(index, index.ids())
    assert set(told["fields"]) == {"article"}
    values = told["fields"]["article"]["values"]
    counts = [int((kind == KINDS.index(value)).sum()) for value in values]
    assert counts == sorted(counts, reverse=True) and sum(counts) == 60

    seasons = [("Winter", "Fall") if of else "Summer" for of in color]
    index.upsert(
        index.ids(),
        index.vectors(index.ids()),
        {"season": [None, *seasons[1:]]},
    )
    of = embedding_map(index, index.ids())["fields"]["season"]
    assert sorted(of["values"]) == ["Fall | Winter", "Summer"]
    assert of["of"][0] == -1
    assert [of["values"][code] for code in of["of"][1:]] == [
        "Fall | Winter" if code else "Summer" for code in color[1:]
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 60])
def test_a_map_of_nothing_or_of_what_is_all_the_same_is_one(count):
    index = FaissIndex(Space({"kind": 2}))
    if count:
        index.upsert([f"p{at}" for at in range(count)], np.ones((count, 2)), {})
    told = embedding_map(index, index.ids())
    assert (told["count"], len(told["ids"]), told["fields"]) == (count, count, {})
    assert all(0 <= of <= SIDE for of in (*told["x"], *told["y"]))
