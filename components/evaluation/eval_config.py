"""What TFX's Evaluator computes and what it demands of a model, made from our options."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tensorflow_model_analysis.proto import config_pb2

from components.evaluation import figures, metrics
from schema import features
from schema.errors import UserError

_ROUNDING = 1e-9
"""Given in a model's favor, so that .91 - .90 is not more than .01 in binary arithmetic."""

_ALWAYS_MET = f"{features.CATEGORY}/accuracy"
"""Has a threshold of 0 where none is configured: without any, the Evaluator gives no verdict."""


def eval_config(
    slices: Sequence[str],
    thresholds: Mapping[str, float],
    max_regression: Mapping[str, float],
    attribute_threshold: float,
    *,
    attributes: bool = True,
    extra_labels: Sequence[str] = (),
    joint_decoding: bool = False,
    calibrated: bool = False,
    several_pictures: bool = False,
) -> config_pb2.EvalConfig:
    """Makes the Evaluator's configuration.

    Labels come from the model's own `transform_labels` signature, so that a baseline with another
    vocabulary is judged by its own indices. Thresholds hold on all products together, not in every
    slice. Without a baseline the Evaluator passes over `max_regression`.

    Args:
        slices: Slice columns by whose values every metric is also computed.
        thresholds: Least value of a metric, by `level/metric`; of a calibration error the largest.
        max_regression: How far a metric may fall below the baseline's, by `level/metric`; how far
            a calibration error may rise above it.
        attribute_threshold: Score from which on (>=) an attribute counts as predicted.
        attributes: Whether the catalog has attributes; without, their metrics are left out.
        extra_labels: Slice columns that the model names as well.
        joint_decoding: Whether to measure what joint decoding changes.
        calibrated: Whether to measure what calibration changes.
        several_pictures: Whether to judge products, which have several pictures, as well.

    Raises:
        UserError: A bound is on a metric that is not computed, or that is not of what is served.
    """
    levels = figures.levels(extra_labels, attributes)
    names = figures.bounded_metrics(levels, several_pictures)
    for option, bounds in (("thresholds", thresholds), ("max_regression", max_regression)):
        if unknown := sorted(set(bounds) - set(names)):
            raise UserError(
                f"evaluation.{option} names {unknown[0]}, which cannot be asked of this catalog's "
                f"models; there are {', '.join(names)}."
            )
    thresholds = {_ALWAYS_MET: 0.0, **thresholds}

    config = config_pb2.EvalConfig()
    config.model_specs.add(
        signature_name=features.EVALUATE_SIGNATURE,
        preprocessing_function_names=[features.LABELS_SIGNATURE],
        label_keys={level: features.transformed_label(level) for level in levels},
    )
    config.slicing_specs.add()
    for column in slices:
        config.slicing_specs.add(feature_keys=[features.slice_feature(column)])
    config.metrics_specs.add().metrics.add(class_name="ExampleCount")
    for level in levels:
        spec = config.metrics_specs.add(output_names=[level])
        tables = [
            figures.COUNTS if level == features.ATTRIBUTES else figures.CONFUSION,
            figures.RELIABILITY,
            *([figures.UNCALIBRATED_RELIABILITY] if calibrated else []),
        ]
        compared = figures.compared(level, joint_decoding, calibrated)
        by_product = figures.by_product(level) if several_pictures else ()
        for figure in (*figures.bounded(level), *by_product, *compared, *tables):
            metric = spec.metrics.add(module=metrics.__name__)
            options: dict[str, str | float] = {"name": figure}
            if level == features.ATTRIBUTES:
                metric.class_name = metrics.AttributeMetric.__name__
                options["threshold"] = attribute_threshold
            else:
                metric.class_name = metrics.ClassMetric.__name__
            metric.config = json.dumps(options)
            _bound(metric, f"{level}/{figure}", thresholds, max_regression)
    return config


def _bound(
    metric: config_pb2.MetricConfig,
    name: str,
    thresholds: Mapping[str, float],
    max_regression: Mapping[str, float],
) -> None:
    """Puts the bounds on the metric called `name`, if any, on its overall slice."""
    if name not in thresholds and name not in max_regression:
        return
    threshold = metric.per_slice_thresholds.add(slicing_specs=[config_pb2.SlicingSpec()]).threshold
    value, change = threshold.value_threshold, threshold.change_threshold
    if name.endswith(f"/{figures.CALIBRATION_ERROR}"):
        if name in thresholds:
            value.upper_bound.value = thresholds[name] + _ROUNDING
        if name in max_regression:
            change.direction = config_pb2.MetricDirection.LOWER_IS_BETTER
            change.absolute.value = max_regression[name] + _ROUNDING
        return
    if name in thresholds:
        value.lower_bound.value = thresholds[name] - _ROUNDING
    if name in max_regression:
        change.direction = config_pb2.MetricDirection.HIGHER_IS_BETTER
        change.absolute.value = -max_regression[name] - _ROUNDING
