"""An index in this process's memory, over plain files: what the exact and FAISS's one share."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from serving.search import folder
from serving.search.columns import (
    Cell,
    Codes,
    Column,
    Mask,
    Where,
    as_wanted,
    unknown_field,
    unknown_value,
    values,
)
from serving.search.errors import BadSearch
from serving.search.product_index import Answer, Hit, ProductIndex, Search
from serving.search.products import Numbers, Products, View
from serving.search.space import Floats, Space

if TYPE_CHECKING:
    # Python 3.10 does not have it.
    from typing import Self

_QUERIES_AT_ONCE = 128
"""So many queries go through the products together: their scores take some MB."""

_DEAD_ROWS = 50_000
"""Dead rows, beyond as many as there are products, that are put up with."""


@dataclass(frozen=True)
class Among:
    """The rows that may be found.

    Attributes:
        let_in: of each row whether it may, bool (N); None where all may.
        count: how many may.
    """

    let_in: Mask | None
    count: int

    def since(self, row: int, length: int) -> int:
        """How many of the rows from one on may."""
        if self.let_in is None:
            return length - row
        return int(np.count_nonzero(self.let_in[row:]))


@dataclass(frozen=True)
class _Moment:
    """What a search goes by, taken in one moment."""

    view: View
    among: Among
    fields: dict[str, tuple[Codes, list[Cell]]]
    group_names: list[Cell]
    ids: list[str]


class LocalIndex(ProductIndex):
    """Products in memory, or mapped into it from a folder.

    Any number of threads may search while others write: a search answers from the products as they
    were when it began. Writers wait for each other.

    Args:
        space: what a vector consists of.
        dtype: what vectors are kept as, "float32", or "float16", which takes half the room and
            knows three digits; only for "cosine".
        threshold: see `ProductIndex`.
        made_by: see `ProductIndex`; the folder says it.

    Raises:
        BadSearch: at the start, of a dtype that cannot be.
    """

    def __init__(
        self,
        space: Space,
        dtype: str = "float32",
        threshold: float | None = None,
        made_by: Mapping[str, Any] | None = None,
    ):
        if dtype not in ("float16", "float32"):
            raise BadSearch(f'Vectors are kept as "float16" or "float32"; found "{dtype}".')
        if dtype == "float16" and space.distance != "cosine":
            raise BadSearch(
                'Only vectors of unit length, of the distance "cosine", fit float16; keep those of '
                f'"{space.distance}" as float32.'
            )
        self.space = space
        self.threshold = threshold
        self.made_by = dict(made_by or {})
        self.dtype = dtype
        self._products = Products(space, dtype)
        # Held by whoever changes products, for as long as that takes.
        self._writing = threading.RLock()
        # Held for moments only, by searches too.
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: Path | str, *, verify: bool = True) -> Self:
        """An index from a folder that `save` wrote, vectors mapped into memory.

        Args:
            path: the folder. Later saves there do not change what was opened.
            verify: hold every byte against its checksum, which reads all of it once.

        Raises:
            DamagedIndex: there is none, or its files are not what was saved.
        """
        opened = folder.read(Path(path), verify=verify)
        index = cls(opened.space, opened.dtype, opened.threshold, opened.made_by)
        index._adopt(opened)
        return index

    def save(self, path: Path | str) -> None:
        """Writes the index into a folder, as a whole or not at all.

        Whoever opens the folder meanwhile, or has it open, has the old one; killed at any moment,
        the folder still is the old one. Searches go on; writers wait. The index then maps what it
        wrote, and its memory is free.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        with self._writing:
            self._forget_dead_rows()
            written = folder.write(
                Path(path),
                folder.Content(
                    space=self.space,
                    dtype=self.dtype,
                    threshold=self.threshold,
                    made_by=self.made_by,
                    ids=self._products.ids,
                    view=self._products.view(),
                    fields=self._products.fields,
                    groups=self._products.groups,
                    approximate=self._approximate(),
                    cache=self._write_cache,
                ),
            )
            made = written.products()
            # Its rows are those that were written, in their order.
            made.beside = self._products.beside
            self._products = made

    @property
    def fields(self) -> list[str]:
        """See `ProductIndex`."""
        with self._lock:
            return list(self._products.fields)

    def count(self, where: Where | None = None) -> int:
        """See `ProductIndex`."""
        with self._lock:
            moment = self._moment(as_wanted(where), frozenset(), False)
        return moment.among.count

    def facets(self, field: str, where: Where | None = None) -> dict[str, int]:
        """See `ProductIndex`."""
        with self._lock:
            column = self._products.fields.get(field)
            if column is None:
                raise unknown_field(field, self._products.fields)
            let_in = None
            if where:
                let_in = self._moment(as_wanted(where), frozenset(), False).among.let_in
            cells, counts = column.cells, column.counts(let_in)
        return values(cells, counts)

    def upsert(
        self,
        ids: Sequence[str],
        vectors: npt.ArrayLike,
        fields: Mapping[str, Sequence[Any]] | None = None,
        groups: Sequence[str | None] | None = None,
    ) -> None:
        """See `ProductIndex`."""
        stored = self.space.stored(vectors, ids) if len(ids) else self._no_vectors()
        with self._writing:
            with self._lock:
                self._products.upsert(ids, stored, fields or {}, groups)
            self._changed()

    def delete(self, ids: Sequence[str]) -> int:
        """See `ProductIndex`."""
        with self._writing:
            with self._lock:
                deleted = self._products.delete(ids)
            self._changed()
        return deleted

    def vectors(self, ids: Sequence[str]) -> Floats:
        """See `ProductIndex`."""
        with self._lock:
            rows = np.array([self._products.row(id_) for id_ in ids], np.int64)
            view = self._products.view()
        return view.take(rows).astype(np.float32)

    def product(self, id_: str) -> tuple[Mapping[str, Cell], str]:
        """See `ProductIndex`."""
        with self._lock:
            row = self._products.row(id_)
            columns = self._products.fields.items()
            group = self._products.groups.cell(row)
            return {name: column.cell(row) for name, column in columns}, str(group)

    def doubles(self, id_: str) -> list[str]:
        """See `ProductIndex`."""
        with self._lock:
            products = self._products
            view, row = products.view(), products.row(id_)
            members = products.members(int(view.groups[row]))
            return sorted(products.ids[at] for at in members if view.alive[at] and at != row)

    def ids(self) -> list[str]:
        """The ids of all products, in the order that `vectors` of all of them has."""
        with self._lock:
            view = self._products.view()
            return [self._products.ids[row] for row in np.flatnonzero(view.alive).tolist()]

    @abstractmethod
    def _nearest(
        self, view: View, queries: Floats, count: int, among: Among, asked: Search
    ) -> tuple[Numbers, bool]:
        """Rows that are nearest to each query.

        Args:
            view: the products.
            queries: of `Space.query`, float32 (Q, columns).
            count: how many rows a query, at least.
            among: the rows that may be found.
            asked: the question; of all its queries.

        Returns:
            Rows int64 (Q, at least count), in any order, -1 where there are no more; and whether
            nothing nearer is missed.
        """

    def _approximate(self) -> dict[str, Any] | None:
        """What the folder's manifest says of an approximate index; None where there is none."""
        return None

    def _write_cache(self, path: Path, vectors: folder.File) -> None:
        """Writes what can be made anew from the plain files beside them."""

    def _opened(self, opened: folder.Opened) -> None:
        """What else is to do once the products are there."""

    def _renumbered(self, beside: Any, new_rows: Numbers, view: View) -> Any:
        """What is to be kept beside rows that have other numbers now.

        Args:
            beside: what was kept beside the old ones.
            new_rows: of each old one the new, -1 where it is gone.
            view: the new ones.
        """

    def _changed(self) -> None:
        """Products were added or removed."""
        view = self._products.view()
        if view.length - view.count > view.count + _DEAD_ROWS:
            self._forget_dead_rows()

    def _adopt(self, opened: folder.Opened) -> None:
        with self._writing:
            self._products = opened.products()
            self._opened(opened)

    def _no_vectors(self) -> Floats:
        return np.empty((0, self.space.dimensions), np.float32)

    def _forget_dead_rows(self) -> None:
        view = self._products.view()
        if view.count == view.length:
            return
        kept = np.flatnonzero(view.alive)
        old = self._products
        made = Products(self.space, self.dtype)
        for at in range(0, len(kept), _DEAD_ROWS):
            rows = kept[at : at + _DEAD_ROWS]
            made.upsert(
                [old.ids[row] for row in rows.tolist()],
                view.take(rows),
                {name: _cells(column, rows) for name, column in old.fields.items()},
                [str(cell) for cell in _cells(old.groups, rows)],
            )
        for name in old.fields:
            made.fields.setdefault(name, Column())
        new_rows = np.full(view.length, -1, np.int64)
        new_rows[kept] = np.arange(len(kept))
        made.beside = self._renumbered(old.beside, new_rows, made.view())
        self._products = made

    def _moment(
        self, where: Mapping[str, list[str]], exclude: frozenset[str], exclude_doubles: bool
    ) -> _Moment:
        products = self._products
        view = products.view()
        let_in = view.alive if view.count < view.length else None
        for field, any_of in where.items():
            column = products.fields.get(field)
            if column is None:
                raise unknown_field(field, products.fields)
            table = column.matching(any_of)
            if isinstance(table, str):
                raise unknown_value(field, table, values(column.cells, column.counts()))
            having = table[column.codes(view.length)]
            let_in = having if let_in is None else let_in & having
        out = [row for id_ in exclude if (row := products.find(id_)) is not None]
        if exclude_doubles:
            codes = {int(view.groups[row]) for row in out}
            out += [row for code in codes for row in products.members(code)]
        if out:
            let_in = np.ones(view.length, np.bool_) if let_in is None else let_in.copy()
            let_in[out] = False
        passing = view.length if let_in is None else int(np.count_nonzero(let_in))
        fields = {
            name: (column.codes(view.length), column.cells)
            for name, column in products.fields.items()
        }
        return _Moment(view, Among(let_in, passing), fields, products.groups.cells, products.ids)

    def _search(self, asked: Search) -> list[Answer]:
        with self._lock:
            moment = self._moment(asked.where, asked.exclude, asked.exclude_doubles)
            products = self._products
        weighted = self.space.query(asked.queries, asked.weights)
        answers = []
        for at in range(0, len(weighted), _QUERIES_AT_ONCE):
            some = slice(at, at + _QUERIES_AT_ONCE)
            found = self._found(asked, moment, weighted[some])
            for query, (rows, exact) in zip(asked.queries[some], found, strict=True):
                hits = self._hits(asked, moment, products, query, rows)
                close = self._nothing_close(hits, asked.weights)
                answers.append(Answer(hits, exact, close))
        return answers

    def _found(self, asked: Search, moment: _Moment, queries: Floats) -> list[tuple[Numbers, bool]]:
        """Of each query the rows with the nearest k groups, and whether nothing nearer is missed.

        More rows are asked for where the first were of too few groups.
        """
        found: list[tuple[Numbers, bool]] = [(np.empty(0, np.int64), True)] * len(queries)
        open_queries = list(range(len(queries))) if moment.among.count else []
        count = asked.k + (8 + asked.k // 2 if asked.fold else 0)
        while open_queries:
            count = min(count, moment.among.count)
            rows, exact = self._nearest(
                moment.view, queries[open_queries], count, moment.among, asked
            )
            still = []
            for query, each in zip(open_queries, rows, strict=True):
                each = each[each >= 0]
                found[query] = each, exact
                if count < moment.among.count and asked.fold:
                    groups = len(np.unique(moment.view.groups[each]))
                    if groups < asked.k:
                        still.append(query)
            open_queries = still
            count *= 4
        return found

    def _hits(
        self, asked: Search, moment: _Moment, products: Products, query: Floats, rows: Numbers
    ) -> tuple[Hit, ...]:
        if not len(rows):
            return ()
        parts = self.space.parts(query, asked.weights, moment.view.take(rows))
        scores = parts.sum(axis=1)
        numbers = rows.tolist()
        order = sorted(range(len(numbers)), key=lambda at: (-scores[at], moment.ids[numbers[at]]))
        seen: set[int] = set()
        hits: list[Hit] = []
        for at in order:
            row = numbers[at]
            group = int(moment.view.groups[row])
            if asked.fold and group in seen:
                continue
            seen.add(group)
            hits.append(
                Hit(
                    id=moment.ids[row],
                    score=float(scores[at]),
                    parts=dict(zip(self.space.sizes, parts[at].tolist(), strict=True)),
                    fields={
                        name: cells[codes[row]] for name, (codes, cells) in moment.fields.items()
                    },
                    group=str(moment.group_names[group]),
                    folded=self._folded(moment, products, group) if asked.fold else 0,
                )
            )
            if len(hits) == asked.k:
                break
        return tuple(hits)

    def _folded(self, moment: _Moment, products: Products, group: int) -> int:
        with self._lock:
            members = products.members(group)
        inside = [row for row in members if row < moment.view.length]
        if len(inside) < 2:
            return 0
        let_in = moment.view.alive if moment.among.let_in is None else moment.among.let_in
        return int(np.count_nonzero(let_in[inside])) - 1


def _cells(column: Column, rows: Numbers) -> list[Cell]:
    return [column.cell(row) for row in rows.tolist()]
