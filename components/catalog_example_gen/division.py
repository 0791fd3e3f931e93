"""Divides all products at once: which group each belongs to, and on which side each group falls.

The rules are those of `splits`. They need the whole catalog at once, so of each product only what
decides is here, packed into arrays of some 100 bytes a product.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from components.catalog_example_gen import near_duplicates, splits
from components.catalog_example_gen.conflicts import Conflict, same_picture_conflict
from components.catalog_example_gen.rows import Product
from components.catalog_example_gen.splits import Cuts
from schema import features

_TRAIN, _EVAL, _TEST = (
    features.SPLITS.index(split) for split in (features.TRAIN, features.EVAL, features.TEST)
)
_NOT_GIVEN = -1


class Labels(NamedTuple):
    """What a product is, and the split that the catalog gives it; empty where it does not."""

    category: str
    subcategory: str
    attributes: tuple[str, ...]
    split: str


class Candidates(NamedTuple):
    """Products with a sound picture, packed.

    Attributes:
        rows: int64 (N,), their row numbers.
        ids: bytes (N,), in UTF-8.
        looks: bytes (N,) of `near_duplicates.HASH_BYTES`.
        labels: int32 (N,), indexes into `combinations`.
        products: bytes (N,), what the pictures of one product share; empty where each has one.
        combinations: Labels that products have, each once.
    """

    rows: np.ndarray
    ids: np.ndarray
    looks: np.ndarray
    labels: np.ndarray
    products: np.ndarray
    combinations: Sequence[Labels]

    @classmethod
    def packed(cls, products: Iterable[tuple[Product, bytes]]) -> Candidates:
        """Packs products and the looks of their pictures."""
        rows, ids, looks, labels, names = [], [], [], [], []
        indexes: dict[Labels, int] = {}
        for product, look in products:
            rows.append(product.row)
            ids.append(product.id.encode())
            looks.append(look)
            names.append(product.product.encode())
            combination = Labels(
                product.category, product.subcategory, product.attributes, product.split
            )
            labels.append(indexes.setdefault(combination, len(indexes)))
        return cls(
            np.array(rows, np.int64),
            np.array(ids, bytes),
            np.array(looks, f"S{near_duplicates.HASH_BYTES}"),
            np.array(labels, np.int32),
            np.array(names, bytes),
            list(indexes),
        )

    @classmethod
    def joined(cls, parts: Sequence[Candidates]) -> Candidates:
        """All products of the parts, in their order."""
        indexes: dict[Labels, int] = {}
        labels = []
        for part in parts:
            renumbered = [indexes.setdefault(one, len(indexes)) for one in part.combinations]
            labels.append(np.array(renumbered, np.int32)[part.labels])
        rows, ids, looks, products = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("rows", "ids", "looks", "products")
        )
        return cls(rows, ids, looks, np.concatenate(labels), products, list(indexes))


class Rules(NamedTuple):
    """How to divide.

    Attributes:
        seed: Of the draws.
        policy: `stable` or `exact`; see `splits`.
        near_duplicate_bits: Looks of one group differ in at most so many bits.
        cuts: Which part of the groups each split gets.
        given: Whether the catalog gives its products' splits.
    """

    seed: int
    policy: str
    near_duplicate_bits: int
    cuts: Cuts
    given: bool


class Division(NamedTuple):
    """What came out.

    Attributes:
        sides: uint8 (N,), of each picture the index of its split in `features.SPLITS`.
        names: bytes (N,), of each picture the id of the first product of its group.
        groups: How many groups there are, of nearly the same picture or of one product.
        products: How many products there are.
        conflicts: Groups whose products' labels contradict each other.
    """

    sides: np.ndarray
    names: np.ndarray
    groups: int
    products: int
    conflicts: list[Conflict]


def divide(products: Candidates, rules: Rules) -> Division:
    """Finds every product's side, which does not depend on the order of the products."""
    if not len(products.rows):
        return Division(np.empty(0, np.uint8), np.empty(0, bytes), 0, 0, [])
    category_of, subcategory_of = (
        _numbered([getattr(one, level) for one in products.combinations])[products.labels]
        for level in (features.CATEGORY, features.SUBCATEGORY)
    )
    alike = _groups(products.looks, rules.near_duplicate_bits)
    group_of, number = alike, len(products.rows)
    if np.any(products.products != b""):
        names, name_of = np.unique(products.products, return_inverse=True)
        group_of, number = _tied(alike, name_of), len(names)
    sizes = np.bincount(group_of)

    # The picture of the first product counts, by its id, so that neither the order of the rows nor
    # a copy that is added later moves the group. Shorter ids first: counted up, they grow.
    members, starts = _members(group_of, products.ids)
    draws = _draws(products.looks[members[starts]], rules.seed)

    categories = _Pairs.of(group_of, category_of)
    cuts = _cuts(draws, sizes, categories.most_frequent(), rules)
    sides = np.where(draws < cuts[:, 0], _TEST, np.where(draws < cuts[:, 1], _EVAL, _TRAIN))
    if not rules.given:
        _keep_promises(sides, draws, categories, _Pairs.of(group_of, subcategory_of))

    codes = {"": _NOT_GIVEN} | {name: code for code, name in enumerate(features.SPLITS)}
    given = np.array([codes[one.split] for one in products.combinations])[products.labels]
    judges = (given == _EVAL) | (given == _TEST)
    sides[group_of[judges]] = _TRAIN
    return Division(
        np.where(judges, given, sides[group_of]).astype(np.uint8),
        products.ids[members[starts]][group_of],
        len(sizes),
        number,
        list(_conflicts(products, alike)),
    )


