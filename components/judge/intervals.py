"""How sure a figure is: intervals, p-values, and what more products would tell.

A share of independent products has formulas of its own: Wilson's interval (1927) and the score test
that it inverts, and for two models on the same products that of Newcombe 1998 (Statistics in
Medicine 17:2635). All other figures are drawn again by a Poisson bootstrap, group by group, for
products that look alike are not independent: they are right or wrong together.

Shares are in [0, 1]; a confidence is two-sided unless it says otherwise. `below` and `above` name
what a p-value is for: small where the true figure is surely below, or above, the bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from scipy import sparse, stats

Side = Literal["below", "above"]

Numbers = float | np.ndarray
"""A number, or an array of any shape; several of them are broadcast."""

_FARTHEST = 37.0
"""Standard errors beyond which no p-value is a number other than 0."""

_BLOCK_CELLS = 1 << 22
"""Weights that are held as float64 at a time: 32 MiB."""


def wilson(share: Numbers, n: Numbers, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Computes Wilson's interval of a share.

    Args:
        share: The share that was found; anything where `n` is 0.
        n: The independent units it was found among, not necessarily whole.
        confidence: In (0, 1), of both sides together.

    Returns:
        Low and high, float64; 0 and 1 where `n` is 0, for nothing is known.

    Raises:
        ValueError: `confidence` is not in (0, 1).
    """
    return _wilson(share, n, _standard_errors(confidence))


def share_p(share: Numbers, n: Numbers, bound: Numbers, side: Side) -> np.ndarray:
    """Tests a share against a bound: the score test, which Wilson's interval inverts.

    The p-value is less than (1 - confidence) / 2 if and only if the bound is outside of `wilson`'s
    interval on that side.

    Args:
        share: The share that was found; anything where `n` is 0.
        n: The independent units it was found among, not necessarily whole.
        bound: What the true share is held against.
        side: `below` for p-values that are small where the true share is surely less than `bound`,
            `above` for those that are small where it is surely more.

    Returns:
        One-sided p-values, float64; 1 where `n` is 0.
    """
    share, n, bound = (np.asarray(of, np.float64) for of in (share, n, bound))
    share = np.where(n > 0, share, bound)
    error = np.sqrt(bound * (1 - bound) / np.where(n > 0, n, 1))
    return np.where(n > 0, _one_sided(share - bound, error, side), 1.0)[()]


