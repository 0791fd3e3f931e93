"""The indexes that the contract is for, each made empty by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from qdrant_client import QdrantClient

from serving.search import ExactIndex, FaissIndex, ProductIndex, Space
from serving.search.qdrant_index import QdrantIndex
from tests.serving.search.edge_client import EdgeClient

ENGINES = ("exact", "exact in float16", "faiss", "faiss in float16", "qdrant's client", "qdrant")

EXACT_BELOW = 20
"""Small, so that a few dozens of products are enough for an inverted file."""


@contextmanager
def making(engine: str) -> Iterator[Callable[[Space], ProductIndex]]:
    """A function that makes an empty index of a space."""
    made = 0

    def name() -> str:
        nonlocal made
        made += 1
        return f"catalog-{made}"

    dtype = "float16" if engine.endswith("float16") else "float32"
    if engine.startswith("exact"):
        yield lambda space: ExactIndex(space, _dtype(space, dtype))
    elif engine.startswith("faiss"):
        yield lambda space: FaissIndex(space, _dtype(space, dtype), exact_below=EXACT_BELOW)
    elif engine == "qdrant":
        with TemporaryDirectory() as folder:
            client = EdgeClient(Path(folder), indexed_from_kb=1)
            yield lambda space: QdrantIndex.create(client, name(), space)
            client.close()
    else:
        client = QdrantClient(":memory:")
        with warnings.catch_warnings():
            # That an index of a field has no effect there.
            warnings.simplefilter("ignore")
            yield lambda space: QdrantIndex.create(client, name(), space)
        client.close()


def settle(index: ProductIndex) -> None:
    """What an index does for speed at some time is done now."""
    if isinstance(index, FaissIndex):
        index.build()


def _dtype(space: Space, dtype: str) -> str:
    return dtype if space.distance == "cosine" else "float32"
