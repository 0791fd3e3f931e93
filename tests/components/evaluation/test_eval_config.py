"""The EvalConfig says what our options say."""

import pytest

from components.evaluation.eval_config import eval_config
from components.evaluation.figures import FIGURES
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
    names = {f"{level}/{figure}" for level, of in FIGURES.items() for figure in of}
    everything = dict.fromkeys(names, 0.5)
    assert set(bounds(eval_config([], everything, {}, 0.75))) == names


def test_metrics_are_sliced_by_each_column_and_given_overall():
    config = eval_config(["gender", "season"], {}, {}, 0.75)
    assert [list(spec.feature_keys) for spec in config.slicing_specs] == [
        [],
        ["gender"],
        ["season"],
    ]


def test_a_bound_on_attributes_that_the_catalog_does_not_have_is_refused():
    with pytest.raises(UserError, match="evaluation.thresholds names attributes/macro_f1"):
        eval_config([], {"attributes/macro_f1": 0.3}, {}, 0.75, attributes=False)
