"""The explorer has every slice's figures, as TFMA and the Judge have them."""

import dataclasses

import pytest

from components.report import explorer


@pytest.fixture
def told(contents):
    evaluation = dataclasses.replace(
        contents.evaluation,
        baseline_slices={"gender": {"Men": {"category/accuracy": 0.5, "example_count": 12}}},
    )
    return explorer.told(explorer.of_run(evaluation, contents.judgement))


def figures(told, column, value):
    [row] = [row for row in told["rows"] if (row["column"], row["value"]) == (column, value)]
    return row, dict(zip(told["names"], row["figures"], strict=True))


def test_all_products_come_first_beside_the_last_blessed_model(told, contents):
    row, found = figures(told, "", "all")
    assert told["rows"][0] is row
    assert row["products"] == 100
    for name, value in contents.evaluation.metrics.items():
        before = contents.evaluation.baseline[name]
        assert found[name] == pytest.approx([value, None, None, before], abs=1e-5)


def test_a_slice_has_the_judges_interval_and_mark(told, contents):
    row, found = figures(told, "gender", "Women")
    assert (row["products"], row["keys"]) == (80, (("gender", "Women"),))
    value = contents.evaluation.slices["gender"]["Women"]["category/accuracy"]
    assert found["category/accuracy"] == pytest.approx([value, 0.7, 0.85, None, 1], abs=1e-5)
    assert found["subcategory/accuracy"] == pytest.approx([0.75], abs=1e-5)
    # Of the last blessed model's slices too.
    assert figures(told, "gender", "Men")[1]["category/accuracy"][3] == 0.5


def test_what_cannot_be_computed_in_a_slice_has_no_figure(told):
    assert figures(told, "gender", "unknown")[1]["gender/accuracy"] == 0


def test_slices_that_only_the_judge_makes_have_its_figures(told):
    row, found = figures(told, "brightness of the picture", "darkest tenth")
    assert (row["products"], row["keys"]) == (10, (("image_brightness", "darkest tenth"),))
    assert found["category/accuracy"] == [0.6, 0.4, 0.8, None, 1]
    # There is nothing to say of slices without figures.
    assert not [row for row in told["rows"] if row["value"] == "those between"]


def test_levels_have_their_figures_with_what_to_begin_with(told):
    levels = {level["name"]: level for level in told["levels"]}
    assert [level["title"] for level in told["levels"]][:2] == ["Category", "Sub-category"]
    mains = {name: [m["name"] for m in of["metrics"] if m["main"]] for name, of in levels.items()}
    assert mains["category"] == ["accuracy"] and mains["attributes"] == ["overall_f1"]
    less = [m["name"] for m in levels["category"]["metrics"] if m["less"]]
    assert "calibration_error" in less and "accuracy" not in less


def test_crossed_slices_have_a_key_of_each_column(contents):
    crossed = {
        "gender x season": {"Women x Summer": {"category/accuracy": 0.7, "example_count": 9}}
    }
    evaluation = dataclasses.replace(contents.evaluation, slices=crossed)
    [_, row, *_] = explorer.of_run(evaluation, contents.judgement)
    assert row.keys == (("gender", "Women"), ("season", "Summer"))


def test_figures_that_only_the_judge_has_are_told_of_all_products(contents):
    judgement = dataclasses.replace(
        contents.judgement,
        figures={
            "attributes/macro_average_precision": {"value": 0.61, "interval": None, "last": 0.5},
            "attributes/nothing": {"value": None, "interval": None},
        },
    )
    [overall, *_] = explorer.of_run(contents.evaluation, judgement)
    assert overall.figures["attributes/macro_average_precision"] == explorer.Figure(0.61, None, 0.5)
    assert "attributes/nothing" not in overall.figures
