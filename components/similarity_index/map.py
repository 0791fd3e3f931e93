"""Products of the test part laid out in two dimensions, so that what is compared alike lies near.

It is a picture of the vectors, for people: t-SNE keeps who is near whom and nothing else, so that
neither the distance between two heaps nor their size says anything. Nothing is searched by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from serving.search import LocalIndex
from serving.search.columns import Cell

MOST_PRODUCTS = 3000
"""Of a larger test part some are drawn."""

FEWEST_FOR_TSNE = 50
"""Of fewer products t-SNE makes no picture; the two main components do."""

MOST_VALUES = 200
"""A field with more values tells the products apart, not their kinds."""

SIDE = 1000
"""Coordinates are whole numbers from 0 to here."""

TSNE_NAME, PCA_NAME = "t-SNE", "PCA"

_COMPONENTS = 50
_PERPLEXITY = 30
_ROUNDS = 500
_ANGLE = 0.7
"""How coarsely t-SNE takes far products together: of its own .2 to .8 a quick one."""
_SEED = 0


def embedding_map(index: LocalIndex, test: Sequence[str]) -> dict[str, Any]:
    """The map as plain types, fit for JSON; the same for the same index.

    Args:
        index: all products.
        test: ids of the test part's.

    Returns:
        `way`, `TSNE_NAME` or `PCA_NAME`; `side`, `SIDE`; `count`, of the test part's products; and
        of each product that is drawn: `ids`; `x` and `y`, int of 0 to `SIDE`; `fields`, of those
        with 2 to `MOST_VALUES` values and one value for two products at least: name to `values`,
        the most frequent first, and `of`, each product's place in them, -1 where it has none.
    """
    drawn = np.random.default_rng(_SEED).permutation(len(test))[:MOST_PRODUCTS]
    ids = [test[at] for at in sorted(drawn.tolist())]
    told = {"side": SIDE, "count": len(test), "ids": ids}
    if not ids:
        return told | {"way": PCA_NAME, "x": [], "y": [], "fields": {}}
    vectors = index.vectors(ids)
    # Of such vectors the inner product is the score.
    weighted = index.space.query(vectors, np.sqrt(index.space.weights_for(None)))
    way, places = laid_out(weighted[:, : index.space.dimensions])
    x, y = _on_paper(places).T.tolist()
    cells = [index.product(id_)[0] for id_ in ids]
    fields = {field: _coded([of[field] for of in cells]) for field in index.fields}
    few = {
        field: of
        for field, of in fields.items()
        if 2 <= len(of["values"]) <= min(MOST_VALUES, len(ids) // 2)
    }
    return told | {"way": way, "x": x, "y": y, "fields": few}


def laid_out(vectors: np.ndarray) -> tuple[str, np.ndarray]:
    """Places in two dimensions, float (N, 2), of vectors, float (N, D), and how they were found.

    van der Maaten and Hinton 2008, on the 50 main components; from the first two of them on, which
    keeps more of how heaps lie to each other than a start at random (Kobak and Berens 2019, "The
    art of using t-SNE for single-cell transcriptomics").
    """
    count = min(_COMPONENTS, *vectors.shape)
    components = PCA(count, random_state=_SEED).fit_transform(vectors)
    if len(vectors) < FEWEST_FOR_TSNE or not np.ptp(components[:, 0]):
        return PCA_NAME, np.pad(components, ((0, 0), (0, 2)))[:, :2]
    start = 1e-4 * components[:, :2] / components[:, 0].std()
    tsne = TSNE(
        init=start.astype(np.float32),
        perplexity=_PERPLEXITY,
        max_iter=_ROUNDS,
        angle=_ANGLE,
        random_state=_SEED,
    )
    # Its many short rounds make threads wait for each other by spinning: where others use the
    # processors too, two take many times as long as one.
    with threadpool_limits(1):
        return TSNE_NAME, tsne.fit_transform(components)


def _on_paper(places: np.ndarray) -> np.ndarray:
    """Coordinates, int (N, 2), with one scale for both axes and as much room on either side."""
    low, high = places.min(0), places.max(0)
    extent = float((high - low).max()) or 1.0
    return np.rint(SIDE / 2 + (places - (low + high) / 2) * SIDE / extent).astype(int)


def _coded(cells: Sequence[Cell]) -> dict[str, Any]:
    named = [" | ".join(sorted(cell)) if isinstance(cell, tuple) else cell for cell in cells]
    counts = Counter(value for value in named if value is not None)
    values = sorted(counts, key=lambda value: (-counts[value], value))
    place_of = {value: place for place, value in enumerate(values)}
    return {"values": values, "of": [place_of.get(value, -1) for value in named]}
