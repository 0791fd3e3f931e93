"""What a candidate must do to be blessed, and what it is told when it does not."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.model_canary import canary
from schema.errors import UserError


def test_questions_are_the_first_of_the_split(split, questions):
    files = [str(file) for file in split.iterdir()]

    assert canary.read_questions(files, 2) == questions[:2]
    assert canary.read_questions(files, 99) == questions


def test_a_split_without_products_is_the_users_to_mend():
    with pytest.raises(UserError, match="test split holds no products"):
        canary.read_questions([], 4)


def test_a_sound_model_is_blessed_with_its_latency(candidate, questions):
    verdict = canary.examine(candidate(), questions, "catalog")

    assert verdict.blessed
    assert verdict.summary.startswith("3 questions answered")
    assert [p.category for p in verdict.predictions] == ["red", "green", "blue"]


def _overwritten(name: str, value: float):
    def change(answers: dict) -> dict:
        return {**answers, name: tf.fill(tf.shape(answers[name]), tf.constant(value))}

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_overwritten("category_scores", 0.5), "category scores .* sum to 1.5"),
        (_overwritten("category_scores", float("nan")), "hold nan .* which is no probability"),
        (_overwritten("attribute_scores", 1.5), "attribute scores .* hold 1.5"),
        (_overwritten("subcategory_score", 0.123), "subcategory .* with score 0.1230"),
        (
            lambda answers: {**answers, "category": tf.fill(tf.shape(answers["category"]), "hat")},
            "category for product 0 is 'hat', which is not among its labels",
        ),
        (
            lambda answers: {**answers, "category_labels": answers["attributes"]},
            "does not answer as",
        ),
        (
            lambda answers: {k: v for k, v in answers.items() if k != "embedding"},
            "answer lacks embedding",
        ),
        (
            lambda answers: {
                **answers,
                "embedding": tf.random.uniform(tf.shape(answers["embedding"])),
            },
            "embedding for product .* is not the one",
        ),
    ],
)
def test_an_unsound_answer_is_not_blessed(candidate, questions, change, reason):
    verdict = canary.examine(candidate(change), questions, "catalog")

    assert not verdict.blessed
    assert verdict.summary.startswith("not blessed: ")
    assert re.search(reason, verdict.summary)


def test_extra_labels_are_examined_too(candidate, questions):
    change = _overwritten("color_scores", 0.5)
    verdict = canary.examine(candidate(change, extra_label="color"), questions, "catalog")

    assert "the color scores for product 0 sum to 1.5000, not 1" in verdict.summary


def test_extra_labels_stand_in_truth_and_prediction(candidate, questions):
    verdict = canary.examine(candidate(extra_label="color"), questions, "catalog")

    told = canary.answers(questions, verdict.predictions)

    assert verdict.blessed
    assert told[2]["truth"]["color"] == "blue"
    assert told[2]["prediction"]["extra_labels"]["color"]["label"] == "blue"


def test_a_model_that_answers_anything_is_not_blessed(tmp_path: Path, questions):
    class Credulous(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
        def serve(self, image_bytes):
            count = tf.shape(image_bytes)[0]
            answer = {
                name: tf.fill([count], text)
                for name, text in (("category", "a"), ("subcategory", "b"))
            }
            scores = {f"{name}_score": tf.ones([count]) for name in answer}
            rows = {
                f"{name}_{kind}": values
                for name, text in (("category", "a"), ("subcategory", "b"))
                for kind, values in (
                    ("scores", tf.ones([count, 1])),
                    ("labels", tf.fill([count, 1], text)),
                )
            }
            return {
                **answer,
                **scores,
                **rows,
                "attributes": tf.fill([count, 1], "c=d"),
                "attribute_scores": tf.zeros([count, 1]),
                "embedding": tf.ones([count, 1]),
            }

    module = Credulous()
    tf.saved_model.save(module, str(tmp_path / "candidate"), {"serving_default": module.serve})

    verdict = canary.examine(tmp_path / "candidate", questions, "catalog")

    assert verdict.summary == (
        "not blessed: the model answers bytes that are no picture instead of refusing them"
    )
    assert len(verdict.predictions) == 3


def test_a_model_that_cannot_be_loaded_is_not_blessed(tmp_path: Path, questions):
    broken = tmp_path / "candidate"
    broken.mkdir(parents=True)
    (broken / "saved_model.pb").write_bytes(b"not a model")

    verdict = canary.examine(broken, questions, "catalog")

    assert not verdict.blessed
    assert "can be loaded" in verdict.summary


def test_answers_put_truth_prediction_and_thumbnail_side_by_side(candidate, questions):
    verdict = canary.examine(candidate(), questions, "catalog")

    told = canary.answers(questions, verdict.predictions)

    assert [answer["id"] for answer in told] == ["0", "1", "2"]
    assert told[2]["truth"] == {
        "category": "blue",
        "subcategory": "bright blue",
        "attributes": ["tone=bright", "season=Fall"],
    }
    assert told[2]["prediction"]["subcategory"] == "dark blue"
    thumbnail = Image.open(io.BytesIO(base64.b64decode(told[0]["thumbnail"])))
    assert (thumbnail.format, thumbnail.size) == ("JPEG", (96, 96))
    assert np.asarray(thumbnail).mean(axis=(0, 1)) == pytest.approx([255, 0, 0], abs=4)
