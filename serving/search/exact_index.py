"""Every product is compared with every query: the truth, and fast enough for most catalogs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from serving.search.local_index import Among, LocalIndex
from serving.search.product_index import Search
from serving.search.products import BLOCK_ROWS, Numbers, Vectors, View
from serving.search.space import Floats, Space

_FEW = 4
"""Where a filter lets in one row of so many or fewer, those alone are gathered and compared."""

_WIDENED_ROWS = 1_024
"""Rows of float16 that NumPy makes float32 at a time: they stay in the processor's cache."""


class ExactIndex(LocalIndex):
    """All by NumPy. A search reads every vector that is let in, once for 128 queries."""

    engine = "exact"

    @property
    def is_exact(self) -> bool:
        """See `ProductIndex`."""
        return True

    def _nearest(
        self, view: View, queries: Floats, count: int, among: Among, asked: Search
    ) -> tuple[Numbers, bool]:
        return nearest(self.space, view, queries, count, among), True


class Best:
    """The best rows of each query so far.

    Args:
        queries: how many there are.
        count: how many rows of each are kept.
    """

    def __init__(self, queries: int, count: int):
        self._count = count
        self._scores: list[Floats] = [np.empty(0, np.float32)] * queries
        self._rows: list[Numbers] = [np.empty(0, np.int64)] * queries
        self._least = np.full(queries, -np.inf, np.float32)

    def offer(self, scores: Floats, rows: Numbers) -> None:
        """Looks through the scores (Q, N) of some rows (N)."""
        above = scores > self._least[:, None]
        for query in np.flatnonzero(above.any(axis=1)).tolist():
            better = np.flatnonzero(above[query])
            made = np.concatenate([self._scores[query], scores[query, better]])
            numbers = np.concatenate([self._rows[query], rows[better]])
            if len(made) > self._count:
                first = np.argpartition(made, len(made) - self._count)[-self._count :]
                made, numbers = made[first], numbers[first]
            self._scores[query], self._rows[query] = made, numbers
            if len(made) == self._count:
                self._least[query] = made.min()

    def rows(self) -> Numbers:
        """The rows of each query, int64 (Q, count), -1 where there are fewer."""
        made = np.full((len(self._rows), self._count), -1, np.int64)
        for query, rows in enumerate(self._rows):
            made[query, : len(rows)] = rows
        return made


def widened(vectors: Vectors) -> Floats:
    """Vectors as float32, by NumPy."""
    return vectors.astype(np.float32, copy=False)


def nearest(
    space: Space,
    view: View,
    queries: Floats,
    count: int,
    among: Among,
    first: int = 0,
    widen: Callable[[Vectors], Floats] | None = None,
) -> Numbers:
    """The nearest rows of each query among all, int64 (Q, count), -1 where there are fewer.

    Args:
        space: of the vectors.
        view: the products.
        queries: of `Space.query`.
        count: how many a query.
        among: the rows that may be found.
        first: rows before this one are left out.
        widen: makes float32 of vectors as kept, by other means than NumPy.
    """
    best = Best(len(queries), count)
    let_in = among.let_in
    if let_in is not None and among.count * _FEW <= view.length:
        chosen = first + np.flatnonzero(let_in[first:])
        for at in range(0, len(chosen), BLOCK_ROWS):
            rows = chosen[at : at + BLOCK_ROWS]
            best.offer(_scores(space, (widen or widened)(view.take(rows)), queries), rows)
        return best.rows()
    by_numpy = widen is None and view.segments[0].dtype != np.float32
    size = _WIDENED_ROWS if by_numpy else BLOCK_ROWS
    for start, vectors in view.blocks(first, size):
        scores = _scores(space, (widen or widened)(vectors), queries)
        if let_in is not None:
            scores[:, ~let_in[start : start + len(vectors)]] = -np.inf
        best.offer(scores, np.arange(start, start + len(vectors)))
    return best.rows()


def _scores(space: Space, vectors: Floats, queries: Floats) -> Floats:
    if len(queries) == 1:
        # As fast as memory is, in one thread: `@` takes two, which on a busy machine wait for each
        # other for as long as the whole search takes.
        return np.vecdot(space.rows(vectors), queries[0])[None]
    return queries @ space.rows(vectors).T
