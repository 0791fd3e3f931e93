"""What a model sees in a picture, level by level, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

from schema import features
from serving.search.recipe import Answers

BEST = 5
"""So many labels of a level are told."""

MOST_ATTRIBUTES = 32
LEAST_ATTRIBUTE = 0.1
"""Of attributes all those are told that reach this score, but no more than so many."""


class Label(TypedDict):
    """A label, and its probability in [0, 1]."""

    label: str
    score: float


class Seen(TypedDict):
    """The likeliest labels of a level, likeliest first; of attributes `group=value`."""

    level: str
    labels: list[Label]


def seen(answers: Answers, labels: Mapping[str, Sequence[str]]) -> list[Seen]:
    """What a model says of a picture that it was asked about alone.

    Category and sub-category first, then the extra labels by name, then the attributes.

    Args:
        answers: the model's about the one picture.
        labels: each level's, in the order of their scores.
    """
    extras = sorted(level for level in labels if level not in features.LEVELS)
    told: list[Seen] = []
    for level in (features.CATEGORY, features.SUBCATEGORY, *extras, features.ATTRIBUTES):
        if not labels.get(level):
            continue
        ranked = _ranked(labels[level], answers.scores[level][0])
        if level == features.ATTRIBUTES:
            kept = [one for one in ranked if one["score"] >= LEAST_ATTRIBUTE][:MOST_ATTRIBUTES]
        else:
            kept = ranked[:BEST]
        told.append({"level": level, "labels": kept})
    return told


def _ranked(labels: Sequence[str], scores: np.ndarray) -> list[Label]:
    order = np.argsort(-scores, kind="stable")
    return [{"label": labels[at], "score": float(scores[at])} for at in order.tolist()]
