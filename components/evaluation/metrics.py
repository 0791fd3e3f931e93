"""The figures as TFMA metrics, one metric a figure.

TFMA's (0.52) own weighted averages judge every class at score 0.5 instead of by the highest score.
So each level's counts are summed once, under a private key, and every figure is derived from them.
TFMA drops doubled computations: the counting is shared by all figures of a level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.api import types
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.proto import metrics_for_slice_pb2

from components.evaluation import figures
from schema import features


class Table(types.StructuredMetricValue):
    """A table of int64 or float64 counts (K, columns), stored by TFMA as an array value."""

    def __init__(self, rows: np.ndarray) -> None:
        """Wraps `rows`, which also say what kind of numbers they are."""
        self.rows = rows

    def to_proto(self) -> metrics_for_slice_pb2.MetricValue:
        """Returns the table as an array value."""
        value = metrics_for_slice_pb2.MetricValue()
        array = value.array_value
        array.shape.extend(self.rows.shape)
        if self.rows.dtype == np.float64:
            array.data_type = metrics_for_slice_pb2.ArrayValue.FLOAT64
            array.float64_values.extend(self.rows.ravel().tolist())
        else:
            array.data_type = metrics_for_slice_pb2.ArrayValue.INT64
            array.int64_values.extend(self.rows.ravel().tolist())
        return value

    # TFMA subtracts the baseline's value from every metric. The two models may have different
    # vocabularies, where index 3 is not the same class, so a difference of tables says nothing.
    def _apply_binary_op_elementwise(
        self, other: Table, op: Callable[[float, float], float]
    ) -> Table:
        return Table(self.rows[:0])

    def _apply_binary_op_broadcast(
        self, other: float, op: Callable[[float, float], float]
    ) -> Table:
        return Table(self.rows[:0])


class _SumDecisions(beam.CombineFn):
    """Counts (truth, prediction, prediction without joint decoding); what occurs takes memory."""

    def __init__(self, key: metric_types.MetricKey) -> None:
        self._key = key

    def create_accumulator(self) -> dict[tuple[int, int, int], int]:
        return {}

    def add_input(
        self,
        accumulator: dict[tuple[int, int, int], int],
        element: metric_types.StandardMetricInputs,
    ) -> dict[tuple[int, int, int], int]:
        label, scores, without = _label_and_scores(element, self._key, without=features.independent)
        if len(label) and label[0] != features.NOT_GIVEN:
            prediction = int(np.argmax(scores))
            independent = prediction if without is scores else int(np.argmax(without))
            decision = int(label[0]), prediction, independent
            accumulator[decision] = accumulator.get(decision, 0) + 1
        return accumulator

    def merge_accumulators(
        self, accumulators: Iterable[dict[tuple[int, int, int], int]]
    ) -> dict[tuple[int, int, int], int]:
        merged: dict[tuple[int, int, int], int] = {}
        for accumulator in accumulators:
            for decision, count in accumulator.items():
                merged[decision] = merged.get(decision, 0) + count
        return merged

    def extract_output(
        self, accumulator: dict[tuple[int, int, int], int]
    ) -> dict[metric_types.MetricKey, dict[tuple[int, int, int], int]]:
        # No array: where TFMA estimates intervals it adds arrays up, whose shapes differ here.
        return {self._key: accumulator}


class _SumArrays(beam.CombineFn):
    """Adds up arrays of one shape; subclasses say what a product adds."""

    def __init__(self, key: metric_types.MetricKey, zeros: np.ndarray) -> None:
        self._key = key
        self._zeros = zeros

    def create_accumulator(self) -> np.ndarray:
        return self._zeros.copy()

    def merge_accumulators(self, accumulators: Iterable[np.ndarray]) -> np.ndarray:
        return sum(accumulators, self.create_accumulator())

    def extract_output(self, accumulator: np.ndarray) -> dict[metric_types.MetricKey, np.ndarray]:
        return {self._key: accumulator}


class _SumPairs(_SumArrays):
    """Counts products: all, category right, both levels right, and both without decoding."""

    def __init__(self, key: metric_types.MetricKey) -> None:
        super().__init__(key, np.zeros(4, np.int64))

    def add_input(
        self, accumulator: np.ndarray, element: metric_types.StandardMetricInputs
    ) -> np.ndarray:
        both = np.array([1, 1, 1, 1])
        for level, first in ((features.CATEGORY, 1), (features.SUBCATEGORY, 2)):
            label, *scores = _label_and_scores(
                element, self._key, without=features.independent, level=level
            )
            served, independent = (np.argmax(of) == label[0] for of in scores)
            both[first:3] &= served
            both[3] &= independent
        return accumulator + both


class _SumRanks(_SumArrays):
    """Counts products, those whose truth is among the likeliest, and adds up Brier scores."""

    def __init__(self, key: metric_types.MetricKey) -> None:
        super().__init__(key, np.zeros(4))

    def add_input(
        self, accumulator: np.ndarray, element: metric_types.StandardMetricInputs
    ) -> np.ndarray:
        label, scores, _ = _label_and_scores(element, self._key, without=features.independent)
        if not len(label) or label[0] == features.NOT_GIVEN:
            return accumulator
        truth, within = int(label[0]), [False] * len(figures.TOP)
        predictions = _of_model(element, constants.PREDICTIONS_KEY, self._key)
        brier = np.ravel(predictions[figures.brier_of(self._key.output_name)])[0]
        if truth >= 0:
            # Of equal scores the first is likelier.
            rank = np.count_nonzero(scores > scores[truth])
            rank += np.count_nonzero(scores[:truth] == scores[truth])
            within = [bool(rank < k) for k in figures.TOP]
        return accumulator + np.array([1, *within, brier])


class _SumReliability(_SumArrays):
    """Sorts answers into bins by their scores, of what is served or what would be uncalibrated."""

    def __init__(self, key: metric_types.MetricKey, uncalibrated: bool) -> None:
        super().__init__(key, np.zeros((figures.BINS, 3)))
        self._uncalibrated = uncalibrated

    def add_input(
        self, accumulator: np.ndarray, element: metric_types.StandardMetricInputs
    ) -> np.ndarray:
        label, scores, before = _label_and_scores(element, self._key, without=features.uncalibrated)
        if self._uncalibrated:
            scores = before
        if self._key.output_name == features.ATTRIBUTES:
            scores = scores.astype(np.float64)
            bins = np.minimum((scores * figures.BINS).astype(int), figures.BINS - 1)
            for column, weights in enumerate((None, scores, label > 0.5)):
                accumulator[:, column] += np.bincount(bins, weights, figures.BINS)
        elif len(label) and label[0] != features.NOT_GIVEN:
            likeliest = int(np.argmax(scores))
            score = float(scores[likeliest])
            row = accumulator[min(int(score * figures.BINS), figures.BINS - 1)]
            row += (1, score, label[0] == likeliest)
        return accumulator


class _SumAttributeCounts(beam.CombineFn):
    """Counts each attribute's true positives, false positives and false negatives.

    The last row is of those that the model does not know, which are always false negatives.
    """

    def __init__(self, key: metric_types.MetricKey, threshold: float) -> None:
        self._key = key
        self._threshold = threshold

    def create_accumulator(self) -> np.ndarray:
        return np.zeros((0, 3), np.int64)

    def add_input(
        self, accumulator: np.ndarray, element: metric_types.StandardMetricInputs
    ) -> np.ndarray:
        label, scores, _ = _label_and_scores(element, self._key, without=features.uncalibrated)
        return _add(accumulator, _outcomes(*_with_unknown(element, label, scores), self._threshold))

    def merge_accumulators(self, accumulators: Iterable[np.ndarray]) -> np.ndarray:
        merged = self.create_accumulator()
        for accumulator in accumulators:
            merged = _add(merged, accumulator)
        return merged

    def extract_output(self, accumulator: np.ndarray) -> dict[metric_types.MetricKey, np.ndarray]:
        return {self._key: accumulator}


class _SumProducts(beam.CombineFn):
    """Adds up scores over the pictures of each product, and decides by their mean.

    Until all pictures have come, every product takes as much memory as the level has scores.
    """

    def __init__(self, key: metric_types.MetricKey) -> None:
        self._key = key

    def create_accumulator(self) -> dict[bytes, tuple[np.ndarray, int, np.ndarray]]:
        return {}

    def add_input(
        self,
        accumulator: dict[bytes, tuple[np.ndarray, int, np.ndarray]],
        element: metric_types.StandardMetricInputs,
    ) -> dict[bytes, tuple[np.ndarray, int, np.ndarray]]:
        label, scores, _ = _label_and_scores(element, self._key, without=features.uncalibrated)
        if self._key.output_name == features.ATTRIBUTES:
            label, scores = _with_unknown(element, label, scores)
        if len(label) and label[0] != features.NOT_GIVEN:
            product = np.ravel(element.features[features.PRODUCT])[0]
            pictures = {product: (label, 1, scores.astype(np.float64))}
            return self.merge_accumulators([accumulator, pictures])
        return accumulator

    def merge_accumulators(
        self, accumulators: Iterable[dict[bytes, tuple[np.ndarray, int, np.ndarray]]]
    ) -> dict[bytes, tuple[np.ndarray, int, np.ndarray]]:
        merged, *others = accumulators
        for accumulator in others:
            for product, (label, count, scores) in accumulator.items():
                _, before, summed = merged.get(product, (label, 0, np.zeros_like(scores)))
                merged[product] = label, before + count, summed + scores
        return merged

    def extract_output(
        self, accumulator: dict[bytes, tuple[np.ndarray, int, np.ndarray]]
    ) -> dict[metric_types.MetricKey, list[tuple[np.ndarray, np.ndarray]]]:
        return {self._key: [(label, scores / n) for label, n, scores in accumulator.values()]}


class ClassMetric(metric_types.Metric):
    """A figure or a table of a level with one class a product, by its name in `figures`.

    Labels are class indices int64 (1), `features.NOT_IN_TRAIN` where the vocabulary lacks the class
    and `features.NOT_GIVEN` where the product is not judged; predictions are float (C), the highest
    of which counts, the first of equals.
    """

    def __init__(self, name: str) -> None:
        """Makes the metric named `name`."""
        super().__init__(_class_computations, name=name)


class AttributeMetric(metric_types.Metric):
    """A figure or a table of the attributes, by its name in `figures`.

    Labels are multi-hot float (A); an attribute with a score of `threshold` or more is predicted.
    """

    def __init__(self, name: str, threshold: float) -> None:
        """Makes the metric named `name`, deciding at `threshold`, in [0, 1]."""
        super().__init__(_attribute_computations, name=name, threshold=threshold)


def _class_computations(
    name: str, model_names: list[str] | None = None, output_names: list[str] | None = None
) -> metric_types.MetricComputations:
    def of_pairs(counts: np.ndarray) -> float:
        return figures.pair_figures(counts)[name]

    def of_ranks(sums: np.ndarray) -> float:
        return figures.rank_figures(sums)[name]

    def of_products(products: list[tuple[np.ndarray, np.ndarray]]) -> float:
        right = [label[0] == np.argmax(scores) for label, scores in products]
        return sum(right) / max(len(right), 1)

    def of_decisions(counted: dict[tuple[int, int, int], int]) -> float | Table:
        rows = [(*decision, count) for decision, count in sorted(counted.items())]
        decisions = np.array(rows, np.int64).reshape(-1, 4)
        if name == figures.CONFUSION:
            return Table(figures.confusion(decisions))
        if name in figures.DECODING_FIGURES:
            return figures.decoding_figures(decisions)[name]
        return figures.class_figures(figures.confusion(decisions))[name]

    if name in _RELIABILITY:
        return _reliability_computations(name, model_names, output_names)
    if name == figures.PRODUCT_ACCURACY:
        return _product_computations(name, of_products, model_names, output_names)
    if name in figures.RANK_FIGURES:
        return _computations(name, "_ranks", _SumRanks, of_ranks, model_names, output_names)
    if name in (*figures.PAIR_FIGURES, figures.INDEPENDENT_PAIR_ACCURACY):
        return _computations(name, "_pairs", _SumPairs, of_pairs, model_names, output_names)
    return _computations(name, "_decisions", _SumDecisions, of_decisions, model_names, output_names)


def _attribute_computations(
    name: str,
    threshold: float,
    model_names: list[str] | None = None,
    output_names: list[str] | None = None,
) -> metric_types.MetricComputations:
    def combiner(key: metric_types.MetricKey) -> beam.CombineFn:
        return _SumAttributeCounts(key, threshold)

    def of_products(products: list[tuple[np.ndarray, np.ndarray]]) -> float:
        counts = np.zeros((0, 3), np.int64)
        for label, scores in products:
            counts = _add(counts, _outcomes(label, scores, threshold))
        return of_counts(counts, name.removeprefix("product_"))

    def of_counts(counts: np.ndarray, figure: str) -> float:
        known, unknown = counts[:-1], counts[-1:, 2].sum()
        return figures.attribute_figures(known, unknown)[figure]

    def value(counts: np.ndarray) -> float | Table:
        return Table(counts[:-1]) if name == figures.COUNTS else of_counts(counts, name)

    if name in _RELIABILITY:
        return _reliability_computations(name, model_names, output_names)
    if name in figures.PRODUCT_ATTRIBUTE_FIGURES:
        return _product_computations(name, of_products, model_names, output_names)
    return _computations(
        name, "_counts", combiner, value, model_names, output_names, [features.ATTRIBUTES]
    )


_RELIABILITY: dict[str, tuple[Callable[[np.ndarray], float | Table], bool]] = {
    figures.CALIBRATION_ERROR: (figures.calibration_error, False),
    figures.RELIABILITY: (Table, False),
    figures.UNCALIBRATED_ERROR: (figures.calibration_error, True),
    figures.UNCALIBRATED_RELIABILITY: (Table, True),
}
"""What comes of a table of bins: how it is made of it, and whether it is the uncalibrated one's."""


