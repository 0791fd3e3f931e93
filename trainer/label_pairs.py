"""Which sub-categories training saw below which category, as it travels with a model."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from schema import features

PAIRS_FILE = os.path.join("assets.extra", "label_pairs.json")
"""In the SavedModel: category to sub-category to the number of its products in the train split."""


def write_label_pairs(
    pairs: np.ndarray, labels: Mapping[str, Sequence[str]], directory: str
) -> None:
    """Writes `PAIRS_FILE` into a SavedModel.

    Args:
        pairs: Products of the train split by category and sub-category, int64 (C1, C2).
        labels: Each level's vocabulary.
        directory: The SavedModel's.
    """
    told = {
        category: {
            labels[features.SUBCATEGORY][below]: int(row[below])
            for below in np.flatnonzero(row).tolist()
        }
        for category, row in zip(labels[features.CATEGORY], pairs, strict=True)
    }
    file = os.path.join(directory, PAIRS_FILE)
    tf.io.gfile.makedirs(os.path.dirname(file))
    with tf.io.gfile.GFile(file, "w") as written:
        written.write(json.dumps(told, ensure_ascii=False, indent=1))


def read_label_pairs(directory: str) -> frozenset[tuple[str, str]] | None:
    """The pairs of category and sub-category that a SavedModel's training saw.

    Returns:
        The pairs; None where the model came without them, as older ones do.
    """
    file = os.path.join(directory, PAIRS_FILE)
    if not tf.io.gfile.exists(file):
        return None
    with tf.io.gfile.GFile(file, "rb") as written:
        told = json.loads(written.read())
    return frozenset((category, label) for category, below in told.items() for label in below)
