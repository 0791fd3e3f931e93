"""What the canary asks, and what it takes for a sound answer."""

from __future__ import annotations

import base64
import concurrent.futures
import io
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from components.model_canary import production
from components.model_canary.production import Call, ProductionError
from components.model_canary.servers import Server, client_of
from components.predictions.answering import model_labels
from schema import features
from schema.errors import UserError
from serving.client import CatalogClient, PictureRefused, Prediction, Refused, RequestFailed

THUMBNAIL_SIDE = 96
"""Longest side in pixels of a thumbnail in the answers."""

_ANSWER_S = 60.0

_SUMS_TO_ONE = 1e-4
"""How far the sum of a level's scores may be from 1: float32 numbers, some hundred of them."""

_SAME = 1e-5
"""How far two answers to one question may be apart: float32 sums in another order."""

_SAME_ELSEWHERE = 2e-3
"""The same, where a server of somebody else's may compute with other hardware."""

_NEEDED = frozenset(
    {
        *(features.CATEGORY, features.SUBCATEGORY, features.ATTRIBUTES),
        *(features.ATTRIBUTE_SCORES, features.EMBEDDING),
        *(
            of(level)
            for of in (features.scores, features.labels, features.score)
            for level in (features.CATEGORY, features.SUBCATEGORY)
        ),
    }
)
"""Outputs that every model of Seamline's has."""

_REFUSED_AT_ONCE = (b"", b"this is no picture")
_CUT_SHORT = b"\xff\xd8\xff\xe0cut short"
"""What only decoding finds out, for which TensorFlow first prepares a large part of the graph."""

_LONGEST_REASON = 1000


@dataclass(frozen=True)
class Question:
    """A product of the test split: its encoded picture and what the catalog says of it.

    `further` has the values of the slice columns, of which some may be extra labels; `example` is
    all of it as the Evaluator reads it.
    """

    id: str
    image: bytes
    category: str
    subcategory: str
    attributes: tuple[str, ...]
    further: Mapping[str, str] = field(default_factory=dict)
    example: bytes = field(default=b"", repr=False)


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


def examine(
    candidate: Path,
    questions: Sequence[Question],
    model_name: str,
    server: Server = Server(),  # noqa: B008 It is frozen.
    most_ms: float | None = None,
) -> Verdict:
    """Asks the candidate through TensorFlow's C++ and on a real server.

    Args:
        candidate: the SavedModel's folder.
        questions: what to ask, at least one.
        model_name: the name to serve it under.
        server: what to serve it on.
        most_ms: the median of the milliseconds that one picture may take; None allows any.
    """
    predictions: list[Prediction] = []
    images = [question.image for question in questions]
    try:
        # Both take long to prepare the model, with one processor each.
        with concurrent.futures.ThreadPoolExecutor(1) as beside:
            asked = beside.submit(_ask_in_production, candidate, questions)
            try:
                with client_of(candidate, model_name, server, _ANSWER_S) as client:
                    predictions = client.predict(images, everything=True)
                    _check_refusals(client, images[0])
                    # What is timed is asked when nothing runs beside it.
                    concurrent.futures.wait([asked])
                    one_by_one, seconds = _ask_one_by_one(client, images)
            finally:
                # A fault that is found here is told, whatever the server made of it.
                expected = asked.result()
        tolerance = _SAME_ELSEWHERE if server != Server() or _has_gpu() else _SAME
        for question, prediction, few, own in zip(
            questions, predictions, one_by_one, expected, strict=True
        ):
            _check_answer(question, prediction, own, tolerance)
            _check_few(question, few, prediction, tolerance)
        median, slow = 1000 * np.percentile(seconds, [50, 95])
        if most_ms is not None and median > most_ms:
            raise _Fault(
                f"one picture takes {median:.0f} ms (median), and serving.canary_latency_ms allows "
                f"{most_ms:g}"
            )
    except (UserError, ProductionError, _Fault) as fault:
        return Verdict(False, f"not blessed: {fault}"[:_LONGEST_REASON], tuple(predictions))
    return Verdict(
        True,
        f"{len(questions)} questions answered by TensorFlow's C++ and by {server} alike, "
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
            features.slice_column(name): values.bytes_list.value[0].decode()
            for name, values in feature.items()
            if name not in features.RESERVED and values.bytes_list.value
        },
        example=record,
    )


