"""Figures and failures as people read them."""

import pytest
from tensorflow_model_analysis.proto import validation_result_pb2

from components.evaluation.results import _in_words, number


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.9124, ".912"), (0.0, ".000"), (1.0, "1.000"), (-0.25, "-.250"), (0.9999, "1.000")],
)
def test_numbers_are_written_without_the_leading_zero(value, text):
    assert number(value) == text


def failure(value=None, least=None, most=None, change=None, name="accuracy"):
    made = validation_result_pb2.ValidationFailure()
    made.metric_key.output_name, made.metric_key.name = "category", name
    if value is not None:
        made.metric_value.double_value.value = value
    if least is not None:
        made.metric_threshold.value_threshold.lower_bound.value = least
    if most is not None:
        made.metric_threshold.value_threshold.upper_bound.value = most
    if change is not None:
        made.metric_threshold.change_threshold.absolute.value = change
    return made


def test_a_value_that_is_too_low_is_told_with_its_bound():
    assert _in_words(failure(0.912, least=0.95)) == (
        "category/accuracy is .912, must be at least .950"
    )


def test_a_fall_that_is_too_deep_is_told_with_its_bound():
    assert _in_words(failure(-0.031, change=-0.01)) == (
        "category/accuracy fell by .031 against the last blessed model, at most .010 allowed"
    )


def test_an_error_that_is_too_high_or_rose_too_far_is_told_with_its_bound():
    name = "calibration_error"
    assert _in_words(failure(0.061, most=0.05, name=name)) == (
        "category/calibration_error is .061, must be at most .050"
    )
    assert _in_words(failure(0.031, change=0.01, name=name)) == (
        "category/calibration_error rose by .031 against the last blessed model, "
        "at most .010 allowed"
    )


def test_digits_are_added_until_value_and_bound_differ():
    assert _in_words(failure(0.94996, least=0.95)) == (
        "category/accuracy is .94996, must be at least .95000"
    )


def test_a_metric_that_is_missing_is_told_as_such():
    assert _in_words(failure(least=0.95)) == "category/accuracy could not be computed"
