"""Metrics and predictions as people see them on the terminal."""

import io

import pytest
from rich.console import Console

from pipeline.tables import metrics_tables, predictions_table
from schema.errors import UserError
from serving.client import ExtraLabel, Prediction

METRICS = {
    "category/accuracy": 0.95,
    "category/overall_f1": 0.94,
    "category/calibration_error": 0.011,
    "category/independent_accuracy": 0.93,
    "category/changed_by_decoding": 0.021,
    "category/uncalibrated_calibration_error": 0.052,
    "subcategory/accuracy": 0.85,
    "subcategory/pair_accuracy": 0.84,
    "subcategory/independent_pair_accuracy": 0.81,
    "attributes/overall_f1": 0.74,
    "gender/accuracy": 0.87,
}


@pytest.fixture
def printed():
    """Prints on a wide, plain console; returns the lines as lists of cells."""

    def lines(renderable):
        console = Console(file=io.StringIO(), width=160)
        console.print(renderable)
        return [line.split() for line in console.file.getvalue().splitlines() if line.strip()]

    return lines


def test_every_level_has_a_row_and_extra_labels_are_levels(printed):
    evaluation = {"example_count": 1200, "metrics": METRICS, "slices": {}}
    lines = printed(metrics_tables(evaluation))
    assert lines[0][0] == "1,200"
    assert ["level", "accuracy", "OF1"] in lines
    assert ["category", "0.950", "0.940"] in lines
    assert ["gender", "0.870"] in lines


OVERVIEW = {
    "example_count": 100,
    "figures": {
        "category/accuracy": {
            "value": 0.9,
            "interval": [0.82, 0.95],
            "products": 100,
            "last": 0.95,
        },
        "category/brier": {"value": 0.2, "interval": [0.1, 0.3], "products": 100, "last": 0.1},
    },
    "slice_figures": {
        "gender": {
            "Women": {
                "category/accuracy": {
                    "value": 0.8,
                    "interval": [0.6, 0.9],
                    "products": 40,
                    "last": 0.7,
                    "low": True,
                }
            },
            "Men": {
                "category/accuracy": {
                    "value": 0.97,
                    "interval": None,
                    "products": 60,
                    "last": None,
                    "low": False,
                }
            },
        }
    },
}


def test_slices_are_shown_with_intervals_and_beside_the_last_model(printed):
    lines = printed(metrics_tables(OVERVIEW, ["gender"], compare=True))
    assert lines[1] == ["category", "accuracy"]
    assert lines[2] == ["gender", "products", "figure", "interval", "last", "change"]
    assert ["Women", "40", "0.800", "0.600", "to", "0.900", "0.700", "+0.100"] in lines
    assert ["Men", "60", "0.970", "–", "–"] in lines
    lines = printed(metrics_tables(OVERVIEW, ["gender=Women"]))
    assert lines[-1] == ["Women", "40", "0.800", "0.600", "to", "0.900"]
    lines = printed(metrics_tables(OVERVIEW, compare=True))
    assert lines[-1][-4:] == ["to", "0.950", "0.950", "-0.050"]


def test_a_slice_that_there_is_not_and_a_last_model_that_there_is_not_are_named():
    with pytest.raises(UserError, match="no slice age; there are gender"):
        metrics_tables(OVERVIEW, ["age"])
    with pytest.raises(UserError, match="no slice gender=Kids; there are Women, Men"):
        metrics_tables(OVERVIEW, ["gender=Kids"])
    first = OVERVIEW | {"figures": {"category/accuracy": {"value": 1, "products": 1}}}
    with pytest.raises(UserError, match="no last blessed model"):
        metrics_tables(first, compare=True)


def test_calibration_and_joint_decoding_stand_beside_what_would_be_without(printed):
    lines = printed(metrics_tables({"example_count": 9, "metrics": METRICS, "slices": {}}))
    assert lines[-7] == ["calibration", "ECE", "without"]
    assert lines[-5] == ["category", "0.011", "0.052"]
    assert lines[-4] == ["joint", "decoding", "accuracy", "without", "changed"]
    assert lines[-2:] == [["category", "0.950", "0.930", "0.021"], ["both", "0.840", "0.810"]]


def test_a_model_without_decoding_and_calibration_has_one_table_of_levels(printed):
    plain = {name: METRICS[name] for name in ("category/accuracy", "attributes/overall_f1")}
    lines = printed(metrics_tables({"example_count": 9, "metrics": plain, "slices": {}}))
    assert not any(line[0] in ("calibration", "joint") for line in lines)


def test_slices_show_extra_labels_and_leave_out_what_nobody_knows(printed):
    unknown = {name: of for name, of in METRICS.items() if not name.startswith("gender")}
    slices = {
        "gender": {
            "Men": {"example_count": 7, **METRICS},
            "unknown": {"example_count": 2, **unknown},
        }
    }
    lines = printed(metrics_tables({"example_count": 9, "metrics": METRICS, "slices": slices}))
    assert [
        "gender",
        "products",
        "category",
        "sub-category",
        "gender",
        "attributes",
        "OF1",
    ] in lines
    assert ["Men", "7", "0.950", "0.850", "0.870", "0.740"] in lines
    assert ["unknown", "2", "0.950", "0.850", "0.740"] in lines


def test_predictions_have_a_column_for_each_extra_label(printed):
    scores = {"Men": 0.75, "Women": 0.25}
    prediction = Prediction(
        category="Footwear",
        category_score=0.9,
        subcategory="Sandal",
        subcategory_score=0.8,
        attributes={"season=Summer": 0.85, "season=Winter": 0.2},
        category_scores={"Footwear": 0.9},
        subcategory_scores={"Sandal": 0.8},
        embedding=(1.0,),
        extra_labels={"gender": ExtraLabel("Men", 0.75, scores)},
    )
    lines = printed(predictions_table(["a.jpg"], [prediction], 0.75))
    row = " ".join(cell for cell in lines[-2] if cell != "│")
    assert "gender" in lines[1]
    assert row == "a.jpg Footwear 0.90 Sandal 0.80 Men 0.75 season=Summer 0.85"
