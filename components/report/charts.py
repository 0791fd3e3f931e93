"""The charts as Plotly figures: plain dicts with `data` and `layout`, made from plain data.

Colors are written as the names of the page's CSS variables (`--accent`). The page puts the values
in when it draws, so that every chart follows the reader's light or dark scheme.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from components.evaluation.results import class_name, number
from schema import features

Figure = dict[str, Any]

MOST_BARS = 30
"""Classes of a distribution that get a bar; the remaining ones are summed up in words."""

MOST_CLASSES = 30
"""Classes of a confusion matrix; of more, those with the most errors are shown."""

_MOST_WRITTEN = 12
"""Classes up to which a confusion matrix has its shares written into the cells."""

_AXIS_SIDE = 150
"""Pixels that the labels and the title take beside and below a confusion matrix."""

_SERIES = 6
"""Colors for levels that the page has; further levels begin with the first again."""


def distribution(counts: Mapping[str, int]) -> Figure:
    """Bars of how many products each label has, the most frequent on top, at most `MOST_BARS`."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_BARS]
    labels, values = zip(*ranked, strict=True)
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "x": values,
                # Positions, because two labels may look the same once they are shortened.
                "y": list(range(len(labels))),
                "text": [f"{value:,}" for value in values],
                "textposition": "outside",
                "cliponaxis": False,
                "customdata": labels,
                "hovertemplate": "%{customdata}: %{x:,} products<extra></extra>",
                "marker": {"color": "--accent"},
            }
        ],
        "layout": {
            "height": 16 + 22 * len(labels),
            "margin": {"t": 8, "r": 56, "b": 8, "l": 8},
            "bargap": 0.3,
            # The bars carry their numbers.
            "xaxis": {"visible": False, "range": [0, max(values)]},
            "yaxis": {
                "tickvals": list(range(len(labels))),
                "ticktext": [_short(label) for label in labels],
                "autorange": "reversed",
                "showgrid": False,
                "zeroline": False,
                "automargin": True,
            },
        },
    }


def losses(history: Mapping[str, Any]) -> Figure:
    """The loss of every epoch, on the train part dashed, on the eval part solid."""
    lines = [
        _line(history["epochs"], "loss", "train", "--muted", "dash"),
        _line(history["epochs"], "val_loss", "eval", "--series-1", "solid"),
    ]
    return _curves(lines, history)


def training_metrics(history: Mapping[str, Any], levels: Iterable[str]) -> Figure:
    """Each level's figure of every epoch, on the train part dashed, on the eval part solid."""
    lines = []
    for index, level in enumerate(levels):
        color = f"--series-{index % _SERIES + 1}"
        for metric in (f"{level}_accuracy", f"{level}_f1"):
            if metric in history["epochs"][0]:
                name = metric.replace("_", " ")
                lines += [
                    _line(history["epochs"], f"val_{metric}", name, color, "solid"),
                    _line(history["epochs"], metric, f"{name}, train", color, "dash")
                    # The legend would be twice as long and say the same twice.
                    | {"showlegend": False},
                ]
    # From the tenth below the lowest figure, so that good ones are not all one line at the top.
    lowest = min((value for line in lines for value in line["y"] if value is not None), default=0)
    bottom = min(math.floor(10 * lowest) / 10, 0.9)
    return _curves(lines, history, range_=[bottom, 1 + 0.02 * (1 - bottom)])


def reliability(served: np.ndarray, uncalibrated: np.ndarray | None) -> Figure:
    """How often answers are right against the score that they come with, a point a bin of scores.

    Args:
        served: float64 (bins, 3), rows of answers, sum of their scores, right ones.
        uncalibrated: The same as it would be without calibration, drawn dashed; None leaves it out.
    """
    lines = [] if uncalibrated is None else [("without calibration", uncalibrated, "--muted")]
    lines.append(("as served", served, "--accent"))
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [0, 1],
            "y": [0, 1],
            "line": {"color": "--rule", "width": 2},
            "hoverinfo": "skip",
            "showlegend": False,
        }
    ]
    for name, bins, color in lines:
        answers, scores, right = bins[bins[:, 0] > 0].T
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "cliponaxis": False,
                "x": (scores / answers).tolist(),
                "y": (right / answers).tolist(),
                "customdata": answers.tolist(),
                "line": {"color": color, "dash": "solid" if bins is served else "dot", "width": 2},
                # By area, and never too small to be seen.
                "marker": {
                    "color": color,
                    "size": (6 + 18 * (answers / answers.sum()) ** 0.5).tolist(),
                },
                "hovertemplate": f"{name}: %{{customdata:,}} answers with a score of %{{x:.2f}}, "
                "%{y:.2f} of them right<extra></extra>",
            }
        )
    return {
        "data": data,
        "layout": {
            "height": 340,
            "margin": {"t": 8, "r": 8, "b": 80, "l": 48},
            "xaxis": {"title": {"text": "score", "standoff": 8}, "range": [0, 1.02]},
            "yaxis": {"title": {"text": "right", "standoff": 8}, "range": [0, 1.02]},
            "legend": {"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"},
        },
    }