def _ask_in_production(
    candidate: Path, questions: Sequence[Question]
) -> list[dict[str, np.ndarray]]:
    """Asks every signature through C++; gives what `everything` answers, picture by picture."""
    images, examples = [x.image for x in questions], [x.example for x in questions]
    broken = {name: [*_REFUSED_AT_ONCE] for name in features.PICTURE_SIGNATURES}
    # One of them is enough, for all decode by the same function.
    broken[features.TOLERANT_EVERYTHING_SIGNATURE].append(_CUT_SHORT)
    calls = [Call(name, {features.IMAGE_BYTES: images}) for name in features.PICTURE_SIGNATURES]
    calls += [
        Call(name, {"examples": examples})
        for name in (features.EVALUATE_SIGNATURE, features.LABELS_SIGNATURE)
    ]
    asked = {features.IMAGE_BYTES: images, features.LABEL: [_a_label(candidate)] * len(images)}
    calls.append(Call(features.EXPLAIN_SIGNATURE, asked))
    calls += [
        Call(name, {features.IMAGE_BYTES: [images[0], *bad, *images[1:]]})
        for name, bad in broken.items()
    ]
    said = production.ask(candidate, calls)
    sound, refusals = said[: -len(features.PICTURE_SIGNATURES)], {}
    answered: dict[str, dict[str, np.ndarray]] = {}
    for call, answer in zip(calls, sound, strict=False):
        if isinstance(answer, str):
            raise _Fault(
                f"as TensorFlow Serving would load it, its signature {call.signature} fails: "
                f"{answer}"
            )
        answered[call.signature] = answer
    for call, answer in zip(calls[len(sound) :], said[len(sound) :], strict=True):
        refusals[call.signature] = answer

    everything = answered[features.EVERYTHING_SIGNATURE]
    if missing := sorted(_NEEDED - everything.keys()):
        raise _Fault(f"its answer lacks {', '.join(missing)}")
    _check_evaluation(everything, answered[features.EVALUATE_SIGNATURE])
    _check_explanation(everything, answered[features.EXPLAIN_SIGNATURE])
    for strict, tolerant in (
        (features.SERVING_SIGNATURE, features.TOLERANT_SIGNATURE),
        (features.EVERYTHING_SIGNATURE, features.TOLERANT_EVERYTHING_SIGNATURE),
    ):
        refusal = refusals[strict]
        if not isinstance(refusal, str):
            raise _Fault(f"its signature {strict} answers bytes that are no picture")
        if "code 3" not in refusal or features.UNDECODABLE.format(1, "") not in refusal:
            raise _Fault(
                f"its signature {strict} must refuse what is no picture with INVALID_ARGUMENT and "
                f"its index; it says: {refusal}"
            )
        _check_tolerance(tolerant, refusals[tolerant], answered[tolerant], len(broken[tolerant]))
    return [{name: values[i] for name, values in everything.items()} for i in range(len(questions))]


def _a_label(candidate: Path) -> bytes:
    """One that the model should be able to show in a picture; empty where it tells of none."""
    try:
        known = model_labels(candidate)[features.SUBCATEGORY]
    except (tf.errors.NotFoundError, UnicodeDecodeError):
        # It has worse faults, which are told.
        return b""
    return features.level_label(features.SUBCATEGORY, known[0]).encode() if known else b""


def _check_tolerance(
    signature: str,
    mixed: Mapping[str, np.ndarray] | str,
    sound: Mapping[str, np.ndarray],
    bad: int,
) -> None:
    """Bad pictures after the first one cost themselves alone."""
    if isinstance(mixed, str):
        raise _Fault(f"its signature {signature} lets one bad picture fail others: {mixed}")
    status = [bool(reason) for reason in mixed[features.STATUS]]
    if status != [False] + bad * [True] + (len(status) - 1 - bad) * [False]:
        raise _Fault(f"its signature {signature} does not tell which pictures are bad")
    good = np.flatnonzero(np.logical_not(status))
    for name, values in sound.items():
        same = (
            np.array_equal(mixed[name][good], values)
            if values.dtype == object
            else np.allclose(mixed[name][good], values, atol=_SAME)
        )
        if not same:
            raise _Fault(f"its signature {signature} answers {name} otherwise beside bad pictures")


def _check_evaluation(
    everything: Mapping[str, np.ndarray], evaluated: Mapping[str, np.ndarray]
) -> None:
    """What is served is what the Evaluator judges."""
    for level, judged in evaluated.items():
        served = everything.get(
            features.ATTRIBUTE_SCORES
            if level == features.ATTRIBUTES
            else level
            if level == features.EMBEDDING
            else features.scores(level)
        )
        if served is None:
            continue
        if level != features.EMBEDDING:
            # Labels may be in another order.
            served, judged = np.sort(served, axis=1), np.sort(judged, axis=1)
        if served.shape != judged.shape or not np.allclose(served, judged, atol=_SAME):
            raise _Fault(f"the {level} that it serves is not the one that the Evaluator judges")


