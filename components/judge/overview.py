"""All figures of a model with their intervals, and which slices are surely below the whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from components.judge import intervals
from components.judge.certainty import Interval, Uncertain, View, counted_by
from components.judge.gates import main_figure
from components.judge.measures import (
    Answers,
    AttributeAnswers,
    Measure,
    average_precision,
    totals,
)
from schema import features

CONFIDENCE = 0.95
"""Of all intervals here."""


def overview(view: View) -> dict[str, Any]:
    """Every figure of all products, and the main one of each level in each slice, as plain types.

    Args:
        view: Two models' answers.

    Returns:
        `figures`: metric to `value`, `interval` ([low, high] or None), `products`, and, where the
        last blessed model has it, `last`. `slices`: column to value to metric to the same, and
        `low`: whether the slice is surely below all products together, all slices of the column
        taken as one question.
    """
    candidate = view.judged.candidate
    figures = {name: _told(view, measure) for name, measure in view.measures.items()}
    figures |= _average_precisions(candidate, view.judged.last)
    slices: dict[str, Any] = {}
    for column, of_column in view.judged.slices.items():
        slices[column] = {value: {} for value in of_column}
        for level in candidate.levels:
            measure = view.measures[main_figure(level)]
            for value, told in _of_slices(view, measure, of_column).items():
                slices[column][value][measure.name] = told
    return {"figures": figures, "slices": slices}


def _of_slices(
    view: View, measure: Measure, chosen: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """What is told of the slices in which the figure can be computed."""
    whole = _figure(view, measure, view.judged.candidate, None)
    told, p_values = {}, []
    for value, of_slice in chosen.items():
        counted = of_slice & counted_by(
            measure, view.judged.candidate, view.sums(measure, view.judged.candidate)
        )
        found = _told(view, measure, counted)
        if found["value"] is None:
            continue
        _, p_of = Uncertain(view, measure, counted, CONFIDENCE).figure(found["value"])
        told[value] = found
        p_values.append(p_of(whole, "below"))
    adjusted = intervals.holm(np.array(p_values))
    for found, p in zip(told.values(), adjusted, strict=True):
        found["low"] = bool(p <= (1 - CONFIDENCE) / 2)
    return told


def _told(view: View, measure: Measure, chosen: np.ndarray | None = None) -> dict[str, Any]:
    candidate, last = view.judged.candidate, view.judged.last
    counted = counted_by(measure, candidate, view.sums(measure, candidate))
    if chosen is not None:
        counted = counted & chosen
    value = _figure(view, measure, candidate, counted)
    interval: Interval | None = None
    if not math.isnan(value):
        interval, _ = Uncertain(view, measure, counted, CONFIDENCE).figure(value)
    told: dict[str, Any] = {
        "value": _number(value),
        "interval": interval and list(interval),
        "products": int(counted.sum()),
    }
    if last is not None and _levels_of(measure) <= set(last.levels):
        told["last"] = _number(_figure(view, measure, last, counted))
    return told


def _figure(view: View, measure: Measure, answers: Answers, chosen: np.ndarray | None) -> float:
    return float(measure.value(totals(view.sums(measure, answers), chosen)))


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


def _levels_of(measure: Measure) -> set[str]:
    level, _, name = measure.name.partition("/")
    of_pairs = ("pair_accuracy", "wrong_within_category", "wrong_across_categories")
    paired = name in (*of_pairs, "tree_distance", "hierarchical_consistency")
    return {level, features.CATEGORY} if paired else {level}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
