"""Metrics and predictions as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from serving.client import Prediction

_TITLES = {"subcategory": "sub-category"}
_FIGURES = {
    "accuracy": "accuracy",
    "overall_precision": "OP",
    "overall_recall": "OR",
    "overall_f1": "OF1",
    "macro_precision": "macro P",
    "macro_recall": "macro R",
    "macro_f1": "macro F1",
}


def metrics_tables(evaluation: Mapping[str, Any]) -> Group:
    """The metrics of `metrics.json`: a row a level, then a row a slice; no empty columns.

    After the levels come, where they were measured, calibration (expected calibration error) and
    joint decoding, each with what would be without it.
    """
    overall = evaluation["metrics"]
    levels = list(dict.fromkeys(name.split("/")[0] for name in overall))
    figures = [name for name in _FIGURES if any(f"{level}/{name}" in overall for level in levels)]
    tables = [
        _table("level", [_FIGURES[name] for name in figures]),
        _table("calibration", ["ECE", "without"]),
        _table("joint decoding", ["accuracy", "without", "changed"]),
    ]
    for level in levels:
        title = _TITLES.get(level, level)
        of_level = [
            [overall.get(f"{level}/{name}") for name in names]
            for names in (
                figures,
                ("calibration_error", "uncalibrated_calibration_error"),
                ("accuracy", "independent_accuracy", "changed_by_decoding"),
            )
        ]
        tables[0].add_row(title, *map(_figure, of_level[0]))
        for table, values in zip(tables[1:], of_level[1:], strict=True):
            if None not in values:
                table.add_row(title, *map(_figure, values))
    if (both := overall.get("subcategory/pair_accuracy")) is not None:
        without = overall["subcategory/independent_pair_accuracy"]
        tables[2].add_row("both", _figure(both), _figure(without))
    tables = [table for table in tables if table.row_count]
    shown = {f"{level}/accuracy": _TITLES.get(level, level) for level in levels}
    shown["attributes/overall_f1"] = "attributes OF1"
    shown = {metric: title for metric, title in shown.items() if metric in overall}
    for column, values in evaluation["slices"].items():
        table = _table(column, ["products", *shown.values()])
        for value, of_slice in values.items():
            count = f"{int(of_slice['example_count']):,}"
            table.add_row(value, count, *(_figure(of_slice.get(metric)) for metric in shown))
        tables.append(table)
    return Group(f"{evaluation['example_count']:,} products of the test part", *tables)


def predictions_table(
    names: Iterable[str], predictions: Sequence[Prediction], attribute_threshold: float
) -> Table:
    """A row a picture: what the model sees in it, with scores."""
    extras = list(predictions[0].extra_labels) if predictions else []
    table = Table("picture", "category", "sub-category", *extras, "attributes")
    for name, prediction in zip(names, predictions, strict=True):
        attributes = prediction.attributes_above(attribute_threshold)
        named = [prediction.extra_labels[extra] for extra in extras]
        table.add_row(
            name,
            f"{prediction.category} {prediction.category_score:.2f}",
            f"{prediction.subcategory} {prediction.subcategory_score:.2f}",
            *(f"{extra.label} {extra.score:.2f}" for extra in named),
            "\n".join(f"{label} {score:.2f}" for label, score in attributes.items()),
        )
    return table


def truth_table(
    truths: Sequence[Mapping[str, Any]], predictions: Sequence[Prediction], threshold: float
) -> Table:
    """Truth beside prediction.

    Args:
      truths: For each picture `id`, `category`, `subcategory` and `attributes` (labels).
      predictions: The server's answers in the same order.
      threshold: Score from which an attribute counts as predicted.
    """
    table = Table("product", "", "category", "sub-category", "attributes")
    for truth, prediction in zip(truths, predictions, strict=True):
        table.add_row(
            truth["id"],
            "truth",
            truth["category"],
            truth["subcategory"],
            ", ".join(sorted(truth["attributes"])),
        )
        found = prediction.attributes_above(threshold)
        attributes = Text(", ").join(
            Text(f"{label} {found[label]:.2f}", "green" if label in truth["attributes"] else "red")
            for label in sorted(found)
        )
        table.add_row(
            "",
            "seen",
            _judged(prediction.category, prediction.category_score, truth["category"]),
            _judged(prediction.subcategory, prediction.subcategory_score, truth["subcategory"]),
            attributes,
        )
        table.add_section()
    return table


def _table(first: str, others: Iterable[str]) -> Table:
    return Table(first, *others, box=SIMPLE_HEAD, pad_edge=False)


def _judged(label: str, score: float, truth: str) -> Text:
    return Text(f"{label} {score:.2f}", "green" if label == truth else "red")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
