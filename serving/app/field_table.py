"""What the fields of an index's products hold: counts of values under filters, and doubles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.search import LocalIndex

MOST_VALUES = 200
"""So many values of a field are told."""

_FEW_VALUES = 20
_DIFFERENT = 0.5
"""A field of more than a few values is left out where so many of its products have one of their
own: names are searched, not chosen from."""


@dataclass(frozen=True)
class Facet:
    """A field's values, and how many products have each.

    Attributes:
        counts: commonest first; of equals, by value. At most `MOST_VALUES`.
        more: how many values are left out.
    """

    counts: Mapping[str, int]
    more: int


class FieldTable:
    """The products of an index that nobody changes any more, field by field.

    Args:
        index: the index; one pass over it is made.
    """

    def __init__(self, index: LocalIndex):
        ids = index.ids()
        columns: dict[str, list[object]] = {name: [] for name in index.fields}
        members: dict[str, list[str]] = {}
        for id_ in ids:
            fields, group = index.product(id_)
            for name, column in columns.items():
                column.append(fields.get(name))
            members.setdefault(group, []).append(id_)
        self._products = len(ids)
        self._columns = {name: _Column(column) for name, column in columns.items()}
        self._members = {group: tuple(some) for group, some in members.items() if len(some) > 1}

    @property
    def facets(self) -> list[str]:
        """The fields whose values are worth a choice, in the catalog's order."""
        return [name for name, column in self._columns.items() if column.is_choice]

    def doubles(self, id_: str, group: str) -> list[str]:
        """The ids of the others in a product's group of near-duplicates."""
        return [other for other in self._members.get(group, ()) if other != id_]

    def counts(self, where: Mapping[str, Sequence[str]]) -> dict[str, Facet]:
        """Of each field that is worth it, its values' counts under the other fields' filters.

        Args:
            where: fields and values that there are.
        """
        passing = {
            name: self._columns[name].holding(values, self._products)
            for name, values in where.items()
        }
        found = {}
        for name in self.facets:
            let_in: npt.NDArray[np.bool_] | None = None
            for other, mask in passing.items():
                if other != name:
                    let_in = mask if let_in is None else let_in & mask
            found[name] = self._columns[name].facet(let_in, where.get(name, ()))
        return found


class _Column:
    """One field: a row a value that a product has, products with several have several rows."""

    def __init__(self, cells: Sequence[object]):
        numbers: dict[str, int] = {}
        codes, rows = [], []
        for row, cell in enumerate(cells):
            for value in (cell,) if isinstance(cell, str) else cell or ():  # type: ignore[attr-defined]
                codes.append(numbers.setdefault(value, len(numbers)))
                rows.append(row)
        self._values = list(numbers)
        self._numbers = numbers
        self._codes = np.array(codes, np.int32)
        self._rows = np.array(rows, np.int32)
        self._order = np.array(
            sorted(range(len(self._values)), key=self._values.__getitem__), np.int64
        )

    @property
    def is_choice(self) -> bool:
        different = len(self._values)
        filled = len(np.unique(self._rows)) if different > _FEW_VALUES else 0
        return different <= _FEW_VALUES or different <= _DIFFERENT * filled

    def holding(self, values: Sequence[str], products: int) -> npt.NDArray[np.bool_]:
        """Of each product, whether it has any of the values; bool (products)."""
        wanted = np.zeros(len(self._values), np.bool_)
        wanted[[self._numbers[value] for value in values]] = True
        mask = np.zeros(products, np.bool_)
        mask[self._rows[wanted[self._codes]]] = True
        return mask

    def facet(self, let_in: npt.NDArray[np.bool_] | None, chosen: Sequence[str]) -> Facet:
        codes = self._codes if let_in is None else self._codes[let_in[self._rows]]
        counts = np.bincount(codes, minlength=len(self._values))
        # Chosen ones are told even where none is left, so that they can be given up.
        kept = {self._numbers[value] for value in chosen}
        order = self._order[np.argsort(-counts[self._order], kind="stable")]
        told = [at for at in order.tolist() if counts[at] or at in kept]
        first = told[:MOST_VALUES] + [at for at in told[MOST_VALUES:] if at in kept]
        return Facet({self._values[at]: int(counts[at]) for at in first}, len(told) - len(first))