def _reliability_computations(
    name: str, model_names: list[str] | None, output_names: list[str] | None
) -> metric_types.MetricComputations:
    value, uncalibrated = _RELIABILITY[name]
    return _computations(
        name,
        f"_bins_{uncalibrated}",
        lambda key: _SumReliability(key, uncalibrated),
        value,
        model_names,
        output_names,
    )


def _product_computations(
    name: str,
    value: Callable[[list[tuple[np.ndarray, np.ndarray]]], float],
    model_names: list[str] | None,
    output_names: list[str] | None,
) -> metric_types.MetricComputations:
    return _computations(
        name,
        "_products",
        _SumProducts,
        value,
        model_names,
        output_names,
        [features.PRODUCT, features.ATTRIBUTES],
    )


def _computations(
    name: str,
    table_name: str,
    combiner: Callable[[metric_types.MetricKey], beam.CombineFn],
    value: Callable[[Any], float | Table],
    model_names: list[str] | None,
    output_names: list[str] | None,
    feature_keys: Sequence[str] = (),
) -> metric_types.MetricComputations:
    """Sums a table under a private key (TFMA's are those with `_`) and derives `name` from it.

    Its elements have the features `feature_keys` beside labels and predictions.
    """
    preprocessors = None
    if feature_keys:
        preprocessors = [metric_types.FeaturePreprocessor(feature_keys=feature_keys)]
    computations: list[Any] = []
    for model_name in model_names or [""]:
        for output_name in output_names or [""]:
            table_key, key = (
                metric_types.MetricKey(name=of, model_name=model_name, output_name=output_name)
                for of in (table_name, name)
            )

            def derive(
                metrics: metric_types.MetricsDict,
                table_key: metric_types.MetricKey = table_key,
                key: metric_types.MetricKey = key,
            ) -> metric_types.MetricsDict:
                return {key: value(metrics[table_key])}

            computations += [
                metric_types.MetricComputation(
                    keys=[table_key], preprocessors=preprocessors, combiner=combiner(table_key)
                ),
                metric_types.DerivedMetricComputation(keys=[key], result=derive),
            ]
    return computations


