"""What a model sees in a picture, level by level, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

import numpy as np

from schema import features

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


def seen(outputs: Mapping[str, np.ndarray]) -> list[Seen]:
    """What the signature `everything` says of a picture that was asked about alone.

    Category and sub-category first, then the extra labels by name, then the attributes.

    Args:
        outputs: the signature's.
    """
    ending = features.labels("")
    first = (features.CATEGORY, features.SUBCATEGORY)
    levels = sorted(name.removesuffix(ending) for name in outputs if name.endswith(ending))
    levels = [*(name for name in first if name in levels), *(n for n in levels if n not in first)]
    told: list[Seen] = []
    for level in levels:
        labels, scores = outputs[features.labels(level)][0], outputs[features.scores(level)][0]
        told.append({"level": level, "labels": _ranked(labels, scores)[:BEST]})
    if features.ATTRIBUTES in outputs and outputs[features.ATTRIBUTES].shape[-1]:
        attributes = _ranked(outputs[features.ATTRIBUTES][0], outputs[features.ATTRIBUTE_SCORES][0])
        kept = [one for one in attributes if one["score"] >= LEAST_ATTRIBUTE][:MOST_ATTRIBUTES]
        told.append({"level": features.ATTRIBUTES, "labels": kept})
    return told


def _ranked(labels: np.ndarray, scores: np.ndarray) -> list[Label]:
    order = np.argsort(-scores, kind="stable")
    return [{"label": labels[at].decode(), "score": float(scores[at])} for at in order.tolist()]
