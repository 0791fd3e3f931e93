"""A model small enough to reckon by hand, with the serving signature of the real one.

It looks at nothing but a picture's mean color: the category is the strongest of the three channels,
the sub-category says besides whether the picture is dark or bright, the one attribute group says
the same as two labels.
"""

from __future__ import annotations

import io

import numpy as np
import tensorflow as tf
from PIL import Image

from schema import features

CATEGORIES = ("red", "green", "blue")
SUBCATEGORIES = tuple(f"{tone} {color}" for color in CATEGORIES for tone in ("dark", "bright"))
ATTRIBUTES = ("tone=dark", "tone=bright")


def picture(red: int, green: int, blue: int, size: int = 16, suffix: str = "png") -> bytes:
    """A square of one color, encoded."""
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (red, green, blue)).save(buffer, suffix)
    return buffer.getvalue()


class ColorModel(tf.Module):
    """The model; `sharpness` sets its scores apart from another version's.

    With `extra_label` it says under that name once more which color it is.
    """

    def __init__(self, sharpness: float = 4.0, extra_label: str = ""):
        super().__init__()
        self._extra_label = extra_label
        self.sharpness = tf.Variable(sharpness, trainable=False)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def serving_default(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers as the serving signature does."""
        return self.answer(image_bytes)

    def answer(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """What the signature gives."""
        colors = (
            tf.data.Dataset.from_tensor_slices(image_bytes)
            .enumerate()
            .map(lambda index, encoded: (index, _mean_color(encoded)))
            .ignore_errors()
        )
        count = tf.shape(image_bytes)[0]
        table = colors.reduce(
            tf.fill([count, 3], -1.0),
            lambda table, row: tf.tensor_scatter_nd_update(
                table, [[tf.cast(row[0], tf.int32)]], row[1][tf.newaxis]
            ),
        )
        missing = tf.where(table[:, 0] < 0)[:, 0]
        first = tf.concat([missing, [-1]], 0)[0]
        check = tf.debugging.Assert(
            tf.size(missing) == 0,
            [tf.strings.format(features.UNDECODABLE, first)],
        )
        with tf.control_dependencies([check]):
            table = tf.identity(table)

        bright = tf.sigmoid(self.sharpness * (2 * tf.reduce_max(table, 1) - 1))
        tones = tf.stack([1 - bright, bright], 1)
        categories = tf.nn.softmax(self.sharpness * table)
        subcategories = tf.reshape(categories[:, :, None] * tones[:, None, :], [count, 6])
        extra = {
            self._extra_label + output: answer
            for output, answer in (
                ("", tf.gather(CATEGORIES, tf.argmax(categories, 1))),
                ("_score", tf.reduce_max(categories, 1)),
                ("_scores", categories),
                ("_labels", _rows(CATEGORIES, count)),
            )
            if self._extra_label
        }
        return {
            **extra,
            "category": tf.gather(CATEGORIES, tf.argmax(categories, 1)),
            "category_score": tf.reduce_max(categories, 1),
            "category_scores": categories,
            "category_labels": _rows(CATEGORIES, count),
            "subcategory": tf.gather(SUBCATEGORIES, tf.argmax(subcategories, 1)),
            "subcategory_score": tf.reduce_max(subcategories, 1),
            "subcategory_scores": subcategories,
            "subcategory_labels": _rows(SUBCATEGORIES, count),
            "attributes": _rows(ATTRIBUTES, count),
            "attribute_scores": tones,
            "embedding": tf.nn.l2_normalize(table + 1e-3, axis=1),
        }


def save(model: tf.Module, folder: str, **signatures: tf.types.experimental.PolymorphicFunction):
    """Exports the model; `signatures` are added to `serving_default`."""
    tf.saved_model.save(
        model, folder, signatures={"serving_default": model.serving_default, **signatures}
    )


def expected_scores(red: int, green: int, blue: int, sharpness: float = 4.0) -> np.ndarray:
    """The category probabilities of a picture of one color, by NumPy."""
    powers = np.exp(sharpness * np.array([red, green, blue]) / 255)
    return powers / powers.sum()


def _mean_color(encoded: tf.Tensor) -> tf.Tensor:
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    return tf.reduce_mean(tf.cast(image, tf.float32) / 255, axis=[0, 1])


def _rows(labels: tuple[str, ...], count: tf.Tensor) -> tf.Tensor:
    return tf.tile(tf.constant(labels)[tf.newaxis], [count, 1])
