"""How far live traffic is from what a model was trained on, and how far chance alone would take it.

The distances are those that DataGate asks TFDV for: for labels the largest change of any one's
share, for numbers the Jensen-Shannon divergence of their histograms. They are worked out here once
more because a bound of chance takes thousands of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from components.data_gate.distances import LEAST_PRODUCTS

__all__ = ["LEAST_PRODUCTS", "beyond_chance", "cells", "jensen_shannon", "largest_change"]

_EXTREME = 2
"""A bound is the second largest of what was drawn: one draw alone would move it too much."""

_NUMBERS_AT_ONCE = 2_000_000

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From two arrays of counts (..., K) to the distances of their last axes (...)."""


def largest_change(now: np.ndarray, then: np.ndarray) -> np.ndarray:
    """The L-infinity distance of two distributions, counts (..., K) each; 0 to 1."""
    return np.abs(_shares(now) - _shares(then)).max(axis=-1)


def jensen_shannon(now: np.ndarray, then: np.ndarray) -> np.ndarray:
    """The Jensen-Shannon divergence of two histograms, counts (..., K) each; 0 to 1, in bits.

    Lin 1991, "Divergence measures based on the Shannon entropy", equation 4.1, with equal weights.
    """
    one, other = _shares(now), _shares(then)
    middle = (one + other) / 2
    return (_divergence(one, middle) + _divergence(other, middle)) / 2


def beyond_chance(
    now: np.ndarray, then: np.ndarray, distance: Distance, chance: float, seed: int = 0
) -> float:
    """What the distance of two samples exceeds by chance alone, though they are of one kind.

    By permutation: all observations are put into one urn, and as many as `now` has are drawn out of
    it, again and again. If both samples are of one distribution, theirs is a draw like any other,
    and exceeds the bound with a probability of at most `chance`, however small the samples.

    Args:
        now: Counts, int64 (K).
        then: The same of the other sample.
        distance: Which.
        chance: In (0, 1).
        seed: Of the draws; the same counts have the same bound.
    """
    draws = math.ceil(_EXTREME / chance)
    urn = now + then
    generator = np.random.default_rng(seed)
    size = max(1, _NUMBERS_AT_ONCE // len(urn))
    drawn = []
    for start in range(0, draws, size):
        first = generator.multivariate_hypergeometric(
            urn, int(now.sum()), min(size, draws - start), method="marginals"
        )
        drawn.append(distance(first, urn - first))
    return float(np.sort(np.concatenate(drawn))[-_EXTREME])


def cells(
    values: np.ndarray, edges: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sorts numbers into the cells that a recorded distribution's quantiles make.

    Histograms of equally wide buckets see nothing where one picture of 8,000 pixels makes the
    buckets so wide that all others are in the first. Quantiles do not mind. Where a value is so
    frequent that several quantiles are equal, it has a cell of its own; and how much of it lies in
    the two quantiles' buckets beside, of which the record does not tell, is taken to be what brings
    the two distributions nearest.

    Args:
        values: The numbers, float (N).
        edges: The recorded quantiles with minimum and maximum, ascending, float (B + 1).
        counts: How many numbers are between them, float (B).

    Returns:
        Counts of the values and of the recorded distribution, int64 (K): first those below the
        minimum, then by ascending cells, last those above the maximum.
    """
    buckets = len(counts)
    found = np.zeros(buckets + 2)
    on_edge = np.isin(values, edges)
    inside = np.searchsorted(edges, values[~on_edge])
    found += np.bincount(inside, minlength=buckets + 2)
    wanted = np.concatenate([[0], counts / counts.sum() * len(values), [0]])
    for value, number in zip(*np.unique(values[on_edge], return_counts=True), strict=True):
        # Positions in `found`, where bucket k is at k + 1.
        low = max(int(np.searchsorted(edges, value, "left")), 1)
        high = min(int(np.searchsorted(edges, value, "right")), buckets)
        places = np.arange(low, high + 1)
        left = float(number)
        # The bucket above comes last: larger values have a better claim to it.
        for some in (places[:-1], places[-1:]):
            room = np.maximum(wanted[some] - found[some], 0)
            given = min(left, room.sum())
            if given:
                found[some] += given * room / room.sum()
                left -= given
        found[places] += left * wanted[places] / wanted[places].sum()
    of_cell = np.concatenate([[0], 1 + _merged(edges), [0]])
    of_cell[-1] = of_cell[-2] + 1
    recorded = np.concatenate([[0], counts, [0]])
    now, then = (
        np.rint(np.bincount(of_cell, weights=numbers)).astype(np.int64)
        for numbers in (found, recorded)
    )
    return now, then


def _merged(edges: np.ndarray) -> np.ndarray:
    """For each bucket its cell: buckets without width that hold the same value are one."""
    is_point = edges[1:] == edges[:-1]
    continues = np.zeros(len(is_point), bool)
    continues[1:] = is_point[1:] & is_point[:-1]
    return np.cumsum(~continues) - 1


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)


def _divergence(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Kullback and Leibler's, in bits; `other` is 0 only where `one` is."""
    ratio = np.divide(one, other, out=np.ones_like(one), where=one > 0)
    return (one * np.log2(ratio)).sum(axis=-1)
