"""The charts as SVG, made from plain data.

Colors are the page's CSS variables (`var(--accent)`), so that every chart follows the reader's
light or dark scheme. Every chart has its numbers, for those who would rather read than look.
"""

from __future__ import annotations

import dataclasses
import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from components.evaluation.results import number
from components.similarity_index.quality import Figure
from schema.features import NOT_IN_TRAIN

WIDTH, HEIGHT = 380, 250
"""Of the plot with its axes; a legend stands below it."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 18, 40

_LINE = 16
"""Pixels between lines of text."""

MOST_CLASSES = 40
"""Classes of a still of a confusion matrix."""

_SERIES = 6
"""Colors for levels that the page has; further levels begin with the first again."""


@dataclasses.dataclass(frozen=True)
class Chart:
    """A chart and its numbers.

    Attributes:
        name: What it is called among the page's charts, and as a file.
        title: What it shows, for those who do not see it.
        svg: The drawing.
        heads: Headings of the table of its numbers.
        rows: The table's rows, in text.
    """

    name: str
    title: str
    svg: Markup
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True)
class Axis:
    """From where to where an axis goes.

    Attributes:
        title: What it measures.
        low: Its least value.
        high: Its largest, above `low`.
        ticks: Values with a number and a line.
    """

    title: str
    low: float
    high: float
    ticks: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: Of the legend; empty leaves it out there.
        points: x and y, by x; None is a gap.
        color: A CSS variable's name.
        dashed: Whether it is drawn dashed.
        dots: Radius of each point's dot; empty for none.
        intervals: Low and high of each point; empty for none.
    """

    name: str
    points: Sequence[tuple[float, float | None]]
    color: str
    dashed: bool = False
    dots: Sequence[float] = ()
    intervals: Sequence[tuple[float, float] | None] = ()


def losses(history: Mapping[str, Any]) -> Chart:
    """The loss of every epoch, on the train part dashed, on the eval part solid."""
    epochs = history["epochs"]
    lines = [
        _of_epochs(epochs, "loss", "train", "--muted", dashed=True),
        _of_epochs(epochs, "val_loss", "eval", "--series-1"),
    ]
    top = max((y for line in lines for _, y in line.points if y is not None), default=1.0)
    y = Axis("", 0, top * 1.05 or 1.0, ticks(0, top or 1.0))
    return _by_epoch("losses", "Loss by epoch, train and eval part", lines, y, history)


def training_metrics(history: Mapping[str, Any], levels: Iterable[str]) -> Chart:
    """Each level's figure of every epoch, on the train part dashed, on the eval part solid."""
    epochs, lines = history["epochs"], []
    for index, level in enumerate(levels):
        color = f"--series-{index % _SERIES + 1}"
        for metric in (f"{level}_accuracy", f"{level}_f1"):
            if metric in epochs[0]:
                name = metric.replace("_", " ").replace("f1", "F1")
                lines += [
                    _of_epochs(epochs, f"val_{metric}", name, color),
                    # The legend would be twice as long and say the same twice.
                    _of_epochs(epochs, metric, "", color, dashed=True),
                ]
    # From the tenth below the lowest figure, so that good ones are not all one line at the top.
    lowest = min((y for line in lines for _, y in line.points if y is not None), default=0)
    bottom = min(math.floor(10 * lowest) / 10, 0.9)
    y = Axis("", bottom, 1, ticks(bottom, 1))
    title = "Figure of each level by epoch, train and eval part"
    return _by_epoch("training-metrics", title, lines, y, history)


