"""Products in memory: ids, vectors, fields and groups, as rows that are only added.

A product that changes gets a new row, and the old one is dead. So a reader that took a `View` can
go on with it, without a lock, while others write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.search.columns import Cell, Codes, Column, Mask, as_cells
from serving.search.errors import BadSearch, UnknownProduct
from serving.search.space import Floats, Space

Numbers = npt.NDArray[np.int64]
Vectors = npt.NDArray[Any]
"""Float16 or float32 (N, D)."""

BLOCK_ROWS = 16_384
"""Rows of vectors that are kept together: as many as are looked at in one go."""


@dataclass(frozen=True)
class View:
    """What the products were at one moment. Nobody changes it any more.

    Attributes:
        length: how many rows there are, dead ones too.
        alive: of each row, whether its product is still there and still like this; bool (N).
        count: how many are.
        starts: the first row of each segment.
        segments: the vectors, in pieces; the last may be longer than what counts.
        groups: of each row, the number of its near-duplicates' group; int32 (N).
        beside: see `Products`.
    """

    length: int
    alive: Mask
    count: int
    starts: tuple[int, ...]
    segments: tuple[Vectors, ...]
    groups: Codes
    beside: Any

    def blocks(self, first: int = 0, rows: int = BLOCK_ROWS) -> Iterator[tuple[int, Vectors]]:
        """The vectors from a row on, some rows at a time: number of the first one, and they."""
        for start, segment in zip(self.starts, self.segments, strict=True):
            end = min(len(segment), self.length - start)
            for at in range(max(0, first - start), end, rows):
                yield start + at, segment[at : min(at + rows, end)]

    def take(self, rows: Numbers) -> Vectors:
        """The vectors of some rows, a copy (len(rows), D)."""
        if len(self.segments) == 1:
            return self.segments[0][rows]
        made = np.empty((len(rows), self.segments[0].shape[1]), self.segments[0].dtype)
        at = np.searchsorted(self.starts, rows, side="right") - 1
        for segment in np.unique(at).tolist():
            where = at == segment
            made[where] = self.segments[segment][rows[where] - self.starts[segment]]
        return made


class Products:
    """The rows of an index. Not safe among threads by itself: `LocalIndex` has the lock.

    Args:
        space: of the vectors.
        dtype: what they are kept as.
        ids: of the products that there are from the start, in the order of their vectors.
        vectors: of these, as `Space.stored` makes them; may be a memory map, and is only read.
        fields: of these.
        groups: of these; where left out, each is its own.

    Attributes:
        ids: of each row.
        fields: by name.
        groups: of near-duplicates.
        beside: what an index keeps about just these rows; never changed, only replaced.
    """

    def __init__(
        self,
        space: Space,
        dtype: npt.DTypeLike,
        ids: Sequence[str] = (),
        vectors: Vectors | None = None,
        fields: Mapping[str, Column] | None = None,
        groups: Column | None = None,
    ):
        self._space = space
        self._dtype = np.dtype(dtype)
        self.ids = list(ids)
        self.beside: Any = None
        self.fields = dict(fields or {})
        self.groups = groups or Column()
        if groups is None:
            self.groups.extend(self.ids)
        self._segments: list[Vectors] = [] if vectors is None else [vectors]
        self._starts = [0] * len(self._segments)
        self._room = len(self.ids)
        self._alive: Mask = np.ones(len(self.ids), np.bool_)
        self._count = len(self.ids)
        self._row_of: dict[str, int] | None = None
        self._members: dict[int, list[int]] | None = None

    def view(self) -> View:
        """As they are now."""
        length = len(self.ids)
        if not self._segments:
            empty = np.empty((0, self._space.dimensions), self._dtype)
            return View(0, self._alive, 0, (0,), (empty,), self.groups.codes(0), self.beside)
        return View(
            length,
            self._alive,
            self._count,
            tuple(self._starts),
            tuple(self._segments),
            self.groups.codes(length),
            self.beside,
        )

    def row(self, id_: str) -> int:
        """The row of a product.

        Raises:
            UnknownProduct: there is none.
        """
        row = self._rows().get(id_)
        if row is None:
            raise UnknownProduct(f'The index holds no product "{id_}", or no longer does.')
        return row

    def find(self, id_: str) -> int | None:
        """The row of a product; None where there is none."""
        return self._rows().get(id_)

    def upsert(
        self,
        ids: Sequence[str],
        stored: Floats,
        fields: Mapping[str, Sequence[Any]],
        groups: Sequence[str | None] | None,
    ) -> None:
        """Adds products, or puts them in the place of those of the same id.

        All is checked before anything is changed. A field that is left out is None.

        Raises:
            BadSearch: ids are doubled, or lengths differ, or a field holds what is no text.
        """
        if len(set(ids)) < len(ids):
            doubled = next(id_ for at, id_ in enumerate(ids) if id_ in ids[:at])
            raise BadSearch(f'The product "{doubled}" is there twice among those to add.')
        given: dict[str, Sized] = {"vectors": stored, **fields}
        if groups is not None:
            given["groups"] = groups
        for name, values in given.items():
            if len(values) != len(ids):
                raise BadSearch(
                    f"There are {len(ids):,} ids to add and {len(values):,} values of {name}."
                )
        cells = {name: as_cells(name, values) for name, values in fields.items()}
        own = list(groups) if groups is not None else [None] * len(ids)
        named: list[Cell] = [
            id_ if group is None else group for id_, group in zip(ids, own, strict=True)
        ]
        if not ids:
            return
        first = len(self.ids)
        row_of = self._rows()
        self._kill([row for id_ in ids if (row := row_of.get(id_)) is not None])
        self._add_vectors(stored)
        for name in cells:
            if name not in self.fields:
                self.fields[name] = Column()
                self.fields[name].extend([None] * first)
        nothing: list[Cell] = [None] * len(ids)
        for name, column in self.fields.items():
            column.extend(cells.get(name, nothing))
        for row, code in enumerate(self.groups.extend(named), first):
            self._join(row, code)
        self.ids.extend(ids)
        row_of.update(zip(ids, range(first, len(self.ids)), strict=True))
        self._alive = np.concatenate([self._alive, np.ones(len(ids), np.bool_)])
        self._count += len(ids)

    def delete(self, ids: Sequence[str]) -> int:
        """Removes products and returns how many there were."""
        row_of = self._rows()
        rows = [row for id_ in dict.fromkeys(ids) if (row := row_of.pop(id_, None)) is not None]
        self._kill(rows)
        return len(rows)

    def members(self, code: int) -> list[int]:
        """The rows of a group that are or were there; empty where it never had two."""
        if self._members is None:
            self._members = {}
            codes = self.groups.codes(len(self.ids))
            order = np.argsort(codes, kind="stable")
            bounds = np.flatnonzero(np.diff(codes[order], prepend=-1, append=-1))
            long = np.flatnonzero(np.diff(bounds) > 1)
            for at, end in zip(bounds[long].tolist(), bounds[long + 1].tolist(), strict=True):
                self._members[int(codes[order[at]])] = order[at:end].tolist()
        return list(self._members.get(code, ()))

    def _join(self, row: int, code: int) -> None:
        if self._members is None:
            return
        if code in self._members:
            self._members[code].append(row)
        elif self.groups.uses(code) > 1:
            self._members[code] = np.flatnonzero(self.groups.codes(row + 1) == code).tolist()

    def _rows(self) -> dict[str, int]:
        # Made at the first need: a reader that only asks with vectors never does.
        if self._row_of is None:
            self._row_of = dict(zip(self.ids, range(len(self.ids)), strict=True))
        return self._row_of

    def _kill(self, rows: list[int]) -> None:
        if not rows:
            return
        self._alive = self._alive.copy()
        self._alive[rows] = False
        self._count -= len(rows)
        for column in [*self.fields.values(), self.groups]:
            column.release(rows)

    def _add_vectors(self, stored: Floats) -> None:
        at, row = 0, len(self.ids)
        while at < len(stored):
            if row == self._room:
                self._segments.append(np.empty((BLOCK_ROWS, stored.shape[1]), self._dtype))
                self._starts.append(row)
                self._room += BLOCK_ROWS
            end = min(len(stored), at + self._room - row)
            inside = row - self._starts[-1]
            self._segments[-1][inside : inside + end - at] = stored[at:end]
            row, at = row + end - at, end
