"""What the model says about a picture, and how that is read out of a server's answer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from serving.client import tf_serving_pb2 as messages
from serving.client._schema import features

USUAL_ATTRIBUTE_THRESHOLD = 0.75
"""For models of before 2026-12, which do not say from which score an attribute counts."""

_NAMED_LEVELS = (features.CATEGORY, features.SUBCATEGORY)


@dataclass(frozen=True)
class ExtraLabel:
    """What the model says about a picture in one further respect, e.g. its gender.

    Attributes:
        label: the likeliest label.
        score: its probability, in [0, 1].
        scores: probability of the likeliest labels, or of every label if everything was asked for,
            highest first.
    """

    label: str
    score: float
    scores: dict[str, float]


@dataclass(frozen=True)
class Prediction:
    """What the model says about one picture. Scores are ordered, highest first.

    Attributes:
        category: the likeliest category.
        category_score: its probability, in [0, 1].
        subcategory: the likeliest sub-category.
        subcategory_score: its probability, in [0, 1]; where the likeliest sub-category of all was
            never seen under the category, and another one is answered, its probability given the
            category.
        attributes: probability of the likeliest `group=value` labels, or of every one if everything
            was asked for, each in [0, 1] by itself.
        category_scores: probability of the likeliest categories. If everything was asked for, of
            every category, and they sum to 1.
        subcategory_scores: the same of the sub-categories.
        embedding: a vector of unit length; similar products have similar ones. Empty unless
            everything was asked for.
        extra_labels: each further label that the model names, by its column in the catalog, e.g.
            `prediction.extra_labels["gender"].label`; empty if it names none.
        thresholds: the score from which the model's answer counts as known, by level: `category`,
            `subcategory`, `attributes` and the extra labels. A model of before 2026-12 has none.
        version: the version of the model that answered; None where the server does not say.
    """

    category: str
    category_score: float
    subcategory: str
    subcategory_score: float
    attributes: dict[str, float]
    category_scores: dict[str, float]
    subcategory_scores: dict[str, float]
    embedding: tuple[float, ...] = ()
    extra_labels: dict[str, ExtraLabel] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)
    version: int | None = None

    def top_categories(self, k: int = 5) -> list[tuple[str, float]]:
        """The k likeliest categories with their probabilities, highest first."""
        return list(self.category_scores.items())[:k]

    def top_subcategories(self, k: int = 5) -> list[tuple[str, float]]:
        """The k likeliest sub-categories with their probabilities, highest first."""
        return list(self.subcategory_scores.items())[:k]

    @property
    def levels(self) -> dict[str, ExtraLabel]:
        """Category, sub-category and the extra labels in one form, by level."""
        return {
            features.CATEGORY: ExtraLabel(self.category, self.category_score, self.category_scores),
            features.SUBCATEGORY: ExtraLabel(
                self.subcategory, self.subcategory_score, self.subcategory_scores
            ),
            **self.extra_labels,
        }

    @property
    def known(self) -> dict[str, str]:
        """The labels whose score reaches the model's own threshold, by level.

        Empty where the model has no thresholds.
        """
        return {
            level: answer.label
            for level, answer in self.levels.items()
            if level in self.thresholds and answer.score >= self.thresholds[level]
        }

    def attributes_above(self, threshold: float | None = None) -> dict[str, float]:
        """The attributes whose probability reaches the threshold, highest first.

        Args:
            threshold: in [0, 1]; the model's own by default, and 0.75 where it has none.
        """
        if threshold is None:
            threshold = self.thresholds.get(features.ATTRIBUTES, USUAL_ATTRIBUTE_THRESHOLD)
        return {label: score for label, score in self.attributes.items() if score >= threshold}

    def to_dict(self, embedding: bool = False) -> dict[str, Any]:
        """Everything as plain types for JSON; the embedding only if asked for, as it is long."""
        plain: dict[str, Any] = {
            features.CATEGORY: self.category,
            features.score(features.CATEGORY): self.category_score,
            features.SUBCATEGORY: self.subcategory,
            features.score(features.SUBCATEGORY): self.subcategory_score,
            features.ATTRIBUTES: dict(self.attributes),
            features.scores(features.CATEGORY): dict(self.category_scores),
            features.scores(features.SUBCATEGORY): dict(self.subcategory_scores),
            "extra_labels": {
                level: {
                    "label": answer.label,
                    "score": answer.score,
                    "scores": dict(answer.scores),
                }
                for level, answer in self.extra_labels.items()
            },
            "thresholds": dict(self.thresholds),
            "version": self.version,
        }
        if embedding:
            plain[features.EMBEDDING] = list(self.embedding)
        return plain


@dataclass(frozen=True)
class Refused:
    """The place of a picture about which the model says nothing.

    Attributes:
        reason: why not, to follow the picture's name in a sentence, e.g. "cannot be decoded: ...".
        picture: how the picture is called: its path, or its place where it was given as bytes.
    """

    reason: str
    picture: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain types for JSON."""
        return {"refused": self.reason}