def reliability(name: str, title: str, served: np.ndarray, before: np.ndarray | None) -> Chart:
    """How often answers are right against the score that they come with, a point a bin of scores.

    Args:
        name: The chart's.
        title: What it is of.
        served: float64 (bins, 3), rows of answers, sum of their scores, right ones.
        before: The same as it would be without calibration, drawn dashed; None leaves it out.
    """
    lines = [Line("", [(0, 0), (1, 1)], "--rule")]
    rows = []
    told = [("as served", served, "--accent")]
    if before is not None:
        told.insert(0, ("without calibration", before, "--muted"))
    for of, bins, color in told:
        answers, scores, right = bins[bins[:, 0] > 0].T
        points = [*zip((scores / answers).tolist(), (right / answers).tolist(), strict=True)]
        # By area, and never too small to be seen.
        dots = (2.5 + 8 * (answers / answers.sum()) ** 0.5).tolist()
        lines.append(Line(of, points, color, dashed=bins is not served, dots=dots))
        rows += [
            (of, f"{score:.2f}", f"{share:.2f}", f"{int(count):,}")
            for (score, share), count in zip(points, answers, strict=True)
        ]
    whole = (0.0, 0.25, 0.5, 0.75, 1.0)
    svg = draw(title, lines, Axis("score", 0, 1, whole), Axis("right", 0, 1, whole))
    return Chart(name, title, svg, ("Scores", "Mean score", "Right", "Answers"), tuple(rows))


def coverage(curves: Mapping[str, Mapping[str, Any]], wanted: float) -> Chart:
    """How right the surest answers are against how many of all they are, a line a level.

    Args:
        curves: Level's title to `points`, of share and precision in falling order of score, and
            `chosen`, the point of the score that eval chose, or None.
        wanted: The share of right answers that is asked of what nobody looks at.
    """
    lines = [Line(f"wanted: {number(wanted, 2)}", [(0, wanted), (1, wanted)], "--muted", True)]
    rows = []
    for index, (title, of) in enumerate(curves.items()):
        color = f"--series-{index % _SERIES + 1}"
        lines.append(Line(title, of["points"], color))
        if of["chosen"]:
            lines.append(Line("", [of["chosen"]], color, dots=[5]))
        rows += [(title, f"{share:.0%}", number(right)) for share, right in of["points"][9::10]]
    lowest = min((y for line in lines for _, y in line.points if y is not None), default=0)
    bottom = min(math.floor(10 * lowest) / 10, 0.9)
    title = "Share of right answers among the surest, by how many of all they are"
    svg = draw(
        title,
        lines,
        Axis("share of all answers", 0, 1, (0, 0.25, 0.5, 0.75, 1)),
        Axis("right", bottom, 1, ticks(bottom, 1)),
    )
    return Chart("coverage", title, svg, ("Level", "Surest", "Right"), tuple(rows))


def runs(figures: Mapping[str, Sequence[tuple[float, list[float] | None] | None]]) -> Chart:
    """The main figure of each level in every run that left a report, the oldest first.

    Args:
        figures: Level's title to each run's figure and its interval; None where a run had none.
    """
    lines = []
    for index, (title, values) in enumerate(figures.items()):
        points = [
            (float(run), None if of is None else of[0]) for run, of in enumerate(values, start=1)
        ]
        intervals = [None if of is None or of[1] is None else (of[1][0], of[1][1]) for of in values]
        color = f"--series-{index % _SERIES + 1}"
        lines.append(Line(title, points, color, dots=[3] * len(points), intervals=intervals))
    count = max(map(len, figures.values()))
    lowest = min((y for line in lines for _, y in line.points if y is not None), default=0)
    bottom = min(math.floor(10 * lowest) / 10, 0.9)
    whole = tuple(tick for tick in ticks(1, max(count, 2)) if tick == int(tick))
    svg = draw(
        "Main figure of each level, run by run",
        lines,
        Axis("run", 0.5, count + 0.5, whole),
        Axis("", bottom, 1, ticks(bottom, 1)),
    )
    return Chart("runs", "Main figure of each level, run by run", svg, (), ())


