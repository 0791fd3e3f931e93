"""The EvalConfig says what our options say."""

import json

import pytest

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


@pytest.mark.parametrize("several_pictures", [True, False])
def test_products_are_judged_beside_pictures_where_they_may_have_several(several_pictures):
    config = eval_config([], 0.6, extra_labels=["gender"], several_pictures=several_pictures)
    asked = {
        (list(spec.output_names)[0], json.loads(metric.config)["name"]): metric
        for spec in config.metrics_specs
        if spec.output_names
        for metric in spec.metrics
    }
    by_product = {
        *((level, "product_accuracy") for level in ("category", "subcategory", "gender")),
        *(("attributes", f"product_{average}_f1") for average in ("overall", "macro")),
    }
    tables = {level: of for level, of in asked if of in ("confusion", "counts")}
    assert tables == {
        **dict.fromkeys(["category", "subcategory", "gender"], "confusion"),
        "attributes": "counts",
    }
    assert by_product <= asked.keys() if several_pictures else not by_product & asked.keys()
    assert json.loads(asked["attributes", "overall_f1"].config)["threshold"] == 0.6
    assert "threshold" not in json.loads(asked["gender", "accuracy"].config)


def test_a_slice_column_that_is_called_as_the_attributes_are_is_no_other():
    assert sliced_by(eval_config(["attributes"], 0.75)) == [[], ["slice:attributes"]]
