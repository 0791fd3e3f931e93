"""A generated catalog: labels that were flipped rank first, with what would be right."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from components.catalog_example_gen.corrections import Decision, Outcome
from components.label_review import frozen, review
from components.label_review.final_model import final_answers, mixed
from components.label_review.products import TREE as PAIR_LEVEL
from components.label_review.products import Products
from components.label_review.review import Review, decided_of, write_list
from components.label_review.suspects import Suspect
from components.predictions import table
from tests.components.label_review.shop import OPTIONS, TREE, Shop


def reviewed(shop: Shop, **more: Any) -> Review:
    told = {"extra_labels": ["gender"], "groups": ["colour", "season"], "answered": []}
    told |= {"conflicts": [], "decided": (), "options": OPTIONS}
    return review.review(shop.written(), **{**told, **more})


def named(found: Review) -> dict[tuple[str, str], Suspect]:
    """The suspects by level and product."""
    return {(one.level, found.products.ids[one.place]): one for one in found.suspects}


def rows_of(found: Review) -> list[dict[str, str]]:
    file = io.BytesIO()
    write_list(found, file)
    return list(csv.DictReader(io.StringIO(file.getvalue().decode(), newline="")))


def test_flipped_labels_rank_first_with_what_would_be_right(shop: Shop) -> None:
    true = shop.flip(range(0, 400, 20))
    rows = [row for row in rows_of(reviewed(shop)) if row["level"] in ("category", "subcategory")]
    first = rows[: len(true)]
    assert {row["id"] for row in first} == set(true)
    for row in first:
        category, subcategory = true[row["id"]]
        given = shop.pairs[shop.ids.index(row["id"])]
        # From the top: where the category is wrong, it alone is listed.
        of_category = given[0] != category
        assert row["level"] == ("category" if of_category else "subcategory")
        assert row["given"] == given[0 if of_category else 1]
        assert row["suggested"] == (category if of_category else subcategory)
        if of_category:
            assert f"its sub-category is then likely {subcategory}" in row["reasons"]
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)


def test_a_catalog_without_mistakes_has_few_suspects(shop: Shop) -> None:
    assert len([one for one in reviewed(shop).suspects if one.level != "colour"]) <= 4


def test_extra_labels_and_groups_are_judged_by_themselves(shop: Shop) -> None:
    shop.gender[7] = "Women" if shop.gender[7] == "Men" else "Men"
    missing = shop.colours[9].pop()
    found = named(reviewed(shop))
    assert found["gender", "p7"].given == shop.gender[7]
    colour = found["colour", "p9"]
    assert colour.given == shop.colours[9][0]
    assert colour.suggested == "|".join(sorted([shop.colours[9][0], missing]))


def test_a_level_that_pictures_do_not_show_is_not_judged_and_that_is_said(shop: Shop) -> None:
    found = reviewed(shop)
    [skipped] = found.skipped
    assert skipped.level == "season"
    assert skipped.reason.startswith("season is not judged: pictures do not show it well enough.")
    assert not [one for one in found.suspects if one.level == "season"]
    assert found.summary.endswith("; not judged: season")


def outcome(product: str, level: str, given: str, what: str, corrected: str = "") -> Outcome:
    return Outcome(Decision(2, product, level, given, "", corrected), what, given)


def test_what_a_person_has_decided_is_not_asked_again(shop: Shop) -> None:
    true = shop.flip([3, 50, 90], seed=3)
    before = named(reviewed(shop))
    asked = {name: one for (_, name), one in before.items() if name in true}
    assert set(asked) == set(true)
    decided = decided_of(
        [outcome(name, one.level, one.given, "kept") for name, one in asked.items()], ["colour"]
    )
    again = named(reviewed(shop, decided=decided))
    assert not {(name, level, one.given) for (level, name), one in again.items()} & decided


def test_what_was_changed_counts_as_decided_and_what_is_out_of_date_does_not() -> None:
    outcomes = [
        outcome("a", "category", "Top", "changed", "Shoe"),
        outcome("b", "category", "Top", "already so", "Bag"),
        outcome("c", "category", "Top", "unsure"),
        outcome("d", "category", "Top", "out of date"),
        outcome("e", "colour", "red | blue", "kept"),
    ]
    assert decided_of(outcomes, ["colour"]) == {
        ("a", "category", "Shoe"),
        ("b", "category", "Bag"),
        ("e", "colour", "blue|red"),
    }


def test_labels_of_one_picture_that_contradict_each_other_are_told(shop: Shop) -> None:
    shop.flip([11], seed=5)
    twin = next(
        place for place in range(400) if shop.truth[place] == shop.truth[11] and place != 11
    )
    conflicts = [
        {"kind": "same_picture", "ids": f"p11|p{twin}|p9999"},
        {"kind": "spelling", "ids": "p1|p2"},
    ]
    rows = rows_of(reviewed(shop, conflicts=conflicts))
    row = next(row for row in rows if row["id"] == "p11")
    category, subcategory = shop.pairs[twin]
    assert f"nearly the same picture: p{twin} ({category} / {subcategory})" in row["reasons"]


def test_a_twin_in_the_same_group_confirms_nothing(shop: Shop) -> None:
    shop.flip([20], seed=2)
    # The same picture with the same wrong label, three times.
    for place in (21, 22, 23):
        shop.features[place] = shop.features[20]
        shop.pairs[place] = shop.pairs[20]
        shop.groups[place] = shop.groups[20]
    assert {"p20", "p21", "p22", "p23"} <= {name for _, name in named(reviewed(shop))}


def test_pictures_of_one_product_are_judged_together(shop: Shop) -> None:
    shop.flip([30], seed=4)
    shop.products[31], shop.groups[31] = shop.products[30], shop.groups[30]
    shop.features[31], shop.pairs[31] = shop.features[30], shop.pairs[30]
    found = reviewed(shop)
    assert len(found.products) == 399
    assert [one for one in found.suspects if found.products.ids[one.place] == "p30"]
    assert "p31" not in found.products.ids


def test_cells_are_no_formulas(shop: Shop) -> None:
    shop.flip([40], seed=4)
    shop.ids[40] = shop.products[40] = shop.groups[40] = "=HYPERLINK(1)"
    assert "'=HYPERLINK(1)" in {row["id"] for row in rows_of(reviewed(shop))}


def test_a_label_of_one_product_alone_is_listed_if_neighbors_agree_and_not_else(
    shop: Shop,
) -> None:
    shop.pairs[60] = ("Top", "Poncho")
    far = 61
    shop.pairs[far] = ("Bag", "Basket")
    shop.features[far] = shop.features.mean(axis=0)
    scores = {name: one.score for (_, name), one in named(reviewed(shop)).items()}
    assert scores["p60"] > 0.9
    assert scores.get("p61", 0) < scores["p60"]


def answers(shop: Shop, places: Sequence[int], probabilities: Mapping[str, float]) -> pa.Table:
    """What a model says of some products: the same of all."""
    labels = {
        "category": list(TREE),
        "subcategory": [one for of in TREE.values() for one in of],
        "attributes": ["colour=blue", "colour=red"],
    }
    schema = table.file_schema(labels, [], 2)
    spread = {
        level: np.array([[probabilities.get(one, 0.0) for one in of]] * len(places), np.float32)
        for level, of in labels.items()
    }
    told: dict[str, list] = {name: [0] * len(places) for name in schema.names if "/" not in name}
    for name in ("id", "product", "group"):
        told[name] = [shop.ids[place] for place in places]
    told["split"] = ["test"] * len(places)
    del told["embedding"]
    truths = {
        "category": [shop.pairs[place][0] for place in places],
        "subcategory": [shop.pairs[place][1] for place in places],
        "attributes": [[] for _ in places],
    }
    rows = table.rows(schema, told, truths, {**spread, "embedding": np.zeros((len(places), 2))})
    return pa.Table.from_batches([rows])


def test_the_final_model_is_asked_about_pairs_that_there_are(shop: Shop) -> None:
    products = Products.of(frozen.described(shop.written()), [], [])
    said = {"Top": 0.75, "Shoe": 0.25, "Shirt": 0.5, "Boot": 0.3, "Tee": 0.2}
    is_answered, found = final_answers(products, [answers(shop, [5, 1], said)])
    names = [products.ids[place] for place in np.flatnonzero(is_answered)]
    assert sorted(names) == ["p1", "p5"]
    pairs = dict(zip(products.pairs, found[PAIR_LEVEL][0].tolist(), strict=True))
    # .75 * .5, .25 * .3 and .75 * .2, and their sum.
    whole = 0.375 + 0.075 + 0.15
    assert pairs["Top", "Shirt"] == pytest.approx(0.375 / whole, abs=1e-5)
    assert pairs["Shoe", "Boot"] == pytest.approx(0.075 / whole, abs=1e-5)
    assert sum(pairs.values()) == pytest.approx(1)


def test_a_model_that_is_wrong_is_not_listened_to() -> None:
    given = np.arange(50) % 2
    right = np.stack([given == 0, given == 1], axis=1) * 0.8 + 0.1
    wrong = 1 - right
    np.testing.assert_allclose(mixed(right, wrong, given), right, atol=1e-3)
    np.testing.assert_allclose(mixed(wrong, right, given), right, atol=1e-3)


def test_suspects_of_a_final_model_are_listed_where_heads_see_nothing(shop: Shop) -> None:
    true = shop.flip([5], seed=6)
    right, given = true["p5"], shop.pairs[5]
    said = {right[0]: 0.9, right[1]: 0.9, given[0]: 0.1, given[1]: 0.1}
    found = reviewed(shop, answered=[answers(shop, [5], said)])
    assert "p5" in {name for _, name in named(found)}
