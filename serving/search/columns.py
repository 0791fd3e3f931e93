"""What filters look at: one field of every row, as numbers of its distinct cells."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from serving.search.errors import BadSearch

Cell = str | tuple[str, ...] | None
"""A product's value of a field: a text, several, or none where the catalog says nothing."""

Where = Mapping[str, str | Sequence[str]]
"""A filter: of each field the value, or several of which any will do; all fields must agree."""

Mask = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int32]

_NAMED = 12
"""So many fields or values an error names."""


class Column:
    """A field of every row. Rows are only added, so that a reader may go on with the first N.

    Not safe among threads by itself: `LocalIndex` calls its methods under its lock.
    """

    def __init__(self) -> None:
        """An empty one."""
        self._cells: list[Cell] | pa.Array = []
        self._codes: Codes = np.empty(0, np.int32)
        self._length = 0
        self._uses: npt.NDArray[np.int64] = np.empty(0, np.int64)
        # Made at the first need: most fields are only ever looked at, and a catalog may give every
        # product another value.
        self._numbers: dict[Cell, int] | None = None
        self._holders: dict[str, list[int]] | None = None

    @classmethod
    def of_arrow(cls, array: pa.ChunkedArray) -> Column:
        """A column of a table's: text, or a list of texts."""
        column = cls()
        if pa.types.is_list(array.type):
            column.extend([_several(cell) for cell in array.to_pylist()])
            return column
        encoded = array.dictionary_encode(null_encoding="encode").combine_chunks()
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.chunk(0) if encoded.num_chunks else pa.array([], pa.string())
        if len(encoded):
            column._cells = encoded.dictionary
            column._codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32)
            column._length = len(column._codes)
            column._uses = np.bincount(column._codes, minlength=len(column._cells))
        return column

    def to_arrow(self, rows: npt.NDArray[np.int64]) -> pa.Array:
        """The rows' cells: text, or lists of texts where one has several."""
        cells = self.cells
        taken = [cells[code] for code in self._codes[rows].tolist()]
        if any(isinstance(cell, tuple) for cell in taken):
            lists = [[cell] if isinstance(cell, str) else cell for cell in taken]
            return pa.array(lists, pa.list_(pa.string()))
        return pa.array(taken, pa.string())

    @property
    def cells(self) -> list[Cell]:
        """The distinct cells, by number. Only added to."""
        if not isinstance(self._cells, list):
            self._cells = self._cells.to_pylist()
        return self._cells

    def codes(self, length: int) -> Codes:
        """The numbers of the first rows' cells, a view that later rows leave alone."""
        return self._codes[:length]

    def cell(self, row: int) -> Cell:
        """One row's cell."""
        return self.cells[self._codes[row]]

    def uses(self, code: int) -> int:
        """How many rows that were not released have this cell."""
        return int(self._uses[code])

    def extend(self, cells: Sequence[Cell]) -> list[int]:
        """Adds rows and returns the numbers of their cells."""
        numbers = self._numbered()
        known = self.cells
        codes = []
        for cell in cells:
            code = numbers.get(cell)
            if code is None:
                code = numbers[cell] = len(known)
                known.append(cell)
                if self._holders is not None:
                    _hold(self._holders, cell, code)
            codes.append(code)
        length = self._length + len(codes)
        if length > len(self._codes):
            # Readers keep the shorter one that they hold.
            grown = np.empty(max(length, 2 * len(self._codes)), np.int32)
            grown[: self._length] = self._codes[: self._length]
            self._codes = grown
        self._codes[self._length : length] = codes
        self._length = length
        if len(known) > len(self._uses):
            more = max(len(known), 2 * len(self._uses)) - len(self._uses)
            self._uses = np.concatenate([self._uses, np.zeros(more, np.int64)])
        np.add.at(self._uses, codes, 1)
        return codes

    def release(self, rows: Iterable[int]) -> None:
        """These rows' products are gone, so that their cells no longer count as there."""
        np.subtract.at(self._uses, self._codes[list(rows)], 1)

    def counts(self, let_in: Mask | None = None) -> npt.NDArray[np.int64]:
        """How many rows have each cell, by the cells' numbers; later rows leave it alone.

        Args:
            let_in: of each of the first rows whether it counts; by default those do that were not
                released.
        """
        if let_in is None:
            return self._uses.copy()
        return np.bincount(self._codes[: len(let_in)][let_in])

    def matching(self, values: Sequence[str]) -> Mask | str:
        """By number, whether a cell holds any of the values; or the value that no product has."""
        if self._holders is None:
            self._holders = {}
            for code, cell in enumerate(self.cells):
                _hold(self._holders, cell, code)
        table = np.zeros(len(self.cells), np.bool_)
        for value in values:
            codes = self._holders.get(value, [])
            if not any(self._uses[code] for code in codes):
                return value
            table[codes] = True
        return table

    def _numbered(self) -> dict[Cell, int]:
        if self._numbers is None:
            self._numbers = {cell: code for code, cell in enumerate(self.cells)}
        return self._numbers


