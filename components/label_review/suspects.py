"""Labels that are probably wrong, the likeliest mistake first, and why."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from components.catalog_example_gen.corrections import joined
from components.label_review.heads import Level
from components.label_review.judging import (
    LEAST_SKILL,
    Said,
    skill,
    sure,
    suspicion,
    suspicion_of_several,
)
from components.label_review.products import TREE, Products
from schema import features

_LEAST = 0.5
"""The score above which a label is listed that confident learning counts as surely another, or that
contradicts another one of the same picture."""

_CLEAR = 0.75
"""The score above which any label is listed: another one is three times as probable."""

_SAME = 3
"""How many of the products with the same picture are named."""


class Suspect(NamedTuple):
    """A label that is probably wrong.

    Attributes:
        place: The product's, among `Products`.
        level: As corrections.csv has it.
        given: What the catalog says.
        suggested: What it should probably say.
        score: How probable that is, .5 to 1.
        reasons: Why, each a few words.
        subcategory: The sub-category that goes with a suggested category; empty otherwise.
    """

    place: int
    level: str
    given: str
    suggested: str
    score: float
    reasons: tuple[str, ...]
    subcategory: str = ""


class Skipped(NamedTuple):
    """A level that is not judged, and why, in a sentence."""

    level: str
    reason: str


Decided = Collection[tuple[str, str, str]]
"""Labels that a person has looked at: the product's id, the level and the label."""


def skipped(products: Products, said: Mapping[str, Said]) -> list[Skipped]:
    """The levels that pictures do not show."""
    found = []
    for name, level in products.levels.items():
        if not level.is_single:
            continue
        parts = {name: (said[name].heads, level.given)}
        if name == TREE:
            parts = dict(_halves(products, said[name].heads))
        for part, (probabilities, given) in parts.items():
            if (of := skill(probabilities, given)) < LEAST_SKILL:
                found.append(
                    Skipped(
                        part,
                        f"{part} is not judged: pictures do not show it well enough. Heads that "
                        "were asked about products that they had not seen make "
                        f"{_fewer(of)} mistakes than who always says the most frequent label.",
                    )
                )
    return found


def _fewer(share: float) -> str:
    return f"{100 * share:.0f} % fewer" if share > 0 else "no fewer"


