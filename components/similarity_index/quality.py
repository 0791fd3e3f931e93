"""How good a search is: figures of how its order of a gallery agrees with the labels.

Every query looks through a gallery, which it orders by similarity. A product of the gallery has a
gain for a query: 0 where their first label differs, 1 where it alone is alike, and 1 more for each
further label, from coarse to fine, that is alike as well. What has a gain is relevant; `ALL_ALIKE`
figures have as relevant only what is alike in all labels, for a search that finds the right kind
says nothing yet of looks. With R the relevant products of n, and "first" in the order:

| figure | of a query | source |
| --- | --- | --- |
| `mean_average_precision` | the mean, over its relevant products, of the precision down to each, in the whole order | scikit-learn's `average_precision_score` |
| `map_at_r` | the sum of these precisions over the first R, by R | Musgrave et al. 2020, "A Metric Learning Reality Check" (arXiv 2003.08505), section 3.2 |
| `r_precision` | the share of the relevant among the first R | the same |
| `precision_at_15` | the share of the relevant among the first 15 | |
| `recall_at_1` ... | 1 if there is a relevant one among the first so many, else 0: what image retrieval calls recall@k | Jegou et al. 2011, "Product Quantization"; Oh Song et al. 2016 |
| `ndcg_at_15` | the sum over the first 15 of gain / log2(rank + 1), by the same of the best order | Jarvelin and Kekalainen 2002; scikit-learn's `ndcg_score` |

A query without any relevant product, a lone one, has no such figure: it is left out and counted.
Where products have the same similarity, each figure is the mean over all their orders (McSherry and
Najork 2008, "Computing Information Retrieval Performance Measures Efficiently in the Presence of
Tied Scores"). `chance`, what an order at random has, is therefore the figure of a search that finds
all products equally similar; `best` is that of a perfect order, less than 1 where a query has fewer
than 15 relevant products.

Intervals are of a Poisson bootstrap over the queries, of which those that look nearly alike are
drawn together (`components.judge.intervals`). They say what other queries would give with the same
model and gallery, and nothing of another training. An approximate index is none of this module's
business: what it misses is not the model's fault.
"""  # noqa: E501 A table's row is a line.

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from scipy import sparse

from components.judge import intervals
from schema import features

FIRST = 15
"""Products of a page of results, by which precision and nDCG are computed."""

RECALL_AT = (1, 10)

CONFIDENCE = 0.95
"""Of the intervals, both sides together."""

ALL_ALIKE = "all_alike/"
"""What the names of figures begin with that have as relevant only what is alike in all labels."""

LEFT_OUT = -1
"""The gain of a product that a query does not look through."""

_BLOCK_CELLS = 1 << 22
"""Similarities that are held at a time, if they are of no fewer than `_LEAST_QUERIES`."""

_LEAST_QUERIES = 64
"""Queries at a time, at least: for each time the whole gallery is read."""

_DISCOUNTS = 1 / np.log2(np.arange(2, FIRST + 2))


@dataclass(frozen=True)
class Found:
    """What every query found: of each figure float64 (Q,), NaN where a query has none.

    Attributes:
        values: The figures.
        chance: What they are in an order at random.
        best: What they are in a perfect order.
        gallery: How many products there are to look through.
    """

    values: dict[str, np.ndarray]
    chance: dict[str, np.ndarray]
    best: dict[str, np.ndarray]
    gallery: int


@dataclass(frozen=True)
class Figure:
    """A figure of several queries; all but the counts NaN where none has one.

    Attributes:
        value: The mean over the queries, or over the classes' means.
        low: Where its 95 % interval begins.
        high: Where it ends.
        chance: What an order at random has.
        best: What a perfect order has.
        queries: How many are in the mean.
        lone: How many are not, for nothing in the gallery is relevant to them.
    """

    value: float
    low: float
    high: float
    chance: float
    best: float
    queries: int
    lone: int


