"""A model small enough to reckon by hand, with the picture signatures of the real one.

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


THRESHOLDS = {"category": 0.75, "subcategory": 0.5, "attributes": 0.625, "": 0.875}
"""From which score an answer counts as known; that of the extra label is under ""."""

NO_PICTURE = "it is no picture"
"""Why the model refuses what it cannot decode."""

_PICTURES = [tf.TensorSpec([None], tf.string, "image_bytes")]


class ColorModel(tf.Module):
    """The model; `sharpness` sets its scores apart from another version's.

    With `extra_label` it says under that name once more which color it is.
    """

    def __init__(self, sharpness: float = 4.0, extra_label: str = ""):
        super().__init__()
        self._extra_label = extra_label
        self.sharpness = tf.Variable(sharpness, trainable=False)

    @property
    def signatures(self) -> dict[str, tf.types.experimental.PolymorphicFunction]:
        """What is exported."""
        names = (
            *(features.SERVING_SIGNATURE, features.TOLERANT_SIGNATURE),
            *(features.EVERYTHING_SIGNATURE, features.TOLERANT_EVERYTHING_SIGNATURE),
        )
        return {name: getattr(self, name) for name in names}

    @tf.function(input_signature=_PICTURES)
    def serving_default(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """The best few answers; a bad picture fails the request."""
        return _best_few(self.answer(image_bytes))

    @tf.function(input_signature=_PICTURES)
    def everything(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """All answers; a bad picture fails the request."""
        return self.answer(image_bytes)

    @tf.function(input_signature=_PICTURES)
    def tolerant(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """The best few answers; a bad picture costs itself alone."""
        return _best_few(self._with_status(image_bytes))

    @tf.function(input_signature=_PICTURES)
    def tolerant_everything(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """All answers; a bad picture costs itself alone."""
        return self._with_status(image_bytes)

    def mean_colors(self, image_bytes: tf.Tensor) -> tf.Tensor:
        """The mean color of each picture, (N, 3) in [0, 1]; -1 where it is none."""
        return _mean_colors(image_bytes)

    def answer(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """All answers; a bad picture fails the request."""
        table = self.mean_colors(image_bytes)
        missing = tf.where(table[:, 0] < 0)[:, 0]
        first = tf.concat([missing, [-1]], 0)[0]
        said = tf.strings.format(features.UNDECODABLE.format("{}", NO_PICTURE), first)
        with tf.control_dependencies([tf.debugging.Assert(tf.size(missing) == 0, [said])]):
            return self._answers(tf.identity(table))

    def _with_status(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        table = self.mean_colors(image_bytes)
        is_picture = table[:, 0] >= 0

        def blanked(answer: tf.Tensor) -> tf.Tensor:
            sound = is_picture if answer.shape.rank == 1 else is_picture[:, tf.newaxis]
            return tf.where(sound, answer, tf.zeros([], answer.dtype))

        answers = {name: blanked(answer) for name, answer in self._answers(table).items()}
        return {**answers, features.STATUS: tf.where(is_picture, "", NO_PICTURE)}

    def _answers(self, table: tf.Tensor) -> dict[str, tf.Tensor]:
        count = tf.shape(table)[0]
        bright = tf.sigmoid(self.sharpness * (2 * tf.reduce_max(table, 1) - 1))
        tones = tf.stack([1 - bright, bright], 1)
        categories = tf.nn.softmax(self.sharpness * table)
        subcategories = tf.reshape(categories[:, :, None] * tones[:, None, :], [count, 6])
        answers = {
            **_level("category", CATEGORIES, categories),
            **_level("subcategory", SUBCATEGORIES, subcategories),
            **_ranked("attributes", "attribute_scores", ATTRIBUTES, tones),
            "embedding": tf.nn.l2_normalize(table + 1e-3, axis=1),
        }
        levels = {name: THRESHOLDS[name] for name in ("category", "subcategory", "attributes")}
        if self._extra_label:
            answers.update(_level(self._extra_label, CATEGORIES, categories))
            levels[self._extra_label] = THRESHOLDS[""]
        thresholds = {
            features.threshold(level): tf.fill([count], value) for level, value in levels.items()
        }
        return {**answers, **thresholds}


class OlderColorModel(ColorModel):
    """As models were before 2026-12: one strict signature that gives everything, no thresholds."""

    @property
    def signatures(self) -> dict[str, tf.types.experimental.PolymorphicFunction]:
        """What is exported."""
        return {features.SERVING_SIGNATURE: self.older}

    @tf.function(input_signature=_PICTURES)
    def older(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """All answers but the thresholds."""
        answers = self.answer(image_bytes)
        return {name: value for name, value in answers.items() if "threshold" not in name}


def save(model: ColorModel, folder: str, **signatures: tf.types.experimental.PolymorphicFunction):
    """Exports the model; `signatures` are added to its own."""
    tf.saved_model.save(model, folder, signatures={**model.signatures, **signatures})


def expected_scores(red: int, green: int, blue: int, sharpness: float = 4.0) -> np.ndarray:
    """The category probabilities of a picture of one color, by NumPy."""
    powers = np.exp(sharpness * np.array([red, green, blue]) / 255)
    return powers / powers.sum()


def _mean_color(encoded: tf.Tensor) -> tf.Tensor:
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    return tf.reduce_mean(tf.cast(image, tf.float32) / 255, axis=[0, 1])


def _mean_colors(image_bytes: tf.Tensor) -> tf.Tensor:
    """The mean color of each picture, (N, 3) in [0, 1]; -1 where it is none."""
    colors = (
        tf.data.Dataset.from_tensor_slices(image_bytes)
        .enumerate()
        .map(lambda index, encoded: (index, _mean_color(encoded)))
        .ignore_errors()
    )
    return colors.reduce(
        tf.fill([tf.shape(image_bytes)[0], 3], -1.0),
        lambda table, row: tf.tensor_scatter_nd_update(
            table, [[tf.cast(row[0], tf.int32)]], row[1][tf.newaxis]
        ),
    )


def _level(name: str, labels: tuple[str, ...], scores: tf.Tensor) -> dict[str, tf.Tensor]:
    return {
        name: tf.gather(labels, tf.argmax(scores, 1)),
        features.score(name): tf.reduce_max(scores, 1),
        **_ranked(features.labels(name), features.scores(name), labels, scores),
    }


def _ranked(
    labels_output: str, scores_output: str, labels: tuple[str, ...], scores: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Labels and scores of every picture, highest first."""
    best = tf.math.top_k(scores, len(labels))
    return {labels_output: tf.gather(labels, best.indices), scores_output: best.values}


def _best_few(answers: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    few = {name: value for name, value in answers.items() if name != features.EMBEDDING}
    return {
        name: value[:, : features.BEST] if name.endswith(("_labels", "_scores")) else value
        for name, value in few.items()
    }
