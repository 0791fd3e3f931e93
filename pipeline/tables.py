"""Metrics and predictions as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from schema import features
from schema.errors import UserError

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


def metrics_tables(
    evaluation: Mapping[str, Any], slices: Sequence[str] = (), *, compare: bool = False
) -> Group:
    """The metrics of `metrics.json`: a row a level, then a row a slice; no empty columns.

    After the levels come, where they were measured, calibration (expected calibration error) and
    joint decoding, each with what would be without it.

    Args:
        evaluation: What `metrics.json` holds.
        slices: Only these slices, `column` or `column=value`; none of the levels' tables then. By
            default those of every column but the attributes', which may be hundreds.
        compare: Only the main figure of each level, beside the last blessed model's.

    Raises:
        UserError: there is no such slice, or no last model to compare with.
    """
    if compare or slices:
        return _main_figures(evaluation, slices, compare)
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
        if column == features.ATTRIBUTES:
            continue
        table = _table(column, ["products", *shown.values()])
        for value, of_slice in values.items():
            count = f"{int(of_slice['example_count']):,}"
            table.add_row(value, count, *(_figure(of_slice.get(metric)) for metric in shown))
        tables.append(table)
    return Group(f"{evaluation['example_count']:,} products of the test part", *tables)


def _main_figures(evaluation: Mapping[str, Any], slices: Sequence[str], compare: bool) -> Group:
    """Each level's main figure with its interval, and the last model's, of slices or of all."""
    figures, of_slices = evaluation["figures"], evaluation["slice_figures"]
    if compare and not any("last" in told for told in figures.values()):
        raise UserError(
            "There is no last blessed model to compare with: this was the first. Leave out "
            "--compare."
        )
    main = [name for name in figures if name.endswith("/accuracy")]
    main += [name for name in ("attributes/overall_f1",) if name in figures]
    tables = []
    for column, chosen in _chosen(of_slices, slices).items():
        for metric in main:
            heads = ["products", "figure", "interval"]
            table = _table(column, heads)
            level, figure = metric.split("/")
            table.title = f"{_TITLES.get(level, level)} {_FIGURES[figure]}"
            table.title_justify = "left"
            if compare:
                for head in ("last", "change"):
                    table.add_column(head, justify="right")
            told_of = {"all products": figures} if not column else chosen
            rows = {value: of[metric] for value, of in told_of.items() if metric in of}
            for value, told in rows.items():
                table.add_row(Text(value), *_cells(told, compare))
            if rows:
                tables.append(table)
    return Group(f"{evaluation['example_count']:,} products of the test part", *tables)


def _chosen(
    of_slices: Mapping[str, Mapping[str, Any]], slices: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Column to the chosen values of it; all products, under no column, where none is chosen."""
    if not slices:
        return {"": {}}
    chosen: dict[str, dict[str, Any]] = {}
    for name in slices:
        column, equals, value = name.partition("=")
        values = of_slices.get(column)
        if values is None or (equals and value not in values):
            there = ", ".join(values or of_slices) or "none"
            raise UserError(f"There is no slice {name}; there are {there}.")
        chosen.setdefault(column, {}).update({value: values[value]} if equals else values)
    return chosen


def _cells(told: Mapping[str, Any], compare: bool) -> list[str | Text]:
    interval = told.get("interval")
    between = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "–"
    figure = Text(_figure(told["value"]), "bold red" if told.get("low") else "")
    cells: list[str | Text] = [f"{told['products']:,}", figure, between]
    if compare:
        last = told.get("last")
        known = last is not None and told["value"] is not None
        cells += [_figure(last), f"{told['value'] - last:+.3f}" if known else "–"]
    return cells


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
