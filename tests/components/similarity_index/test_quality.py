"""Figures of a search equal scikit-learn's, hand arithmetic and means over orders of the tied."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from components.similarity_index import quality
from components.similarity_index.quality import (
    ALL_ALIKE,
    LEFT_OUT,
    Alike,
    Quality,
    difference,
    find,
    honest,
    judge,
)

SHARES = ["mean_average_precision", "map_at_r", "r_precision", "precision_at_15"]


def found(scores, gains, levels=3, **options):
    scores, gains = np.atleast_2d(scores), np.atleast_2d(gains)
    return find(
        lambda places: scores[places],
        lambda places: gains[places],
        *scores.shape,
        levels=levels,
        **options,
    )


def plainly(order, levels, recall_at=(1, 10)):
    """The figures of gains in an order, by their definitions."""
    figures = {}
    for prefix, level in (("", 1), (ALL_ALIKE, levels)) if levels > 1 else (("", 1),):
        relevant = [gain >= level for gain in order]
        total = sum(relevant)
        precisions = [
            sum(relevant[: place + 1]) / (place + 1) if of else 0.0
            for place, of in enumerate(relevant)
        ]
        told = {
            "mean_average_precision": sum(precisions) / max(total, 1),
            "map_at_r": sum(precisions[:total]) / max(total, 1),
            "r_precision": sum(relevant[:total]) / max(total, 1),
            "precision_at_15": sum(relevant[:15]) / 15,
            **{f"recall_at_{k}": float(any(relevant[:k])) for k in recall_at},
        }
        figures |= {prefix + name: value if total else math.nan for name, value in told.items()}
    gained = [
        sum(g / math.log2(i + 2) for i, g in enumerate(of[:15])) for of in (order, ideal(order))
    ]
    figures["ndcg_at_15"] = gained[0] / gained[1] if gained[1] else math.nan
    return figures


def ideal(order):
    return sorted(order, reverse=True)


def of_query(of, query=0):
    return {name: values[query] for name, values in of.items()}


@pytest.fixture(scope="module")
def drawn():
    """Of 7 queries, similarities to 90 products and gains that they go along with."""
    rng = np.random.default_rng(5)
    gains = rng.integers(0, 4, (7, 90))
    return gains + rng.normal(0, 2, gains.shape), gains


def test_average_precision_and_ndcg_are_scikit_learns(drawn):
    scores, gains = drawn
    told = found(scores, gains).values
    for query in range(len(scores)):
        for prefix, level in (("", 1), (ALL_ALIKE, 3)):
            assert told[f"{prefix}mean_average_precision"][query] == pytest.approx(
                average_precision_score(gains[query] >= level, scores[query])
            )
        assert told["ndcg_at_15"][query] == pytest.approx(
            ndcg_score(gains[[query]], scores[[query]], k=15)
        )


def test_figures_are_those_of_their_definitions(drawn):
    scores, gains = drawn
    told = found(scores, gains).values
    for query in range(len(scores)):
        order = gains[query][np.argsort(-scores[query])].tolist()
        assert of_query(told, query) == pytest.approx(plainly(order, 3))


def test_one_order_by_hand():
    told = of_query(found([[5, 4, 3, 2, 1]], [[1, 0, 2, 0, 2]], levels=2).values)
    assert told["mean_average_precision"] == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    assert told["map_at_r"] == pytest.approx((1 + 2 / 3) / 3)
    assert told["r_precision"] == pytest.approx(2 / 3)
    assert told["precision_at_15"] == pytest.approx(3 / 15)
    assert told["recall_at_1"] == told["recall_at_10"] == 1
    assert told[f"{ALL_ALIKE}recall_at_1"] == 0
    assert told[f"{ALL_ALIKE}mean_average_precision"] == pytest.approx((1 / 3 + 2 / 5) / 2)
    best = 2 + 2 / math.log2(3) + 1 / 2
    assert told["ndcg_at_15"] == pytest.approx((1 + 2 / 2 + 2 / math.log2(6)) / best)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=5),
    st.sampled_from([(1, 2), (2, 4)]),
)
def test_of_equally_similar_products_each_order_counts_as_much(products, recall_at):
    scores, gains = np.array(products).T
    told = of_query(found(scores, gains, levels=2, recall_at=recall_at).values)
    orders = [
        plainly([gains[place] for place in order], 2, recall_at)
        for order in itertools.permutations(range(len(products)))
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
    ]
    for name, value in told.items():
        assert value == pytest.approx(np.mean([of[name] for of in orders]), nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=50))
def test_chance_is_a_search_that_finds_all_equally_similar(gains):
    told = found(np.zeros(len(gains)), gains)
    assert of_query(told.chance) == pytest.approx(of_query(told.values), nan_ok=True)


def test_chance_is_the_mean_over_orders_at_random(drawn):
    _, gains = drawn
    rng = np.random.default_rng(0)
    told = found(rng.random((2500, 90)), np.repeat(gains[:1], 2500, axis=0))
    for name, values in told.values.items():
        assert told.chance[name][0] == pytest.approx(
            values.mean(), abs=4 * values.std() / 50 + 1e-4
        )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=50))
def test_a_perfect_order_has_the_best_of_every_figure(gains):
    told = found(gains, gains)
    best = of_query(told.best)
    assert of_query(told.values) == pytest.approx(best, nan_ok=True)
    for name in (f"{ALL_ALIKE}mean_average_precision", "map_at_r", "recall_at_1", "ndcg_at_15"):
        assert math.isnan(best[name]) or best[name] == pytest.approx(1)
    relevant = sum(gain > 0 for gain in gains)
    assert best["precision_at_15"] == pytest.approx(
        min(relevant, 15) / 15 if relevant else math.nan, nan_ok=True
    )


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_neither_the_gallerys_order_nor_a_rising_function_of_the_score_changes_anything(data):
    count = data.draw(st.integers(1, 40))
    scores = data.draw(st.lists(st.integers(-5, 5), min_size=count, max_size=count))
    gains = np.array(data.draw(st.lists(st.integers(-1, 3), min_size=count, max_size=count)))
    moved = np.array(data.draw(st.permutations(range(count))))
    one = of_query(found(scores, gains).values)
    other = of_query(found(np.exp(np.array(scores)[moved]), gains[moved]).values)
    assert one == pytest.approx(other, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_needs_the_first_only_is_the_same_without_the_others(data):
    count = data.draw(st.integers(1, 60))
    scores = data.draw(st.lists(st.integers(-4, 4), min_size=count, max_size=count))
    gains = data.draw(st.lists(st.integers(-1, 3), min_size=count, max_size=count))
    whole = of_query(found(scores, gains).values)
    short = of_query(found(scores, gains, whole=False).values)
    assert short == pytest.approx({name: whole[name] for name in short}, nan_ok=True)
    assert set(whole) - set(short) == {
        prefix + name for prefix in ("", ALL_ALIKE) for name in SHARES[:3]
    }


def test_what_is_left_out_might_as_well_not_be_there(drawn):
    scores, gains = drawn
    out = np.random.default_rng(1).random(90) < 0.4
    left = found(scores, np.where(out, LEFT_OUT, gains)).values
    gone = found(scores[:, ~out], gains[:, ~out]).values
    for name, values in left.items():
        np.testing.assert_allclose(values, gone[name])


@pytest.mark.parametrize(
    ("least", "expected"), [(1, [[0, 1], [2, 3], [4, 5], [6]]), (5, [[0, 1, 2, 3, 4], [5, 6]])]
)
def test_how_many_are_asked_at_a_time_changes_nothing(drawn, monkeypatch, least, expected):
    before = found(*drawn).values
    monkeypatch.setattr(quality, "_BLOCK_CELLS", 200)
    monkeypatch.setattr(quality, "_LEAST_QUERIES", least)
    asked = []
    scores, gains = drawn

    def similarities_of(places):
        asked.append(places.tolist())
        return scores[places]

    told = find(similarities_of, lambda places: gains[places], *scores.shape, levels=3).values
    assert asked == expected
    for name, values in told.items():
        np.testing.assert_array_equal(values, before[name])


def test_what_is_no_number_orders_nothing(drawn):
    scores, gains = drawn
    with pytest.raises(ValueError, match="a similarity is not a number"):
        found(np.where(scores > 3, np.nan, scores), gains)


def test_gains_count_labels_that_are_alike_from_the_coarsest_on():
    kind = ["Shirts", "Shirts", "Shirts", "Jeans", None, ""]
    gender = ["Men", "Women", "Men", "Men", "Men", "unknown"]
    colour = ["Red", "Red", "Blue", "Red", "Red", "unknown"]
    alike = Alike.among([kind, gender, colour])
    assert alike.gains(np.arange(6)).tolist() == [
        [3, 1, 2, 0, 0, 0],
        [1, 3, 1, 0, 0, 0],
        [2, 1, 3, 0, 0, 0],
        [0, 0, 0, 3, 0, 0],
        # What nobody knows is like nothing, not even like itself.
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]
    assert Alike([["Jeans", "Skirts"]], [kind]).gains(np.array([1, 0])).tolist() == [
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
    ]


def catalog(rng, count=60):
    """Vectors that say something of the labels."""
    kind = rng.integers(0, 3, count)
    colour = rng.integers(0, 4, count)
    vectors = np.concatenate([np.eye(3)[kind], np.eye(4)[colour]], axis=1)
    vectors += rng.normal(0, 0.4, vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = [
        ("kind", np.array(["Shirts", "Jeans", "Skirts"])[kind]),
        ("colour", np.array(["Red", "Blue", "Black", "White"])[colour]),
    ]
    return vectors, labels


def asked(vectors, labels, groups, queries, **options):
    return honest(
        lambda places: vectors[places] @ vectors.T,
        labels,
        groups,
        queries,
        replicates=50,
        **options,
    )


def test_an_honest_search_never_counts_the_query_or_its_doubles():
    vectors, labels = catalog(np.random.default_rng(2))
    groups = np.array([f"g{place}" for place in range(60)])
    for query in range(0, 60, 7):
        alone = asked(vectors, labels, groups, np.array([query]))
        crowd = np.concatenate([np.arange(60), np.full(20, query)])
        more = asked(
            vectors[crowd],
            [(name, of[crowd]) for name, of in labels],
            groups[crowd],
            np.array([query]),
        )
        assert more.gallery == 80
        assert {name: (of.value, of.chance, of.best) for name, of in more.micro.items()} == {
            name: (of.value, of.chance, of.best) for name, of in alone.micro.items()
        }
        # Without groups the doubles would fill the page.
        naive = asked(
            vectors[crowd],
            [(name, of[crowd]) for name, of in labels],
            np.arange(80),
            np.array([query]),
        )
        assert naive.micro[f"{ALL_ALIKE}precision_at_15"].value == 1


def test_lone_queries_are_left_out_and_counted():
    kind = np.array(["Shirts", "Shirts", "Shirts", "Jeans"])
    colour = np.array(["Red", "Red", "Blue", "Blue"])
    vectors = np.array([[1, 0], [0.9, 0.1], [0.8, 0.2], [0, 1.0]])
    told = asked(vectors, [("kind", kind), ("colour", colour)], np.arange(4), np.arange(4))
    kinds = told.micro["recall_at_1"]
    assert (kinds.value, kinds.queries, kinds.lone) == (1, 3, 1)
    both = told.micro[f"{ALL_ALIKE}recall_at_1"]
    assert (both.value, both.queries, both.lone) == (1, 2, 2)
    # Jeans have none that is relevant, and Shirts are the only class left.
    assert told.macro["precision_at_15"].value == pytest.approx(2 / 15)


def test_where_nobody_finds_anything_there_are_no_figures():
    labels = [("kind", np.array(["Shirts", "Jeans"]))]
    told = asked(np.eye(2), labels, np.array([0, 1]), np.arange(2))
    figure = told.micro["mean_average_precision"]
    assert math.isnan(figure.value) and math.isnan(figure.low) and math.isnan(figure.chance)
    assert (figure.queries, figure.lone) == (0, 2)
    # All are of one group: nothing is left to look through.
    alone = asked(np.eye(2), labels, np.array([0, 0]), np.arange(2))
    assert alone.micro["ndcg_at_15"].lone == 2


def test_macro_counts_every_class_alike_and_slices_their_own_queries():
    vectors, labels = catalog(np.random.default_rng(3))
    queries = np.arange(0, 60, 2)
    gender = np.where(np.arange(60) % 4 == 0, "Men", "Women")
    told = asked(vectors, labels, np.arange(60), queries, slices={"gender": gender})
    kind = labels[0][1]
    relevant = kind[queries][:, None] == kind
    relevant[np.arange(30), queries] = False
    similar = vectors[queries] @ vectors.T
    similar[np.arange(30), queries] = -9
    precision = np.array(
        [
            average_precision_score(row[np.arange(60) != query], of[np.arange(60) != query])
            for row, of, query in zip(relevant, similar, queries, strict=True)
        ]
    )
    assert told.micro["mean_average_precision"].value == pytest.approx(precision.mean())
    assert told.macro["mean_average_precision"].value == pytest.approx(
        np.mean([precision[kind[queries] == of].mean() for of in np.unique(kind)])
    )
    assert list(told.slices["gender"]) == ["Men", "Women"]
    men = told.slices["gender"]["Men"]["mean_average_precision"]
    assert men.value == pytest.approx(precision[gender[queries] == "Men"].mean())
    assert (men.queries, men.lone) == (15, 0)


def test_an_interval_is_as_wide_as_the_queries_say_and_doubles_tell_nothing_new():
    rng = np.random.default_rng(4)
    scores, gains = rng.random((400, 30)), rng.integers(0, 2, (400, 30))
    one = found(scores, gains, levels=1)
    figure = judge(one, groups=np.arange(400)).micro["mean_average_precision"]
    error = one.values["mean_average_precision"].std(ddof=1) / math.sqrt(400)
    assert figure.low == pytest.approx(figure.value - 1.96 * error, abs=0.2 * error)
    assert figure.high == pytest.approx(figure.value + 1.96 * error, abs=0.2 * error)
    double = found(np.tile(scores, (4, 1)), np.tile(gains, (4, 1)), levels=1)
    told = judge(double, groups=np.tile(np.arange(400), 4)).micro["mean_average_precision"]
    assert told.value == pytest.approx(figure.value)
    assert told.high - told.low == pytest.approx(figure.high - figure.low, rel=0.01)
    # Each by itself they would seem to say twice as much.
    naive = judge(double, groups=np.arange(1600)).micro["mean_average_precision"]
    assert naive.high - naive.low == pytest.approx((figure.high - figure.low) / 2, rel=0.15)


def test_a_difference_is_of_the_same_queries():
    rng = np.random.default_rng(6)
    gains = rng.integers(0, 2, (300, 40))
    scores = rng.random((300, 40))
    worse, better = found(scores, gains, levels=1), found(scores + 0.1 * gains, gains, levels=1)
    told = difference(better, worse, "mean_average_precision", np.arange(300))
    each = better.values["mean_average_precision"] - worse.values["mean_average_precision"]
    assert told.value == pytest.approx(each.mean())
    assert told.error == pytest.approx(each.std() / math.sqrt(300), rel=0.15)
    assert told.low < told.value < told.high
    assert told.low > 0
    none = difference(worse, worse, "mean_average_precision", np.arange(300))
    assert (none.value, none.error, none.low, none.high) == (0, 0, 0, 0)


def test_it_goes_through_json():
    vectors, labels = catalog(np.random.default_rng(7))
    labels.append(("made up", np.array([str(place) for place in range(60)])))
    slices = {"kind": labels[0][1]}
    told = asked(vectors, labels, np.arange(60), np.arange(20), slices=slices)
    plain = json.loads(json.dumps(told.to_json(), allow_nan=False))
    assert plain["micro"][f"{ALL_ALIKE}precision_at_15"]["value"] is None
    assert plain["micro"][f"{ALL_ALIKE}precision_at_15"]["lone"] == 20
    back = Quality.from_json(plain)
    assert back.to_json() == told.to_json()
    assert back.slices["kind"]["Jeans"]["ndcg_at_15"] == told.slices["kind"]["Jeans"]["ndcg_at_15"]
