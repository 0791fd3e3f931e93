"""The charts show the numbers that they are given, at the places where those belong."""

import math
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.report import charts
from components.similarity_index.quality import Figure


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


def test_a_searchs_figures_stand_where_they_belong_with_their_intervals_and_what_could_be():
    chart = charts.search_figures(
        "search",
        "Figures",
        {
            "hits": Figure(0.75, 0.6, 0.9, 0.25, 1.0, 9, 0),
            "unknown": Figure(*[math.nan] * 5, queries=0, lone=9),
            "recall": Figure(0.5, 0.4, 0.6, 0.0, 0.75, 9, 0),
        },
    )
    drawing = ElementTree.fromstring(str(chart.svg))
    texts = {text.text: float(text.get("x")) for text in drawing.iter("text")}
    zero, one = texts["0"], texts["1"]
    shares = [
        round((float(dot.get("cx")) - zero) / (one - zero), 2) for dot in drawing.iter("circle")
    ]
    assert shares == [0.75, 0.5]
    assert "unknown" not in texts and {"hits", ".750", "recall", ".500"} <= set(texts)

    def drawn(color):
        return [
            tuple(round((float(line.get(at)) - zero) / (one - zero), 2) for at in ("x1", "x2"))
            for line in drawing.iter("line")
            # The legend's lie below the axis' words.
            if line.get("stroke") == f"var({color})" and float(line.get("y1")) < 60
        ]

    assert drawn("--accent-soft") == [(0.6, 0.9), (0.4, 0.6)]
    assert drawn("--muted") == [(0.25, 0.25), (0.0, 0.0)]
    assert drawn("--series-3") == [(1.0, 1.0), (0.75, 0.75)]


def test_a_map_has_a_mark_for_every_product_where_it_belongs(search_map):
    drawing = ElementTree.fromstring(str(charts.search_map(search_map).svg))
    marks = [
        (np.array([point.split(",") for point in of.get("points").split()], float), of.get("fill"))
        for of in drawing.iter("polygon")
    ]
    # A legend of three values, and of the others, which nobody knows.
    assert len(marks) == 100 + 4
    colors = Counter(color for _, color in marks)
    assert colors == {f"var(--map-{mark})": 25 + 1 for mark in ("1", "2", "3", "rest")}
    # Every fourth has no value; they are drawn first, in their order: 0, 4, 8, 12 ...
    middles = np.array([points.mean(0) for points, _ in marks[:25]])
    places = np.arange(0, 100, 4)
    scale = (560 - 40) / 900
    np.testing.assert_allclose(middles[:, 0], 20 + 100 * scale * (places % 10), atol=0.1)
    # Up is more.
    np.testing.assert_allclose(middles[:, 1], 560 - 20 - 100 * scale * (places // 10), atol=0.1)
    words = [text.text for text in drawing.iter("text")]
    assert words == ["Tshirt 25", "Shoe 25", "Shirt 25", "others 25"]


@pytest.mark.parametrize("name", ["</svg><script>", "男式衬衫" * 40, "\u2028"])
def test_a_map_of_hostile_values_or_of_none_is_a_drawing(name, search_map):
    search_map["fields"] = {name: {"values": [name], "of": [0] * 100}}
    chart = charts.search_map(search_map)
    words = [text.text for text in ElementTree.fromstring(str(chart.svg)).iter("text")]
    assert words == [f"{name if len(name) <= 60 else name[:59] + '…'} 100"]
    search_map["fields"] = {}
    drawing = ElementTree.fromstring(str(charts.search_map(search_map).svg))
    assert [text.text for text in drawing.iter("text")] == ["products 100"]
