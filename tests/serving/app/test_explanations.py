from __future__ import annotations

import numpy as np
import pytest

from serving.app import answers
from tests.serving.app import search_model

RED, BLUE = (220, 30, 20), (10, 40, 200)


def test_maps_add_up_to_the_features_part_of_the_score_on_both_sides(each_app, products):
    asked = search_model.picture(RED, BLUE)
    found = each_app.search(asked, k=1, weight="features=2.5")["results"][0]

    told = each_app.post("explain", asked, result=found["id"], weight="features=2.5")

    answers.Explained.model_validate(told)
    assert told["parts"] == pytest.approx(found["parts"])
    assert told["score"] == pytest.approx(found["score"])
    for side in ("query", "result"):
        places = told[side]["features"]
        assert np.array(places["map"]).shape == (2, 2)
        assert np.sum(places["map"]) == pytest.approx(places["sum"], abs=1e-9)
        assert places["sum"] == pytest.approx(found["parts"]["features"], abs=1e-5)
        assert told[side]["label"] is None
    assert told["problem"] is None
    assert [one["level"] for one in told["compared"]] == [
        *("category", "subcategory", "gender", "attributes")
    ]
    assert told["compared"][0]["query"][0]["label"] == "red"
    assert len(told["compared"][1]["query"]) == len(told["compared"][1]["result"]) == 3


def test_products_are_explained_by_their_own_vectors(each_app, products):
    found = each_app.search(id="p20", k=1)["results"][0]

    told = each_app.post("explain", id="p20", result=found["id"])

    assert told["score"] == pytest.approx(found["score"])
    for side in ("query", "result"):
        assert told[side]["features"]["sum"] == pytest.approx(found["parts"]["features"], abs=1e-5)


def test_a_label_is_shown_in_both_pictures_or_in_the_one_that_is_asked_about(each_app):
    asked, label = search_model.picture(RED, BLUE), "subcategory=dark red"

    both = each_app.post("explain", asked, result="p20", label=label)
    one = each_app.post("explain", asked, label=label)

    # The toy's map of a label is how red a quarter is, times the length of the label's name.
    red, blue = RED[0] / 255 * len(label), BLUE[0] / 255 * len(label)
    assert np.array(both["query"]["label"]["map"]) == pytest.approx(
        np.array([[red, blue], [red, blue]]), abs=1e-4
    )
    assert both["result"]["label"] is not None
    assert one["query"]["label"] == both["query"]["label"]
    assert one["query"]["features"] is one["result"] is one["parts"] is one["score"] is None
    assert [len(level["query"]) for level in one["compared"]] == [3, 3, 2, 3]
    assert [level["result"] for level in one["compared"]] == [[]] * 4


def test_a_part_of_the_picture_is_explained(each_app):
    told = each_app.post(
        "explain", search_model.picture(RED, BLUE), crop="0,0,0.5,1", label="category=red"
    )

    red = RED[0] / 255 * len("category=red")
    assert np.array(told["query"]["label"]["map"]) == pytest.approx(np.full((2, 2), red), abs=1e-4)


def test_a_model_without_maps_says_so_and_tells_the_parts(each_app):
    told = each_app.post("explain", search_model.picture(RED), result="p20", model="plain")

    assert told["query"] == {"features": None, "label": None}
    assert sum(told["parts"].values()) == pytest.approx(told["score"])
    assert "plain" in told["problem"] and told["problem"].endswith("maps.")


def test_models_say_whether_they_explain(each_app):
    told = {one["name"]: one["explains"] for one in each_app.get("/api/models")["models"]}

    assert told == {"catalog": True, "plain": False}
