"""What `gpu.py train` made, as files: weights and history, and what its network answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from schema import features
from trainer.network import network
from trainer.options import Options, override

if TYPE_CHECKING:
    from serving.search.recipe import Answers

WEIGHTS_FILE_BYTES = 14 * 2**20
"""Weights are written to several files of at most so many bytes, which are easier to move."""

HISTORY_FILE = "history.json"

_ASKED_AT_ONCE = 256


def write_weights(folder: Path, weights: list[np.ndarray]) -> None:
    """Writes `weights-N.npz`, as many as it takes, with the arrays by their place in the list."""
    # Any, for by its names NumPy could be given its own arguments, which are no arrays.
    parts: list[dict[str, Any]] = [{}]
    for place, array in enumerate(weights):
        if parts[-1] and array.nbytes + sum(of.nbytes for of in parts[-1].values()) > (
            WEIGHTS_FILE_BYTES
        ):
            parts.append({})
        parts[-1][str(place)] = array
    for number, part in enumerate(parts):
        np.savez(folder / f"weights-{number}.npz", **part)


def read_weights(folder: Path) -> list[np.ndarray]:
    """What `write_weights` wrote."""
    arrays: dict[str, np.ndarray] = {}
    for file in folder.glob("weights-*.npz"):
        with np.load(file) as part:
            arrays |= dict(part)
    return [arrays[str(place)] for place in range(len(arrays))]


def history_of(folder: Path) -> dict[str, Any]:
    """The history beside the weights."""
    return json.loads((folder / HISTORY_FILE).read_text())


def trained(folder: Path) -> tuple[keras.Model, Options]:
    """The network in 32 bits, with the weights, and the options that it was trained with."""
    history = history_of(folder)
    options = override(history["options"], {"training.mixed_precision": False})
    model = network(options, history["labels"])
    model.set_weights(read_weights(folder))
    return model, options


def answers_of(folder: Path, pictures: Sequence[bytes]) -> tuple[Answers, dict[str, list[str]]]:
    """What the network says of encoded pictures, neither calibrated nor jointly decoded.

    Args:
        folder: With weights and history.
        pictures: JPEGs as in Examples.

    Returns:
        The answers, and the labels of every level.
    """
    # Here, because where weights are made there is neither TensorFlow nor a search.
    import tensorflow as tf

    from serving.search.recipe import Answers
    from trainer.picture_decoding import decode_picture

    model, options = trained(folder)
    size = [options["model"][side] for side in ("image_height", "image_width")]
    batches = (
        tf.data.Dataset.from_generator(
            lambda: iter(pictures), output_signature=tf.TensorSpec((), tf.string)
        )
        .map(lambda picture: decode_picture(picture, *size), tf.data.AUTOTUNE)
        .batch(_ASKED_AT_ONCE)
        .prefetch(2)
    )
    outputs = keras.Model(model.inputs, dict(model.output)).predict(batches, verbose=0)
    embedding = outputs.pop(features.EMBEDDING)
    return Answers(outputs, embedding), history_of(folder)["labels"]
