"""How good the search of an index is, by products that the model did not learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from components.similarity_index import quality
from components.similarity_index.quality import Quality
from serving.search import LocalIndex
from serving.search.columns import Cell

QUERIES = 1000
"""So many of the test part's products, at most, are asked for."""

ALL_BLOCKS = "all blocks"

_ROWS_AT_ONCE = 8192


def judged(
    index: LocalIndex, test: Sequence[str], alike: Sequence[str], slices: Sequence[str]
) -> dict[str, Quality]:
    """The figures of the search, and of one by each block alone that counts for it.

    Every product is compared, so that nothing of it is an approximate index's fault.

    Args:
        index: all products.
        test: ids of the test part's.
        alike: the fields by which products are alike, coarse to fine.
        slices: the fields by whose values queries are judged besides.

    Returns:
        `ALL_BLOCKS` and the blocks' names to their figures; nothing where the test part is empty.
    """
    ids = index.ids()
    drawn = np.random.default_rng(0).permutation(len(test))[:QUERIES]
    if not len(drawn):
        return {}
    place_of = {id_: place for place, id_ in enumerate(ids)}
    queries = np.array([place_of[test[at]] for at in sorted(drawn.tolist())])
    told = [index.product(id_) for id_ in ids]
    groups = np.array([group for _, group in told])

    def values(field: str) -> np.ndarray:
        return np.array([_one(fields[field]) for fields, _ in told], object)

    labels = [(field, values(field)) for field in alike]
    of_slices = {field: values(field) for field in slices}
    found = {}
    weights: dict[str, Mapping[str, float]] = {ALL_BLOCKS: index.space.weights}
    for name, weight in index.space.weights.items():
        if weight > 0 and len(index.space.sizes) > 1:
            weights[name] = dict.fromkeys(index.space.sizes, 0.0) | {name: 1.0}
    for name, chosen in weights.items():
        found[name] = quality.honest(
            _Similarities(index, ids, chosen),
            labels,
            groups,
            queries,
            slices=of_slices if name == ALL_BLOCKS else None,
        )
    return found


def sentence(found: Mapping[str, Quality]) -> str:
    """The most telling figures, for the console."""
    micro = found[ALL_BLOCKS].micro
    hits, ndcg = (micro[f"{name}_at_{quality.FIRST}"] for name in ("precision", "ndcg"))
    return f"{hits.value:.3f} of the first {quality.FIRST} alike, nDCG {ndcg.value:.3f}"


class _Similarities:
    """From some products' places, int64 (B,), to the similarity to all, float32 (B, N)."""

    def __init__(self, index: LocalIndex, ids: Sequence[str], weights: Mapping[str, float]):
        self._index = index
        self._ids = ids
        self._weights = index.space.weights_for(weights)

    def __call__(self, places: np.ndarray) -> np.ndarray:
        space = self._index.space
        asked = self._index.vectors([self._ids[place] for place in places.tolist()])
        query = space.query(asked, self._weights)
        parts = []
        for start in range(0, len(self._ids), _ROWS_AT_ONCE):
            rows = space.rows(self._index.vectors(self._ids[start : start + _ROWS_AT_ONCE]))
            parts.append(query @ rows.T)
        return np.concatenate(parts, axis=1)


def _one(cell: Cell) -> str | None:
    """A field's value; several of them as one."""
    return "|".join(sorted(cell)) if isinstance(cell, tuple) else cell