def paired_difference(
    both: Numbers, only_first: Numbers, only_second: Numbers, neither: Numbers, confidence: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes the difference of two shares of the same units, with its interval.

    Newcombe 1998 (Statistics in Medicine 17:2635), method 10: the distances to the two shares'
    Wilson limits, squared and added, less what their correlation phi takes away; phi's numerator is
    corrected for continuity where it is positive. Without units that tell the two apart the
    interval still has a width, for the next ones might.

    Args:
        both: Units that count for both shares.
        only_first: Those that count for the first one alone.
        only_second: Those that count for the second one alone.
        neither: Those that count for none.
        confidence: In (0, 1), of both sides together.

    Returns:
        First share less second, low and high, float64, in [-1, 1]; NaN, -1 and 1 without units.

    Raises:
        ValueError: `confidence` is not in (0, 1).
    """
    table = _Paired(both, only_first, only_second, neither)
    errors = _standard_errors(confidence)
    difference = np.where(table.n > 0, table.difference, np.nan)[()]
    return difference, table.limit(-errors), table.limit(errors)


def paired_difference_p(
    both: Numbers,
    only_first: Numbers,
    only_second: Numbers,
    neither: Numbers,
    bound: Numbers,
    side: Side,
) -> np.ndarray:
    """Tests the difference of two shares of the same units against a bound.

    Inverts `paired_difference` by bisection: the p-value is less than (1 - confidence) / 2 if and
    only if the bound is outside of the interval on that side. With `bound` -.01 and `below` it is
    small where the first share is surely more than .01 less than the second.

    Args:
        both: Units that count for both shares.
        only_first: Those that count for the first one alone.
        only_second: Those that count for the second one alone.
        neither: Those that count for none.
        bound: What the true difference, first less second, is held against.
        side: `below` or `above`.

    Returns:
        One-sided p-values, float64; 1 without units.
    """
    table = _Paired(both, only_first, only_second, neither)
    bound = np.asarray(bound, np.float64)
    shape = np.broadcast_shapes(table.n.shape, bound.shape)
    low, high = np.full(shape, -_FARTHEST), np.full(shape, _FARTHEST)
    for _ in range(60):
        middle = (low + high) / 2
        short = table.limit(middle) < bound
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    # The upper limit that the bound is has a tail beyond it of what is above `high`.
    p = stats.norm.sf(high) if side == "below" else stats.norm.cdf(low)
    return np.where(table.n > 0, p, 1.0)[()]


def clopper_pearson_upper(errors: Numbers, n: Numbers, confidence: float) -> np.ndarray:
    """Computes the exact upper bound of a share of errors (Clopper and Pearson 1934).

    Args:
        errors: Errors that were found.
        n: The independent units they were found among.
        confidence: In (0, 1), of this one side.

    Returns:
        float64: the share of errors that the true one is less than; 1 where all are errors, or
        where there are none.
    """
    errors, n = np.asarray(errors, np.float64), np.asarray(n, np.float64)
    right = n - errors
    bound = stats.beta.ppf(confidence, errors + 1, np.where(right > 0, right, 1))
    return np.where(right > 0, bound, 1.0)[()]


class Bootstrap:
    """Draws products again, group by group, to see how a figure would vary.

    Every group has a weight in every replicate, Poisson(1), drawn once. The same weights serve
    every figure, every slice and every model, so that figures can be subtracted replicate by
    replicate.

    Attributes:
        group: int64 (N,), every product's row in `weights`.
        weights: uint8 (groups, replicates).
    """

    def __init__(self, groups: np.ndarray, replicates: int = 1000, seed: int = 0) -> None:
        """Draws the weights: a byte for each group and replicate.

        Args:
            groups: (N,), what tells the groups apart: integers, or strings.
            replicates: How often to draw.
            seed: Same seed and same groups, in whatever order: same weights.
        """
        names, group = np.unique(groups, return_inverse=True)
        self.group = group.reshape(-1)
        self.weights = np.empty((len(names), replicates), np.uint8)
        generator = np.random.default_rng(seed)
        for block in _blocks(len(names), replicates):
            self.weights[block] = generator.poisson(1, self.weights[block].shape)

    def values(
        self,
        sums: np.ndarray | sparse.csr_array,
        value: Callable[[np.ndarray], np.ndarray],
        chosen: np.ndarray | None = None,
    ) -> np.ndarray:
        """Computes a figure, or several, in every replicate.

        Costs a multiplication for each replicate and each sum that is not 0, of groups. Of the
        weights 32 MiB at a time are held as numbers.

        Args:
            sums: float (N, M), what every product adds.
            value: From sums (R, M), R replicates, to the figure (R,) or to figures (R, K).
            chosen: bool (N,), the products of a slice; all where it is None.

        Returns:
            float64 (replicates,) or (replicates, K). Where `value` says NaN because nothing was
            drawn, NaN.

        Raises:
            ValueError: `sums` has not as many rows as there are products.
        """
        if sums.shape[0] != len(self.group):
            raise ValueError(
                f"the bootstrap is of {len(self.group)} products, and was given sums of "
                f"{sums.shape[0]}; hand it all products, and the slice as `chosen`"
            )
        group = self.group
        if chosen is not None:
            rows = np.flatnonzero(chosen)
            sums, group = sums[rows], group[rows]
        drawn, position = np.unique(group, return_inverse=True)
        by_group = _added_up(sums, position.reshape(-1), len(drawn))
        weights = self.weights[drawn] if len(drawn) < len(self.weights) else self.weights
        found = [
            np.asarray(value((by_group.T @ weights[:, block].astype(np.float64)).T), np.float64)
            for block in _blocks(weights.shape[1], max(len(drawn), sums.shape[1]))
        ]
        return np.concatenate(found)


def percentile_interval(
    estimate: float, values: np.ndarray, confidence: float
) -> tuple[float, float]:
    """Reads the interval from a figure's replicates: their quantiles, moved onto the figure.

    Replicates lie around their own mean, which is not the figure: a class of few products is often
    not drawn, and a mean over the classes that are drawn leaves it out. Where rare classes are the
    hard ones, replicates of a macro figure are all too high, and their quantiles may miss the
    figure itself. How far their mean is off is the bootstrap's estimate of that bias (Efron 1982).

    Args:
        estimate: The figure of the products as they are.
        values: float (replicates,); NaN where a replicate drew nothing.
        confidence: In (0, 1), of both sides together.

    Returns:
        Low and high; NaN, both, where fewer than half of the replicates are left or where there is
        no estimate. Of figures in [0, 1] both are in it.

    Raises:
        ValueError: `confidence` is not in (0, 1).
    """
    _standard_errors(confidence)
    left = _left(values)
    if left is None or math.isnan(estimate):
        return math.nan, math.nan
    bias = left.mean() - estimate
    low, high = np.quantile(left, [(1 - confidence) / 2, (1 + confidence) / 2]) - bias
    if min(left.min(), estimate) >= 0:
        low = max(low, 0.0)
        if max(left.max(), estimate) <= 1:
            high = min(high, 1.0)
    return float(low), float(high)


def normal_p(estimate: float, values: np.ndarray, bound: float, side: Side) -> float:
    """Tests a figure against a bound, by the standard error of its replicates.

    To count the replicates beyond the bound would be nearer the interval. But of 1,000 no count
    says less than 1 / 1,001, and Holm's procedure over 40 slices, at 2.5 % for all of them, asks
    the first for .025 / 40 = .000625.

    Args:
        estimate: The figure of the products as they are.
        values: float (replicates,); NaN where a replicate drew nothing.
        bound: What the true figure is held against.
        side: `below` or `above`.

    Returns:
        One-sided p-value. Without any spread it is 0 if the estimate is beyond the bound, and
        else 1; and 1, for nothing is shown, where fewer than half of the replicates are left or
        where there is no estimate.
    """
    left = _left(values)
    if left is None or math.isnan(estimate):
        return 1.0
    # Where all are alike, rounding may say a little else.
    error = float(np.std(left, ddof=1)) if np.ptp(left) > 0 else 0.0
    return float(_one_sided(np.asarray(estimate - bound), np.asarray(error), side))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Adjusts p-values of several tests, so that one in any of them is as rare (Holm 1979).

    Args:
        p_values: float (T,), each in [0, 1].

    Returns:
        float64 (T,), in the order given: reject what is at most the level that all tests together
        may be wrong at.

    Raises:
        ValueError: A p-value is outside of [0, 1].
    """
    p_values = np.asarray(p_values, np.float64)
    if not np.all((p_values >= 0) & (p_values <= 1)):
        wrong = p_values[~((p_values >= 0) & (p_values <= 1))][0]
        raise ValueError(f"a p-value is in [0, 1], found {wrong}")
    order = np.argsort(p_values, kind="stable")
    stepped = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return adjusted


def products_to_settle(n: float, distance: float, half_width: float) -> int | None:
    """Says how many products would tell on which side of the bound a figure is.

    An interval's half width falls with the root of the products; it should be as small as the
    distance to the bound, if that is to stay what it is.

    Args:
        n: Products that the figure was found among.
        distance: From the figure to the bound; its sign does not matter.
        half_width: Of the figure's interval, on the bound's side.

    Returns:
        Products in all, rounded up to two digits; None where no number would do, for the figure is
        the bound, or where the interval is not known.
    """
    if not distance or not math.isfinite(half_width / distance):
        return None
    needed = n * (half_width / distance) ** 2
    digit = 10 ** max(math.floor(math.log10(needed)) - 1, 0) if needed else 1
    # What is but rounding beyond a whole number of them is none.
    return math.ceil(round(needed / digit, 9)) * digit


def _standard_errors(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence is between 0 and 1, such as .95, found {confidence}")
    return float(stats.norm.ppf((1 + confidence) / 2))


def _wilson(share: Numbers, n: Numbers, errors: Numbers) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's limits at so many standard errors; 0 of them are as good as none."""
    n = np.asarray(n, np.float64)
    share = np.where(n > 0, share, 0.5)
    squared = np.square(np.maximum(np.abs(errors), 1e-12))
    center = n * share + squared / 2
    half = np.sqrt(squared * (n * share * (1 - share) + squared / 4))
    low = np.where((n > 0) & (share > 0), (center - half) / (n + squared), 0.0)
    high = np.where((n > 0) & (share < 1), (center + half) / (n + squared), 1.0)
    return np.clip(low, 0, 1)[()], np.clip(high, 0, 1)[()]


class _Paired:
    """A table of pairs: its difference and, at any number of standard errors, the limits."""

    def __init__(
        self, both: Numbers, only_first: Numbers, only_second: Numbers, neither: Numbers
    ) -> None:
        both, only_first, only_second, neither = np.broadcast_arrays(
            *(np.asarray(of, np.float64) for of in (both, only_first, only_second, neither))
        )
        self.n = both + only_first + only_second + neither
        whole = np.where(self.n > 0, self.n, 1)
        self.first, self.second = (both + only_first) / whole, (both + only_second) / whole
        self.difference = (only_first - only_second) / whole
        # Of shares, so that no product of counts is too large to be exact.
        margins = self.first * (1 - self.first) * self.second * (1 - self.second)
        covariance = (both * neither - only_first * only_second) / whole**2
        correction = np.minimum(np.maximum(covariance, 0), 0.5 / whole)
        self.phi = np.divide(
            covariance - correction,
            np.sqrt(margins),
            out=np.zeros(self.n.shape),
            where=margins > 0,
        )

    def limit(self, errors: Numbers) -> np.ndarray:
        """The lower limit at so many standard errors where they are negative, else the upper."""
        above = np.asarray(errors) > 0
        (low_first, high_first), (low_second, high_second) = (
            _wilson(share, self.n, errors) for share in (self.first, self.second)
        )
        first = np.where(above, high_first - self.first, self.first - low_first)
        second = np.where(above, self.second - low_second, high_second - self.second)
        squared = first**2 + second**2 - 2 * self.phi * first * second
        distance = np.sqrt(np.maximum(squared, 0))
        limit = self.difference + np.where(above, distance, -distance)
        return np.where(self.n > 0, np.clip(limit, -1, 1), np.where(above, 1.0, -1.0))[()]


def _one_sided(distance: np.ndarray, error: np.ndarray, side: Side) -> np.ndarray:
    """p-value of an estimate that is `distance` above the bound; without an error 0 or 1."""
    towards = distance if side == "below" else -distance
    known = error > 0
    errors = np.divide(towards, error, out=np.zeros(np.shape(known)), where=known)
    return np.where(known, stats.norm.cdf(errors), np.where(towards < 0, 0.0, 1.0))


def _blocks(rows: int, width: int) -> Iterator[slice]:
    """Slices of `rows`, so that each has `_BLOCK_CELLS` cells of `width` at most, or one row."""
    step = max(_BLOCK_CELLS // max(width, 1), 1)
    return (slice(start, start + step) for start in range(0, rows, step))


def _added_up(
    sums: np.ndarray | sparse.csr_array, group: np.ndarray, groups: int
) -> sparse.csr_array:
    """The rows of `sums` added up by `group`: (groups, M)."""
    rows = len(group)
    members = sparse.csr_array((np.ones(rows), (group, np.arange(rows))), shape=(groups, rows))
    return members @ sparse.csr_array(sums)


def _left(values: np.ndarray) -> np.ndarray | None:
    """The replicates that drew something; None where they are fewer than half."""
    left = values[~np.isnan(values)]
    return left if len(left) and 2 * len(left) >= len(values) else None