Result: TypeAlias = Prediction | Refused


def undecodable(reason: str, picture: str) -> Refused:
    """The place of a picture that the model cannot use, for a reason of the model's own."""
    return Refused(f"cannot be decoded: {reason}" if reason else "cannot be decoded", picture)


def results(
    outputs: Mapping[str, messages.Tensor], names: Sequence[str], version: int | None
) -> list[Result]:
    """Takes the outputs of one of the picture signatures apart, picture by picture.

    Args:
        outputs: what the server answered.
        names: how the pictures of the request are called, in their order.
        version: the version that answered.

    Raises:
        ValueError: outputs are missing or do not fit together.
    """
    wanted = [
        *(output for level in _NAMED_LEVELS for output in _outputs(level)),
        features.ATTRIBUTES,
        features.ATTRIBUTE_SCORES,
    ]
    if missing := sorted(set(wanted) - set(outputs)):
        raise ValueError(f"its answer lacks {', '.join(missing)}")
    count = len(names)
    refusals = [""] * count
    if features.STATUS in outputs:
        refusals = _column(outputs, features.STATUS, count)
    # The thresholds are the same in every row but in those of refused pictures, which have zeros.
    answered = next((row for row, reason in enumerate(refusals) if not reason), None)
    if answered is None:
        return list(map(undecodable, refusals, names))

    extras = _extra_labels(outputs)
    levels = [_answers(outputs, level, count) for level in (*_NAMED_LEVELS, *extras)]
    attributes = _ranked(outputs, features.ATTRIBUTES, features.ATTRIBUTE_SCORES, count)
    thresholds = {
        level: _column(outputs, features.threshold(level), count)[answered]
        for level in (*_NAMED_LEVELS, *extras, features.ATTRIBUTES)
        if features.threshold(level) in outputs
    }
    embeddings = [()] * count
    if features.EMBEDDING in outputs:
        embeddings = list(map(tuple, _matrix(outputs, features.EMBEDDING, count).tolist()))

    found: list[Result] = []
    for row, (category, subcategory, *further) in enumerate(zip(*levels, strict=True)):
        if refusals[row]:
            found.append(undecodable(refusals[row], names[row]))
            continue
        found.append(
            Prediction(
                category=category[0],
                category_score=category[1],
                subcategory=subcategory[0],
                subcategory_score=subcategory[1],
                attributes=attributes[row],
                category_scores=category[2],
                subcategory_scores=subcategory[2],
                embedding=embeddings[row],
                extra_labels={
                    level: ExtraLabel(*answer)
                    for level, answer in zip(extras, further, strict=True)
                },
                thresholds=thresholds,
                version=version,
            )
        )
    return found