def confusion(of: Mapping[str, Any]) -> Chart:
    """Where each true class went, as a still of what the page's script draws.

    Args:
        of: A level as `page.confusions` tells it. Of more than `MOST_CLASSES` labels with
            categories the categories are drawn; of more without, those with the most errors.
    """
    names, pairs = list(of["labels"]), np.array(of["pairs"], np.int64)
    if of["parents"] and len(names) > MOST_CLASSES:
        groups = list(dict.fromkeys(of["parents"]))
        code_of = np.array([groups.index(parent) for parent in of["parents"]] + [NOT_IN_TRAIN])
        names, pairs = groups, np.c_[code_of[pairs[:, :2]], pairs[:, 2]]
    counts = np.zeros((len(names) + 1, len(names)), np.int64)
    np.add.at(counts, (pairs[:, 0], pairs[:, 1]), pairs[:, 2])
    rows, columns = _shown_classes(counts)
    names.append("(not in the train part)")
    side = 26 if len(columns) <= 12 else 14
    font = 11 if side > 20 else 9
    margin = min(max(_width(names[row]) for row in rows) * font / 11, 170) + 12
    parts = []
    for place, row in enumerate(rows):
        y = margin + side * place
        parts.append(_text(margin - 5, y + side / 2 + font / 3, names[row], "end", font))
        for at, column in enumerate(columns):
            if not (count := counts[row, column]):
                continue
            share = count / counts[row].sum()
            right = row == column
            strength = 0.12 + 0.88 * share if right else 0.25 + 0.75 * math.sqrt(share)
            parts.append(
                Markup(
                    f'<rect x="{margin + side * at + 0.5:.1f}" y="{y + 0.5:.1f}" '
                    f'width="{side - 1}" height="{side - 1}" fill-opacity="{strength:.2f}" '
                    f'fill="var({"--accent" if right else "--error"})"/>'
                )
            )
    for at, column in enumerate(columns):
        x, y = margin + side * at + side / 2 + font / 3, margin - 5
        turned = f' transform="rotate(-60 {x:.1f} {y:.1f})"'
        parts.append(_text(x, y, names[column], "start", font, turned))
    width, height = margin * 1.6 + side * len(columns), margin + side * len(rows) + 6
    title = f"Confusion matrix of {of['title']}"
    return Chart(f"confusion-{of['name']}", title, _svg(title, width, height, parts), (), ())


def slice_bars(name: str, title: str, rows: Sequence[tuple[str, list[float | None]]]) -> Chart:
    """A figure of every slice with its interval and the last blessed model's.

    Args:
        name: The chart's.
        title: What the figure is.
        rows: Name of each slice to value, low, high and last, as `explorer.told` has them; the
            first is all products.
    """
    numbers = [of for _, values in rows for of in values[:4] if of is not None]
    low, high = min(numbers), max(numbers)
    margin = min(max(_width(of) for of, _ in rows), 240) + 14

    def at_x(value: float) -> float:
        return margin + (value - low) / ((high - low) or 1) * (WIDTH - 20)

    bottom = 10 + 20 * len(rows)
    parts = [
        _stroke(at_x(rows[0][1][0] or 0), 6, at_x(rows[0][1][0] or 0), bottom, "--muted", "2 2")
    ]
    for place, (words, values) in enumerate(rows):
        value, *rest = values
        from_, to, last = (*rest[:3], None, None, None)[:3]
        y = 20 + 20 * place
        parts.append(_text(margin - 8, y + 4, words, "end"))
        if from_ is not None and to is not None:
            parts.append(_stroke(at_x(from_), y, at_x(to), y, "--accent-soft", width=6))
        if last is not None:
            parts.append(_stroke(at_x(last), y - 5, at_x(last), y + 5, "--error-strong", width=2))
        if value is not None:
            parts.append(
                Markup(f'<circle cx="{at_x(value):.1f}" cy="{y}" r="4" fill="var(--accent)"/>')
            )
            parts.append(_text(margin + WIDTH, y + 4, number(value), "start"))
    parts.append(_text(at_x(low), bottom + 14, number(low), "middle"))
    parts.append(_text(at_x(high), bottom + 14, number(high), "middle"))
    return Chart(name, title, _svg(title, margin + WIDTH + 50, bottom + 22, parts), (), ())


