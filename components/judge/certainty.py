"""How sure the figures of two models are, on any of the products: one home for gates and page."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from components.judge import intervals
from components.judge.answers import Judged
from components.judge.measures import Answers, Measure, measures, totals

CONFIDENCE = 0.95
"""Of what nobody says another of."""

Interval: TypeAlias = tuple[float, float]

PValue: TypeAlias = Callable[[float, intervals.Side], float]
"""From a bound and a side to the one-sided p-value; see `intervals.share_p`."""


class View:
    """Two models' answers by picture or by product, with what is computed of them once.

    Args:
        judged: The answers.
        replicates: Of the bootstrap, for figures that are no shares.
        seed: Of the bootstrap.
    """

    def __init__(
        self,
        judged: Judged,
        replicates: int = 1000,
        seed: int = 0,
    ) -> None:
        self.judged = judged
        # Both by what is known today, so that they can be compared.
        known = judged.known_pairs
        self.measures = measures(judged.candidate, known)
        self._of_last = measures(judged.last, known) if judged.last is not None else {}
        self._draws = (judged.groups, replicates, seed)
        self._bootstrap: intervals.Bootstrap | None = None
        self._kept: dict[tuple[int, int], Any] = {}

    @property
    def bootstrap(self) -> intervals.Bootstrap:
        """Drawn when it is first asked for."""
        if self._bootstrap is None:
            self._bootstrap = intervals.Bootstrap(*self._draws)
        return self._bootstrap

    def sums(self, measure: Measure, answers: Answers) -> Any:
        """What the products add to a measure; measures of one table share it."""
        key = id(measure.sums), id(answers)
        if key not in self._kept:
            self._kept[key] = measure.sums(answers)
        return self._kept[key]

    def counted(self, measure: Measure) -> np.ndarray:
        """The products whose true label of the measure's level somebody knows, bool (N,)."""
        level = self.judged.candidate.levels[measure.name.partition("/")[0]]
        counted = getattr(level, "counted", None)
        return np.ones(len(self.judged), bool) if counted is None else counted

    def figure(self, measure: Measure, answers: Answers, chosen: np.ndarray | None = None) -> float:
        """A measure of all products, or of the chosen ones, bool (N,)."""
        return float(measure.value(totals(self.sums(measure, answers), chosen)))

    def last_for(self, measure: Measure) -> Answers | None:
        """The last blessed model's answers, where there are any of what is measured."""
        return self.judged.last if measure.name in self._of_last else None


class Uncertain:
    """How sure a measure is on some products: intervals, and what gives p-values."""

    def __init__(
        self, view: View, measure: Measure, counted: np.ndarray, confidence: float
    ) -> None:
        self._view = view
        self._measure = measure
        self._counted = counted
        self._confidence = confidence
        self._units = view.judged.units(counted)

    def figure(self, figure: float) -> tuple[Interval | None, PValue]:
        """Of the candidate's figure."""
        if self._measure.is_share:
            low, high = intervals.wilson(figure, self._units, self._confidence)
            return (float(low), float(high)), lambda limit, side: float(
                intervals.share_p(figure, self._units, limit, side)
            )
        return self._drawn(figure, self._values(self._view.judged.candidate))

    def difference(self, last: Answers) -> tuple[Interval | None, PValue]:
        """Of the candidate's figure less the last model's, on the same products."""
        candidate = self._view.judged.candidate
        if self._measure.is_share:
            first, second = (
                self._view.sums(self._measure, of)[self._counted, 0] > 0.5
                for of in (candidate, last)
            )
            # Products that look alike are right or wrong together: groups are what is counted.
            part = self._units / max(len(first), 1)
            both, candidate_only, last_only, neither = (
                part * float(np.count_nonzero(of))
                for of in (first & second, first & ~second, ~first & second, ~first & ~second)
            )
            _, low, high = intervals.paired_difference(
                both, candidate_only, last_only, neither, self._confidence
            )
            return (float(low), float(high)), lambda limit, side: float(
                intervals.paired_difference_p(both, candidate_only, last_only, neither, limit, side)
            )
        values = self._values(candidate) - self._values(last)
        figure, before = (
            self._view.figure(self._measure, of, self._counted) for of in (candidate, last)
        )
        return self._drawn(figure - before, values)

    def _values(self, answers: Answers) -> np.ndarray:
        return self._view.bootstrap.values(
            self._view.sums(self._measure, answers), self._measure.value, self._counted
        )

    def _drawn(self, estimate: float, values: np.ndarray) -> tuple[Interval | None, PValue]:
        low, high = intervals.percentile_interval(estimate, values, self._confidence)
        return (None if math.isnan(low) else (low, high)), lambda limit, side: intervals.normal_p(
            estimate, values, limit, side
        )
