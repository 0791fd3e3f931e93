"""The page's charts as PNG files, for documents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import resvg_py

from components.report import charts
from components.report.page import BROWSER, PAGE_FILE
from components.report.single_file import delivered, page_data
from schema.errors import UserError

_ZOOM = 2
_CHART = re.compile(r'<svg class="chart".*?aria-label="(?P<title>[^"]*)".*?</svg>', re.DOTALL)
_MOST_SLICES = 60
_FONTS = "Helvetica, Arial, Liberation Sans, DejaVu Sans, Noto Sans, sans-serif"


def write_pictures(report: Path, folder: Path) -> list[Path]:
    """Writes every chart: training, runs, coverage, calibration, confusions, slices, search.

    Args:
        report: The folder of a report.
        folder: Where the pictures go; it is made.

    Returns:
        The files.

    Raises:
        UserError: the report is damaged or of another version, or the machine has no font.
    """
    colors = _colors()
    _check_fonts()
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for name, svg in _drawings(report):
        file = folder / f"{name}.png"
        file.write_bytes(_png(re.sub(r"var\((--[\w-]+)\)", lambda of: colors[of[1]], svg)))
        written.append(file)
    return written


def _drawings(report: Path) -> Iterator[tuple[str, str]]:
    html = (report / PAGE_FILE).read_text(encoding="utf-8")
    data = page_data(report, html)
    for drawn in _CHART.finditer(html):
        title = drawn["title"].lower().partition(",")[0]
        yield re.sub(r"\W+", "-", title).strip("-"), drawn[0]
    for of in data["confusions"]:
        chart = charts.confusion(of)
        yield chart.name, str(chart.svg)
    beside = report / data["files"]
    yield from _slices(delivered(beside / "slices.js"))
    if (drawn_map := beside / "map.js").exists():
        chart = charts.search_map(delivered(drawn_map))
        yield chart.name, str(chart.svg)


def _slices(data: Any) -> Iterator[tuple[str, str]]:
    """The main figure of each level in every slice."""
    for level in data["levels"]:
        for metric in level["metrics"]:
            if not metric["main"]:
                continue
            at = data["names"].index(f"{level['name']}/{metric['name']}")
            rows = [
                (f"{row['column']}: {row['value']}" if row["column"] else "all", row["figures"][at])
                for row in data["rows"]
                if row["figures"][at]
            ][: _MOST_SLICES + 1]
            title = f"{level['title']} {metric['title']} by slice"
            chart = charts.slice_bars(f"slices-{level['name']}", title, rows)
            yield re.sub(r"\W+", "-", chart.name), str(chart.svg)


def _colors() -> dict[str, str]:
    """The colors of light pages."""
    style = (BROWSER / "page.css").read_text(encoding="utf-8")
    return dict(re.findall(r"(--[\w-]+): (#\w+);", style[: style.index("@media")]))


def _check_fonts() -> None:
    blank = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20">{}</svg>'
    letter = '<text x="2" y="16" font-size="16">A</text>'
    if _png(blank.format(letter)) == _png(blank.format("")):
        raise UserError(
            "This machine has no font to write with, so that the charts would have no words. "
            "Install one, for example Debian's package fonts-dejavu-core."
        )


def _png(svg: str) -> bytes:
    start = f'<svg xmlns="http://www.w3.org/2000/svg" font-family="{_FONTS}"'
    return bytes(
        resvg_py.svg_to_bytes(
            svg_string=svg.replace('<svg class="chart"', start), background="#ffffff", zoom=_ZOOM
        )
    )