def search_figures(name: str, title: str, figures: Mapping[str, Figure]) -> Chart:
    """What a search finds, between an order at random and the best that there could be.

    Args:
        name: The chart's.
        title: What the figures are of.
        figures: Their names to them; those without a value are left out.
    """
    rows = {name: of for name, of in figures.items() if math.isfinite(of.value)}
    margin = min(max(map(_width, rows), default=0.0), WIDTH / 2) + 14
    right = WIDTH - 40

    def at_x(value: float) -> float:
        return margin + value * (right - margin)

    bottom = 10 + 24 * len(rows)
    parts = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_stroke(at_x(tick), 6, at_x(tick), bottom, "--rule"))
        parts.append(_text(at_x(tick), bottom + _LINE, _tick(tick), "middle"))
    for place, (words, of) in enumerate(rows.items()):
        y = 22 + 24 * place
        parts.append(_text(margin - 8, y + 4, words, "end"))
        parts.append(_stroke(at_x(of.low), y, at_x(of.high), y, "--accent-soft", width=10))
        for value, color, dash in ((of.chance, "--muted", "2 2"), (of.best, "--series-3", "")):
            if math.isfinite(value):
                parts.append(_stroke(at_x(value), y - 8, at_x(value), y + 8, color, dash, 2))
        parts.append(
            Markup(f'<circle cx="{at_x(of.value):.1f}" cy="{y}" r="3" fill="var(--accent)"/>')
        )
        parts.append(_text(right + 10, y + 4, number(of.value), "start"))
    told = [
        Line("this search", [], "--accent"),
        Line("at random", [], "--muted", dashed=True),
        Line("the best there could be", [], "--series-3"),
    ]
    legend, height = _legend(told, bottom + 22)
    return Chart(name, title, _svg(title, WIDTH, height, [*parts, *legend]), (), ())


def search_map(of: Mapping[str, Any]) -> Chart:
    """A still of the map of a search, as the page's script draws it first: by its first field.

    Args:
        of: As `similarity_index.map.embedding_map` tells it.
    """
    name, field = next(iter(of["fields"].items()), ("", {"values": [], "of": []}))
    side, parts = 560, []
    radius = min(max(60 / math.sqrt(len(of["ids"])), 3), 6)
    codes = field["of"] or [-1] * len(of["ids"])
    # What has no mark of its own lies below, as on the page.
    order = sorted(range(len(codes)), key=lambda at: _mark(codes[at]))
    for at in order:
        x, y = (20 + of[axis][at] / of["side"] * (side - 40) for axis in "xy")
        parts.append(_marked(_mark(codes[at]), x, side - y, radius))
    counts = Counter(map(_mark, codes))
    bottom = float(side)
    for mark in [*range(len(_MARKS)), -1]:
        if counts[mark]:
            words = (
                _cut(field["values"][mark], 60) if mark >= 0 else "others" if name else "products"
            )
            parts.append(_marked(mark, 14, bottom - 4, 5))
            parts.append(_text(28, bottom, f"{words} {counts[mark]:,}", "start"))
            bottom += _LINE
    title = "Map of the search" + (f", by {name}" if name else "")
    return Chart("search-map", title, _svg(title, side, bottom, parts), (), ())


