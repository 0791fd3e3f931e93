"""What people are told that a model sees."""

from __future__ import annotations

import numpy as np

from schema import features
from serving.app.seen import seen
from serving.search.recipe import Answers


def told(labels, scores):
    answers = Answers(
        {level: np.float32([scores[level]]) for level in scores}, np.ones((1, 2), np.float32)
    )
    return {one["level"]: one["labels"] for one in seen(answers, labels)}


def test_levels_come_coarse_to_fine_then_extra_labels_by_name_then_attributes():
    labels = {
        "season": ["Summer"],
        features.ATTRIBUTES: ["tone=dark"],
        "gender": ["Men"],
        features.SUBCATEGORY: ["Boots"],
        features.CATEGORY: ["Shoes"],
    }

    assert list(told(labels, {level: [1.0] for level in labels})) == [
        *("category", "subcategory", "gender", "season", "attributes")
    ]
    # A level without labels is none.
    assert told({**labels, "gender": []}, {level: [1.0] for level in labels}).keys() == {
        *("category", "subcategory", "season", "attributes")
    }
    assert told({}, {}) == {}


def test_the_five_likeliest_of_a_level_are_told_the_first_of_equals_first():
    labels = {features.CATEGORY: list("abcdefg")}

    found = told(labels, {features.CATEGORY: [0.1, 0.25, 0.05, 0.25, 0.125, 0.125, 0.1]})

    assert found["category"] == [
        {"label": "b", "score": 0.25},
        {"label": "d", "score": 0.25},
        {"label": "e", "score": 0.125},
        {"label": "f", "score": 0.125},
        {"label": "a", "score": float(np.float32(0.1))},
    ]


def test_attributes_are_told_from_a_tenth_on_and_32_at_most():
    names = [f"tag={at}" for at in range(50)]
    scores = [0.5 - at / 128 for at in range(50)]

    found = told({features.ATTRIBUTES: names}, {features.ATTRIBUTES: scores})["attributes"]
    few = told({features.ATTRIBUTES: names[:3]}, {features.ATTRIBUTES: [0.125, 0.09375, 0.75]})

    assert [one["label"] for one in found] == names[:32]
    assert [one["label"] for one in few["attributes"]] == ["tag=2", "tag=0"]
    assert told({features.ATTRIBUTES: ["tag=0"]}, {features.ATTRIBUTES: [0.05]}) == {
        "attributes": []
    }