def as_cells(field: str, values: Iterable[Any]) -> list[Cell]:
    """A field's values as cells.

    Raises:
        BadSearch: one is neither text, nor a list of texts, nor None.
    """
    cells: list[Cell] = []
    for value in values:
        if value is None or isinstance(value, str):
            cells.append(value)
        elif isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value):
            cells.append(_several(value))
        else:
            raise BadSearch(
                f'The field "{field}" holds {value!r}; expected a text, a list of texts or None.'
            )
    return cells


def as_wanted(where: Where | None) -> dict[str, list[str]]:
    """A filter with a list of values a field.

    Raises:
        BadSearch: a field has no value to be, or one that is no text.
    """
    wanted = {}
    for field, values in (where or {}).items():
        some = [values] if isinstance(values, str) else list(values)
        if not some or not all(isinstance(value, str) for value in some):
            raise BadSearch(
                f'The filter on "{field}" is {values!r}; expected a text or several of which any '
                "will do."
            )
        wanted[field] = some
    return wanted


def values(cells: Sequence[Cell], counts: npt.NDArray[np.int64]) -> dict[str, int]:
    """Every value that a row has, and how many have it; the commonest first, of equals by value.

    Args:
        cells: by number.
        counts: of `Column.counts`.
    """
    found: dict[str, int] = {}
    for code in np.flatnonzero(counts).tolist():
        for value in _texts(cells[code]):
            found[value] = found.get(value, 0) + int(counts[code])
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def unknown_field(field: str, fields: Iterable[str]) -> BadSearch:
    """Nothing can be filtered by a field that is not there."""
    there = sorted(fields)
    return BadSearch(f'There is no field "{field}" to filter by; {_there(field, there)}.')


def unknown_value(field: str, value: str, values: Iterable[str]) -> BadSearch:
    """A value that no product has is a slip of the pen, rather than a wish for nothing."""
    return BadSearch(f'No product has "{value}" as its {field}; {_there(value, list(values))}.')


def _there(meant: str, names: list[str]) -> str:
    if not names:
        return "there is none at all"
    shown = names
    if len(names) > _NAMED:
        # A catalog's brands are many: what is meant is most likely among those alike.
        alike = difflib.get_close_matches(meant, names[:10_000], _NAMED // 2, 0.5)
        shown = [*alike, *(name for name in names if name not in alike)][:_NAMED]
    more = f" and {len(names) - len(shown):,} more" if len(names) > len(shown) else ""
    return f"there are: {', '.join(shown)}{more}"


def _several(values: Sequence[str] | None) -> Cell:
    different = tuple(dict.fromkeys(values or ()))
    return different if len(different) > 1 else next(iter(different), None)


def _texts(cell: Cell) -> tuple[str, ...]:
    if cell is None:
        return ()
    return (cell,) if isinstance(cell, str) else cell


def _hold(holders: dict[str, list[int]], cell: Cell, code: int) -> None:
    for value in _texts(cell):
        holders.setdefault(value, []).append(code)
