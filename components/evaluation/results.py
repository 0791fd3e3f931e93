"""Reads what TFX's Evaluator wrote, as plain data and in words."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from components.evaluation import figures
from schema import features
from schema.errors import UserError

if TYPE_CHECKING:
    from tensorflow_model_analysis.proto import metrics_for_slice_pb2

EXAMPLE_COUNT = "example_count"

CROSSED = " x "
"""Between the names of crossed columns, and between their values."""

_BASELINE = "baseline"
"""What TFMA calls the model that the candidate is compared with."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A model's figures on the test part.

    Attributes:
        example_count: Products judged.
        metrics: `level/metric` to its value over all products.
        baseline: The same of the last blessed model on the same products; empty without one.
        slices: Slice column to its values to `metrics` of that slice, with "example_count".
        baseline_slices: The same of the last blessed model, without the count.
        confusion: For each level with one label a product an int64 (K, 3) array with a row
            [truth, prediction, count] for every pair of class indices that occurs; truth is
            `features.NOT_IN_TRAIN` for a class that is not in the vocabulary.
        attribute_counts: int64 (A, 3): true positives, false positives, false negatives.
        reliability: For each level float64 (`figures.BINS`, 3), one row of answers, sum of their
            scores and right ones for each bin of scores.
        uncalibrated_reliability: The same as it would be without calibration; empty where the
            model is not calibrated.
    """

    example_count: int
    metrics: dict[str, float]
    baseline: dict[str, float]
    slices: dict[str, dict[str, dict[str, float]]]
    confusion: dict[str, np.ndarray]
    attribute_counts: np.ndarray
    reliability: dict[str, np.ndarray]
    uncalibrated_reliability: dict[str, np.ndarray]
    baseline_slices: dict[str, dict[str, dict[str, float]]] = dataclasses.field(
        default_factory=dict
    )


def read_evaluation(evaluation_uri: str) -> Evaluation:
    """Reads the Evaluator's output folder.

    Raises:
        UserError: The folder holds no metrics, because no test product reached the Evaluator.
    """
    # Takes ten seconds; those who only render or print an Evaluation need not wait for it.
    import tensorflow_model_analysis as tfma

    overall: dict[str, float] = {}
    baseline: dict[str, float] = {}
    slices: dict[str, dict[str, dict[str, float]]] = {}
    before: dict[str, dict[str, dict[str, float]]] = {}
    tables: dict[str, np.ndarray] = {}
    for record in tfma.load_metrics(evaluation_uri):
        candidate, of_slice = _values(record, of_baseline=False)
        if record.WhichOneof("slicing_spec_oneof") == "cross_slice_key":
            # A comparison of two slices: no figures of products.
            continue
        if not record.slice_key.single_slice_keys:
            overall, tables = candidate, of_slice
            baseline, _ = _values(record, of_baseline=True)
            continue
        keys = record.slice_key.single_slice_keys
        value = CROSSED.join(_value_of(key) for key in keys)
        column = CROSSED.join(features.slice_column(key.column) for key in keys)
        if EXAMPLE_COUNT not in candidate:
            # TFMA says of a slice of too few products no more than that.
            continue
        count = int(candidate[EXAMPLE_COUNT])
        slices.setdefault(column, {})[value] = {EXAMPLE_COUNT: count} | _ordered(candidate)
        if of_last := _values(record, of_baseline=True)[0]:
            before.setdefault(column, {})[value] = of_last
    if not overall:
        raise UserError(
            f"{evaluation_uri} holds no metrics, so no product of the test part was judged. "
            "Give the catalog more products or raise split.test."
        )
    return Evaluation(
        example_count=int(overall[EXAMPLE_COUNT]),
        metrics=_ordered(overall),
        baseline=_ordered(baseline),
        slices={column: dict(sorted(of.items())) for column, of in sorted(slices.items())},
        confusion=_by_level(tables, figures.CONFUSION),
        attribute_counts=tables.get(
            f"{features.ATTRIBUTES}/{figures.COUNTS}", np.zeros((0, 3), np.int64)
        ),
        reliability=_by_level(tables, figures.RELIABILITY),
        uncalibrated_reliability=_by_level(tables, figures.UNCALIBRATED_RELIABILITY),
        baseline_slices=before,
    )


def metrics_json(evaluation: Evaluation, labels: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Makes an Evaluation fit for `json.dumps`.

    Args:
        evaluation: What `read_evaluation` returned.
        labels: Each level's vocabulary: every class and attribute is listed by name with its
            support, precision, recall and F1.
    """
    by_label = {
        level: {
            class_name(labels[level], index): of
            for index, of in figures.per_class(confusion).items()
        }
        for level, confusion in evaluation.confusion.items()
    }
    by_label[features.ATTRIBUTES] = dict(
        zip(
            labels[features.ATTRIBUTES],
            figures.per_attribute(evaluation.attribute_counts),
            strict=False,
        )
    )
    return {
        "example_count": evaluation.example_count,
        "metrics": evaluation.metrics,
        "baseline": evaluation.baseline,
        "slices": evaluation.slices,
        "labels": by_label,
    }