def array(tensor: messages.Tensor) -> np.ndarray:
    """The tensor as float32, or as an object array of bytes.

    Raises:
        ValueError: it is of another type, or holds more or fewer values than its shape says.
    """
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.dtype == messages.DT_STRING:
        values = np.empty(len(tensor.string_val), dtype=object)
        values[:] = tensor.string_val
    elif tensor.dtype == messages.DT_FLOAT:
        if tensor.tensor_content:
            values = np.frombuffer(tensor.tensor_content, dtype="<f4")
        else:
            values = np.array(tensor.float_val, dtype=np.float32)
    else:
        raise ValueError(f"it holds a tensor of type {tensor.dtype}, neither text nor numbers")
    return values.reshape(shape)


def _outputs(level: str) -> tuple[str, str, str, str]:
    """The outputs that every signature has of a level with one label a picture."""
    return level, features.score(level), features.labels(level), features.scores(level)


def _extra_labels(outputs: Iterable[str]) -> list[str]:
    """The levels beside category and sub-category that have all outputs of one."""
    there = set(outputs)
    levels = {name for name in there if there.issuperset(_outputs(name))}
    return sorted(levels.difference(_NAMED_LEVELS))


def _answers(
    outputs: Mapping[str, messages.Tensor], level: str, count: int
) -> Iterator[tuple[str, float, dict[str, float]]]:
    """Label, score and ranked scores of every picture."""
    return zip(
        _column(outputs, level, count),
        _column(outputs, features.score(level), count),
        _ranked(outputs, features.labels(level), features.scores(level), count),
        strict=True,
    )


def _ranked(
    outputs: Mapping[str, messages.Tensor], labels: str, scores: str, count: int
) -> list[dict[str, float]]:
    """A dict a picture from label to score, highest first."""
    values = _matrix(outputs, scores, count)
    names, width = _texts(outputs, labels, (count, None))
    if width != values.shape[1]:
        raise ValueError(f"it has {values.shape[1]} {scores} for {width} labels")
    rows = [names[row * width : (row + 1) * width] for row in range(count)]
    if (values[:, 1:] > values[:, :-1]).any():
        order = np.argsort(-values, axis=1, kind="stable")
        values = np.take_along_axis(values, order, axis=1)
        ordered = zip(rows, order.tolist(), strict=True)
        rows = [[row[place] for place in places] for row, places in ordered]
    pairs = zip(rows, values.tolist(), strict=True)
    return [dict(zip(row, of_row, strict=True)) for row, of_row in pairs]


def _column(outputs: Mapping[str, messages.Tensor], name: str, count: int) -> list[Any]:
    """One text or number a picture."""
    if outputs[name].dtype == messages.DT_STRING:
        return _texts(outputs, name, (count,))[0]
    return _numbers(outputs, name, (count,)).tolist()


def _matrix(outputs: Mapping[str, messages.Tensor], name: str, count: int) -> np.ndarray:
    return _numbers(outputs, name, (count, None))


def _numbers(
    outputs: Mapping[str, messages.Tensor], name: str, shape: tuple[int | None, ...]
) -> np.ndarray:
    try:
        values = array(outputs[name])
    except ValueError as error:
        raise ValueError(f"its {name} cannot be read: {error}") from error
    if values.dtype != np.float32:
        raise ValueError(f"its {name} holds texts, not numbers")
    _check_shape(name, values.shape, shape)
    return values


def _texts(
    outputs: Mapping[str, messages.Tensor], name: str, shape: tuple[int | None, ...]
) -> tuple[list[str], int]:
    """All texts, picture by picture, and how many a picture has."""
    tensor = outputs[name]
    found = tuple(dim.size for dim in tensor.tensor_shape.dim)
    encoded = list(tensor.string_val)
    if tensor.dtype != messages.DT_STRING or len(encoded) != math.prod(found):
        raise ValueError(f"its {name} cannot be read: it has {len(encoded)} texts of {found}")
    _check_shape(name, found, shape)
    # The same few labels come again and again.
    text = {value: value.decode() for value in set(encoded)}
    return [text[value] for value in encoded], math.prod(found[1:])


def _check_shape(name: str, found: tuple[int, ...], shape: tuple[int | None, ...]) -> None:
    if len(found) != len(shape) or found[0] != shape[0]:
        raise ValueError(f"its {name} has the shape {found} for {shape[0]} pictures")
