"""Labels that contradict each other, so that the catalog team can mend them."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple

from components.catalog_example_gen.rejects import printable
from components.catalog_example_gen.rows import Product
from schema import features
from schema.labels import alike

CONFLICTS_FILE = "conflicts.csv"
COUNTS_FILE = "conflicts.json"

SAME_PICTURE = "same_picture"
SEVERAL_CATEGORIES = "several_categories"
SPELLING = "spelling"
ONE_PRODUCT = "one_product"
SEVERAL_PICTURES = "several_pictures"
KINDS = (SAME_PICTURE, SEVERAL_CATEGORIES, SPELLING, ONE_PRODUCT, SEVERAL_PICTURES)

_MOST_LISTED = 20
_EXAMPLES = 5


class Conflict(NamedTuple):
    """One contradiction.

    Attributes:
        kind: One of `KINDS`: products with the same or nearly the same picture have different
            labels or were given to different splits; a sub-category stands under several
            categories; labels differ in nothing but case, blanks, width or the form of a hyphen
            (`schema.labels.alike`); rows of one product have
            different labels, of which the first row's are used; there are several different
            pictures by a product's name, of which one is used.
        value: The first product's id; the sub-category; the most frequent spelling.
        rows: Numbers of the rows to look at, divided by blanks, at most 20: all of the same
            picture; otherwise those that have not what most have. The header is row 1.
        ids: The ids of those products, in the same order, divided by `|`.
        found: What contradicts what, for a person.
    """

    kind: str
    value: str
    rows: str
    ids: str
    found: str


class _Seen:
    """How often a label was met, and the first rows that have it."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[tuple[int, str]] = []

    def add(self, product: Product) -> None:
        self.count += 1
        if len(self.first) < _MOST_LISTED:
            self.first.append((product.row, product.id))


class LabelConflicts:
    """Collects the labels of all products. Its memory grows with the labels, not the products.

    Args:
        slices: The slice columns, in the order in which products have their values.
    """

    def __init__(self, slices: Sequence[str] = ()) -> None:
        self._slices: dict[str, defaultdict[str, _Seen]] = {
            column: defaultdict(_Seen) for column in slices
        }
        self._pairs: defaultdict[tuple[str, str], _Seen] = defaultdict(_Seen)
        self._attributes: defaultdict[str, _Seen] = defaultdict(_Seen)

    def add(self, product: Product) -> None:
        """Takes a product's labels in."""
        self._pairs[product.subcategory, product.category].add(product)
        for label in product.attributes:
            self._attributes[label].add(product)
        for seen, value in zip(self._slices.values(), product.slices, strict=True):
            seen[value].add(product)

    def found(self) -> Iterator[Conflict]:
        """The conflicts among all labels taken in."""
        by_level: dict[str, dict[str, list[_Seen]]] = {
            features.CATEGORY: {},
            features.SUBCATEGORY: {},
            features.ATTRIBUTES: {label: [seen] for label, seen in self._attributes.items()},
        }
        for (subcategory, category), seen in self._pairs.items():
            by_level[features.CATEGORY].setdefault(category, []).append(seen)
            by_level[features.SUBCATEGORY].setdefault(subcategory, []).append(seen)
        categories: dict[str, dict[str, list[_Seen]]] = {}
        for (subcategory, category), seen in self._pairs.items():
            categories.setdefault(subcategory, {})[category] = [seen]
        for subcategory in sorted(categories):
            if len(categories[subcategory]) > 1:
                yield _contradiction(
                    SEVERAL_CATEGORIES, subcategory, "categories", categories[subcategory]
                )
        for level, labels in by_level.items():
            yield from _spellings(level, labels)
        for column, values in self._slices.items():
            yield from _spellings(column, {value: [seen] for value, seen in values.items()})


def _spellings(level: str, labels: Mapping[str, list[_Seen]]) -> Iterator[Conflict]:
    same: dict[str, dict[str, list[_Seen]]] = {}
    for label, seen in labels.items():
        same.setdefault(alike(label), {})[label] = seen
    for spellings in (same[key] for key in sorted(same)):
        if len(spellings) > 1:
            yield _contradiction(SPELLING, None, level, spellings)


def _contradiction(
    kind: str, value: str | None, what: str, seen: Mapping[str, Sequence[_Seen]]
) -> Conflict:
    counts = {label: sum(one.count for one in parts) for label, parts in seen.items()}
    most, *others = sorted(counts, key=lambda label: (-counts[label], label))
    rows = sorted(first for label in others for part in seen[label] for first in part.first)
    listed = ", ".join(f"{label!r} ({counts[label]:,})" for label in (most, *others))
    return _conflict(kind, most if value is None else value, rows, f"{what}: {listed}")


def _conflict(kind: str, value: str, rows: Sequence[tuple[int, str]], found: str) -> Conflict:
    shown = rows[:_MOST_LISTED]
    return Conflict(
        kind,
        value,
        " ".join(str(row) for row, _ in shown),
        "|".join(product_id for _, product_id in shown),
        found,
    )


def same_picture_conflict(products: Sequence[Product]) -> Conflict | None:
    """What contradicts among products with the same or nearly the same picture, if anything."""
    return _among(SAME_PICTURE, sorted(products))


def product_conflict(rows: Sequence[Product]) -> Conflict | None:
    """What contradicts among the rows of one product, in their order, if anything."""
    return _among(ONE_PRODUCT, rows)


def several_pictures_conflict(product: Product, used: str, other: str) -> Conflict:
    """A product by whose name there are different pictures, `used` and another one."""
    rows = [(product.row, product.id)]
    found = f"{printable(used)!r} is used, {printable(other)!r} looks different"
    return _conflict(SEVERAL_PICTURES, product.id, rows, found)


def _among(kind: str, products: Sequence[Product]) -> Conflict | None:
    contradictions = []
    for level in (features.CATEGORY, features.SUBCATEGORY, features.ATTRIBUTES, "split"):
        values = Counter(_text(getattr(product, level)) for product in products)
        if len(values) > 1:
            listed = ", ".join(f"{value!r} ({count:,})" for value, count in sorted(values.items()))
            contradictions.append(f"{level}: {listed}")
    if not contradictions:
        return None
    rows = [(product.row, product.id) for product in products]
    return _conflict(kind, products[0].id, rows, "; ".join(contradictions))


def _text(labels: str | tuple[str, ...]) -> str:
    return labels if isinstance(labels, str) else ", ".join(sorted(labels))


def write_conflicts(conflicts: Iterable[Conflict], file: IO[bytes]) -> dict[str, Any]:
    """Writes a UTF-8 CSV with a header, and returns how many of each kind it holds.

    Returns:
        The number of each kind, and `examples`: the first few of each as dicts.
    """
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(Conflict._fields)
    counts = dict.fromkeys(KINDS, 0)
    examples = []
    for conflict in sorted(conflicts, key=lambda one: (KINDS.index(one.kind), one[1:])):
        writer.writerow(conflict)
        counts[conflict.kind] += 1
        if counts[conflict.kind] <= _EXAMPLES:
            examples.append(conflict._asdict())
    text.detach()
    return {**counts, "examples": examples}


def write_counts(counts: Mapping[str, Any], file: IO[bytes]) -> None:
    """Writes what `write_conflicts` returned as JSON."""
    file.write(json.dumps(counts, indent=2, ensure_ascii=False).encode())
