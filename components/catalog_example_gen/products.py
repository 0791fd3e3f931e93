"""Rows that are one product: variants, a row for each picture, or several pictures in a cell.

With `catalog.product` all rows that name the same product are one. The first of them with labels
speaks for it: its labels, slices and split are those of all its pictures. A row without labels, or
without a picture of its own, only belongs to its product and is no reject. Without that option rows
of one id are doubled, and only the first is used.

An Example shows one picture. That of a product's first is identified by the product's name, those
of the others by `<name>/<picture>`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from components.catalog_example_gen import folder
from components.catalog_example_gen.conflicts import Conflict, product_conflict
from components.catalog_example_gen.rejects import Reason, Reject, printable
from components.catalog_example_gen.rows import Columns, Product, ProductRow


class Gathered(NamedTuple):
    """What the rows of one product come to.

    Every row is in one of these: it has pictures among `pictured`, it is among `rejects`, or it is
    one of `belonging`.

    Attributes:
        pictured: Names of pictures, each once, and what they show, in the order of the rows.
        rejects: Rows that are of no use.
        belonging: How many rows only belong to the product.
        further: How many of `pictured` are more than one a row.
        conflict: What the rows' labels contradict one another in, if anything.
    """

    pictured: list[tuple[str, Product]]
    rejects: list[Reject]
    belonging: int = 0
    further: int = 0
    conflict: Conflict | None = None


def gathered(rows: Sequence[ProductRow], columns: Columns) -> Gathered:
    """Makes one product of its rows.

    Args:
        rows: All that name it, in their order, at least one.
        columns: What the rows' columns mean.
    """
    if columns.product:
        return _one_product(rows, columns)
    first, *doubled = rows
    found = f"row {first.result.row} has it already"
    rejects = [
        Reject(row.result.row, row.result.id, columns.id, Reason.DOUBLED_ID, found)
        for row in doubled
    ]
    if not columns.several_pictures:
        return Gathered([(first.picture, first.result)], rejects)
    names = dict.fromkeys([first.picture, *first.further])
    return Gathered(_examples((name, first.result) for name in names), rejects, 0, len(names) - 1)


def _one_product(rows: Sequence[ProductRow], columns: Columns) -> Gathered:
    speaker = next((row.result for row in rows if row.result.category), None)
    names: dict[bytes, tuple[str, Product]] = {}
    own: list[int] = []
    for row in rows:
        before = len(names)
        for name in (row.picture, *row.further):
            if name:
                names.setdefault(folder.key(name), (name, row.result))
        own.append(len(names) - before)

    def rejected(row: ProductRow, column: str, reason: Reason, found: str) -> Reject:
        return Reject(row.result.row, printable(row.result.product), column, reason, found)

    if not names:
        column = columns.picture or columns.id
        found = "no row of the product names a picture"
        rejects = [rejected(rows[0], column, Reason.MISSING_PICTURE, found)]
        return Gathered([], rejects, len(rows) - 1)
    if speaker is None:
        found = "no row of the product has labels"
        rejects = [
            rejected(row, columns.category, Reason.EMPTY_LABEL, found)
            for row, pictures in zip(rows, own, strict=True)
            if pictures
        ]
        return Gathered([], rejects, len(rows) - len(rejects))
    pictured = [
        (name, speaker._replace(row=product.row, id=speaker.product))
        for name, product in names.values()
    ]
    labeled = [row.result for row in rows if row.result.category]
    return Gathered(
        _examples(pictured),
        [],
        own.count(0),
        sum(pictures - 1 for pictures in own if pictures),
        product_conflict(labeled),
    )


def _examples(pictured: Iterable[tuple[str, Product]]) -> list[tuple[str, Product]]:
    return [
        (name, product._replace(id=f"{product.product}/{name}") if place else product)
        for place, (name, product) in enumerate(pictured)
    ]
