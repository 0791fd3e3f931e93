"""Gates: what a model must reach to go live, and what each of them says.

A gate is a bound on one measure, for all products, for the values of slice columns, or for
crosses of them. Beyond chance is what counts in slices, where few products make any figure
uncertain; Holm's procedure keeps a gate on forty of them from failing by chance more often than a
gate on one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from components.judge import intervals
from components.judge.answers import Judged
from components.judge.certainty import CONFIDENCE, Uncertain, View
from components.judge.measures import (
    Answers,
    AttributeAnswers,
    ClassAnswers,
    Measure,
    measures,
)
from schema import features
from schema.errors import UserError

Blocks = Literal["by_figure", "when_surely_beyond", "unless_surely_within"]

BLOCKS, PASSES, TOO_FEW, VANISHED, NOT_COMPARED = (
    "blocks",
    "passes",
    "too few products",
    "vanished",
    "not compared",
)

OVERALL = "overall"
EVERY_SLICE = "all"

_ROUNDING = 1e-9
"""Given in a model's favor, so that .91 - .90 is not more than .01 in binary arithmetic."""

_PRODUCT = "product_"
"""Begins the names of figures by product, where products have several pictures."""


@dataclass(frozen=True)
class Gate:
    """One bound; exactly one of the three `at_...` is given.

    Attributes:
        metric: `level/measure`.
        slices: `OVERALL`; `EVERY_SLICE`, each value of each of the catalog's slice columns; or a
            cross of what it lists, of which each is a column of `Judged.slices`, meaning each of
            its values, or `column=value`.
        at_least: The least that the figure may be.
        at_most: The most that it may be.
        at_most_worse: How much worse than the last blessed model's it may be.
        min_products: Slices of fewer never block.
        confidence: Of the intervals, and of what is surely beyond or within.
        blocks: `by_figure` alone; `when_surely_beyond`, the whole interval is beyond the bound; or
            `unless_surely_within` the bound.
        is_guard: Whether nobody asked for it.
    """

    metric: str
    slices: str | tuple[str, ...] = OVERALL
    at_least: float | None = None
    at_most: float | None = None
    at_most_worse: float | None = None
    min_products: int = 30
    confidence: float = CONFIDENCE
    blocks: Blocks = "by_figure"
    is_guard: bool = False


@dataclass(frozen=True)
class Line:
    """What a gate says of one slice.

    Attributes:
        metric: The gate's.
        slice: Column to value; empty for all products.
        products: On how many the figure stands.
        figure: The candidate's; None where it cannot be computed.
        interval: Of the figure, or, where the gate compares, of the difference.
        last: The last blessed model's figure; None where the gate does not compare.
        bound: What is allowed: of the figure, or of what it may be worse by.
        kind: `at_least`, `at_most` or `at_most_worse`.
        confidence: Of the interval.
        verdict: `BLOCKS`, `PASSES`, `TOO_FEW`, `VANISHED` or `NOT_COMPARED`.
        settled_by: Products that would tell on which side of the bound the model is; None where no
            number would, or where that is told.
        is_guard: The gate's.
    """

    metric: str
    slice: dict[str, str]
    products: int
    figure: float | None
    interval: tuple[float, float] | None
    last: float | None
    bound: float
    kind: str
    confidence: float
    verdict: str
    settled_by: int | None = None
    is_guard: bool = False

    @property
    def where(self) -> str:
        """The slice in words: "all products" or "gender Girls, season Winter"."""
        of = [f"{column} {value}" for column, value in self.slice.items()]
        return ", ".join(of) or "all products"


@dataclass(frozen=True)
class Products:
    """What the gates are held against.

    Attributes:
        judged: Two models on the pictures of the test part.
        by_product: The same by product; None where every picture is a product's only one.
        known_slices: Slice column to the values that the catalog's other judging part has, of which
            none should be missing here.
    """

    judged: Judged
    by_product: Judged | None = None
    known_slices: Mapping[str, frozenset[str]] = field(default_factory=dict)


