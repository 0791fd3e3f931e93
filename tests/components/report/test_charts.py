"""The charts show the numbers that they are given, at the places where those belong."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.report import charts


def lines(chart):
    """The points of each line of a chart, in pixels, and how it is drawn."""
    found = ElementTree.fromstring(str(chart.svg)).iter("polyline")
    return [
        ([tuple(map(float, point.split(","))) for point in line.get("points").split()], line)
        for line in found
    ]


def history(**more):
    epochs = [
        {"epoch": e, "loss": 1 / e, "val_loss": 2 / e, "category_accuracy": 0.5,
         "val_category_accuracy": 0.4, "gender_accuracy": 0.3, "val_gender_accuracy": 0.2}
        for e in (1, 2, 3)
    ]  # fmt: skip
    return {"epochs": epochs, "best_epoch": 2, **more}


def test_training_curves_pair_train_and_eval_and_mark_the_best_epoch():
    chart = charts.training_metrics(history(), ["category", "subcategory", "gender"])
    assert chart.heads == (
        *("Epoch", "category accuracy", "category accuracy, train"),
        *("gender accuracy", "gender accuracy, train"),
    )
    assert chart.rows[0] == ("1", "0.4000", "0.5000", "0.2000", "0.3000")
    drawn = lines(chart)
    assert [line.get("stroke") for _, line in drawn] == [
        *["var(--series-1)"] * 2,
        *["var(--series-3)"] * 2,
    ]
    assert [line.get("stroke-dasharray") for _, line in drawn] == [None, "5 4"] * 2
    # Higher figures are drawn higher up, and the lowest, .2, on the axis below.
    heights = [points[0][1] for points, _ in drawn]
    assert heights[1] < heights[0] < heights[3] < heights[2] == charts.HEIGHT - 40
    assert "best: epoch 2" in chart.svg


def test_losses_are_drawn_from_zero_on():
    chart = charts.losses(history())
    (train, _), (on_eval, _) = lines(chart)
    bottom = charts.HEIGHT - 40
    assert [(bottom - y) for _, y in train] == pytest.approx(
        [(bottom - on_eval[0][1]) / 2 / epoch for epoch in (1, 2, 3)], abs=0.2
    )


def test_a_loss_that_is_no_number_leaves_a_gap():
    broken = history()
    broken["epochs"][1]["loss"] = float("nan")
    chart = charts.losses(broken)
    # Points without a neighbor are no line.
    assert len(lines(chart)) == 1
    assert chart.rows[1] == ("2", "", "1.0000")


def test_a_single_epoch_is_drawn_as_dots():
    single = {"epochs": history()["epochs"][:1], "best_epoch": 1}
    assert charts.losses(single).svg.count("<circle") == 2


def test_a_reliability_diagram_has_a_point_for_each_bin_with_answers():
    served = np.array([[10, 4.0, 5], [0, 0.0, 0], [30, 27.0, 24]])
    chart = charts.reliability("r", "Reliability", served, served * [1, 1.1, 1])
    assert chart.rows == (
        ("without calibration", "0.44", "0.50", "10"),
        ("without calibration", "0.99", "0.80", "30"),
        ("as served", "0.40", "0.50", "10"),
        ("as served", "0.90", "0.80", "30"),
    )
    radii = [float(of) for of in re.findall(r'<circle[^>]* r="([\d.]+)"', chart.svg)]
    assert radii[:2] == radii[2:] and radii[0] < radii[1]
    assert len(charts.reliability("r", "R", served, None).rows) == 2


def test_coverage_marks_the_score_that_was_chosen():
    curves = {
        "Category": {"points": [(0.5, 1.0), (1.0, 0.9)], "chosen": (0.8, 0.98)},
        "Gender": {"points": [(1.0, 0.7)], "chosen": None},
    }
    chart = charts.coverage(curves, 0.98)
    assert chart.svg.count("<circle") == 1
    assert "wanted: .98" in chart.svg


def test_runs_are_drawn_with_their_intervals_and_gaps():
    chart = charts.runs(
        {"Category accuracy": [(0.8, [0.75, 0.85]), None, (0.9, None), (0.92, [0.9, 0.94])]}
    )
    assert chart.svg.count("<circle") == 3
    assert len(lines(chart)) == 1
    assert len(re.findall(r'stroke="var\(--series-1\)" stroke-width="1"', chart.svg)) == 2


def test_names_of_the_catalog_stay_text():
    curves = {"<b>&": {"points": [(0.5, 1.0), (1.0, 0.9)], "chosen": None}}
    svg = str(charts.coverage(curves, 0.9).svg)
    assert "<b>" not in svg
    ElementTree.fromstring(svg)


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.integers(2, 10))
def test_ticks_are_round_numbers_within_the_axis(low, length, most):
    ticks = charts.ticks(low, low + length, most)
    assert len(ticks) <= most + 1
    assert all(low - 1e-6 <= tick <= low + length + 1e-6 for tick in ticks)
    steps = np.diff(ticks)
    if len(steps):
        np.testing.assert_allclose(steps, steps[0], rtol=1e-6, atol=1e-9)
        first = steps[0] / 10 ** np.floor(np.log10(steps[0]) + 1e-9)
        assert min(abs(first - of) for of in (1, 2, 5, 10)) < 1e-5
