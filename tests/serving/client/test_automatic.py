"""Which answers need no person, by the scores that travel with a version."""

import json

import pytest

from serving.client import Automatic, ExtraLabel, Prediction, UserError


def prediction(category: float, subcategory: float, gender: float = 0.5) -> Prediction:
    return Prediction(
        category="Top",
        category_score=category,
        subcategory="Shirt",
        subcategory_score=subcategory,
        attributes={"season=Summer": 0.9, "season=Winter": 0.9, "fit=Slim": 0.6},
        category_scores={"Top": category},
        subcategory_scores={"Shirt": subcategory},
        extra_labels={"gender": ExtraLabel("Men", gender, {"Men": gender})},
    )


AUTOMATIC = Automatic(
    0.98,
    {"category": 0.8, "subcategory": 0.9, "gender": 0.7},
    {"season=Summer": 0.9, "fit=Slim": 0.7},
)


@pytest.mark.parametrize(
    ("category", "subcategory", "lane"),
    [
        (0.95, 0.9, "subcategory"),
        (0.7, 0.95, "subcategory"),
        (0.8, 0.899, "category"),
        (0.79, 0.5, "person"),
    ],
)
def test_a_product_is_in_the_finest_lane_whose_score_it_reaches(category, subcategory, lane):
    assert AUTOMATIC.lane(prediction(category, subcategory)) == lane


def test_labels_are_those_that_can_be_taken_as_they_are():
    assert AUTOMATIC.labels(prediction(0.7, 0.95, gender=0.7)) == {
        "category": "Top",
        "subcategory": "Shirt",
        "gender": "Men",
        "attributes": ["season=Summer"],
    }
    nothing = Automatic(0.98, {}, {})
    assert nothing.labels(prediction(1.0, 1.0)) == {}
    assert nothing.lane(prediction(1.0, 1.0)) == "person"


def test_they_are_read_from_the_version_and_an_older_one_has_none(tmp_path):
    record = tmp_path / "assets.extra" / "seamline_version.json"
    record.parent.mkdir()
    told = {"wanted": 0.98, "levels": {"category": 0.8}, "attributes": {"fit=Slim": 0.7}}
    record.write_text(json.dumps({"origin": {"automatic": told}}))
    assert Automatic.of_version(tmp_path) == Automatic(0.98, {"category": 0.8}, {"fit=Slim": 0.7})
    record.write_text(json.dumps({"origin": {"model": "m"}}))
    assert Automatic.of_version(str(tmp_path)) == Automatic(None, {}, {})


@pytest.mark.parametrize(
    "content", [None, "{", "[]", '{"origin": 3}', '{"origin": {"automatic": 3}}']
)
def test_a_folder_that_is_no_version_is_named(tmp_path, content):
    record = tmp_path / "assets.extra" / "seamline_version.json"
    record.parent.mkdir()
    if content is not None:
        record.write_text(content)
    with pytest.raises(UserError, match="is no version that Seamline pushed"):
        Automatic.of_version(tmp_path)