@dataclass(frozen=True)
class Quality:
    """How good a search is.

    Attributes:
        queries: How many were asked.
        gallery: How many products there were to look through, before any was left out.
        micro: The figures, each query as much as any other.
        macro: The same, each class of queries as much as any other.
        slices: Column, then value, to the figures of these queries, each as much as any other.
    """

    queries: int
    gallery: int
    micro: dict[str, Figure]
    macro: dict[str, Figure]
    slices: dict[str, dict[str, dict[str, Figure]]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain types; None in the place of NaN."""
        return _plain(asdict(self))

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Quality:
        """The inverse of `to_json`."""
        return cls(
            queries=plain["queries"],
            gallery=plain["gallery"],
            micro=_figures(plain["micro"]),
            macro=_figures(plain["macro"]),
            slices={
                column: {value: _figures(of) for value, of in values.items()}
                for column, values in plain["slices"].items()
            },
        )


@dataclass(frozen=True)
class Difference:
    """How much better a search is than another, asked the same.

    Attributes:
        value: Its figure less the other's.
        error: One standard error.
        low: Where the 95 % interval begins.
        high: Where it ends.
    """

    value: float
    error: float
    low: float
    high: float


def honest(
    similarities_of: Callable[[np.ndarray], np.ndarray],
    labels: Sequence[tuple[str, Sequence[str | None] | np.ndarray]],
    groups: np.ndarray,
    queries: np.ndarray,
    *,
    slices: Mapping[str, np.ndarray] | None = None,
    replicates: int = 1000,
    mark: Callable[[], None] = lambda: None,
) -> Quality:
    """Judges a search among a catalog's products, of which some are asked for the others.

    Neither the query itself nor what belongs to its group is looked through: to find a double is
    no merit. For a gallery that is only a part of the catalog, hand over that part.

    Args:
        similarities_of: From some of `queries`, int64 (B,), to float (B, N): to all products.
        labels: Of N products, coarse to fine: each one's name, and the values (N,). None, empty and
            `features.UNKNOWN` are like nothing. The first one's values are the classes of `macro`.
        groups: (N,), of near-duplicates; who is alone is a group of his own.
        queries: int (Q,), their places among the products. Products that no training saw.
        slices: Columns (N,) by name, by whose values the queries are judged besides.
        replicates: Of the bootstrap.
        mark: Called for every query that is done with.
    """
    alike = Alike.among([values for _, values in labels])
    _, group = np.unique(groups, return_inverse=True)

    def gains_of(places: np.ndarray) -> np.ndarray:
        gains = alike.gains(queries[places])
        return np.where(group[queries[places]][:, None] == group, LEFT_OUT, gains)

    found = find(
        lambda places: similarities_of(queries[places]),
        gains_of,
        len(queries),
        len(groups),
        levels=len(labels),
        mark=mark,
    )
    return judge(
        found,
        classes=np.asarray(labels[0][1], object)[queries],
        groups=group[queries],
        slices={name: np.asarray(of)[queries] for name, of in (slices or {}).items()},
        replicates=replicates,
    )


class Alike:
    """In how many labels, from the coarsest on, queries and products of a gallery are alike."""

    def __init__(
        self,
        queries: Sequence[Sequence[str | None] | np.ndarray],
        gallery: Sequence[Sequence[str | None] | np.ndarray],
    ) -> None:
        """Takes the labels, coarse to fine.

        Args:
            queries: Of each label its values (Q,); see `honest`.
            gallery: The same of the gallery's products (N,).
        """
        coded = [_coded(*both) for both in zip(queries, gallery, strict=True)]
        self._queries, self._gallery = zip(*coded, strict=True)

    @classmethod
    def among(cls, labels: Sequence[Sequence[str | None] | np.ndarray]) -> Alike:
        """Of queries that are products of the gallery."""
        return cls(labels, labels)

    def gains(self, places: np.ndarray) -> np.ndarray:
        """Of some queries, int (B,), the gains of all products, int8 (B, N)."""
        alike = np.ones((len(places), len(self._gallery[0])), bool)
        gains = np.zeros(alike.shape, np.int8)
        for query, gallery in zip(self._queries, self._gallery, strict=True):
            of = query[places][:, None]
            alike &= (of == gallery) & (of >= 0)
            gains += alike
        return gains


def find(
    similarities_of: Callable[[np.ndarray], np.ndarray],
    gains_of: Callable[[np.ndarray], np.ndarray],
    queries: int,
    gallery: int,
    *,
    levels: int,
    recall_at: Sequence[int] = RECALL_AT,
    whole: bool = True,
    mark: Callable[[], None] = lambda: None,
) -> Found:
    """Asks every query, some at a time, so that not all similarities are in memory.

    Args:
        similarities_of: From queries, int64 (B,) of 0 to Q - 1, to float (B, N).
        gains_of: From the same to int (B, N): 0 to `levels`, or `LEFT_OUT`.
        queries: Q.
        gallery: N.
        levels: The gain of what is alike in all labels.
        recall_at: Among how many of the first there is to be a relevant one.
        whole: Whether to compute what takes the whole order too, which costs most.
        mark: Called for every query that is done with.

    Raises:
        ValueError: A similarity is not a number.
    """
    relevant = {"": 1} | ({ALL_ALIKE: levels} if levels > 1 else {})
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, gallery + 1))])
    first = None if whole else max(FIRST, *recall_at)

    def figures(order: _Order) -> dict[str, float]:
        told = {
            prefix + name: value
            for prefix, level in relevant.items()
            for name, value in order.figures(level, recall_at, whole, harmonic).items()
        }
        return told | {f"ndcg_at_{FIRST}": order.ndcg()}

    @functools.cache
    def around(count: int, totals: tuple[int, ...]) -> tuple[dict[str, float], dict[str, float]]:
        return figures(_Order.at_random(count, totals)), figures(_Order.perfect(count, totals))

    rows: list[tuple[dict[str, float], ...]] = []
    for places in _blocks(queries, gallery):
        similarities = np.asarray(similarities_of(places))
        gains = np.asarray(gains_of(places))
        for scores, gain in zip(similarities, gains, strict=True):
            if np.isnan(scores).any():
                raise ValueError("a similarity is not a number")
            looked_at = gain != LEFT_OUT
            scores, gain = scores[looked_at], gain[looked_at]
            order = _Order.by(scores, gain, levels, first)
            rows.append((figures(order), *around(len(gain), order.totals)))
            mark()
    values, chance, best = (
        {name: np.array([row[name] for row in of]) for name in of[0]}
        for of in (zip(*rows, strict=True) if rows else [({},)] * 3)
    )
    return Found(values, chance, best, gallery)


def judge(
    found: Found,
    *,
    groups: np.ndarray,
    classes: Sequence[str | None] | np.ndarray | None = None,
    slices: Mapping[str, np.ndarray] | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> Quality:
    """Sums up what queries found, with 95 % intervals.

    Args:
        found: What they found.
        groups: (Q,): queries that look nearly alike are drawn together.
        classes: (Q,), of the macro figures; all queries are one where it is left out.
        slices: Columns (Q,) by name.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.
    """
    draws = intervals.Bootstrap(groups, replicates, seed)
    count = len(draws.group)
    one, everything = np.zeros(count, np.int64), np.ones(count, bool)
    of_class = one
    if classes is not None:
        _, of_class = np.unique([str(of) for of in classes], return_inverse=True)
    by_slice: dict[str, dict[str, dict[str, Figure]]] = {}
    for column, values in (slices or {}).items():
        named = np.array([str(value) for value in values])
        by_slice[column] = {
            value: _summed(found, draws, one, named == value) for value in np.unique(named).tolist()
        }
    return Quality(
        queries=count,
        gallery=found.gallery,
        micro=_summed(found, draws, one, everything),
        macro=_summed(found, draws, of_class, everything),
        slices=by_slice,
    )


def difference(
    first: Found, second: Found, name: str, groups: np.ndarray, replicates: int = 1000
) -> Difference:
    """How much better one search is than another in a figure, query by query.

    Args:
        first: What the queries found by it.
        second: What the same queries found by the other one, in the same gallery.
        name: The figure's.
        groups: (Q,), as for `judge`.
        replicates: Of the bootstrap.
    """
    distance = first.values[name] - second.values[name]
    counted = ~np.isnan(distance)
    sums = np.stack([np.where(counted, distance, 0), counted], axis=1)
    drawn = intervals.Bootstrap(groups, replicates).values(
        sums, lambda summed: _means_of_means(summed, 1)[:, 0]
    )
    value = float(_means_of_means(sums.sum(axis=0), 1)[0])
    low, high = intervals.percentile_interval(value, drawn, CONFIDENCE)
    return Difference(value, float(np.nanstd(drawn)), low, high)


class _Order:
    """A gallery in a query's order, as runs of products that are equally similar to it.

    Whatever is computed of it is the mean over all orders of the products within each run.

    Attributes:
        totals: How many products of the gallery have a gain of 1, ..., L at least.
    """

    def __init__(
        self,
        starts: np.ndarray,
        sizes: np.ndarray,
        reached: np.ndarray,
        totals: tuple[int, ...],
    ) -> None:
        """Takes the runs that have a product with a gain, or the first of them, in their order.

        Args:
            starts: int (S,), how many products are before each run.
            sizes: int (S,), how many are in it.
            reached: int (S, L), how many of it have a gain of 1, ..., L at least.
            totals: See above.
        """
        some = reached[:, 0] > 0
        self._starts, self._sizes, self._reached = starts[some], sizes[some], reached[some]
        self.totals = totals

    @classmethod
    def by(cls, scores: np.ndarray, gains: np.ndarray, levels: int, first: int | None) -> _Order:
        """By falling score.

        Args:
            scores: float (n,).
            gains: int (n,).
            levels: L.
            first: How many of the first will be looked at; None for all.
        """
        counts = np.bincount(gains, minlength=levels + 1)
        totals = tuple(np.cumsum(counts[::-1])[::-1][1:].tolist())
        distances = -scores
        if first is not None and first < len(scores):
            # Who is tied with the last of them is in its run.
            near = distances <= np.partition(distances, first - 1)[first - 1]
            distances, gains = distances[near], gains[near]
        ordered = np.sort(distances)
        places, gains = distances[gains > 0], gains[gains > 0]
        order = np.argsort(places)
        places, gains = places[order], gains[order]
        runs = np.flatnonzero(np.append(True, places[1:] != places[:-1])[: len(places)])
        starts = np.searchsorted(ordered, places[runs], "left")
        sizes = np.searchsorted(ordered, places[runs], "right") - starts
        reached = (gains[:, None] > np.arange(levels)).astype(np.int64)
        if len(runs) < len(places):
            reached = np.add.reduceat(reached, runs, axis=0)
        return cls(starts, sizes, reached, totals)

    @classmethod
    def at_random(cls, count: int, totals: tuple[int, ...]) -> _Order:
        """All products in one run."""
        return cls(np.array([0]), np.array([count]), np.array([totals]), totals)

    @classmethod
    def perfect(cls, count: int, totals: tuple[int, ...]) -> _Order:
        """By falling gain."""
        levels = len(totals)
        starts = np.array([0, *totals[::-1]])
        sizes = np.diff(starts, append=count)
        reached = sizes[:, None] * (np.arange(levels, -1, -1)[:, None] > np.arange(levels))
        return cls(starts, sizes, reached, totals)

    def figures(
        self, level: int, recall_at: Sequence[int], whole: bool, harmonic: np.ndarray
    ) -> dict[str, float]:
        """The figures where what has a gain of `level` at least is relevant.

        Args:
            level: 1 to L.
            recall_at: Among how many of the first there is to be a relevant one.
            whole: Whether all runs are there, and what needs them is wanted.
            harmonic: float (n + 1,), the harmonic numbers from 0 on.
        """
        total = self.totals[level - 1]
        relevant = self._reached[:, level - 1].astype(np.float64)
        told = {}
        if whole:
            of_all, of_first = self._precisions(relevant, total, harmonic)
            told["mean_average_precision"] = of_all / max(total, 1)
            told["map_at_r"] = of_first / max(total, 1)
            told["r_precision"] = self._first(relevant, total) / max(total, 1)
        told[f"precision_at_{FIRST}"] = self._first(relevant, FIRST) / FIRST
        told |= {f"recall_at_{k}": self._any_of(relevant, k) for k in recall_at}
        return told if total else dict.fromkeys(told, math.nan)

    def ndcg(self) -> float:
        """Of the first `FIRST`; NaN where nothing has a gain."""
        # A product's gain is how many levels it reaches, and so is the gain of the rank at which
        # the best order has it.
        summed = np.concatenate([[0.0], np.cumsum(_DISCOUNTS)])
        ideal = float(summed[np.minimum(self.totals, FIRST)].sum())
        ends = np.minimum(self._starts + self._sizes, FIRST)
        discounts = summed[ends] - summed[np.minimum(self._starts, FIRST)]
        gained = float(self._reached.sum(axis=1) / self._sizes @ discounts)
        return gained / ideal if ideal else math.nan

    def _first(self, relevant: np.ndarray, k: int) -> float:
        """How many of the first k are relevant."""
        taken = np.clip(k - self._starts, 0, self._sizes)
        return float(relevant / self._sizes @ taken)

    def _any_of(self, relevant: np.ndarray, k: int) -> float:
        """How often a relevant one is among the first k."""
        missed = 1.0
        for run in np.flatnonzero((relevant > 0) & (self._starts < k)).tolist():
            drawn = np.arange(min(k - self._starts[run], self._sizes[run]))
            others = self._sizes[run] - relevant[run]
            missed *= float(np.prod(np.maximum(others - drawn, 0) / (self._sizes[run] - drawn)))
        return 1 - missed

    def _precisions(
        self, relevant: np.ndarray, total: int, harmonic: np.ndarray
    ) -> tuple[float, float]:
        """The sum of the precisions down to each relevant one, of all and of the first `total`."""
        before = np.cumsum(relevant) - relevant
        share = relevant / self._sizes
        # The j-th of a run, at rank start + j, is relevant in `share` of the orders; then
        # before + 1 + (j - 1) * others are, down to it.
        others = (relevant - 1) / np.maximum(self._sizes - 1, 1)

        def down_to(ends: np.ndarray) -> float:
            inverse = harmonic[ends] - harmonic[self._starts]
            further = ends - self._starts - (self._starts + 1) * inverse
            return float(share @ ((before + 1) * inverse + others * further))

        ends = self._starts + self._sizes
        return down_to(ends), down_to(np.clip(total, self._starts, ends))


def _summed(
    found: Found, draws: intervals.Bootstrap, classes: np.ndarray, chosen: np.ndarray
) -> dict[str, Figure]:
    """The means over the classes, int (Q,), of the chosen queries' means, bool (Q,)."""
    if not found.values:
        return {}
    count = int(classes.max(initial=0)) + 1

    def sums(of: Mapping[str, np.ndarray]) -> sparse.csr_array:
        values = np.stack(list(of.values()), axis=1)
        counted = ~np.isnan(values)
        cells = np.concatenate([np.where(counted, values, 0), counted], axis=1)
        columns = np.arange(cells.shape[1]) * count + classes[:, None]
        begins = np.arange(0, cells.size + 1, cells.shape[1])
        return sparse.csr_array(
            (cells.ravel(), columns.ravel(), begins), (len(cells), cells.shape[1] * count)
        )

    def means(summed: np.ndarray) -> np.ndarray:
        return _means_of_means(summed, count)

    value, chance, best = (
        means(sums(of)[chosen].sum(axis=0)) for of in (found.values, found.chance, found.best)
    )
    drawn = draws.values(sums(found.values), means, chosen)
    figures = {}
    for at, (name, values) in enumerate(found.values.items()):
        low, high = intervals.percentile_interval(float(value[at]), drawn[:, at], CONFIDENCE)
        queries = int((chosen & ~np.isnan(values)).sum())
        figures[name] = Figure(
            float(value[at]),
            low,
            high,
            float(chance[at]),
            float(best[at]),
            queries,
            int(chosen.sum()) - queries,
        )
    return figures


def _means_of_means(sums: np.ndarray, classes: int) -> np.ndarray:
    """Means over C classes of means: float (..., F); NaN where nothing is counted.

    Args:
        sums: (..., 2 F C): of each of F figures every class's sum, and then of each every count.
        classes: C.
    """
    sums = np.asarray(sums, np.float64)
    total, count = np.moveaxis(sums.reshape(*sums.shape[:-1], 2, -1, classes), -3, 0)
    some = count > 0
    means = np.divide(total, count, out=np.zeros_like(total), where=some).sum(axis=-1)
    there = some.sum(axis=-1)
    return np.divide(means, there, out=np.full(means.shape, np.nan), where=there > 0)


def _coded(
    queries: Sequence[str | None] | np.ndarray, gallery: Sequence[str | None] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The values of both as int64 codes, -1 where nobody knows."""
    code_of: dict[object, int] = dict.fromkeys((None, "", features.UNKNOWN), -1)
    for value in (*queries, *gallery):
        code_of.setdefault(value, len(code_of))
    first, second = (
        np.array([code_of[value] for value in of], np.int64) for of in (queries, gallery)
    )
    return first, second


def _blocks(queries: int, gallery: int) -> Iterator[np.ndarray]:
    """The queries, so many at a time that they have `_BLOCK_CELLS` similarities, or a few more."""
    step = max(_BLOCK_CELLS // max(gallery, 1), _LEAST_QUERIES)
    return (np.arange(start, min(start + step, queries)) for start in range(0, queries, step))


def _figures(plain: Mapping[str, Mapping[str, Any]]) -> dict[str, Figure]:
    figures = {}
    for name, of in plain.items():
        known: dict[str, Any] = {key: math.nan if of[key] is None else of[key] for key in of}
        figures[name] = Figure(**known)
    return figures


def _plain(of: Any) -> Any:
    if isinstance(of, dict):
        return {key: _plain(value) for key, value in of.items()}
    return None if isinstance(of, float) and math.isnan(of) else of