def class_name(vocabulary: Sequence[str], index: int) -> str:
    """Names a class index; `features.NOT_IN_TRAIN` is told apart from any class of that name."""
    return "(not in the train part)" if index == features.NOT_IN_TRAIN else vocabulary[index]


def number(value: float, digits: int = 3) -> str:
    """Writes a figure in [-1, 1] without the zero that says nothing: .912."""
    return re.sub(r"^(-?)0\.", r"\1.", f"{value:.{digits}f}")


def _values(
    record: metrics_for_slice_pb2.MetricsForSlice, of_baseline: bool
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Returns one model's figures and tables of a slice, of levels with something to judge.

    A slice may be of products whose extra label nobody knows, and a baseline may not have the label
    at all. Figures of nothing would read as those of a model that is always wrong.
    """
    values: dict[str, float] = {}
    tables: dict[str, np.ndarray] = {}
    for metric in record.metric_keys_and_values:
        key, value = metric.key, metric.value
        if key.is_diff or (key.model_name == _BASELINE) != of_baseline:
            continue
        name = f"{key.output_name}/{key.name}" if key.output_name else key.name
        kind = value.WhichOneof("type")
        if kind == "double_value":
            values[name] = value.double_value.value
        elif kind == "bounded_value":
            # With an interval around it.
            values[name] = value.bounded_value.value.value
        elif kind == "array_value":
            array = value.array_value
            numbers = array.float64_values or array.int64_values
            of_numbers = np.float64 if array.float64_values else np.int64
            tables[name] = np.array(numbers, of_numbers).reshape(tuple(array.shape))
    unjudged = {
        level for level, table in _by_level(tables, figures.CONFUSION).items() if not len(table)
    }
    return {
        name: value for name, value in values.items() if name.split("/")[0] not in unjudged
    }, tables


def _value_of(key: Any) -> str:
    value = getattr(key, key.WhichOneof("kind"))
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _by_level(tables: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """The tables called `name` of all levels that have one, by level."""
    there = {of.split("/")[0] for of in tables}
    return {
        level: tables[f"{level}/{name}"]
        for level in figures.levels(there - set(features.LEVELS))
        if f"{level}/{name}" in tables
    }


def _ordered(values: Mapping[str, float]) -> dict[str, float]:
    """Picks the figures, in the order in which people read them; TFMA has none."""
    there = {name.split("/")[0] for name in values if "/" in name}
    names = (
        f"{level}/{figure}"
        for level in figures.levels(there - set(features.LEVELS))
        for figure in (
            *figures.served(level),
            *figures.by_product(level),
            *figures.compared(level, joint_decoding=True, calibrated=True),
        )
    )
    return {name: values[name] for name in names if name in values}
