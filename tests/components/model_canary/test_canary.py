"""What a candidate must do to be blessed, and what it is told when it does not."""

from __future__ import annotations

import base64
import io
import re
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.atomic_pusher import versions
from components.model_canary import canary, production
from components.model_canary.servers import Server
from schema.errors import UserError
from serving.model_server import ModelServer
from tests.components.model_canary.conftest import Candidate
from tests.serving import color_model


def test_questions_are_the_first_of_the_split(split, questions):
    files = [str(file) for file in split.iterdir()]

    assert canary.read_questions(files, 2) == questions[:2]
    assert canary.read_questions(files, 99) == questions


def test_a_split_without_products_is_the_users_to_mend():
    with pytest.raises(UserError, match="test split holds no products"):
        canary.read_questions([], 4)


def test_a_sound_model_is_blessed_with_its_latency(candidate, questions):
    verdict = canary.examine(candidate(), questions, "catalog")

    assert verdict.blessed, verdict.summary
    assert verdict.summary.startswith(
        "3 questions answered by TensorFlow's C++ and by the embedded server alike, "
    )
    assert [p.category for p in verdict.predictions] == ["red", "green", "blue"]


def test_a_version_with_its_papers_is_loaded_by_tensorflows_c(candidate, questions, tmp_path):
    paper = tmp_path / "model_card.md"
    paper.write_text("---\nlicense: unknown\n---\n")
    version = versions.push(candidate(), tmp_path / "serving", papers=[paper]).version.folder
    assert (version / "assets.extra" / paper.name).is_file()
    [question, *_] = questions
    call = production.Call("serving_default", {"image_bytes": [question.image]})
    [answer] = production.ask(version, [call])
    assert [label.decode() for label in answer["category"]] == ["red"]


def _overwritten(name: str, value: float):
    def change(answers: dict) -> dict:
        return {**answers, name: tf.fill(tf.shape(answers[name]), tf.constant(value))}

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_overwritten("category_scores", 0.5), "category scores .* sum to 1.5"),
        (_overwritten("category_scores", float("nan")), "otherwise beside bad|the category that"),
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
            "the embedding that it serves is not the one|answers embedding otherwise",
        ),
    ],
)
def test_an_unsound_answer_is_not_blessed(candidate, questions, change, reason):
    verdict = canary.examine(candidate(change), questions, "catalog")

    assert not verdict.blessed
    assert verdict.summary.startswith("not blessed: ")
    assert re.search(reason, verdict.summary), verdict.summary


def test_a_model_that_is_judged_by_other_answers_than_it_serves_is_not_blessed(
    candidate, questions
):
    def sharper(answers):
        return {**answers, "category_scores": answers["category_scores"] ** 2}

    verdict = canary.examine(candidate(dict, sharper), questions, "catalog")

    assert verdict.summary == (
        "not blessed: the category that it serves is not the one that the Evaluator judges"
    )


@pytest.mark.parametrize(("change", "reason"), [
    (lambda told: {**told, "regions": told["regions"] * 1.01}, "what it says the places of a "
     "picture add is not the embedding that it serves"),
    (lambda told: {**told, "label_map": told["label_map"] + float("nan")}, "it does not say where "
     "in a picture it sees a label"),
    (lambda told: {**told, "label_map": told["label_map"][:, :1]}, "it does not say where in a "
     "picture it sees a label"),
])  # fmt: skip
def test_a_model_that_explains_other_answers_than_it_gives_is_not_blessed(
    candidate, questions, change, reason
):
    verdict = canary.examine(candidate(dict, dict, change), questions, "catalog")

    assert verdict.summary == f"not blessed: {reason}"


def test_a_model_that_tensorflow_serving_could_not_answer_from_is_not_blessed(
    candidate, questions, tmp_path
):
    """As they were exported once: Python finds the variables of a Keras model, C++ does not."""
    layer = keras.Sequential([keras.layers.Input([3]), keras.layers.Dense(3)])
    folder = candidate(lambda answers: answers)
    shutil.rmtree(folder)

    class WithKeras(Candidate):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def _answers(self, table):
            return super()._answers(tf.nn.relu(self.layer(table)) * 0 + table)

    color_model.save(WithKeras(), str(folder))
    verdict = canary.examine(folder, questions, "catalog")

    assert verdict.summary.startswith(
        "not blessed: as TensorFlow Serving would load it, its signature serving_default fails: "
    )
    assert "Could not find variable" in verdict.summary


def test_a_model_of_before_is_refused_for_what_it_lacks(tmp_path, questions):
    color_model.save(color_model.OlderColorModel(), str(tmp_path / "candidate"))

    verdict = canary.examine(tmp_path / "candidate", questions, "catalog")

    assert verdict.summary.startswith("not blessed: it has no signature evaluate, everything")


def test_a_model_that_is_slower_than_allowed_is_not_blessed(candidate, questions):
    verdict = canary.examine(candidate(), questions, "catalog", most_ms=0.001)

    assert re.fullmatch(
        r"not blessed: one picture takes \d+ ms \(median\), and serving.canary_latency_ms allows "
        r"0.001",
        verdict.summary,
    )


EMBEDDED = f"{sys.executable} -m serving.model_server"


def test_a_server_that_the_config_names_is_started_and_asked(candidate, questions):
    verdict = canary.examine(candidate(), questions, "catalog", Server(binary=EMBEDDED))

    assert verdict.blessed, verdict.summary
    assert f"TensorFlow's C++ and by {sys.executable} alike" in verdict.summary


def test_a_server_that_cannot_be_started_is_named(candidate, questions):
    for binary, reason in (
        ("/nowhere/tensorflow_model_server", "cannot be started: /nowhere"),
        (f"{EMBEDDED} --no_such_flag", "ended with status 1"),
    ):
        verdict = canary.examine(candidate(), questions, "catalog", Server(binary=binary))
        assert re.search(reason, verdict.summary), verdict.summary


def test_a_running_server_is_asked_about_the_candidate_and_left_as_it_was(
    candidate, questions, tmp_path
):
    root = tmp_path / "serving"
    color_model.save(color_model.ColorModel(), str(root / "catalog" / "7"))
    with ModelServer(root, poll_interval_s=0.1) as server:
        verdict = canary.examine(
            candidate(),
            questions,
            "catalog",
            Server(address=server.endpoint, folder=str(root / "catalog")),
        )
    assert verdict.blessed, verdict.summary
    assert [path.name for path in (root / "catalog").iterdir()] == ["7"]


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


def test_a_model_that_answers_anything_is_not_blessed(candidate, questions, monkeypatch):
    def red_for_what_is_no_picture(answered):
        return lambda image_bytes: tf.maximum(answered(image_bytes), 0)

    colors = color_model._mean_colors
    monkeypatch.setattr(color_model, "_mean_colors", red_for_what_is_no_picture(colors))
    verdict = canary.examine(candidate(), questions, "catalog")

    assert verdict.summary == (
        "not blessed: its signature serving_default answers bytes that are no picture"
    )


def test_a_model_that_cannot_be_loaded_is_not_blessed(tmp_path: Path, questions):
    broken = tmp_path / "candidate"
    broken.mkdir(parents=True)
    (broken / "saved_model.pb").write_bytes(b"not a model")

    verdict = canary.examine(broken, questions, "catalog")

    assert not verdict.blessed
    assert "saved_model.pb cannot be" in verdict.summary


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
