"""The EvalConfig says what our options say."""

from components.evaluation.eval_config import eval_config


def test_the_evaluator_has_no_threshold_for_the_judge_decides():
    config = eval_config(["gender"], 0.75, extra_labels=["gender"], several_pictures=True)
    metrics = [metric for spec in config.metrics_specs for metric in spec.metrics]
    assert metrics
    assert not any(metric.HasField("threshold") for metric in metrics)
    assert not any(metric.per_slice_thresholds for metric in metrics)


def test_metrics_are_sliced_by_each_column_and_given_overall():
    config = eval_config(["gender", "season"], 0.75)
    assert [list(spec.feature_keys) for spec in config.slicing_specs] == [
        [],
        ["gender"],
        ["season"],
    ]