def draw(
    title: str,
    lines: Sequence[Line],
    x: Axis,
    y: Axis,
    marks: Mapping[str, float] | None = None,
) -> Markup:
    """Draws lines.

    Args:
        title: What they show, for those who do not see them.
        lines: At least one.
        x: The axis below.
        y: The axis on the left.
        marks: Words to the x at which a dotted upright line carries them.
    """
    left, right, top, bottom = _LEFT, WIDTH - _RIGHT, _TOP, HEIGHT - _BOTTOM

    def at_x(value: float) -> float:
        return left + (value - x.low) / (x.high - x.low) * (right - left)

    def at_y(value: float) -> float:
        return bottom - (value - y.low) / (y.high - y.low) * (bottom - top)

    parts = []
    for tick in y.ticks:
        place = at_y(tick)
        parts.append(_stroke(left, place, right, place, "--rule"))
        parts.append(_text(left - 6, place + 4, _tick(tick), "end"))
    for tick in x.ticks:
        parts.append(_text(at_x(tick), bottom + _LINE, _tick(tick), "middle"))
    if x.title:
        parts.append(_text((left + right) / 2, bottom + 2 * _LINE, x.title, "middle"))
    if y.title:
        parts.append(_text(left - 6, top - 6, y.title, "end"))
    for words, value in (marks or {}).items():
        place = at_x(value)
        parts.append(_stroke(place, top, place, bottom, "--muted", "1 3"))
        parts.append(_text(min(max(place, left + 40), right - 40), top - 6, words, "middle"))
    for line in lines:
        parts += _drawn(line, at_x, at_y)
    legend, height = _legend([line for line in lines if line.name], HEIGHT + 6)
    return _svg(title, WIDTH, height, [*parts, *legend])


