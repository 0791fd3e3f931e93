"""The EvalConfig says what our options say."""

import pytest
from tensorflow_model_analysis.proto.config_pb2 import MetricDirection

from components.evaluation.eval_config import eval_config
from components.evaluation.figures import bounded_metrics
from schema.errors import UserError


def bounds(config):
    """Metric to (least value, largest fall), of the metrics that have a bound."""
    found = {}
    for spec in config.metrics_specs:
        for metric in spec.metrics:
            for of_slice in metric.per_slice_thresholds:
                name = metric.config.split('"name": "')[1].split('"')[0]
                least = of_slice.threshold.value_threshold
                change = of_slice.threshold.change_threshold
                found[f"{spec.output_names[0]}/{name}"] = (
                    round(least.lower_bound.value, 6) if least.HasField("lower_bound") else None,
                    -round(change.absolute.value, 6) if change.HasField("absolute") else None,
                )
                assert [list(slicing.feature_keys) for slicing in of_slice.slicing_specs] == [[]]
    return found


def test_there_is_always_a_threshold_so_that_there_is_always_a_verdict():
    assert bounds(eval_config([], {}, {}, 0.75)) == {"category/accuracy": (0.0, None)}


def test_bounds_stand_on_their_metric_and_on_all_products_together():
    config = eval_config(
        ["gender"],
        {"category/accuracy": 0.9, "attributes/macro_f1": 0.3},
        {"category/accuracy": 0.01, "subcategory/overall_f1": 0.02},
        0.75,
    )
    assert bounds(config) == {
        "category/accuracy": (0.9, 0.01),
        "subcategory/overall_f1": (None, 0.02),
        "attributes/macro_f1": (0.3, None),
    }


def test_every_metric_that_a_config_may_bound_is_computed():
    names = set(bounded_metrics(["category", "subcategory", "attributes", "gender"]))
    everything = dict.fromkeys(names, 0.5)
    assert set(bounds(eval_config([], everything, {}, 0.75, extra_labels=["gender"]))) == names


def test_a_calibration_error_is_bounded_from_above():
    name = "category/calibration_error"
    (threshold,) = (
        of_slice.threshold
        for spec in eval_config([], {name: 0.05}, {name: 0.01}, 0.75).metrics_specs
        for metric in spec.metrics
        for of_slice in metric.per_slice_thresholds
        if '"calibration_error"' in metric.config
    )
    assert threshold.value_threshold.upper_bound.value == pytest.approx(0.05)
    assert not threshold.value_threshold.HasField("lower_bound")
    assert threshold.change_threshold.absolute.value == pytest.approx(0.01)
    assert threshold.change_threshold.direction == MetricDirection.LOWER_IS_BETTER


def test_metrics_are_sliced_by_each_column_and_given_overall():
    config = eval_config(["gender", "season"], {}, {}, 0.75)
    assert [list(spec.feature_keys) for spec in config.slicing_specs] == [
        [],
        ["gender"],
        ["season"],
    ]


def test_a_bound_on_what_would_be_served_without_calibration_is_refused():
    with pytest.raises(UserError, match="names category/uncalibrated_calibration_error"):
        eval_config([], {"category/uncalibrated_calibration_error": 0.1}, {}, 0.75, calibrated=True)


def test_a_bound_on_attributes_that_the_catalog_does_not_have_is_refused():
    with pytest.raises(UserError, match="evaluation.thresholds names attributes/macro_f1"):
        eval_config([], {"attributes/macro_f1": 0.3}, {}, 0.75, attributes=False)