def confusion(pairs: np.ndarray, vocabulary: Sequence[str]) -> Figure:
    """A heat map of where each true class went, in shares of its products.

    Args:
        pairs: int64 (K, 3), rows [truth, prediction, count].
        vocabulary: The labels by index.
    """
    rows, columns = confusion_classes(pairs)
    support: dict[int, int] = {}
    cells: dict[tuple[int, int], int] = {}
    for truth, prediction, count in pairs.tolist():
        support[truth] = support.get(truth, 0) + count
        cells[truth, prediction] = count
    shares: list[list[float | None]] = []
    hovers: list[list[str]] = []
    for truth in rows:
        shares.append([])
        hovers.append([])
        for prediction in columns:
            count = cells.get((truth, prediction), 0)
            share = count / support[truth]
            # Errors go below zero: the color scale has another color there.
            shares[-1].append(share if truth == prediction else -share)
            hovers[-1].append(
                f"{class_name(vocabulary, truth)}<br>taken for "
                f"{class_name(vocabulary, prediction)}<br>{count:,} of {support[truth]:,}"
                if truth != prediction
                else f"{class_name(vocabulary, truth)}<br>recognized"
                f"<br>{count:,} of {support[truth]:,}"
            )
    written = max(len(rows), len(columns)) <= _MOST_WRITTEN
    cell_width, cell_height = (64, 36) if written else (24, 22)
    names = [[_short(class_name(vocabulary, index)) for index in axis] for axis in (columns, rows)]
    axes = [
        {
            "tickvals": list(range(len(axis))),
            "ticktext": axis,
            "showgrid": False,
            "zeroline": False,
            "automargin": True,
            "ticks": "",
            "tickfont": {"size": 12 if written else 11},
        }
        for axis in names
    ]
    return {
        "data": [
            {
                "type": "heatmap",
                "z": shares,
                "x": list(range(len(columns))),
                "y": list(range(len(rows))),
                "hovertext": hovers,
                "hovertemplate": "%{hovertext}<extra></extra>",
                **(
                    {
                        "text": [
                            [number(abs(share), 2) if share else "" for share in row]
                            for row in shares
                        ],
                        "texttemplate": "%{text}",
                    }
                    if written
                    else {}
                ),
                "zmin": -1,
                "zmax": 1,
                # Steep below zero, so that an error of a few percent is seen.
                "colorscale": [
                    [0, "--error-strong"],
                    [0.4, "--error"],
                    [0.49, "--error-soft"],
                    [0.5, "--surface"],
                    [0.55, "--accent-soft"],
                    [1, "--accent"],
                ],
                "showscale": False,
                "xgap": 1,
                "ygap": 1,
            }
        ],
        "layout": {
            # A fixed width, which a narrow window scrolls: cells of five pixels say nothing.
            "width": _AXIS_SIDE + 40 + cell_width * len(columns),
            "height": _AXIS_SIDE + cell_height * len(rows),
            "margin": {"t": 8, "r": 8, "b": 8, "l": 8},
            "xaxis": {
                **axes[0],
                "title": {"text": "predicted", "standoff": 12},
                "tickangle": -45,
            },
            "yaxis": {
                **axes[1],
                "title": {"text": "true", "standoff": 12},
                "autorange": "reversed",
            },
        },
    }


def confusion_classes(pairs: np.ndarray) -> tuple[list[int], list[int]]:
    """Chooses the true (rows) and predicted (columns) classes of a confusion matrix.

    All that occur, by support, if there are at most `MOST_CLASSES`; otherwise those that have the
    most errors, as truth or as prediction. Truths unknown to the vocabulary are the last row.

    Args:
        pairs: int64 (K, 3), rows [truth, prediction, count].
    """
    support: dict[int, int] = {}
    errors: dict[int, int] = {}
    for truth, prediction, count in pairs.tolist():
        for index in (truth, prediction):
            support.setdefault(index, 0)
            errors[index] = errors.get(index, 0) + count * (truth != prediction)
        support[truth] += count
    known = [index for index in support if index != features.NOT_IN_TRAIN]
    chosen = sorted(known, key=lambda index: (-errors[index], index))[:MOST_CLASSES]
    chosen.sort(key=lambda index: (-support[index], index))
    rows = [index for index in chosen if support[index]]
    return rows + [features.NOT_IN_TRAIN] * (features.NOT_IN_TRAIN in support), chosen


def _line(
    epochs: Sequence[Mapping[str, float]], metric: str, name: str, color: str, dash: str
) -> Figure:
    return {
        "type": "scatter",
        # A single epoch has no line to be seen.
        "mode": "lines+markers" if len(epochs) < 3 else "lines",
        "name": name,
        "x": [epoch["epoch"] for epoch in epochs],
        "y": [_finite(epoch.get(metric)) for epoch in epochs],
        "line": {"color": color, "dash": dash, "width": 2},
        "hovertemplate": f"{name}, epoch %{{x}}: %{{y:.4f}}<extra></extra>",
    }


def _curves(
    lines: list[Figure], history: Mapping[str, Any], range_: list[float] | None = None
) -> Figure:
    best = history.get("best_epoch")
    shapes, annotations = [], []
    if best:
        line = {"color": "--muted", "width": 1, "dash": "dot"}
        span = {"x0": best, "x1": best, "y0": 0, "y1": 1}
        shapes = [{"type": "line", "yref": "paper", "line": line, **span}]
        annotations = [
            {
                "text": f"best: epoch {best}",
                "x": best,
                "y": 1,
                "yref": "paper",
                "yanchor": "bottom",
                "showarrow": False,
                "font": {"size": 11, "color": "--muted"},
            }
        ]
    return {
        "data": lines,
        "layout": {
            "height": 340,
            "margin": {"t": 24, "r": 8, "b": 80, "l": 40},
            "xaxis": {
                "title": {"text": "epoch", "standoff": 8},
                # There is no epoch 1.5.
                "dtick": math.ceil(len(history["epochs"]) / 10),
                "tick0": 0,
            },
            "yaxis": {"range": range_} if range_ else {"rangemode": "tozero"},
            "legend": {"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"},
            "shapes": shapes,
            "annotations": annotations,
        },
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _short(label: str, most: int = 24) -> str:
    return label if len(label) <= most else f"{label[: most - 1]}…"