def guards(gates: Sequence[Gate], levels: Sequence[str]) -> list[Gate]:
    """The gates that hold where nobody says otherwise.

    No level may become surely worse than the last blessed model by more than one product in a
    hundred, over all products or in any slice. A gate of somebody's own on the same figure, and
    the same slices, that compares with the last model stands for the guard.

    Args:
        gates: Those of the config.
        levels: The catalog's.
    """
    own = {(gate.metric, gate.slices) for gate in gates if gate.at_most_worse is not None}
    return [
        Gate(
            metric,
            slices,
            at_most_worse=0.01,
            blocks="when_surely_beyond",
            is_guard=True,
        )
        for metric in map(main_figure, levels)
        for slices in (OVERALL, EVERY_SLICE)
        if (metric, slices) not in own
    ]


def main_figure(level: str) -> str:
    """The name of the figure by which a level is guarded."""
    return f"{level}/{'overall_f1' if level == features.ATTRIBUTES else 'accuracy'}"


def metric_names(levels: Sequence[str], several_pictures: bool) -> list[str]:
    """The metrics that a gate can name.

    Args:
        levels: The catalog's.
        several_pictures: Whether products may have several pictures.
    """
    none, nobody = np.zeros(0, np.int64), np.zeros(0)
    answers: dict[str, ClassAnswers | AttributeAnswers] = {
        level: AttributeAnswers([], np.zeros((0, 0), bool), np.zeros((0, 0)), 0.5)
        if level == features.ATTRIBUTES
        else ClassAnswers([], none, none, nobody, none, nobody)
        for level in levels
    }
    names = list(measures(Answers(answers), known_pairs=()))
    if several_pictures:
        for name in list(names):
            level, _, figure = name.partition("/")
            names.append(f"{level}/{_PRODUCT}{figure}")
    return names


def judge(
    gates: Sequence[Gate], products: Products, *, replicates: int = 1000, seed: int = 0
) -> list[Line]:
    """Holds a model against gates.

    Args:
        gates: In the order in which their lines are told.
        products: What two models say of the products.
        replicates: Of the bootstrap, for figures that are no shares.
        seed: Of the bootstrap.

    Returns:
        For each gate the lines of its slices, at least one.

    Raises:
        UserError: A gate names a metric, a column or a value that there is not.
    """
    views = _views(products, replicates, seed)
    found: list[tuple[Line, float | None]] = []
    # The slices of a gate are one question, and the guards together are one.
    questions: dict[int, list[int]] = {}
    for number, gate in enumerate(gates):
        view, measure = _measure(views, gate)
        for named, chosen in _slices(gate, view.judged, products.known_slices):
            line, p = _line(gate, view, measure, named, chosen)
            if p is not None:
                questions.setdefault(-1 if gate.is_guard else number, []).append(len(found))
            found.append((line, p))
    lines = [line for line, _ in found]
    for asked in questions.values():
        adjusted = intervals.holm(np.array([found[index][1] for index in asked]))
        for index, p in zip(asked, adjusted, strict=True):
            if p <= (1 - lines[index].confidence) / 2:
                lines[index] = replace(lines[index], verdict=BLOCKS, settled_by=None)
    return lines


def blessed(lines: Sequence[Line]) -> bool:
    """Whether nothing blocks."""
    return all(line.verdict != BLOCKS for line in lines)


def _views(products: Products, replicates: int, seed: int) -> dict[str, View]:
    views = {"": View(products.judged, replicates, seed)}
    if products.by_product is not None:
        views[_PRODUCT] = View(products.by_product, replicates, seed)
    return views


def _measure(views: Mapping[str, View], gate: Gate) -> tuple[View, Measure]:
    level, _, name = gate.metric.partition("/")
    if name.startswith(_PRODUCT) and _PRODUCT in views:
        view, metric = views[_PRODUCT], f"{level}/{name.removeprefix(_PRODUCT)}"
    else:
        view, metric = views[""], gate.metric
    if metric not in view.measures:
        known = ", ".join(views[""].measures)
        raise UserError(
            f"evaluation.gates names the metric {gate.metric}, which cannot be asked of this "
            f"model; there are {known}."
        )
    return view, view.measures[metric]