def _label_and_scores(
    inputs: metric_types.StandardMetricInputs,
    key: metric_types.MetricKey,
    *,
    without: Callable[[str], str],
    level: str | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns one product's label, prediction, and the prediction as it would be without something.

    All are vectors; TFMA squeezes those of size 1. What a model does not have beside the prediction
    it serves without, so the two are the same. A model that does not know the level at all, which a
    baseline may not, has an empty label.
    """
    level = level or key.output_name
    label = _of_model(inputs, constants.LABELS_KEY, key).get(level)
    predictions = _of_model(inputs, constants.PREDICTIONS_KEY, key)
    if label is None or level not in predictions:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    scores = np.ravel(predictions[level])
    other = predictions.get(without(level))
    return np.ravel(label), scores, scores if other is None else np.ravel(other)


def _of_model(
    inputs: metric_types.StandardMetricInputs, name: str, key: metric_types.MetricKey
) -> Mapping[str, np.ndarray]:
    """Labels or predictions of the key's model by output.

    What TFMA has for that looks in several places, and takes more time than all the counting.
    """
    of_models: Mapping[str, Any] = inputs[name]
    return of_models[key.model_name] if key.model_name else of_models


def _with_unknown(
    inputs: metric_types.StandardMetricInputs, label: np.ndarray, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A product's attributes, and as one more those that the model does not know: how many."""
    own = (inputs.features or {}).get(features.ATTRIBUTES)
    count = 0 if own is None else np.size(own)
    unknown = max(count - float(label.sum()), 0.0)
    return np.append(label, unknown), np.append(scores, np.float32(-1))


def _outcomes(label: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """How many true positives, false positives and false negatives it is, int64 (A + 1, 3)."""
    true, predicted = label > 0.5, scores >= np.float32(threshold)
    found = [true & predicted, ~true & predicted, np.where(true & ~predicted, label, 0)]
    return np.stack(found, axis=1).astype(np.int64)


def _add(counts: np.ndarray, more: np.ndarray) -> np.ndarray:
    """Adds two tables of counts; an empty one, which does not know A yet, adds nothing."""
    if not len(counts):
        return more.astype(np.int64)
    return counts + more if len(more) else counts
