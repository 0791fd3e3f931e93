"""What the canary asks, and what it takes for a sound answer."""

from __future__ import annotations

import base64
import contextlib
import io
import math
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from schema import features
from schema.errors import UserError
from serving.client import CatalogClient, ExtraLabel, Prediction
from serving.model_server import ModelServer

THUMBNAIL_SIDE = 96
"""Longest side in pixels of a thumbnail in the answers."""

_ANSWER_S = 60.0

# Float32 sums in another order differ by about 1e-6; reduced precision on a GPU by about 1e-3.
_TOLERANCE = 2e-3

_NO_PICTURES = (b"", b"this is no picture")

_LONGEST_REASON = 1000


@dataclass(frozen=True)
class Question:
    """A product of the test split: its encoded picture and what the catalog says of it.

    `further` has the values of the slice columns, of which some may be extra labels.
    """

    id: str
    image: bytes
    category: str
    subcategory: str
    attributes: tuple[str, ...]
    further: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What the canary found.

    Attributes:
        blessed: whether the model may go live.
        summary: one sentence: how fast it answered, or what is wrong with it.
        predictions: its answers, one a question; empty if it gave none.
    """

    blessed: bool
    summary: str
    predictions: tuple[Prediction, ...] = ()


class _Fault(Exception):
    """Something that is wrong with the model, in words for a person."""


def read_questions(files: Iterable[str], count: int) -> list[Question]:
    """Reads the first examples of a split.

    Args:
        files: gzipped TFRecord files of tf.train.Example.
        count: how many to read; fewer come back if there are no more.

    Raises:
        UserError: there is none.
    """
    records = tf.data.TFRecordDataset(sorted(files), compression_type="GZIP").take(count)
    questions = [_question(record) for record in records.as_numpy_iterator()]
    if not questions:
        raise UserError(
            "The test split holds no products, so the canary has nothing to ask. "
            "Raise split.test or bring more products."
        )
    return questions


def examine(candidate: Path, questions: Sequence[Question], model_name: str) -> Verdict:
    """Serves the candidate on a free port and asks it.

    Args:
        candidate: the SavedModel's folder.
        questions: what to ask, at least one.
        model_name: the name to serve it under.
    """
    predictions: list[Prediction] = []
    images = [question.image for question in questions]
    try:
        with (
            _serving_root(candidate, model_name) as serving_root,
            ModelServer(serving_root, model_name) as server,
            CatalogClient(server.endpoint, model_name, _ANSWER_S) as client,
        ):
            predictions = client.predict(images)
            one_by_one, seconds = _ask_one_by_one(client, images)
            _check_refusals(client, images[0])
        expected = _answers_of(candidate, images)
        for question, *given, own in zip(questions, predictions, one_by_one, expected, strict=True):
            for prediction in given:
                _check_answer(question, prediction, own)
    except (UserError, _Fault) as fault:
        return Verdict(False, f"not blessed: {fault}"[:_LONGEST_REASON], tuple(predictions))
    median, slow = 1000 * np.percentile(seconds, [50, 95])
    return Verdict(
        True,
        f"{len(questions)} questions answered by a server as by the model itself, "
        f"{median:.0f} ms each (median; {slow:.0f} ms at the 95th percentile)",
        tuple(predictions),
    )


def answers(
    questions: Sequence[Question], predictions: Sequence[Prediction]
) -> list[dict[str, Any]]:
    """Questions and answers for the report, as plain types.

    Returns:
        One object a question that was answered: `id`; `truth` with `category`, `subcategory`,
        `attributes` and the extra labels; `prediction` as `Prediction.to_dict`; `thumbnail`, a
        JPEG in base64 whose sides are at most `THUMBNAIL_SIDE` pixels.
    """
    return [
        {
            "id": question.id,
            "truth": {
                features.CATEGORY: question.category,
                features.SUBCATEGORY: question.subcategory,
                features.ATTRIBUTES: list(question.attributes),
                **{extra: question.further.get(extra, "") for extra in prediction.extra_labels},
            },
            "prediction": prediction.to_dict(),
            "thumbnail": _thumbnail(question.image),
        }
        for question, prediction in zip(questions, predictions, strict=False)
    ]


def _question(record: bytes) -> Question:
    feature = tf.train.Example.FromString(record).features.feature

    def first(name: str) -> bytes:
        return feature[name].bytes_list.value[0]

    return Question(
        id=first(features.ID).decode(),
        image=first(features.IMAGE),
        category=first(features.CATEGORY).decode(),
        subcategory=first(features.SUBCATEGORY).decode(),
        attributes=tuple(label.decode() for label in feature[features.ATTRIBUTES].bytes_list.value),
        further={
            name: values.bytes_list.value[0].decode()
            for name, values in feature.items()
            if name not in features.RESERVED and values.bytes_list.value
        },
    )


@contextlib.contextmanager
def _serving_root(candidate: Path, model_name: str) -> Iterator[Path]:
    """A serving folder with the candidate as its only version."""
    with tempfile.TemporaryDirectory(prefix="canary-") as root:
        version = Path(root, model_name, "1")
        version.parent.mkdir()
        version.symlink_to(candidate.absolute(), target_is_directory=True)
        yield Path(root)


def _ask_one_by_one(
    client: CatalogClient, images: Sequence[bytes]
) -> tuple[list[Prediction], list[float]]:
    predictions, seconds = [], []
    for image in images:
        began = time.perf_counter()
        predictions += client.predict([image])
        seconds.append(time.perf_counter() - began)
    return predictions, seconds


def _check_refusals(client: CatalogClient, picture: bytes) -> None:
    """A broken picture is refused by its index, and the server lives on."""
    for broken in _NO_PICTURES:
        try:
            client.predict([picture, broken, picture])
        except UserError as error:
            # The client understands the server only if code and message are as they should be.
            refused = str(error).startswith("Picture 1, given as bytes, cannot be decoded")
            if not refused:
                raise _Fault(
                    "a picture that cannot be decoded must give INVALID_ARGUMENT with its index; "
                    f"the server said: {error}"
                ) from error
        else:
            raise _Fault("the model answers bytes that are no picture instead of refusing them")
        client.predict([picture])


def _answers_of(model: Path, images: Sequence[bytes]) -> list[dict[str, np.ndarray]]:
    """The serving signature's own outputs, picture by picture, without a server."""
    loaded = tf.saved_model.load(str(model))
    outputs = loaded.signatures[features.SERVING_SIGNATURE](
        **{features.IMAGE_BYTES: tf.constant(images)}
    )
    plain = {name: value.numpy() for name, value in outputs.items()}
    return [{name: value[i] for name, value in plain.items()} for i in range(len(images))]