def _slices(
    gate: Gate, judged: Judged, known: Mapping[str, frozenset[str]]
) -> Iterator[tuple[dict[str, str], np.ndarray]]:
    """The gate's slices: column to value, and the products, bool (N,)."""
    everything, nothing = np.ones(len(judged), bool), np.zeros(len(judged), bool)
    if gate.slices == OVERALL:
        yield {}, everything
        return
    if gate.slices == EVERY_SLICE:
        crosses: list[tuple[str, ...]] = [(column,) for column in judged.columns]
    else:
        crosses = [(gate.slices,) if isinstance(gate.slices, str) else tuple(gate.slices)]
    for cross in crosses:
        sides = [_values(name, judged, known) for name in cross]
        for values in itertools.product(*sides):
            chosen = everything
            for column, value in values:
                chosen = chosen & judged.slices[column].get(value, nothing)
            # Of a cross, only what occurs: many pairs never do.
            if len(cross) == 1 or chosen.any():
                yield dict(values), chosen


def _values(
    name: str, judged: Judged, known: Mapping[str, frozenset[str]]
) -> list[tuple[str, str]]:
    column, equals, value = name.partition("=")
    if column not in judged.slices:
        columns = ", ".join(judged.slices) or "none"
        raise UserError(
            f"evaluation.gates names the slice {name}, which there is not; there are {columns}."
        )
    if equals:
        return [(column, value)]
    there = set(judged.slices[column]) | known.get(column, frozenset())
    return [(column, value) for value in sorted(there)]


def _line(
    gate: Gate, view: View, measure: Measure, named: dict[str, str], chosen: np.ndarray
) -> tuple[Line, float | None]:
    """A slice's line, not yet blocked by what is surely beyond, and the p-value of that."""
    kind, bound = _bound(gate)
    counted = chosen & view.counted(measure)
    products = int(counted.sum())
    line = Line(
        metric=gate.metric,
        slice=named,
        products=products,
        figure=None,
        interval=None,
        last=None,
        bound=bound,
        kind=kind,
        confidence=gate.confidence,
        verdict=PASSES,
        is_guard=gate.is_guard,
    )
    if not products and named:
        # Of products that are there, nobody may know the label.
        return replace(line, verdict=TOO_FEW if chosen.any() else VANISHED), None
    figure = view.figure(measure, view.judged.candidate, counted)
    line = replace(line, figure=None if math.isnan(figure) else figure)
    last = view.last_for(measure)
    if kind == "at_most_worse" and last is None:
        return replace(line, verdict=NOT_COMPARED), None
    uncertain = Uncertain(view, measure, counted, gate.confidence)
    if kind == "at_most_worse":
        before = view.figure(measure, last, counted)
        line = replace(line, last=None if math.isnan(before) else before)
        value, limit, worse = figure - before, -bound, -1
        if measure.lower_is_better:
            limit, worse = bound, 1
        interval, p_of = uncertain.difference(last)
    else:
        value, limit = figure, bound
        worse = -1 if kind == "at_least" else 1
        interval, p_of = uncertain.figure(figure)
    line = replace(line, interval=interval)
    if products < gate.min_products and named:
        return replace(line, verdict=TOO_FEW), None
    if math.isnan(value):
        return replace(line, verdict=BLOCKS), None
    beyond = (value - limit) * worse > _ROUNDING
    if gate.blocks == "by_figure":
        return replace(line, verdict=BLOCKS if beyond else PASSES), None
    sides: tuple[intervals.Side, intervals.Side] = ("below", "above")
    side, other = sides if worse < 0 else sides[::-1]
    if gate.blocks == "unless_surely_within":
        sure = p_of(limit, other) <= (1 - gate.confidence) / 2
        needed = None if sure else _needed(products, value, limit, interval)
        return replace(line, verdict=PASSES if sure else BLOCKS, settled_by=needed), None
    return replace(
        line, settled_by=_needed(products, value, limit, interval) if beyond else None
    ), p_of(limit, side)


def _needed(
    products: int, value: float, limit: float, interval: tuple[float, float] | None
) -> int | None:
    if interval is None or math.isnan(interval[0]):
        return None
    half = value - interval[0] if limit < value else interval[1] - value
    needed = intervals.products_to_settle(products, value - limit, half)
    return needed if needed is not None and needed > products else None


def _bound(gate: Gate) -> tuple[str, float]:
    given = {
        name: value
        for name in ("at_least", "at_most", "at_most_worse")
        if (value := getattr(gate, name)) is not None
    }
    if len(given) != 1:
        raise ValueError(f"a gate has one bound, found {given}")
    [(kind, bound)] = given.items()
    return kind, bound
