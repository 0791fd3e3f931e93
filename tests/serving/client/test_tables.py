"""Results as rows: CSV and pandas."""

from __future__ import annotations

import csv
import io

import pytest

from schema.errors import UserError
from serving.client import Automatic, ExtraLabel, Prediction, Refused, tables, to_frame, write_csv

BOOT = Prediction(
    category="Shoes",
    category_score=0.98765,
    subcategory="Boot",
    subcategory_score=0.4,
    attributes={"season=Fall": 0.9, "usage=Home": 0.85, "season=Spring": 0.2},
    category_scores={"Shoes": 0.98765},
    subcategory_scores={"Boot": 0.4},
    extra_labels={"gender": ExtraLabel("Men", 0.7, {"Men": 0.7})},
    thresholds={"category": 0.5, "subcategory": 0.6, "attributes": 0.85, "gender": 0.7},
    version=12,
)
TORN = Refused("cannot be decoded: torn", "b.jpg")


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_row_has_labels_scores_and_whether_they_are_known():
    file = io.StringIO()
    assert write_csv([BOOT, TORN], file, ["a.jpg", "b.jpg"]) == 2

    boot, torn = rows(file.getvalue())
    assert boot == {
        "picture": "a.jpg",
        "category": "Shoes",
        "category_score": "0.9877",
        "category_known": "yes",
        "subcategory": "Boot",
        "subcategory_score": "0.4000",
        "subcategory_known": "no",
        "gender": "Men",
        "gender_score": "0.7000",
        "gender_known": "yes",
        "attributes": "season=Fall|usage=Home",
        "attribute_scores": "0.9000|0.8500",
        "model_version": "12",
        "refused": "",
    }
    assert {column for column, cell in torn.items() if cell} == {"picture", "refused"}
    assert torn["refused"] == "cannot be decoded: torn"


def test_with_scores_a_row_says_what_needs_no_person():
    scores = Automatic(0.98, {"category": 0.9, "gender": 0.7001}, {"season=Fall": 0.9})
    row = tables.written(tables.cells(BOOT, scores))
    assert list(row) == tables.columns(["gender"], lanes=True)[:-1]
    assert (row["category_automatic"], row["subcategory_automatic"]) == ("yes", "no")
    assert (row["gender_automatic"], row["attributes_automatic"]) == ("no", "yes|no")
    assert row["lane"] == "category"
    # A sub-category is taken with its category.
    finer = tables.cells(BOOT, Automatic(0.98, {"subcategory": 0.4}, {}))
    assert (finer["category_automatic"], finer["lane"]) == ("yes", "subcategory")
    assert tables.cells(TORN, scores) == {"refused": TORN.reason}


def test_refusals_before_the_first_answer_wait_for_its_columns():
    file = io.StringIO()
    write_csv(iter([TORN, TORN, BOOT, TORN]), file, "abcd")
    assert [row["gender"] for row in rows(file.getvalue())] == ["", "", "Men", ""]
    assert [row["picture"] for row in rows(file.getvalue())] == list("abcd")


def test_no_answer_at_all_is_written_as_well():
    file = io.StringIO()
    assert write_csv([], file, []) == 0
    assert file.getvalue().startswith("picture,category,category_score")
    assert write_csv([TORN], io.StringIO(), ["a"]) == 1


def test_without_thresholds_nobody_says_what_is_known():
    row = tables.cells(Prediction("a", 0.9, "b", 0.9, {}, {}, {}))
    assert (row["category_known"], row["model_version"]) == ("", "")


def test_a_frame_has_numbers_where_there_are_scores():
    frame = to_frame([TORN, BOOT], ["b.jpg", "a.jpg"])
    assert list(frame.index) == ["b.jpg", "a.jpg"]
    assert frame.loc["a.jpg", "category_score"] == pytest.approx(0.98765)
    assert frame["category_score"].dtype == "float64"
    assert frame["refused"].notna().tolist() == [True, False]
    assert list(frame.columns) == tables.columns(["gender"])


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"]])
def test_every_result_needs_a_name(names):
    with pytest.raises(UserError, match="one name for each result"):
        write_csv([BOOT, TORN], io.StringIO(), names)
    with pytest.raises(UserError, match="one name for each result"):
        to_frame([BOOT, TORN], names)