class _Pairs(NamedTuple):
    """Which labels the products of each group have.

    Attributes:
        group, label: int64 (K,), each pair once, ordered.
        products: int64 (K,), how many of the group have the label.
    """

    group: np.ndarray
    label: np.ndarray
    products: np.ndarray

    @classmethod
    def of(cls, group_of: np.ndarray, label_of: np.ndarray) -> _Pairs:
        labels = label_of.max() + 1
        pairs, products = np.unique(group_of * labels + label_of, return_counts=True)
        return cls(pairs // labels, pairs % labels, products)

    def of_groups(self, chosen: np.ndarray) -> _Pairs:
        """The pairs of the groups for which `chosen`, bool (groups,), is true."""
        return _Pairs(*(column[chosen[self.group]] for column in self))

    def most_frequent(self) -> np.ndarray:
        """int64 (groups,): the label that most products of a group have."""
        order = np.lexsort((self.label, -self.products, self.group))
        _, first = np.unique(self.group[order], return_index=True)
        return self.label[order[first]]

    def extreme(self, draws: np.ndarray, highest: bool) -> np.ndarray:
        """int64 (labels,): of each label the group with the highest or the lowest draw."""
        order = np.lexsort((self.group, draws[self.group], self.label))
        order = order[::-1] if highest else order
        _, first = np.unique(self.label[order], return_index=True)
        return self.group[order[first]]


def _numbered(labels: Sequence[str]) -> np.ndarray:
    """int64, as long as `labels`: the place of each in their alphabet."""
    places = {label: place for place, label in enumerate(sorted(set(labels)))}
    return np.array([places[label] for label in labels])


def _groups(looks: np.ndarray, most_bits: int) -> np.ndarray:
    """int64 (N,): the number of each product's group."""
    once, index_of = np.unique(looks, return_inverse=True)
    hashes = once.view(np.uint8).reshape(-1, near_duplicates.HASH_BYTES)
    roots = near_duplicates.joined(hashes, most_bits)
    return np.unique(roots[index_of], return_inverse=True)[1]


def _tied(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Joins groups until those of either division are whole.

    Args:
        one: int64 (N,), the number of each member's group, from 0 without gaps.
        other: The same of another division.

    Returns:
        int64 (N,): the number of the joined group.
    """
    lowest = one
    while True:
        lower = lowest
        for group_of in (other, one):
            least = np.full(group_of.max() + 1, len(one))
            np.minimum.at(least, group_of, lower)
            lower = least[group_of]
        if np.array_equal(lower, lowest):
            return np.unique(lowest, return_inverse=True)[1]
        lowest = lower


def _members(group_of: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indexes of the members, group by group, in the order of their ids; and where groups begin."""
    sizes = np.bincount(group_of)
    return np.lexsort((ids, np.char.str_len(ids), group_of)), np.cumsum(sizes) - sizes


def _draws(looks: np.ndarray, seed: int) -> np.ndarray:
    hashes = looks.view(np.uint8).reshape(-1, near_duplicates.HASH_BYTES)
    return np.array([splits.draw(seed, one.tobytes().hex()) for one in hashes])


def _cuts(draws: np.ndarray, sizes: np.ndarray, main: np.ndarray, rules: Rules) -> np.ndarray:
    """float64 (groups, 2): below which draw each group is `test`, and below which `eval`."""
    cuts = np.tile(np.array(rules.cuts), (len(draws), 1))
    if rules.policy == "exact":
        order = np.argsort(main, kind="stable")
        ends = np.flatnonzero(np.diff(main[order])) + 1
        for of_category in np.split(order, ends):
            pairs = zip(draws[of_category].tolist(), sizes[of_category].tolist(), strict=True)
            cuts[of_category] = splits.exact_cuts(pairs, rules.cuts)
    return cuts


def _keep_promises(
    sides: np.ndarray, draws: np.ndarray, categories: _Pairs, subcategories: _Pairs
) -> None:
    free = np.ones(len(draws), bool)
    learned = categories.extreme(draws, highest=True)
    free[learned] = False
    judging = categories.of_groups(free).extreme(draws, highest=False)
    free[:] = True
    free[judging] = False
    learned_too = subcategories.of_groups(free).extreme(draws, highest=True)
    sides[learned] = sides[learned_too] = _TRAIN
    sides[judging[sides[judging] == _TRAIN]] = _TEST


def _conflicts(products: Candidates, group_of: np.ndarray) -> Iterator[Conflict]:
    members, starts = _members(group_of, products.ids)
    sizes = np.bincount(group_of)
    labels = products.labels[members]
    differ = np.minimum.reduceat(labels, starts) != np.maximum.reduceat(labels, starts)
    for group in np.flatnonzero(differ):
        described = []
        for index in members[starts[group] : starts[group] + sizes[group]]:
            category, subcategory, attributes, split = products.combinations[products.labels[index]]
            product_id = products.ids[index].decode()
            row = int(products.rows[index])
            described.append(Product(row, product_id, category, subcategory, attributes, (), split))
        if conflict := same_picture_conflict(described):
            yield conflict
