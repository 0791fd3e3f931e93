"""What the page tells of the search by pictures: plain data in, what the template needs out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from components.evaluation.results import number
from components.report import charts
from components.report.contents import Contents
from components.similarity_index import quality
from components.similarity_index.quality import Figure, Quality

_FIRST = quality.FIRST
_HITS, _NDCG = f"precision_at_{_FIRST}", f"ndcg_at_{_FIRST}"
_ALL_ALIKE = quality.ALL_ALIKE + _HITS
_MEAN_PRECISION = "mean_average_precision"

TITLES = {
    _HITS: f"Hits in the first {_FIRST}",
    _ALL_ALIKE: "All labels alike",
    _NDCG: f"nDCG of the first {_FIRST}",
    _MEAN_PRECISION: "Mean average precision",
    "recall_at_1": "Recall at 1",
    "recall_at_10": "Recall at 10",
}
"""The figures that are told, and what they are called."""

_BY_BLOCK = (_HITS, _ALL_ALIKE, _NDCG, _MEAN_PRECISION)
_BY_SLICE = (_HITS, _ALL_ALIKE, _NDCG)


def section(contents: Contents) -> dict[str, Any]:
    """How good the search is; empty where the catalog is not searched.

    Returns:
        `products`, how many are searched; `queries`, how many were asked for, and `lone`, how many
        of these nothing is alike to; `alike`, the columns; `threshold`; `approximation`; and, where
        anything was asked, `figures` and `blocks`, rows of a table with a chart of each, `unused`,
        the blocks that count for nothing, and `slices`, a table for the page's script.
    """
    told = contents.search
    if not told:
        return {}
    found = {name: Quality.from_json(of) for name, of in told["quality"].items()}
    section: dict[str, Any] = {
        "products": told["products"],
        "alike": told["alike"],
        "threshold": told["threshold"],
        "approximation": told["approximation"],
        "first": _FIRST,
        "map": bool(contents.search_map.get("ids")),
        "queries": 0,
    }
    if not found:
        return section
    of_all, *_ = found.values()
    names = [name for name in TITLES if name in of_all.micro]
    weights = told["weights"]
    return section | {
        "queries": of_all.queries,
        "lone": of_all.micro[_HITS].lone,
        "figures": [
            {
                "title": TITLES[name],
                "means": _meaning(name, told["alike"]),
                "micro": _cell(of_all.micro[name]),
                "macro": _cell(of_all.macro[name]),
                "chance": of_all.micro[name].chance,
                "best": of_all.micro[name].best,
            }
            for name in names
        ],
        "chart": charts.search_figures(
            "search",
            "Figures of the search",
            {TITLES[name]: of_all.micro[name] for name in names},
        ),
        "heads": [TITLES[name] for name in _BY_BLOCK if name in names],
        "blocks": [
            {
                "title": name,
                "weight": weights.get(name),
                "cells": [_cell(of.micro[figure]) for figure in _BY_BLOCK if figure in names],
            }
            for name, of in found.items()
        ],
        # It alone knows of degrees of being alike.
        "blocks_chart": charts.search_figures(
            "search-blocks",
            f"{TITLES[_NDCG]} by each block alone",
            {name: of.micro[_NDCG] for name, of in found.items()},
        ),
        "unused": [name for name, weight in weights.items() if not weight],
        "slices": _slices(of_all, [name for name in _BY_SLICE if name in names]),
    }


def _meaning(name: str, alike: Sequence[str]) -> str:
    """What a figure says, one plain sentence."""
    first, *rest = alike
    every = ", ".join([first, *rest[:-1]]) + (f" and {rest[-1]}" if rest else "")
    finer = f"what is alike in more of {every} comes first" if rest else "what is alike comes first"
    return {
        _HITS: f"Of the first {_FIRST} products, the share with the same {first}.",
        _ALL_ALIKE: f"Of the first {_FIRST}, the share with the same {every}.",
        _NDCG: f"How near the first {_FIRST} are to the best order, in which {finer}.",
        _MEAN_PRECISION: f"How far what has the same {first} comes before everything else, down to "
        "the catalog's last product.",
        "recall_at_1": f"How often the very first product has the same {first}.",
        "recall_at_10": f"How often any of the first ten has the same {first}.",
    }[name]


def _cell(figure: Figure) -> dict[str, Any] | None:
    """A figure with its interval; None where no query has it."""
    if math.isnan(figure.value):
        return None
    return {"value": figure.value, "interval": (figure.low, figure.high)}


def _slices(of_all: Quality, names: Sequence[str]) -> dict[str, Any]:
    rows = [
        [
            {"text": value, "note": column, "sort": f"{column}: {value}"},
            figures[names[0]].queries,
            *(_drawn_cell(figures[name]) for name in names),
        ]
        for column, values in of_all.slices.items()
        for value, figures in values.items()
    ]
    if not rows:
        return {}
    titles = ("Slice", "Queries", *(TITLES[name] for name in names))
    heads = [{"title": title, "number": place > 0} for place, title in enumerate(titles)]
    caption = "The search by what was asked for"
    return {"caption": caption, "heads": heads, "rows": rows, "few": titles.index("Queries")}


def _drawn_cell(figure: Figure) -> dict[str, Any]:
    if math.isnan(figure.value):
        return {"text": "–", "sort": -9}
    interval = f"{number(figure.low)} to {number(figure.high)}"
    return {"text": number(figure.value), "note": interval, "sort": round(figure.value, 4)}
