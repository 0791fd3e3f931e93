"""The figures as TFMA metrics, one metric a figure, so that each can carry thresholds.

TFMA (0.52) checks a threshold only on a metric with a single key, and its own weighted averages
judge every class at score 0.5 instead of by the highest score. So each level's counts are summed
once, under a private key, and every figure is derived from them. TFMA drops doubled computations:
the counting is shared by all figures of a level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.api import types
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.proto import metrics_for_slice_pb2

from components.evaluation import figures


class CountTable(types.StructuredMetricValue):
    """An int64 (K, 3) table of counts, stored by TFMA as an array value."""

    def __init__(self, rows: np.ndarray) -> None:
        """Wraps `rows`, anything that makes an int64 array (K, 3)."""
        self.rows = np.asarray(rows, np.int64).reshape(-1, 3)

    def to_proto(self) -> metrics_for_slice_pb2.MetricValue:
        """Returns the table as an array value."""
        value = metrics_for_slice_pb2.MetricValue()
        value.array_value.data_type = metrics_for_slice_pb2.ArrayValue.INT64
        value.array_value.shape.extend(self.rows.shape)
        value.array_value.int64_values.extend(self.rows.ravel().tolist())
        return value

    # TFMA subtracts the baseline's value from every metric. The two models may have different
    # vocabularies, where index 3 is not the same class, so a difference of tables says nothing.
    def _apply_binary_op_elementwise(
        self, other: CountTable, op: Callable[[float, float], float]
    ) -> CountTable:
        return CountTable(np.zeros((0, 3)))

    def _apply_binary_op_broadcast(
        self, other: float, op: Callable[[float, float], float]
    ) -> CountTable:
        return CountTable(np.zeros((0, 3)))


class _SumConfusion(beam.CombineFn):
    """Counts (truth, prediction) pairs; only pairs that occur take memory."""

    def __init__(self, key: metric_types.MetricKey) -> None:
        self._key = key

    def create_accumulator(self) -> dict[tuple[int, int], int]:
        return {}

    def add_input(
        self, accumulator: dict[tuple[int, int], int], element: metric_types.StandardMetricInputs
    ) -> dict[tuple[int, int], int]:
        label, scores = _label_and_scores(element, self._key)
        pair = int(label[0]), int(np.argmax(scores))
        accumulator[pair] = accumulator.get(pair, 0) + 1
        return accumulator

    def merge_accumulators(
        self, accumulators: Iterable[dict[tuple[int, int], int]]
    ) -> dict[tuple[int, int], int]:
        merged: dict[tuple[int, int], int] = {}
        for accumulator in accumulators:
            for pair, count in accumulator.items():
                merged[pair] = merged.get(pair, 0) + count
        return merged

    def extract_output(
        self, accumulator: dict[tuple[int, int], int]
    ) -> dict[metric_types.MetricKey, CountTable]:
        rows = [(*pair, count) for pair, count in sorted(accumulator.items())]
        return {self._key: CountTable(rows)}


class _SumAttributeCounts(beam.CombineFn):
    """Counts each attribute's true positives, false positives and false negatives."""

    def __init__(self, key: metric_types.MetricKey, threshold: float) -> None:
        self._key = key
        self._threshold = threshold

    def create_accumulator(self) -> np.ndarray:
        return np.zeros((0, 3), np.int64)

    def add_input(
        self, accumulator: np.ndarray, element: metric_types.StandardMetricInputs
    ) -> np.ndarray:
        label, scores = _label_and_scores(element, self._key)
        true, predicted = label > 0.5, scores >= np.float32(self._threshold)
        outcomes = np.stack([true & predicted, ~true & predicted, true & ~predicted], axis=1)
        return _add(accumulator, outcomes)

    def merge_accumulators(self, accumulators: Iterable[np.ndarray]) -> np.ndarray:
        merged = self.create_accumulator()
        for accumulator in accumulators:
            merged = _add(merged, accumulator)
        return merged

    def extract_output(self, accumulator: np.ndarray) -> dict[metric_types.MetricKey, CountTable]:
        return {self._key: CountTable(accumulator)}


class ClassMetric(metric_types.Metric):
    """One of `figures.CLASS_FIGURES`, or `figures.CONFUSION`, of a level with one class a product.

    Labels are class indices int64 (1), `figures.UNKNOWN` where the vocabulary lacks the class;
    predictions are float (C), the highest of which counts, the first of equals.
    """

    def __init__(self, name: str) -> None:
        """Makes the metric named `name`."""
        super().__init__(_class_computations, name=name)


class AttributeMetric(metric_types.Metric):
    """One of `figures.ATTRIBUTE_FIGURES`, or `figures.COUNTS`, of the attributes.

    Labels are multi-hot float (A); an attribute with a score of `threshold` or more is predicted.
    """

    def __init__(self, name: str, threshold: float) -> None:
        """Makes the metric named `name`, deciding at `threshold`, in [0, 1]."""
        super().__init__(_attribute_computations, name=name, threshold=threshold)


def _class_computations(
    name: str, model_names: list[str] | None = None, output_names: list[str] | None = None
) -> metric_types.MetricComputations:
    return _computations(
        name, figures.CONFUSION, _SumConfusion, figures.class_figures, model_names, output_names
    )


def _attribute_computations(
    name: str,
    threshold: float,
    model_names: list[str] | None = None,
    output_names: list[str] | None = None,
) -> metric_types.MetricComputations:
    return _computations(
        name,
        figures.COUNTS,
        lambda key: _SumAttributeCounts(key, threshold),
        figures.attribute_figures,
        model_names,
        output_names,
    )


def _computations(
    name: str,
    table_name: str,
    combiner: Callable[[metric_types.MetricKey], beam.CombineFn],
    figures_of: Callable[[np.ndarray], dict[str, float]],
    model_names: list[str] | None,
    output_names: list[str] | None,
) -> metric_types.MetricComputations:
    """Sums a table under a private key (TFMA's are those with `_`) and derives `name` from it."""
    computations: list[Any] = []
    for model_name in model_names or [""]:
        for output_name in output_names or [""]:
            table_key, key = (
                metric_types.MetricKey(name=of, model_name=model_name, output_name=output_name)
                for of in (f"_{table_name}", name)
            )

            def derive(
                metrics: metric_types.MetricsDict,
                table_key: metric_types.MetricKey = table_key,
                key: metric_types.MetricKey = key,
            ) -> metric_types.MetricsDict:
                table = metrics[table_key]
                return {key: table if name == table_name else figures_of(table.rows)[name]}

            computations += [
                metric_types.MetricComputation(
                    keys=[table_key], preprocessors=None, combiner=combiner(table_key)
                ),
                metric_types.DerivedMetricComputation(keys=[key], result=derive),
            ]
    return computations


def _label_and_scores(
    inputs: metric_types.StandardMetricInputs, key: metric_types.MetricKey
) -> tuple[np.ndarray, np.ndarray]:
    """Returns one product's label and prediction as vectors; TFMA squeezes those of size 1."""
    label = inputs.get_labels(key.model_name, key.output_name)
    scores = inputs.get_predictions(key.model_name, key.output_name)
    return np.ravel(label), np.ravel(scores)


def _add(counts: np.ndarray, more: np.ndarray) -> np.ndarray:
    """Adds two tables of counts; an empty one, which does not know A yet, adds nothing."""
    if not len(counts):
        return more.astype(np.int64)
    return counts + more if len(more) else counts
