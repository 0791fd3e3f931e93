"""All figures of a model with their intervals, and which slices are surely below the whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from components.judge import intervals
from components.judge.answers import Judged
from components.judge.certainty import CONFIDENCE, Interval, PValue, Uncertain, View
from components.judge.gates import main_figure
from components.judge.judgement import Judgement
from components.judge.measures import (
    CONSISTENCY,
    Answers,
    AttributeAnswers,
    Measure,
    average_precision,
)
from schema import features


def overview(view: View) -> dict[str, Any]:
    """Every figure of all products, and the telling ones in each slice, as plain types.

    Args:
        view: Two models' answers.

    Returns:
        `figures`: metric to `value`, `interval` ([low, high] or None), `products`, and, where the
        last blessed model has it, `last`. `slices`: column to value to metric to the same, of each
        level's main figure and of the hierarchy's consistency where it is known, and `low`: whether
        the slice is surely below all products together, all slices of the column taken as one
        question.
    """
    candidate = view.judged.candidate
    figures = {name: _uncertain(view, measure)[0] for name, measure in view.measures.items()}
    figures |= _average_precisions(candidate, view.judged.last)
    slices: dict[str, Any] = {}
    names = [*map(main_figure, candidate.levels), CONSISTENCY]
    telling = [view.measures[name] for name in names if name in view.measures]
    for column, of_column in view.judged.slices.items():
        slices[column] = {value: {} for value in of_column}
        for measure in telling:
            for value, told in _of_slices(view, measure, of_column).items():
                slices[column][value][measure.name] = told
    return {"figures": figures, "slices": slices}


def gone(before: Judgement, judged: Judged) -> dict[str, dict[str, int]]:
    """Slices of an earlier judgement that no product is of any more.

    Args:
        before: What was said of an earlier model on the products of its own run.
        judged: Answers about today's.

    Returns:
        Column to value to the number of products that it had, of the slice columns that both have.
    """
    found = {}
    for column in judged.columns:
        values = {
            value: products
            for value, metrics in before.slices.get(column, {}).items()
            if value not in judged.slices[column]
            and (products := max((of["products"] for of in metrics.values()), default=0))
        }
        if values:
            found[column] = values
    return found


def _of_slices(
    view: View, measure: Measure, chosen: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """What is told of the slices in which the figure can be computed."""
    whole = view.figure(measure, view.judged.candidate)
    told, p_values = {}, []
    for value, of_slice in chosen.items():
        found, p_of = _uncertain(view, measure, of_slice)
        if p_of is not None:
            told[value] = found
            p_values.append(p_of(whole, "below"))
    adjusted = intervals.holm(np.array(p_values))
    for found, p in zip(told.values(), adjusted, strict=True):
        found["low"] = bool(p <= (1 - CONFIDENCE) / 2)
    return told


def _uncertain(
    view: View, measure: Measure, chosen: np.ndarray | None = None
) -> tuple[dict[str, Any], PValue | None]:
    """What is told of a figure, and what gives its p-values; None where it cannot be computed."""
    counted = view.counted(measure)
    if chosen is not None:
        counted = counted & chosen
    value = view.figure(measure, view.judged.candidate, counted)
    interval: Interval | None = None
    p_of: PValue | None = None
    if not math.isnan(value):
        interval, p_of = Uncertain(view, measure, counted, CONFIDENCE).figure(value)
    told: dict[str, Any] = {
        "value": _number(value),
        "interval": interval and list(interval),
        "products": int(counted.sum()),
    }
    if (last := view.last_for(measure)) is not None:
        told["last"] = _number(view.figure(measure, last, counted))
    return told, p_of


def _average_precisions(candidate: Answers, last: Answers | None) -> dict[str, dict[str, Any]]:
    """Figures that are no sums over products, and so have no interval."""
    attributes = candidate.levels.get(features.ATTRIBUTES)
    if not isinstance(attributes, AttributeAnswers) or not len(attributes.labels):
        return {}
    found = {}
    averages: Sequence[Any] = ("macro", "micro", "samples")
    for average in averages:
        value = average_precision(attributes.scores, attributes.truth, average)
        told: dict[str, Any] = {"value": _number(value), "interval": None}
        told["products"] = len(attributes)
        before = last.levels.get(features.ATTRIBUTES) if last else None
        if isinstance(before, AttributeAnswers):
            told["last"] = _number(average_precision(before.scores, before.truth, average))
        found[f"{features.ATTRIBUTES}/{average}_average_precision"] = told
    return found


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
