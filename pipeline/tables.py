"""Metrics and predictions as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from serving.client import Prediction

_LEVELS = {"category": "category", "subcategory": "sub-category", "attributes": "attributes"}
_FIGURES = {
    "accuracy": "accuracy",
    "overall_precision": "OP",
    "overall_recall": "OR",
    "overall_f1": "OF1",
    "macro_precision": "macro P",
    "macro_recall": "macro R",
    "macro_f1": "macro F1",
}
_SLICE_FIGURES = {
    "category/accuracy": "category",
    "subcategory/accuracy": "sub-category",
    "attributes/overall_f1": "attributes OF1",
}


def metrics_tables(evaluation: Mapping[str, Any]) -> Group:
    """The metrics of `metrics.json`: a row a level, then a row a slice."""
    levels = Table("level", *_FIGURES.values(), title="test part", title_justify="left")
    for level, name in _LEVELS.items():
        values = [evaluation["metrics"].get(f"{level}/{figure}") for figure in _FIGURES]
        if any(value is not None for value in values):
            levels.add_row(name, *map(_figure, values))
    slices = Table("slice", "products", *_SLICE_FIGURES.values(), title_justify="left")
    for column, values in evaluation["slices"].items():
        for value, figures in values.items():
            slices.add_row(
                f"{column} = {value}",
                f"{int(figures['example_count']):,}",
                *(_figure(figures.get(metric)) for metric in _SLICE_FIGURES),
            )
        slices.add_section()
    return Group(levels, slices) if evaluation["slices"] else Group(levels)


def predictions_table(
    names: Iterable[str], predictions: Iterable[Prediction], attribute_threshold: float
) -> Table:
    """A row a picture: what the model sees in it, with scores."""
    table = Table("picture", "category", "sub-category", "attributes")
    for name, prediction in zip(names, predictions, strict=True):
        attributes = prediction.attributes_above(attribute_threshold)
        table.add_row(
            name,
            f"{prediction.category} {prediction.category_score:.2f}",
            f"{prediction.subcategory} {prediction.subcategory_score:.2f}",
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


def _judged(label: str, score: float, truth: str) -> Text:
    return Text(f"{label} {score:.2f}", "green" if label == truth else "red")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
