"""What every index promises, held against a few lines of plain Python."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from serving.search import BadSearch, ExactIndex, Expansion, Space, UnknownProduct
from tests.serving.search.engines import ENGINES, making, settle

# Each step depends on those before: making a failure smaller takes minutes, and no less is seen.
_NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)

SIZES = {"kind": 3, "features": 5, "colour": 4}
DIMENSIONS = 12
TOLERANCE = 3e-3


@pytest.fixture(params=ENGINES)
def make(request):
    with making(request.param) as made:
        yield made


@dataclass
class Product:
    vector: np.ndarray
    group: str
    fields: dict


@dataclass
class Oracle:
    """Every product in a dict, every score by a loop."""

    weights: dict
    distance: str = "cosine"
    products: dict = field(default_factory=dict)

    def parts(self, query, vector, weights=None):
        parts, start = {}, 0
        for name, size in SIZES.items():
            q, x = query[start : start + size], vector[start : start + size]
            weight = {**self.weights, **(weights or {})}.get(name, 1.0)
            start += size
            if self.distance == "cosine":
                lengths = math.hypot(*q) * math.hypot(*x)
                parts[name] = weight * float(np.dot(q, x)) / lengths if lengths else 0.0
            elif self.distance == "dot":
                parts[name] = weight * float(np.dot(q, x))
            else:
                parts[name] = weight * math.dist(q, x) ** 2
        if self.distance == "euclidean":
            total = math.sqrt(sum(parts.values()))
            return {name: -part / total if total else 0.0 for name, part in parts.items()}
        return parts

    def score(self, query, id_, weights=None):
        return sum(self.parts(query, self.products[id_].vector, weights).values())

    def passing(self, where, exclude=(), exclude_doubles=False):
        groups = {self.products[id_].group for id_ in exclude if id_ in self.products}
        for id_, product in self.products.items():
            doubled = exclude_doubles and product.group in groups
            if id_ in exclude or doubled:
                continue
            if all(_has(product.fields.get(name), any_of) for name, any_of in where.items()):
                yield id_

    def check(self, answer, query, k, *, where, exclude=(), exclude_doubles=False, fold=True,
              weights=None, complete=True):  # fmt: skip
        scores = {
            id_: self.score(query, id_, weights)
            for id_ in self.passing(where, exclude, exclude_doubles)
        }
        groups: dict = {}
        for id_ in scores:
            groups.setdefault(self.products[id_].group if fold else id_, []).append(id_)
        best = sorted((max(scores[id_] for id_ in ids) for ids in groups.values()), reverse=True)
        assert len(answer.hits) == min(k, len(groups))
        found = [hit.score for hit in answer.hits]
        assert found == sorted(found, reverse=True)
        if complete:
            assert found == pytest.approx(best[:k], abs=TOLERANCE)
        for hit in answer.hits:
            product = self.products[hit.id]
            assert hit.score == pytest.approx(scores[hit.id], abs=TOLERANCE)
            assert hit.parts == pytest.approx(
                self.parts(query, product.vector, weights), abs=TOLERANCE
            )
            assert sum(hit.parts.values()) == pytest.approx(hit.score)
            assert hit.group == product.group
            assert {name: cell for name, cell in hit.fields.items() if cell} == product.fields
            assert hit.folded == (len(groups[product.group]) - 1 if fold else 0)
        shown = [hit.group if fold else hit.id for hit in answer.hits]
        assert len(set(shown)) == len(shown)


def _has(cell, any_of):
    cells = cell if isinstance(cell, tuple) else (cell,)
    return bool(set(cells) & set([any_of] if isinstance(any_of, str) else any_of))


def vector(seed):
    """The same for the same seed, so that equal scores happen; every tenth lacks a block."""
    made = np.random.default_rng(seed).standard_normal(DIMENSIONS)
    if seed % 10 == 0:
        made[:3] = 0
    return made


VALUES = {
    "gender": [None, "Women", "Men", "a, b"],
    "season": [None, "Summer", "Winter", ("Fall", "Summer"), ("Fall", "Winter")],
}
GROUPS = [None, "p1", "p1", "p2", "elsewhere"]
IDS = [f"p{number}" for number in range(80)]
WHERE = st.fixed_dictionaries(
    {},
    optional={
        "gender": st.sampled_from(["Women", ["Men"], ["Men", "a, b"], ["Women", "Men", "a, b"]]),
        "season": st.sampled_from(["Fall", "Summer", ["Winter", "Summer"]]),
    },
)
SEARCH = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 300),
        "k": st.integers(1, 30),
        "where": WHERE,
        "exclude": st.lists(st.sampled_from(IDS), max_size=3),
        "exclude_doubles": st.booleans(),
        "fold": st.booleans(),
        "weights": st.sampled_from([None, {"colour": 2.5}, {"kind": 0.0, "features": 0.1}]),
        "exact": st.booleans(),
    }
)


@st.composite
def changes(draw):
    """Some products to add, some to remove, and whether an inverted file is made then."""
    # By a seed: drawn one by one, products are few.
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    added = rng.permutation(IDS)[: draw(st.sampled_from([0, 1, 10, 70]))].tolist()
    removed = rng.permutation(IDS)[: draw(st.sampled_from([0, 1, 10, 60, 80]))].tolist()
    products = {
        id_: {
            "seed": int(rng.integers(300)),
            "group": GROUPS[rng.integers(len(GROUPS))],
            "fields": {name: cells[rng.integers(len(cells))] for name, cells in VALUES.items()},
        }
        for id_ in added
    }
    return products, removed, draw(st.booleans())


STEPS = st.lists(st.tuples(changes(), SEARCH), min_size=1, max_size=6)


def test_any_changes_and_searches_are_answered_as_by_looking_at_every_product(make, request):
    # The engine takes a second to open and close a collection.
    examples = 6 if request.node.callspec.params["make"] == "qdrant" else 60

    @given(steps=STEPS, distance=st.sampled_from(["cosine", "cosine", "dot", "euclidean"]))
    @settings(
        max_examples=examples,
        deadline=None,
        phases=_NO_SHRINKING,
        suppress_health_check=list(HealthCheck),
    )
    def held(steps, distance):
        _check(make, steps, distance)

    held()


def _check(make, steps, distance):
    weights = {"features": 0.7}
    index, oracle = make(Space(SIZES, weights, distance)), Oracle(weights, distance)
    products = {id_: {"seed": at, "group": None, "fields": {"gender": "Women", "season": None}}
                for at, id_ in enumerate(IDS[:50])}  # fmt: skip
    _upsert(index, oracle, products)
    settle(index)
    for (products, removed, settled), what in steps:
        _upsert(index, oracle, products)
        there = [id_ for id_ in removed if id_ in oracle.products]
        assert index.delete(removed) == len(there)
        for id_ in there:
            del oracle.products[id_]
        if settled:
            settle(index)
        _search(index, oracle, dict(what))
        assert index.count() == len(oracle.products)


def _upsert(index, oracle, products):
    index.upsert(
        list(products),
        np.array([vector(what["seed"]) for what in products.values()]).reshape(-1, DIMENSIONS),
        {name: [what["fields"][name] for what in products.values()] for name in VALUES},
        [what["group"] for what in products.values()],
    )
    for id_, what in products.items():
        there = {name: cell for name, cell in what["fields"].items() if cell is not None}
        oracle.products[id_] = Product(vector(what["seed"]), what["group"] or id_, there)


def _search(index, oracle, what):
    query, k, exact = vector(what.pop("seed")), what.pop("k"), what.pop("exact")
    known = {
        name: {value for product in oracle.products.values()
               for value in _values(product.fields.get(name))}
        for name in VALUES
    }  # fmt: skip
    asked = {name: {any_of} if isinstance(any_of, str) else set(any_of)
             for name, any_of in what["where"].items()}  # fmt: skip
    if any(values - known[name] for name, values in asked.items()):
        with pytest.raises(BadSearch, match="No product has|There is no field"):
            index.search(query, k, exact=exact, **what)
        return
    (answer,) = index.search(query, k, exact=exact, **what)
    assert answer.exact or not exact
    # Among so few even an approximate search finds as many as there are.
    oracle.check(answer, query, k, complete=answer.exact, **what)
    passing = list(oracle.passing(what["where"]))
    assert index.count(what["where"]) == len(passing)
    for name in index.fields:
        counts = Counter(
            value for id_ in passing for value in _values(oracle.products[id_].fields.get(name))
        )
        expected = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        assert list(index.facets(name, what["where"]).items()) == expected
    for id_ in passing[:3]:
        group = oracle.products[id_].group
        others = [other for other, of in oracle.products.items() if of.group == group]
        assert index.doubles(id_) == sorted(other for other in others if other != id_)


def _values(cell):
    return cell if isinstance(cell, tuple) else () if cell is None else (cell,)


@pytest.fixture
def catalog(make):
    """300 products with two fields, of which every sixth is a near-duplicate of the one before."""
    index = make(Space(SIZES, {"features": 0.7}))
    ids = [f"p{number}" for number in range(300)]
    vectors = np.array([vector(1_000 + number - (number % 6 == 5)) for number in range(300)])
    genders = ["Women" if number % 3 else "Men" for number in range(300)]
    index.upsert(ids, vectors, {"gender": genders, "code": ids},
                 [f"p{number - (number % 6 == 5)}" for number in range(300)])  # fmt: skip
    settle(index)
    return index


def test_near_duplicates_are_folded_into_the_best_of_them(catalog):
    (answer,) = catalog.search(vector(1_004), 3)

    assert [answer.hits[0].id, answer.hits[0].folded] == ["p4", 1]
    assert "p5" not in [hit.id for hit in answer.hits]
    (all_shown,) = catalog.search(vector(1_004), 2, fold=False)
    assert [hit.id for hit in all_shown.hits] == ["p4", "p5"]


def test_more_like_a_product_is_asked_without_it_and_without_its_doubles(catalog):
    query = catalog.vectors(["p4"])

    (doubles,) = catalog.search(query, 1, exclude=["p4"])
    assert [doubles.hits[0].id, doubles.hits[0].folded] == ["p5", 0]
    (others,) = catalog.search(query, 3, exclude=["p4"], exclude_doubles=True)
    assert not {"p4", "p5"} & {hit.id for hit in others.hits}


def test_many_queries_are_answered_in_their_order(catalog):
    queries = np.array([vector(1_000 + number) for number in range(0, 300, 2)])

    answers = catalog.search(queries, 1)

    assert [answer.hits[0].id for answer in answers] == [f"p{at}" for at in range(0, 300, 2)]


def test_a_weight_changes_the_query_alone(catalog):
    query = vector(7)
    (plain,) = catalog.search(query, 300, exact=True, fold=False)
    (colour,) = catalog.search(
        query, 300, weights={"kind": 0, "features": 0, "colour": 3}, exact=True, fold=False
    )

    by_colour = sorted(plain.hits, key=lambda hit: -hit.parts["colour"])
    assert [hit.score for hit in colour.hits] == pytest.approx(
        [3 * hit.parts["colour"] for hit in by_colour], abs=TOLERANCE
    )


def test_an_expanded_query_moves_towards_what_it_found_first(make, catalog):
    query, expansion = vector(7), Expansion(products=4, alpha=2)
    (first,) = catalog.search(query, 4, exact=True)
    (second,) = catalog.search(query, 10, exact=True, expansion=expansion)

    # By hand: every block of unit length, plus cosine^2 times the same block of what was found.
    moved = np.zeros(DIMENSIONS)
    unit = _units(query)
    for hit in first.hits:
        near = sum(hit.parts.values()) / 2.7
        moved += max(near, 0) ** 2 * _units(catalog.vectors([hit.id])[0])
    (expected,) = catalog.search(_units(unit + moved), 10, exact=True)
    assert [hit.id for hit in second.hits] == [hit.id for hit in expected.hits]
    with pytest.raises(BadSearch, match="of unit length"):
        made = make(Space(SIZES, distance="euclidean"))
        made.upsert(["a"], vector(1))
        made.search(vector(1), 1, expansion=expansion)


def _units(made):
    pieces = np.split(np.asarray(made, float), [3, 8])
    return np.concatenate([piece / np.linalg.norm(piece) for piece in pieces])


def test_nothing_close_is_said_of_what_is_further_than_the_threshold(catalog):
    assert catalog.search(vector(1_004), 1)[0].nothing_close is None
    catalog.threshold = 0.95

    assert catalog.search(vector(1_004), 1)[0].nothing_close is False
    (far,) = catalog.search(-vector(1_004), 1, exact=True)
    assert far.nothing_close is True
    assert far.hits, "what is nearest is shown all the same"
    # It is a mean cosine, and other weights leave it alike.
    assert catalog.search(vector(1_004), 1, weights={"kind": 9})[0].nothing_close is False
    everything = [f"p{number}" for number in range(300)]
    (none,) = catalog.search(vector(1_004), 1, exclude=everything)
    assert none.hits == () and none.nothing_close is True


def test_what_products_have_is_told(catalog):
    assert catalog.facets("gender") == {"Women": 200, "Men": 100}
    assert catalog.facets("gender", {"code": ["p0", "p1", "p2"]}) == {"Women": 2, "Men": 1}
    assert list(catalog.facets("code", {"gender": "Men"}).values()) == [1] * 100
    assert [catalog.doubles(id_) for id_ in ("p5", "p4", "p3")] == [["p4"], ["p5"], []]
    assert catalog.count({"gender": ["Men", "Women"]}) == 300
    assert sorted(catalog.fields) == ["code", "gender"]
    assert catalog.product("p5") == ({"gender": "Women", "code": "p5"}, "p4")
    catalog.upsert(["p5"], vector(1), {"season": ["Summer"]})
    fields, group = catalog.product("p5")
    assert {name: cell for name, cell in fields.items() if cell} == {"season": "Summer"}
    assert group == "p5"
    assert catalog.facets("gender") == {"Women": 199, "Men": 100}
    assert catalog.count({"season": "Summer"}) == 1


def test_what_was_just_added_is_found_and_what_was_changed_is_found_as_it_is_now(catalog):
    catalog.upsert(["new", "p9"], np.array([vector(5_003), vector(5_004)]))

    (new,), (changed,) = (catalog.search(vector(seed), 1) for seed in (5_003, 5_004))
    assert [new.hits[0].id, changed.hits[0].id] == ["new", "p9"]
    assert new.hits[0].score == pytest.approx(2.7, abs=TOLERANCE)
    assert catalog.search(vector(1_009), 1)[0].hits[0].id != "p9"


def test_an_empty_index_finds_nothing(make):
    index = make(Space(SIZES))

    assert index.count() == 0
    assert index.search(vector(1), 5)[0].hits == ()
    assert index.delete(["p1"]) == 0
    index.upsert([], np.empty((0, DIMENSIONS)))
    index.upsert(["a"], vector(1))
    assert index.delete(["a", "a", "b"]) == 1
    assert index.search(vector(1), 5)[0].hits == ()


@pytest.mark.parametrize(
    "asked, said",
    [
        ({"where": {"colour": "Red"}},
         'There is no field "colour" to filter by; there are: code, gender.'),
        ({"where": {"gender": "Womens"}},
         'No product has "Womens" as its gender; there are: Women, Men.'),
        ({"where": {"gender": ["Women", "Kids"]}},
         'No product has "Kids" as its gender; there are: Women, Men.'),
        ({"where": {"code": "p1000"}}, "and 288 more."),
        ({"where": {"gender": []}}, 'The filter on "gender" is []'),
        ({"weights": {"color": 1}},
         'There is no block "color" to weigh; there are: kind, features, colour.'),
        ({"weights": {"colour": -1}}, "must be a number of at least 0"),
        ({"weights": {"colour": math.nan}}, "must be a number of at least 0"),
        ({"weights": dict.fromkeys(SIZES, 0)}, "The weights of all blocks are 0"),
        ({"k": 0}, "ask for 1 at least"),
        ({"vectors": np.ones(11)}, "12 dimensions (kind 3, features 5, colour 4)"),
        ({"vectors": np.full(12, np.nan)}, "The vector number 0 holds what is no finite number."),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_one_sentence(catalog, asked, said):
    with pytest.raises(BadSearch) as error:
        catalog.search(**{"vectors": vector(1), "k": 3, **asked})

    assert said in str(error.value)


@pytest.mark.parametrize(
    "given, said",
    [
        ({"ids": ["a", "a"]}, 'The product "a" is there twice'),
        ({"ids": ["a"]}, "1 ids to add and 2 values of vectors"),
        ({"fields": {"gender": ["Women"]}}, "2 ids to add and 1 values of gender"),
        ({"fields": {"price": [3, 4]}}, 'The field "price" holds 3'),
        ({"groups": ["a"]}, "2 ids to add and 1 values of groups"),
        ({"vectors": np.full((2, 12), np.inf)}, 'The vector of "a" holds what is no finite'),
        ({"vectors": np.ones((2, 8))}, "Was it made by another model?"),
    ],
)
def test_what_cannot_be_added_changes_nothing(catalog, given, said):
    with pytest.raises(BadSearch) as error:
        catalog.upsert(**{"ids": ["a", "b"], "vectors": np.ones((2, 12)), **given})

    assert said in str(error.value)
    assert catalog.count() == 300
    assert sorted(catalog.fields) == ["code", "gender"]


def test_a_product_that_is_gone_is_unknown(catalog):
    assert catalog.delete(["p4"]) == 1

    for ask in (
        lambda: catalog.product("p4"),
        lambda: catalog.vectors(["p3", "p4"]),
        lambda: catalog.doubles("p4"),
    ):
        with pytest.raises(UnknownProduct, match='holds no product "p4", or no longer does'):
            ask()
    assert catalog.search(vector(1_004), 1)[0].hits[0].id == "p5"


def test_what_is_saved_is_opened_by_the_exact_index(catalog, tmp_path):
    catalog.threshold = 0.5
    catalog.delete(["p7"])
    catalog.save(tmp_path / "index")

    opened = ExactIndex.open(tmp_path / "index")
    assert opened.count() == 299
    assert opened.threshold == 0.5
    assert opened.space == catalog.space
    assert opened.product("p5") == ({"gender": "Women", "code": "p5"}, "p4")
    query = vector(11)
    (before,) = catalog.search(query, 20, exact=True, where={"gender": "Women"})
    (after,) = opened.search(query, 20, where={"gender": "Women"})
    assert [hit.id for hit in after.hits] == [hit.id for hit in before.hits]
    assert [hit.folded for hit in after.hits] == [hit.folded for hit in before.hits]
