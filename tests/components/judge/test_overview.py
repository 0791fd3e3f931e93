"""All figures with their intervals, and the slices that are surely below the whole."""

import json

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, f1_score

from components.judge.answers import Judged, masks
from components.judge.certainty import View
from components.judge.measures import Answers, AttributeAnswers, ClassAnswers
from components.judge.overview import overview


def answered(right: np.ndarray) -> ClassAnswers:
    count = len(right)
    truth = np.arange(count) % 3
    return ClassAnswers(
        ["Top", "Bag", "Shoe"],
        truth,
        np.where(right, truth, (truth + 1) % 3),
        np.full(count, 0.9),
        np.where(right, 1, 2),
        np.where(right, 0.02, 1.6),
    )


@pytest.fixture(scope="module")
def told() -> dict:
    """2,000 products; the 200 girls are right half as often, as nobody would be by chance."""
    generator = np.random.default_rng(5)
    gender = np.repeat(["Women", "Men", "Kids", "Girls"], [1000, 700, 100, 200])
    right = generator.random(2000) < np.where(gender == "Girls", 0.45, 0.9)
    truth = generator.random((2000, 4)) < 0.3
    scores = np.clip(truth * 0.5 + generator.random((2000, 4)) * 0.6, 0, 1)
    labels = ["a=1", "a=2", "b=1", "b=2"]

    def answers(scores: np.ndarray, right: np.ndarray) -> Answers:
        attributes = AttributeAnswers(labels, truth, scores, 0.5)
        return Answers({"category": answered(right), "attributes": attributes})

    judged = Judged(
        answers(scores, right),
        answers(1 - scores, ~right),
        np.arange(2000).astype(str),
        {"gender": masks(gender)},
        ("gender",),
    )
    return {"overview": overview(View(judged)), "right": right, "gender": gender} | {
        "truth": truth,
        "scores": scores,
    }


def test_every_figure_stands_with_its_interval_and_that_of_the_last_model(told) -> None:
    figures = told["overview"]["figures"]
    right = int(told["right"].sum())
    accuracy = figures["category/accuracy"]
    assert (accuracy["value"], accuracy["products"]) == (right / 2000, 2000)
    wilson = stats.binomtest(right, 2000).proportion_ci(method="wilson")
    assert accuracy["interval"] == pytest.approx(list(wilson))
    assert accuracy["last"] == pytest.approx(1 - right / 2000)
    f1 = figures["attributes/overall_f1"]
    assert f1["value"] == pytest.approx(
        f1_score(told["truth"], told["scores"] >= 0.5, average="micro")
    )
    low, high = f1["interval"]
    assert low < f1["value"] < high < low + 0.06
    for average in ("macro", "micro", "samples"):
        with_labels = told["truth"].any(1) if average == "samples" else slice(None)
        assert figures[f"attributes/{average}_average_precision"]["value"] == pytest.approx(
            average_precision_score(
                told["truth"][with_labels], told["scores"][with_labels], average=average
            )
        )


def test_a_slice_is_low_where_chance_would_not_make_it_so(told) -> None:
    slices = told["overview"]["slices"]["gender"]
    assert [value for value in slices if slices[value]["category/accuracy"]["low"]] == ["Girls"]
    girls = told["right"][told["gender"] == "Girls"]
    assert slices["Girls"]["category/accuracy"]["value"] == girls.mean()
    assert slices["Girls"]["category/accuracy"]["products"] == 200
    assert not any(of["attributes/overall_f1"]["low"] for of in slices.values())


def test_it_is_plain(told) -> None:
    assert json.loads(json.dumps(told["overview"], allow_nan=False)) == told["overview"]


def test_what_cannot_be_computed_is_none_and_left_out_of_the_slices() -> None:
    none = np.full(4, -2)
    level = ClassAnswers(["a"], none, np.zeros(4, int), np.ones(4), np.zeros(4, int), np.zeros(4))
    judged = Judged(
        Answers({"category": level}),
        None,
        np.arange(4).astype(str),
        {"gender": masks(np.repeat("x", 4))},
        ("gender",),
    )
    told = overview(View(judged))
    assert told["figures"]["category/accuracy"] == {"value": None, "interval": None, "products": 0}
    assert told["slices"] == {"gender": {"x": {}}}