def _check_answer(
    question: Question, prediction: Prediction, own: Mapping[str, np.ndarray]
) -> None:
    """The answer is made of probabilities and is the model's own."""
    said = {
        features.CATEGORY: ExtraLabel(
            prediction.category, prediction.category_score, prediction.category_scores
        ),
        features.SUBCATEGORY: ExtraLabel(
            prediction.subcategory, prediction.subcategory_score, prediction.subcategory_scores
        ),
        **prediction.extra_labels,
    }
    product = f"for product {question.id}"
    for level, answer in said.items():
        own_scores = _by_label(own[features.labels(level)], own[features.scores(level)])
        _check_scores(f"{level} scores {product}", answer.scores, own_scores)
        total, highest = sum(answer.scores.values()), max(answer.scores.values())
        if abs(total - 1) > _TOLERANCE:
            raise _Fault(f"the {level} scores {product} sum to {total:.4f}, not 1")
        if answer.label not in answer.scores:
            raise _Fault(
                f"the {level} {product} is {answer.label!r}, which is not among its labels"
            )
        given = answer.scores[answer.label]
        if abs(answer.score - highest) > _TOLERANCE or given != answer.score:
            raise _Fault(
                f"the {level} {product} is {answer.label!r} with score {answer.score:.4f}, but the "
                f"highest of its scores is {highest:.4f}"
            )
    _check_scores(
        f"attribute scores {product}",
        prediction.attributes,
        _by_label(own[features.ATTRIBUTES], own[features.ATTRIBUTE_SCORES]),
    )
    if not np.allclose(prediction.embedding, own[features.EMBEDDING], atol=_TOLERANCE):
        raise _Fault(f"the embedding {product} is not the one that the model itself gives")


def _check_scores(what: str, scores: Mapping[str, float], own_scores: Mapping[str, float]) -> None:
    for label, score in scores.items():
        if not math.isfinite(score) or not 0 <= score <= 1:
            raise _Fault(f"the {what} hold {score} for {label!r}, which is no probability")
    if scores.keys() != own_scores.keys():
        raise _Fault(f"the {what} have other labels than the model itself gives")
    for label, score in scores.items():
        if abs(score - own_scores[label]) > _TOLERANCE:
            raise _Fault(
                f"the {what} hold {score:.4f} for {label!r}; the model itself gives "
                f"{own_scores[label]:.4f}"
            )


def _by_label(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    return {label.decode(): float(score) for label, score in zip(labels, scores, strict=True)}


def _thumbnail(image: bytes) -> str:
    with Image.open(io.BytesIO(image)) as picture:
        small = picture.convert("RGB")
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()