def ticks(low: float, high: float, most: int = 6) -> tuple[float, ...]:
    """Round numbers from `low` to `high`, at most about `most`, steps of 1, 2 or 5 times a ten."""
    if not high > low:
        return (low,)
    rough = (high - low) / most
    ten = 10 ** math.floor(math.log10(rough))
    step = next(ten * of for of in (1, 2, 5, 10) if ten * of >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(round(place * step, 10) for place in range(first, last + 1))


def _of_epochs(
    epochs: Sequence[Mapping[str, float]],
    metric: str,
    name: str,
    color: str,
    *,
    dashed: bool = False,
) -> Line:
    points = [(epoch["epoch"], _finite(epoch.get(metric))) for epoch in epochs]
    # A single epoch has no line to be seen.
    return Line(name, points, color, dashed, dots=[3] * len(points) if len(points) < 3 else ())


def _by_epoch(
    name: str, title: str, lines: Sequence[Line], y: Axis, history: Mapping[str, Any]
) -> Chart:
    epochs = [epoch["epoch"] for epoch in history["epochs"]]
    first, last = min(epochs), max(epochs)
    # There is no epoch 1.5.
    whole = tuple(tick for tick in ticks(first, last, 8) if tick == int(tick)) or (first,)
    x = Axis("epoch", first - 0.5 * (first == last), last + 0.5 * (first == last), whole)
    best = history.get("best_epoch")
    marks = {f"best: epoch {best}": best} if best and first <= best <= last else {}
    named = [(line.name or f"{lines[at - 1].name}, train", line) for at, line in enumerate(lines)]
    rows = tuple(
        (str(epoch), *(_cell(line.points[place][1]) for _, line in named))
        for place, epoch in enumerate(epochs)
    )
    heads = ("Epoch", *(of for of, _ in named))
    return Chart(name, title, draw(title, lines, x, y, marks), heads, rows)


def _drawn(line: Line, at_x: Any, at_y: Any) -> list[Markup]:
    """A line's strokes, one for each stretch without a gap, its intervals and its dots."""
    color, parts = f"var({line.color})", []
    for (x, _), interval in zip(line.points, line.intervals, strict=False):
        if interval:
            low, high = map(at_y, interval)
            parts.append(_stroke(at_x(x), low, at_x(x), high, line.color))
    stretch: list[str] = []
    for x, y in [*line.points, (0.0, None)]:
        if y is not None:
            stretch.append(f"{at_x(x):.1f},{at_y(y):.1f}")
            continue
        if len(stretch) > 1:
            dash = ' stroke-dasharray="5 4"' if line.dashed else ""
            parts.append(
                Markup(
                    f'<polyline points="{" ".join(stretch)}" fill="none" stroke="{color}" '
                    f'stroke-width="2"{dash}/>'
                )
            )
        stretch = []
    for (x, y), radius in zip(line.points, line.dots, strict=False):
        if y is not None:
            parts.append(
                Markup(
                    f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="{radius:.1f}" '
                    f'fill="{color}"/>'
                )
            )
    return parts


def _legend(lines: Sequence[Line], top: float) -> tuple[list[Markup], int]:
    """The lines' names, as many beside each other as fit; and how high it all is."""
    parts, x, y = [], 8.0, top + 8
    for line in lines:
        width = 34 + _width(line.name)
        if x > 8 and x + width > WIDTH:
            x, y = 8.0, y + _LINE
        dash = "5 4" if line.dashed else ""
        parts.append(_stroke(x, y - 4, x + 20, y - 4, line.color, dash, 2))
        parts.append(_text(x + 25, y, line.name, "start"))
        x += width
    return parts, round(y + 8) if lines else HEIGHT


def _stroke(
    x1: float, y1: float, x2: float, y2: float, color: str, dash: str = "", width: int = 1
) -> Markup:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return Markup(
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="var({color})" '
        f'stroke-width="{width}"{dashes}/>'
    )


def _text(x: float, y: float, words: str, anchor: str, size: int = 11, more: str = "") -> Markup:
    return Markup(
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="var(--muted)" '
        f'font-size="{size}"{more}>{escape(words)}</text>'
    )


def _svg(title: str, width: float, height: float, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg class="chart" viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">{}</svg>'
    ).format(width, height, title, Markup("").join(parts))


def _shown_classes(counts: np.ndarray) -> tuple[list[int], list[int]]:
    """Rows and columns of a matrix, by support: all that occur, or those with the most errors.

    Args:
        counts: int64 (C + 1, C), true classes by answers; the last row is of unknown ones.
    """
    known = counts[:-1]
    errors = known.sum(1) + known.sum(0) - 2 * np.diag(known)
    seen = np.flatnonzero(known.sum(1) + known.sum(0))
    chosen = seen[np.argsort(-errors[seen], kind="stable")][:MOST_CLASSES]
    columns = chosen[np.argsort(-known.sum(1)[chosen], kind="stable")].tolist()
    rows = [row for row in columns if known[row].any()]
    return rows + [len(known)] * bool(counts[-1].any()), columns


def _mark(code: int) -> int:
    """The mark of a value of a field; -1 for those that share one."""
    return code if 0 <= code < len(_MARKS) else -1


def _marked(mark: int, x: float, y: float, radius: float) -> Markup:
    color = f"--map-{mark + 1}" if mark >= 0 else "--map-rest"
    shape = _MARKS[mark] if mark >= 0 else _REST
    points = " ".join(f"{x + radius * right:.1f},{y + radius * down:.1f}" for right, down in shape)
    return Markup(f'<polygon points="{points}" fill="var({color})"/>')


def _polygon(corners: int, size: float, turned: float = 0) -> tuple[tuple[float, float], ...]:
    """Its corners around the middle; the first one above it, unless it is turned, in turns."""
    angles = [math.tau * (corner / corners + turned) for corner in range(corners)]
    return tuple((size * math.sin(angle), -size * math.cos(angle)) for angle in angles)


_CROSS = (
    *((-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4)),
    *((0.4, 1.2), (-0.4, 1.2), (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4)),
)
_MARKS = (
    _polygon(16, 1),
    _polygon(4, 1.25, 1 / 8),
    _polygon(3, 1.35),
    _polygon(4, 1.3),
    _polygon(3, 1.35, 1 / 2),
    _CROSS,
    _polygon(6, 1.15),
)
"""A shape for each color of the map, for those who do not tell the colors apart: its corners, at a
radius of about 1. The page's script draws the same."""
_REST = _polygon(16, 0.7)


def _cut(words: str, most: int) -> str:
    return words if len(words) <= most else f"{words[: most - 1]}…"


def _width(words: str) -> float:
    """About how many pixels the words take; letters of East Asian scripts are twice as wide."""
    return sum(11 if unicodedata.east_asian_width(of) in "WF" else 6.2 for of in words)


def _tick(value: float) -> str:
    return number(value, 6).rstrip("0").rstrip(".") or "0"


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
