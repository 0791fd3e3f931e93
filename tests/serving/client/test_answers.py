"""What is read out of a server's answer, and which answers are none."""

from __future__ import annotations

import numpy as np
import pytest

from serving.client import Prediction, Refused, answers
from serving.client import tf_serving_pb2 as messages
from tests.serving.client.word_server import tensor


def level(name: str, labels: list[list[str]], scores: list[list[float]]) -> dict:
    best = [max(zip(row, row_labels, strict=True)) for row, row_labels in zip(scores, labels)]  # noqa: B905
    return {
        name: tensor([label for _, label in best]),
        f"{name}_score": tensor([score for score, _ in best]),
        f"{name}_labels": tensor(labels),
        f"{name}_scores": tensor(scores),
    }


@pytest.fixture
def outputs() -> dict:
    """Of two pictures, with labels in any order."""
    return {
        **level("category", [["Bags", "Shoes"]] * 2, [[0.25, 0.75], [0.5, 0.5]]),
        **level("subcategory", [["Boot", "Clog"], ["Clog", "Tote"]], [[0.25, 0.5], [0.0, 1.0]]),
        **level("gender", [["Men"], ["Women"]], [[1.0], [0.5]]),
        "attributes": tensor([["season=Fall", "usage=Home"], ["usage=Home", "season=Fall"]]),
        "attribute_scores": tensor([[0.25, 0.75], [0.75, 0.5]]),
    }


def results(outputs: dict, count: int = 2):
    return answers.results(outputs, [f"{i}.jpg" for i in range(count)], 5)


def test_labels_are_ranked_whatever_order_they_come_in(outputs):
    first, second = results(outputs)

    assert list(first.category_scores.items()) == [("Shoes", 0.75), ("Bags", 0.25)]
    assert list(first.attributes) == ["usage=Home", "season=Fall"]
    assert list(second.attributes) == ["usage=Home", "season=Fall"]
    # Of equals the first comes first.
    assert list(second.category_scores) == ["Bags", "Shoes"]
    assert first.top_subcategories(1) == [("Clog", 0.5)]


def test_a_level_is_an_extra_label_by_its_outputs(outputs):
    outputs["gender_of"] = outputs["gender"]
    first, second = results(outputs)

    assert list(first.extra_labels) == ["gender"]
    assert (second.extra_labels["gender"].label, second.levels["gender"].score) == ("Women", 0.5)


def test_refused_rows_have_the_models_reason_and_thresholds_are_taken_from_others(outputs):
    outputs["status"] = tensor(["too large", ""])
    outputs["category_threshold"] = tensor([0.0, 0.5])
    first, second = results(outputs)

    assert first == Refused("cannot be decoded: too large", "0.jpg")
    assert second.thresholds == {"category": 0.5}
    assert second.known == {"category": "Shoes"}


def test_numbers_may_come_as_bytes(outputs):
    packed = np.array([0.75, 0.5], dtype="<f4").tobytes()
    outputs["category_score"] = messages.Tensor(
        dtype=messages.DT_FLOAT,
        tensor_shape={"dim": [{"size": 2}]},
        tensor_content=packed,
    )
    assert [one.category_score for one in results(outputs)] == [0.75, 0.5]


def test_a_model_without_attributes_has_none(outputs):
    outputs["attributes"] = tensor(np.empty([2, 0], dtype="U1"))
    outputs["attribute_scores"] = tensor(np.empty([2, 0]))
    first, _ = results(outputs)
    assert first.attributes == {} == first.attributes_above(0)


def test_without_thresholds_nothing_is_known_and_attributes_have_the_usual_one(outputs):
    first, second = results(outputs)
    assert first.known == second.known == {}
    assert list(first.attributes_above()) == ["usage=Home"]
    assert list(second.attributes_above(0.5)) == ["usage=Home", "season=Fall"]


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("category", None, "lacks category"),
        ("category", tensor(["Bags"]), r"category has the shape \(1,\) for 2 pictures"),
        ("category", tensor([["Bags"], ["Bags"]]), r"category has the shape \(2, 1\)"),
        ("category_scores", tensor([[0.5], [0.5]]), "1 category_scores for 2 labels"),
        ("category_score", messages.Tensor(dtype=2), "neither text nor numbers"),
        (
            "category",
            messages.Tensor(
                dtype=7, tensor_shape={"dim": [{"size": 1 << 40}]}, string_val=[b"Bags"]
            ),
            "category cannot be read",
        ),
        ("category", messages.Tensor(dtype=7, string_val=[b"Bags"]), "category"),
        (
            "category",
            messages.Tensor(
                dtype=7, tensor_shape={"dim": [{"size": 2}]}, string_val=[b"\xff", b"a"]
            ),
            "utf-8",
        ),
        ("status", tensor([0.0, 1.0, 2.0]), "status has the shape"),
    ],
)
def test_answers_that_do_not_fit_together_are_refused(outputs, name, given, said):
    if given is None:
        del outputs[name]
    else:
        outputs[name] = given
    with pytest.raises(ValueError, match=said):
        results(outputs)


def test_the_five_likeliest_are_told_unless_another_number_is_asked_for():
    scores = {f"label {i}": 1 / (2 << i) for i in range(7)}
    prediction = Prediction("a", 0.5, "b", 0.5, {}, scores, dict(reversed(scores.items())))
    assert prediction.top_categories() == [(f"label {i}", 1 / (2 << i)) for i in range(5)]
    assert [label for label, _ in prediction.top_subcategories()] == [
        f"label {i}" for i in (6, 5, 4, 3, 2)
    ]
    assert len(prediction.top_categories(7)) == len(prediction.top_subcategories(9)) == 7


def test_what_just_reaches_its_threshold_counts():
    thresholds = {"category": 0.5, "subcategory": 0.5, "attributes": 0.25}
    attributes = {"at": 0.25, "below": 0.24}
    prediction = Prediction(
        "Bags", 0.5, "Tote", 0.49, attributes, {}, {}, thresholds=thresholds, version=3
    )
    assert prediction.known == {"category": "Bags"}
    assert prediction.attributes_above() == {"at": 0.25}
    assert prediction.to_dict()["thresholds"] == thresholds
    assert prediction.to_dict()["version"] == 3


def test_a_prediction_can_be_made_with_what_it_always_had():
    prediction = Prediction("Bags", 0.5, "Tote", 0.5, {}, {"Bags": 0.5}, {"Tote": 0.5})
    assert (prediction.known, prediction.version, prediction.embedding) == ({}, None, ())
