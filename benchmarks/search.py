"""What a search by picture costs, beside a loop of SciPy's as deep-fashion-retrieval has it.

The yardstick compares a query with every vector by `cdist`, in float64, or only with those of its
own part of 50 by k-means. Its catalog's size is the default. Vectors are random, of unit length,
in clusters of some 140 that overlap, in 24 dimensions and a little noise in all 512; queries are
new ones from the same clusters. Milliseconds are medians, one
query at a time, 15 results with fields.

    python benchmarks/search.py [--products 139709] [--only ours]
    python benchmarks/search.py --large

`--large` builds 2,000,000 in float16 with FAISS, saves, opens and asks them, and says what memory
that took; on two cores it takes a quarter of an hour.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from serving.search import ExactIndex, FaissIndex, LocalIndex, Space

DIMENSIONS = 512
RESULTS = 15
QUERIES = 100
A_CLUSTER = 140
LATENT = 24
SPREAD = 0.6
"""A cluster's deviation beside 1 of the centers: the next one's products are often as near."""

NOISE = 0.3

PARTS = 50
BATCH = 50_000
SHARES = {"1 %": 0.01, "10 %": 0.1, "50 %": 0.5}


def main() -> None:
    """Prints milliseconds and recall."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--products", type=int, default=139_709)
    parser.add_argument("--only", choices=["ours", "yardstick"])
    parser.add_argument("--large", action="store_true")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"load of the machine at the start: {load:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        if arguments.large:
            _large(Path(folder), 2_000_000)
            return
        count = arguments.products
        vectors = np.concatenate(list(_vectors(count, count // A_CLUSTER)))
        queries = next(_vectors(QUERIES, count // A_CLUSTER, seed=9))
        truth = [set(np.argsort(-(vectors @ query))[:RESULTS].tolist()) for query in queries]
        if arguments.only != "ours":
            _yardstick(vectors, queries, truth)
        if arguments.only != "yardstick":
            _ours(vectors, queries, truth, Path(folder))


def _yardstick(vectors: np.ndarray, queries: np.ndarray, truth: list[set[int]]) -> None:
    from scipy.spatial.distance import cdist
    from sklearn.cluster import MiniBatchKMeans

    wide = vectors.astype(np.float64)

    def exhaustive(query: np.ndarray) -> list[int]:
        return np.argsort(cdist(query[None], wide)[0])[:RESULTS].tolist()

    _report("SciPy, every vector", exhaustive, queries[:20].astype(np.float64), truth)
    means = MiniBatchKMeans(PARTS, random_state=0, n_init=1, batch_size=8_192).fit(vectors)
    rows = [np.flatnonzero(means.labels_ == part) for part in range(PARTS)]
    parts = [wide[of] for of in rows]
    centers = means.cluster_centers_.astype(np.float64)

    def own_part(query: np.ndarray) -> list[int]:
        part = int(np.argmin(cdist(query[None], centers)[0]))
        return rows[part][np.argsort(cdist(query[None], parts[part])[0])[:RESULTS]].tolist()

    _report("SciPy, own part of 50 by k-means", own_part, queries.astype(np.float64), truth)


def _ours(vectors: np.ndarray, queries: np.ndarray, truth: list[set[int]], folder: Path) -> None:
    space = Space({"all": DIMENSIONS})
    ids = [str(row) for row in range(len(vectors))]
    rng = np.random.default_rng(5)
    fields = {
        name: np.where(rng.random(len(ids)) < share, "yes", "no").tolist()
        for name, share in SHARES.items()
    }
    exact = ExactIndex(space)
    approximate = FaissIndex(space, exact_below=10_000)
    indexes: dict[str, LocalIndex] = {"exact": exact, "FAISS": approximate}
    for index in indexes.values():
        index.upsert(ids, vectors, fields)
    seconds = _seconds(lambda: approximate.save(folder / "faiss"))
    print(f"FAISS made, measured and saved in {seconds:.0f} s: {approximate.approximation}")
    exact.save(folder / "exact")
    for name, index in indexes.items():
        _report(f"{name}, one query", _asking(index), queries, truth)
        each = 1_000 * _seconds(partial(index.search, queries, RESULTS)) / len(queries)
        print(f"{name}, {len(queries)} queries at once: {each:.2f} ms each")
        for field in SHARES:
            allowed = np.flatnonzero(np.array(fields[field]) == "yes")
            inside = vectors[allowed]
            nearest = [
                set(allowed[np.argsort(-(inside @ query))[:RESULTS]].tolist()) for query in queries
            ]
            asking = _asking(index, where={field: "yes"})
            _report(f"{name}, filter that lets in {field}", asking, queries, nearest)
    for kind, path in ((ExactIndex, "exact"), (FaissIndex, "faiss")):
        for verify in (True, False):
            options = {"exact_below": 10_000} if kind is FaissIndex else {}
            seconds = _median(lambda: kind.open(folder / path, verify=verify, **options), 5)  # noqa: B023
            checked = "with" if verify else "without"
            print(f"{kind.__name__} opened {checked} checksums: {1_000 * seconds:.0f} ms")
    new = next(_vectors(2_000, len(ids) // A_CLUSTER, seed=11))
    names = [str(len(ids) + row) for row in range(2_000)]
    more = {name: ["yes"] * 1_000 for name in SHARES}
    seconds = _seconds(lambda: approximate.upsert(names[:1_000], new[:1_000], more))
    print(f"1,000 upserts in one call: {1_000 * seconds:.0f} ms")

    def one_by_one() -> None:
        for row in range(1_000, 2_000):
            approximate.upsert([names[row]], new[row], {name: ["yes"] for name in SHARES})

    print(f"1,000 upserts in 1,000 calls: {1_000 * _seconds(one_by_one):.0f} ms")
    both = np.concatenate([vectors, new])
    truth = [set(np.argsort(-(both @ query))[:RESULTS].tolist()) for query in queries]
    _report("FAISS after 2,000 upserts, one query", _asking(approximate), queries, truth)
    _say_memory()


def _large(folder: Path, count: int) -> None:
    space = Space({"all": DIMENSIONS})
    clusters = count // A_CLUSTER
    index = FaissIndex(space, "float16")
    began, first = time.perf_counter(), 0
    for vectors in _vectors(count, clusters):
        rows = range(first, first + len(vectors))
        fields = {name: ["yes" if row % round(1 / share) == 0 else "no" for row in rows]
                  for name, share in SHARES.items()}  # fmt: skip
        index.upsert([str(row) for row in rows], vectors, fields)
        first += len(vectors)
    print(f"{count:,} products added in {time.perf_counter() - began:.0f} s", flush=True)
    seconds = _seconds(lambda: index.save(folder / "index"))
    print(f"made, measured and saved in {seconds:.0f} s: {index.approximation}", flush=True)
    _say_memory()
    del index
    seconds = _seconds(lambda: FaissIndex.open(folder / "index"))
    print(f"opened with checksums: {seconds:.1f} s")
    index = FaissIndex.open(folder / "index", verify=False)
    queries = next(_vectors(QUERIES, clusters, seed=9))
    for where in ({}, *({field: "yes"} for field in SHARES)):
        truth = [
            {int(hit.id) for hit in answer.hits}
            for answer in index.search(queries, RESULTS, where=where, exact=True)
        ]
        name = f"filter that lets in {next(iter(where))}" if where else "one query"
        _report(f"FAISS, {name}", _asking(index, where=where), queries, truth)
    _say_memory()


def _vectors(count: int, clusters: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Unit vectors, float32, some at a time; the clusters are the same for every seed."""
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(1)
    centers = fixed.standard_normal((clusters, LATENT), np.float32)
    # Two directions of so many dimensions are nearly at right angles.
    directions = _unit(fixed.standard_normal((LATENT, DIMENSIONS), np.float32))
    for first in range(0, count, BATCH):
        size = min(BATCH, count - first)
        spread = SPREAD * rng.standard_normal((size, LATENT), np.float32)
        latent = centers[rng.integers(clusters, size=size)] + spread
        noise = _unit(rng.standard_normal((size, DIMENSIONS), np.float32))
        yield _unit(_unit(latent) @ directions + NOISE * noise)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _asking(index: LocalIndex, **asked) -> Callable[[np.ndarray], list[int]]:
    def ask(query: np.ndarray) -> list[int]:
        (answer,) = index.search(query, RESULTS, **asked)
        return [int(hit.id) for hit in answer.hits]

    return ask


def _report(
    name: str,
    ask: Callable[[np.ndarray], list[int]],
    queries: np.ndarray,
    truth: list[set[int]],
) -> None:
    for query in queries[:3]:
        ask(query)
    times, shares = [], []
    for query, nearest in zip(queries, truth, strict=False):
        began = time.perf_counter()
        found = ask(query)
        times.append(1_000 * (time.perf_counter() - began))
        shares.append(len(nearest & set(found)) / len(nearest))
    print(
        f"{name}: {statistics.median(times):.2f} ms (a tenth took {np.quantile(times, 0.9):.2f} or "
        f"more), recall {np.mean(shares):.3f}",
        flush=True,
    )


def _seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _median(act: Callable[[], object], rounds: int) -> float:
    return statistics.median(_seconds(act) for _ in range(rounds))


def _say_memory() -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak of memory, mapped files among it: {peak:,.0f} MB")


if __name__ == "__main__":
    main()
