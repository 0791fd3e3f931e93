"""What TFX's Evaluator computes, made from our options."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tensorflow_model_analysis.proto import config_pb2

from components.evaluation import figures, metrics
from schema import features


def eval_config(
    slices: Sequence[str],
    attribute_threshold: float,
    *,
    crosses: Sequence[Sequence[str]] = (),
    attributes: bool = True,
    extra_labels: Sequence[str] = (),
    joint_decoding: bool = False,
    calibrated: bool = False,
    several_pictures: bool = False,
) -> config_pb2.EvalConfig:
    """Makes the Evaluator's configuration, without thresholds: the Judge decides.

    Args:
        slices: Slice columns by whose values every metric is also computed.
        crosses: Lists of slice columns, for whose pairs of values and so on every metric is
            computed as well.
        attribute_threshold: Score from which on (>=) an attribute counts as predicted.
        attributes: Whether the catalog has attributes; without, their metrics are left out.
        extra_labels: Slice columns that the model names as well.
        joint_decoding: Whether to measure what joint decoding changes.
        calibrated: Whether to measure what calibration changes.
        several_pictures: Whether to judge products, which have several pictures, as well.
    """
    levels = figures.levels(extra_labels, attributes)
    config = config_pb2.EvalConfig()
    config.model_specs.add()
    config.slicing_specs.add()
    for column in slices:
        config.slicing_specs.add(feature_keys=[features.slice_feature(column)])
    for cross in crosses:
        config.slicing_specs.add(feature_keys=[*map(features.slice_feature, cross)])
    if attributes and features.ATTRIBUTES not in slices:
        # Of which a product may have several, and then is in as many slices.
        config.slicing_specs.add(feature_keys=[features.ATTRIBUTES])
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
        for figure in (*figures.served(level), *by_product, *compared, *tables):
            metric = spec.metrics.add(module=metrics.__name__)
            options: dict[str, str | float] = {"name": figure}
            if level == features.ATTRIBUTES:
                metric.class_name = metrics.AttributeMetric.__name__
                options["threshold"] = attribute_threshold
            else:
                metric.class_name = metrics.ClassMetric.__name__
            metric.config = json.dumps(options)
    return config
