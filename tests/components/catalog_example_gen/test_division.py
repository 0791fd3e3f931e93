"""All products divided at once: groups stay together, and every category is learned and judged."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.catalog_example_gen.division import Candidates, Rules, divide
from components.catalog_example_gen.rows import Product
from components.catalog_example_gen.splits import Cuts, draw, side
from schema import features


def look(number: int) -> bytes:
    """A picture's hash; those of two numbers differ in about half of their 256 bits."""
    return np.random.default_rng(number).bytes(32)


def product(row: int, category: str, subcategory: str = "", split: str = "") -> Product:
    return Product(row, f"p{row}", category, subcategory or category, (), (), split)


def rules(policy: str = "stable", given: bool = False) -> Rules:
    return Rules(42, policy, 12, Cuts(0.2, 0.4), given)


def sides(products: list[tuple[Product, bytes]], by: Rules) -> dict[str, str]:
    """The split of each product by its id."""
    division = divide(Candidates.packed(products), by)
    names = [features.SPLITS[code] for code in division.sides]
    return {one.id: name for (one, _), name in zip(products, names, strict=True)}


# (group, category, sub-category) of each product.
CATALOGS = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from("abcd"), st.sampled_from("xyz")),
    min_size=1,
    max_size=60,
)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=40),
    st.sampled_from(["stable", "exact"]),
)
def test_pictures_of_one_product_and_pictures_that_look_alike_fall_on_one_side(
    pictures: list[tuple[int, int]], policy: str
) -> None:
    # (look, product) of each picture; what is tied is found by walking from one to the next.
    shown = [
        (product(row, "ab"[name % 2])._replace(product=f"n{name}"), look(number))
        for row, (number, name) in enumerate(pictures)
    ]
    division = divide(Candidates.packed(shown), rules(policy))
    tied: list[set[tuple[str, int]]] = []
    for number, name in pictures:
        ends = {("look", number), ("name", name)}
        touching = [one for one in tied if one & ends]
        tied = [one for one in tied if not one & ends] + [ends.union(*touching)]
    for one in tied:
        sides_of = {
            side
            for (number, _), side in zip(pictures, division.sides.tolist(), strict=True)
            if ("look", number) in one
        }
        assert len(sides_of) == 1
    assert division.groups == len(tied)
    for one in tied:
        ids = [
            product.id
            for (number, _), (product, _) in zip(pictures, shown, strict=True)
            if ("look", number) in one
        ]
        first = min(ids, key=lambda of: (len(of), of))
        assert {
            name.decode()
            for (number, _), name in zip(pictures, division.names.tolist(), strict=True)
            if ("look", number) in one
        } == {first}
    assert division.products == len({name for _, name in pictures})


def test_pictures_of_one_product_that_look_different_are_no_conflict() -> None:
    one = product(0, "a")._replace(product="n")
    other = product(1, "b")._replace(product="m")
    division = divide(
        Candidates.packed(
            [(one, look(1)), (one._replace(row=2, id="n/2"), look(2)), (other, look(2))]
        ),
        rules(),
    )
    (conflict,) = division.conflicts
    assert (conflict.kind, conflict.rows) == ("same_picture", "1 2")


@settings(deadline=None)
@given(CATALOGS, st.sampled_from(["stable", "exact"]), st.randoms())
def test_groups_stay_whole_and_the_promises_hold_in_any_order(catalog, policy, shuffled) -> None:
    products = [
        (product(row, category, subcategory), look(group))
        for row, (group, category, subcategory) in enumerate(catalog)
    ]
    found = sides(products, rules(policy))
    of_group, of_category, groups_of = defaultdict(set), defaultdict(set), defaultdict(set)
    for (one, _), (group, category, _) in zip(products, catalog, strict=True):
        of_group[group].add(found[one.id])
        of_category[category].add(found[one.id])
        groups_of[category].add(group)
    assert all(len(splits) == 1 for splits in of_group.values())
    alone = len({group for group, *_ in catalog}) == len(catalog)
    for category, groups in groups_of.items():
        assert "train" in of_category[category]
        # Where categories share a picture, to be learned from goes first.
        if alone and len(groups) > 1:
            assert len(of_category[category]) > 1
    shuffled.shuffle(products)
    assert sides(products, rules(policy)) == found


def test_a_group_goes_where_the_draw_of_its_first_product_says() -> None:
    # One category of many pictures, so that promises hold two groups at most.
    products = [(product(row, "a"), look(row)) for row in range(200)]
    found = sides(products, rules())
    natural = {one.id: side(draw(42, seen.hex()), Cuts(0.2, 0.4)) for one, seen in products}
    assert found == natural
    # A near copy with a longer id follows, though its own draw says otherwise.
    near = [
        (product(1_000 + row, "a"), bytes([seen[0] ^ 1]) + seen[1:])
        for row, (_, seen) in enumerate(products)
    ]
    both = sides([*near, *products], rules())
    assert both == natural | {f"p{1_000 + row}": natural[f"p{row}"] for row in range(200)}
    own = {one.id: side(draw(42, seen.hex()), Cuts(0.2, 0.4)) for one, seen in near}
    assert own != {key: both[key] for key in own}


def test_the_last_bytes_of_a_hash_may_be_zero() -> None:
    blank_ends = [look(number)[:28] + bytes(4) for number in range(40)]
    products = [(product(row, "ab"[row % 2]), seen) for row, seen in enumerate(blank_ends)]
    division = divide(Candidates.packed(products), rules())
    assert division.groups == 40
    natural = [side(draw(42, seen.hex()), Cuts(0.2, 0.4)) for seen in blank_ends]
    agree = sum(
        features.SPLITS[code] == name for code, name in zip(division.sides, natural, strict=True)
    )
    assert agree >= 40 - 4


def test_given_splits_are_kept_and_a_judged_pictures_twin_is_learned_from() -> None:
    products = [(product(row, "a", split="train"), look(row)) for row in range(50)]
    products += [(product(100, "a", split="test"), look(0)), (product(101, "a"), look(0))]
    found = sides(products, rules(given=True))
    assert (found["p0"], found["p100"], found["p101"]) == ("train", "test", "train")
    assert {"train", "eval"} <= set(found.values())


@pytest.mark.parametrize("parts", [1, 3])
def test_parts_of_a_catalog_are_joined_with_their_labels(parts: int) -> None:
    products = [(product(row, "abc"[row % 3], f"k{row % 5}"), look(row // 2)) for row in range(30)]
    joined = Candidates.joined([Candidates.packed(products[n::parts]) for n in range(parts)])
    expected = {one.row: (one.id, seen, one.category, one.subcategory) for one, seen in products}
    labels = [joined.combinations[code] for code in joined.labels]
    assert {
        int(row): (name.decode(), seen.ljust(32, b"\0"), of.category, of.subcategory)
        for row, name, seen, of in zip(joined.rows, joined.ids, joined.looks, labels, strict=True)
    } == expected
    # Each picture is of two rows in a row, whose categories differ.
    assert len(divide(joined, rules()).conflicts) == 15


def test_a_catalog_without_products_is_divided_into_nothing() -> None:
    division = divide(Candidates.joined([Candidates.packed([])]), rules())
    assert (len(division.sides), division.groups, division.conflicts) == (0, 0, [])
