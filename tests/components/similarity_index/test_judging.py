"""The figures of a search, against all pairs of the vectors by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from components.similarity_index import judging, quality
from serving.search import FaissIndex, Space

KINDS = ["Boots", "Heels", "Bags"]


@pytest.fixture
def index():
    rng = np.random.default_rng(2)
    count = 90
    of = rng.integers(0, 3, count)
    vectors = np.concatenate(
        [np.eye(3)[of] + 0.6 * rng.random((count, 3)), rng.standard_normal((count, 2))], axis=1
    )
    made = FaissIndex(Space({"kind": 3, "looks": 2}, {"kind": 2.0, "looks": 0.5}), "float16")
    made.upsert(
        [f"p{at}" for at in range(count)],
        vectors,
        {
            "article": [KINDS[code] for code in of],
            "season": [("Summer", "Winter") if at % 3 else "Summer" for at in range(count)],
            "gender": [["Men", "Women"][at % 2] for at in range(count)],
        },
        [f"p{at - at % 2}" if at < 20 else f"p{at}" for at in range(count)],
    )
    return made


def test_they_are_those_of_the_score_over_all_products_but_the_querys_group(index):
    test = [f"p{at}" for at in range(0, 90, 3)]
    found = judging.judged(index, test, ["article", "season"], ["gender"])

    vectors = index.vectors(index.ids()).astype(float)
    near = 2 * vectors[:, :3] @ vectors[:, :3].T + 0.5 * vectors[:, 3:] @ vectors[:, 3:].T
    fields = [index.product(id_) for id_ in index.ids()]
    precisions, hits = [], []
    for at in range(0, 90, 3):
        others = [place for place in range(90) if fields[place][1] != fields[at][1]]
        alike = [fields[place][0]["article"] == fields[at][0]["article"] for place in others]
        precisions.append(average_precision_score(alike, near[at, others]))
        hits.append(np.mean([alike[place] for place in np.argsort(-near[at, others])[:15]]))
    micro = found[judging.ALL_BLOCKS].micro
    assert micro["mean_average_precision"].value == pytest.approx(np.mean(precisions), abs=2e-3)
    assert micro["precision_at_15"].value == pytest.approx(np.mean(hits), abs=5e-3)
    assert found[judging.ALL_BLOCKS].slices["gender"].keys() == {"Men", "Women"}
    said = micro["precision_at_15"].value, micro["ndcg_at_15"].value
    assert judging.sentence(found) == "{:.3f} of the first 15 alike, nDCG {:.3f}".format(*said)


def test_every_block_that_counts_is_judged_alone(index):
    test = index.ids()[:30]
    found = judging.judged(index, test, ["article"], [])
    assert set(found) == {judging.ALL_BLOCKS, "kind", "looks"}
    # Slices are those of the search as it is.
    assert judging.judged(index, test, ["article"], ["gender"])["kind"].slices == {}
    hits = {name: of.micro["precision_at_15"] for name, of in found.items()}
    assert hits["kind"].value > 0.9
    # Looks were drawn without regard to the kind.
    assert hits["looks"].low < hits["looks"].chance < hits["looks"].high

    index.space.weights["looks"] = 0
    assert set(judging.judged(index, test, ["article"], [])) == {judging.ALL_BLOCKS, "kind"}


def test_of_a_large_test_part_some_are_asked_for_and_always_the_same(index, monkeypatch):
    monkeypatch.setattr(judging, "QUERIES", 10)
    first = judging.judged(index, index.ids(), ["article"], [])
    again = judging.judged(index, index.ids(), ["article"], [])
    assert first[judging.ALL_BLOCKS].queries == 10
    assert first == again
    # Not the first ten, which may be of one brand.
    beginning = judging.judged(index, index.ids()[:10], ["article"], [])
    assert beginning[judging.ALL_BLOCKS] != first[judging.ALL_BLOCKS]


def test_how_many_products_are_compared_at_a_time_changes_nothing(index, monkeypatch):
    before = judging.judged(index, index.ids(), ["article"], [])
    monkeypatch.setattr(judging, "_ROWS_AT_ONCE", 7)
    after = judging.judged(index, index.ids(), ["article"], [])
    for name in before:
        for figure, of in before[name].micro.items():
            assert after[name].micro[figure].value == pytest.approx(of.value, abs=1e-6)


def test_of_a_single_block_there_is_nothing_to_tell_apart():
    index = FaissIndex(Space({"looks": 2}))
    index.upsert(["a", "b", "c"], np.eye(3)[:, :2] + 0.1, {"article": ["x", "x", "y"]})
    assert list(judging.judged(index, ["a"], ["article"], [])) == [judging.ALL_BLOCKS]


def test_several_values_are_alike_where_all_are(index):
    found = judging.judged(index, index.ids(), ["season"], [])
    # Two thirds have both seasons, and a third one of them.
    chance = found[judging.ALL_BLOCKS].micro["precision_at_15"].chance
    assert chance == pytest.approx((2 / 3) ** 2 + (1 / 3) ** 2, abs=0.02)


def test_without_a_test_part_there_are_no_figures(index):
    assert judging.judged(index, [], ["article"], []) == {}


def test_figures_survive_the_file(index):
    found = judging.judged(index, index.ids()[:9], ["article"], ["gender"])
    again = {name: quality.Quality.from_json(of.to_json()) for name, of in found.items()}
    assert again == found