def _halves(
    products: Products, pairs: np.ndarray
) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Of the level of pairs, what is said of the category, and of the sub-category in its own."""
    category, names = _numbered([one for one, _ in products.pairs])
    given = products.levels[TREE].given
    of_category = np.zeros((len(pairs), len(names)), np.float32)
    np.add.at(of_category.T, category, pairs.T)
    yield features.CATEGORY, (of_category, category[given])
    inside = np.where(category[given][:, None] == category[None], pairs, 0)
    several = np.bincount(category)[category[given]] > 1
    # One that stands alone in its category can be no other.
    yield features.SUBCATEGORY, (inside, np.where(several, given, -1))


def suspects(
    products: Products,
    said: Mapping[str, Said],
    *,
    least_products: int,
    same_picture: Sequence[Sequence[int]] = (),
    decided: Decided = (),
    without: Collection[str] = (),
) -> list[Suspect]:
    """All labels that are probably wrong, by falling score.

    A product whose sub-category is probably another's of another category is listed with its
    category, and its sub-category is not judged beside that.

    Args:
        products: All.
        said: What was said of each level.
        least_products: Labels of fewer products are rare; see `judging.suspicion`.
        same_picture: Places of products that show nearly the same picture and have other labels.
        decided: What people have looked at, which is not listed again.
        without: Levels that are not judged.
    """
    found: list[Suspect] = []
    for name, level in products.levels.items():
        if name == TREE:
            found += _of_tree(products, said[name], least_products, same_picture, decided, without)
        elif name not in without and level.is_single:
            found += _of_class(
                products, name, level, said[name], least_products, same_picture, decided
            )
        elif name not in without:
            found += _of_several(products, name, level, said[name], decided)
    found.sort(key=lambda one: (-one.score, one.level, products.ids[one.place]))
    return found


def _of_tree(
    products: Products,
    said: Said,
    least_products: int,
    same_picture: Sequence[Sequence[int]],
    decided: Decided,
    without: Collection[str],
) -> Iterator[Suspect]:
    level = products.levels[TREE]
    category, _ = _numbered([one for one, _ in products.pairs])
    subcategory, _ = _numbered([other for _, other in products.pairs])
    # Another category, or another sub-category in the same one, unless a person has said no.
    other_category = category[level.given][:, None] != category[None]
    allowed = np.ones_like(other_category)
    for place, name in enumerate(products.ids):
        pair = products.pairs[level.given[place]]
        if features.CATEGORY in without or (name, features.CATEGORY, pair[0]) in decided:
            allowed[place] &= ~other_category[place]
        if features.SUBCATEGORY in without or (name, features.SUBCATEGORY, pair[1]) in decided:
            allowed[place] &= other_category[place]
    score, suggested = suspicion(said, level, least_products, allowed)
    doubled = _same_picture(level, same_picture)
    listed = _listed(score, said, level, doubled)
    for place in np.flatnonzero(listed).tolist():
        given, other = products.pairs[level.given[place]], products.pairs[suggested[place]]
        of_category = given[0] != other[0]
        code_of, at = (category, 0) if of_category else (subcategory, 1)
        reasons = _reasons(
            _summed(said, code_of, place, None if of_category else ~other_category[place]),
            [given[at], other[at]],
            [code_of[level.given[place]], code_of[suggested[place]]],
        )
        yield Suspect(
            place,
            features.CATEGORY if of_category else features.SUBCATEGORY,
            given[at],
            other[at],
            float(score[place]),
            (*reasons, *_named(products, doubled.get(place, ()), level.labels, level.given)),
            other[1] if of_category else "",
        )


def _of_class(
    products: Products,
    name: str,
    level: Level,
    said: Said,
    least_products: int,
    same_picture: Sequence[Sequence[int]],
    decided: Decided,
) -> Iterator[Suspect]:
    score, suggested = suspicion(said, level, least_products)
    doubled = _same_picture(level, same_picture)
    listed = _listed(score, said, level, doubled)
    for place in np.flatnonzero(listed).tolist():
        given = level.labels[level.given[place]]
        if (products.ids[place], name, given) in decided:
            continue
        other = level.labels[suggested[place]]
        reasons = _reasons(
            (said.heads[place], said.votes[place]),
            [given, other],
            [int(level.given[place]), int(suggested[place])],
        )
        same = _named(products, doubled.get(place, ()), level.labels, level.given)
        yield Suspect(place, name, given, other, float(score[place]), (*reasons, *same))


def _of_several(
    products: Products, name: str, level: Level, said: Said, decided: Decided
) -> Iterator[Suspect]:
    score, changed = suspicion_of_several(said, level)
    for place in np.flatnonzero(score > _CLEAR).tolist():
        labels = [level.labels[code] for code in np.flatnonzero(level.given[place]).tolist()]
        given = joined(labels)
        if (products.ids[place], name, given) in decided:
            continue
        label = level.labels[changed[place]]
        is_there = label in labels
        other = [one for one in labels if one != label] if is_there else [*labels, label]
        by_picture = 100 * float(said.heads[place, changed[place]])
        votes = int(said.votes[place, changed[place]])
        yield Suspect(
            place,
            name,
            given,
            joined(other),
            float(score[place]),
            (
                f"{label} is {'there' if is_there else 'missing'}",
                f"by the picture it is there to {by_picture:.0f} %",
                f"{votes} similar products have it",
            ),
        )


def _listed(score: np.ndarray, said: Said, level: Level, doubled: Collection[int]) -> np.ndarray:
    known = sure(said, level) | np.isin(np.arange(len(score)), [*doubled])
    return (score > _CLEAR) | ((score > _LEAST) & known)


def _summed(
    said: Said, code_of: np.ndarray, place: int, inside: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """What heads and neighbors say of one product's categories, or of its sub-categories."""
    mask = np.ones(len(code_of), bool) if inside is None else inside
    heads, votes = (
        np.bincount(code_of, weights=np.where(mask, of[place], 0))
        for of in (said.heads, said.votes)
    )
    return heads, votes


def _reasons(
    said: tuple[np.ndarray, np.ndarray], labels: Sequence[str], codes: Sequence[int]
) -> tuple[str, ...]:
    heads, votes = said
    given, other = labels
    own, suggested = codes
    return (
        f"by the picture {other} {100 * heads[suggested]:.0f} %, {given} {100 * heads[own]:.0f} %",
        f"of the similar products {votes[suggested]:.0f} are {other}, {votes[own]:.0f} {given}",
    )


def _same_picture(level: Level, same: Sequence[Sequence[int]]) -> dict[int, list[int]]:
    """Of each product the others with the same picture that have another label."""
    found: dict[int, list[int]] = {}
    for places in same:
        for place in places:
            own = level.given[place]
            others = [one for one in places if level.given[one] >= 0 and level.given[one] != own]
            if own >= 0 and others:
                found[place] = others
    return found


def _named(
    products: Products, others: Sequence[int], labels: Sequence[str], given: np.ndarray
) -> tuple[str, ...]:
    if not others:
        return ()
    named = ", ".join(f"{products.ids[one]} ({labels[given[one]]})" for one in others[:_SAME])
    return (f"nearly the same picture: {named}",)


def _numbered(names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    once = sorted(set(names))
    code_of = {name: code for code, name in enumerate(once)}
    return np.array([code_of[name] for name in names]), once
