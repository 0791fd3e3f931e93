"""Figures as people read them."""

import pytest

from components.evaluation.results import number


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.9124, ".912"), (0.0, ".000"), (1.0, "1.000"), (-0.25, "-.250"), (0.9999, "1.000")],
)
def test_numbers_are_written_without_the_leading_zero(value, text):
    assert number(value) == text
