"""The EvalConfig says what our options say."""

from components.evaluation.eval_config import eval_config


def test_the_evaluator_has_no_threshold_for_the_judge_decides():
    config = eval_config(["gender"], 0.75, extra_labels=["gender"], several_pictures=True)
    metrics = [metric for spec in config.metrics_specs for metric in spec.metrics]
    assert metrics
    assert not any(metric.HasField("threshold") for metric in metrics)
    assert not any(metric.per_slice_thresholds for metric in metrics)


def sliced_by(config) -> list[list[str]]:
    return [list(spec.feature_keys) for spec in config.slicing_specs]


def test_metrics_are_sliced_by_each_column_cross_and_attribute_and_given_overall():
    config = eval_config(["gender", "season"], 0.75, crosses=[["gender", "season"]])
    assert sliced_by(config) == [
        *([], ["gender"], ["season"]),
        ["gender", "season"],
        ["attributes"],
    ]
    assert sliced_by(eval_config([], 0.75, attributes=False)) == [[]]


def test_a_slice_column_that_is_called_as_the_attributes_are_is_no_other():
    assert sliced_by(eval_config(["attributes"], 0.75)) == [[], ["slice:attributes"]]
