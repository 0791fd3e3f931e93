"""The figures of every slice as the page's explorer reads them, of ours and of any TFMA result."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from components.evaluation import figures
from components.evaluation.results import CROSSED, EXAMPLE_COUNT, Evaluation
from components.judge import gates
from components.judge.answers import PICTURES
from components.judge.judgement import Judgement
from components.report import words
from schema import features

_DIGITS = 5

_MADE_COLUMNS = {
    features.ATTRIBUTES: "attribute",
    features.IMAGE_BRIGHTNESS: "brightness of the picture",
    features.IMAGE_SHARPNESS: "sharpness of the picture",
    "image_size": "size of the picture",
}


@dataclass(frozen=True)
class Figure:
    """A figure of a slice.

    Attributes:
        value: The figure.
        interval: From where to where it may lie; None where nobody computed it.
        last: The last blessed model's; None without one.
        low: Whether the slice is surely below all products together.
    """

    value: float
    interval: tuple[float, float] | None = None
    last: float | None = None
    low: bool = False


@dataclass(frozen=True)
class Slice:
    """A slice's figures.

    Attributes:
        column: What it is a slice by; empty for all products together.
        value: Which slice it is.
        products: How many it has; None where nobody says.
        figures: `level/figure` to its figure.
        keys: Column and value of each column that is crossed here, by which its products are
            found; empty where nobody can find them.
    """

    column: str
    value: str
    products: int | None
    figures: Mapping[str, Figure] = field(default_factory=dict)
    keys: tuple[tuple[str, str], ...] = ()


def of_run(evaluation: Evaluation, judgement: Judgement) -> list[Slice]:
    """The slices of a run, all products together first; intervals where the Judge has them."""
    judged_figures = judgement.figures
    overall = {
        name: _figure(value, judged_figures.get(name), evaluation.baseline.get(name))
        for name, value in evaluation.metrics.items()
    }
    for name, of in judged_figures.items():
        if name not in overall and of["value"] is not None:
            overall[name] = _figure(of["value"], of, None)
    found = [Slice("", "all", evaluation.example_count, overall)]
    for column, values in evaluation.slices.items():
        before = evaluation.baseline_slices.get(column, {})
        for value, of_slice in values.items():
            judged = judgement.slices.get(column, {}).get(value, {})
            found.append(
                Slice(
                    _MADE_COLUMNS.get(column, column),
                    value,
                    int(of_slice[EXAMPLE_COUNT]),
                    {
                        name: _figure(number, judged.get(name), before.get(value, {}).get(name))
                        for name, number in of_slice.items()
                        if name != EXAMPLE_COUNT
                    },
                    tuple(zip(column.split(CROSSED), value.split(CROSSED), strict=True)),
                )
            )
    for column in (*PICTURES, features.ATTRIBUTES):
        if column in evaluation.slices:
            continue
        for value, of in judgement.slices.get(column, {}).items():
            if of:
                found.append(_judged_slice(column, value, of))
    return found


def told(slices: Sequence[Slice]) -> dict[str, Any]:
    """What the page's script reads, as plain types.

    Returns:
        `levels`: `name`, `title` and `metrics` (`name`, `title`, `less` where less is better,
        `main` for the one to begin with); `names`, of all figures; `rows`: `column`, `value`,
        `products`, `keys`, and `figures`: in the order of `names` 0 or a list of value, low, high,
        last and 1 where it is surely low, without what is missing at its end. The first row is all
        products together.
    """
    names = list(dict.fromkeys(name for of in slices for name in of.figures))
    levels: dict[str, list[str]] = {}
    for name in names:
        level, _, metric = name.rpartition("/")
        levels.setdefault(level, []).append(metric)
    return {
        "levels": [_level(level, metrics) for level, metrics in levels.items()],
        "names": names,
        "rows": [
            {
                "column": of.column,
                "value": of.value,
                "products": of.products,
                "keys": of.keys,
                "figures": [_plain(of.figures.get(name)) for name in names],
            }
            for of in slices
        ],
    }


def _level(level: str, metrics: Iterable[str]) -> dict[str, Any]:
    main = gates.main_figure(level).rpartition("/")[2]
    return {
        "name": level,
        "title": words.level_title(level) or "All",
        "metrics": [
            {
                "name": metric,
                "title": words.figure_title(metric),
                "less": metric in figures.LESS_IS_BETTER,
                "main": metric == main,
            }
            for metric in metrics
        ],
    }


def _judged_slice(column: str, value: str, of: Mapping[str, Any]) -> Slice:
    return Slice(
        _MADE_COLUMNS.get(column, column),
        value,
        max(one["products"] for one in of.values()),
        {name: _figure(one["value"], one, None) for name, one in of.items()},
        ((column, value),),
    )


def _figure(value: float, judged: Mapping[str, Any] | None, last: float | None) -> Figure:
    judged = judged or {}
    interval = judged.get("interval")
    before = judged.get("last")
    return Figure(
        value,
        None if interval is None else (interval[0], interval[1]),
        last if before is None else before,
        bool(judged.get("low")),
    )


def _plain(of: Figure | None) -> list[float | None] | int:
    if of is None or not math.isfinite(of.value):
        return 0
    low, high = of.interval or (None, None)
    found = [of.value, low, high, of.last, 1 if of.low else None]
    while found and found[-1] is None:
        found.pop()
    return [None if one is None else round(one, _DIGITS) for one in found]