def _check_explanation(
    everything: Mapping[str, np.ndarray], explained: Mapping[str, np.ndarray]
) -> None:
    """What the places of a picture add is the embedding, and maps are of numbers."""
    regions, label_map = explained[features.REGIONS], explained[features.LABEL_MAP]
    if not np.allclose(regions.sum(axis=(1, 2)), everything[features.EMBEDDING], atol=_SAME):
        raise _Fault("what it says the places of a picture add is not the embedding that it serves")
    if label_map.shape != regions.shape[:3] or not np.isfinite(label_map).all():
        raise _Fault("it does not say where in a picture it sees a label")


def _ask_one_by_one(
    client: CatalogClient, images: Sequence[bytes]
) -> tuple[list[Prediction], list[float]]:
    predictions, seconds = [], []
    # The first question of a kind may have to be prepared for.
    client.predict(images[:1])
    for image in images:
        began = time.perf_counter()
        predictions += client.predict([image])
        seconds.append(time.perf_counter() - began)
    return predictions, seconds


def _check_refusals(client: CatalogClient, picture: bytes) -> None:
    """What is no question is refused as it should be, and the server lives on."""
    for broken in (*_REFUSED_AT_ONCE, _CUT_SHORT):
        try:
            client.predict([picture, broken, picture])
        except PictureRefused as refused:
            if refused.index != 1:
                raise _Fault(
                    f"it refuses picture {refused.index} of three, where 1 is no picture"
                ) from refused
        else:
            raise _Fault("the model answers bytes that are no picture instead of refusing them")
        results = list(client.predict_many([broken, picture]))
        if [isinstance(result, Refused) for result in results] != [True, False]:
            raise _Fault("one bad picture costs others their answers")
    try:
        client.outputs("a signature that does not exist", [picture])
    except RequestFailed:
        pass
    else:
        raise _Fault("the server answers a signature that does not exist")
    client.predict([picture])


def _check_answer(
    question: Question, prediction: Prediction, own: Mapping[str, np.ndarray], tolerance: float
) -> None:
    """The answer is made of probabilities and is the model's own."""
    product = f"for product {question.id}"
    for level, answer in prediction.levels.items():
        own_scores = _by_label(own[features.labels(level)], own[features.scores(level)])
        _check_scores(f"{level} scores {product}", answer.scores, own_scores, tolerance)
        total, highest = sum(answer.scores.values()), max(answer.scores.values())
        if abs(total - 1) > _SUMS_TO_ONE:
            raise _Fault(f"the {level} scores {product} sum to {total:.4f}, not 1")
        if answer.label not in answer.scores:
            raise _Fault(
                f"the {level} {product} is {answer.label!r}, which is not among its labels"
            )
        given = answer.scores[answer.label]
        if abs(answer.score - highest) > tolerance or given != answer.score:
            raise _Fault(
                f"the {level} {product} is {answer.label!r} with score {answer.score:.4f}, but the "
                f"highest of its scores is {highest:.4f}"
            )
    _check_scores(
        f"attribute scores {product}",
        prediction.attributes,
        _by_label(own[features.ATTRIBUTES], own[features.ATTRIBUTE_SCORES]),
        tolerance,
    )
    if not np.allclose(prediction.embedding, own[features.EMBEDDING], atol=tolerance):
        raise _Fault(f"the embedding {product} is not the one that the model itself gives")


def _check_few(
    question: Question, few: Prediction, everything: Prediction, tolerance: float
) -> None:
    """The best few answers are the best of all."""
    for level, answer in few.levels.items():
        scores = everything.levels[level].scores
        for label, score in answer.scores.items():
            if label not in scores or abs(scores[label] - score) > tolerance:
                raise _Fault(
                    f"the {level} scores for product {question.id} hold {score:.4f} for {label!r} "
                    f"where the best few are asked for, and {scores.get(label)} where all are"
                )


def _check_scores(
    what: str, scores: Mapping[str, float], own_scores: Mapping[str, float], tolerance: float
) -> None:
    for label, score in scores.items():
        if not math.isfinite(score) or not 0 <= score <= 1:
            raise _Fault(f"the {what} hold {score} for {label!r}, which is no probability")
    if scores.keys() != own_scores.keys():
        raise _Fault(f"the {what} have other labels than the model itself gives")
    for label, score in scores.items():
        if abs(score - own_scores[label]) > tolerance:
            raise _Fault(
                f"the {what} hold {score:.4f} for {label!r}; the model itself gives "
                f"{own_scores[label]:.4f}"
            )


def _has_gpu() -> bool:
    return bool(tf.config.list_physical_devices("GPU"))


def _by_label(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    return {label.decode(): float(score) for label, score in zip(labels, scores, strict=True)}


def _thumbnail(image: bytes) -> str:
    with Image.open(io.BytesIO(image)) as picture:
        small = picture.convert("RGB")
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()
