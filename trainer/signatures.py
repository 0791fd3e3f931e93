"""The model as TensorFlow Serving, TFMA and a warm start take it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from schema import features
from trainer import calibration, input_pipeline, preprocessing
from trainer.decoding import JointDecoding

KERAS_FILE = "model.keras"
"""Beside saved_model.pb: the Keras model alone, because Keras cannot load a SavedModel."""

_CHUNK = 64
"""Pictures that go through the network at once, so that a large request needs no more memory."""


def export(
    model: keras.Model,
    transform_output: tft.TFTransformOutput,
    directory: str,
    *,
    pairs: np.ndarray | None = None,
    temperatures: Mapping[str, float] | None = None,
) -> None:
    """Writes a SavedModel with the three signatures, and `model.keras` beside it.

    Args:
        model: From pictures (N, H, W, 3), 0 to 255, to the dict of outputs of
            `trainer.hierarchical_model`.
        transform_output: The Transform graph whose vocabularies the outputs follow.
        directory: Where to write; TFX's `serving_model_dir`.
        pairs: Products of the train split by category and sub-category, for joint decoding in the
            signatures (`model.keras` is without it); None leaves the levels as they are.
        temperatures: What `calibration.calibrate` made of the model.
    """
    module = CatalogModel(model, transform_output, pairs, temperatures or {})
    examples = tf.TensorSpec([None], tf.string, name="examples")
    tf.saved_model.save(
        module,
        directory,
        signatures={
            features.SERVING_SIGNATURE: module.serve.get_concrete_function(
                tf.TensorSpec([None], tf.string, name=features.IMAGE_BYTES)
            ),
            features.EVALUATE_SIGNATURE: module.evaluate.get_concrete_function(examples),
            features.LABELS_SIGNATURE: module.transform_labels.get_concrete_function(examples),
        },
    )
    model.save(os.path.join(directory, KERAS_FILE))


class CatalogModel(tf.Module):
    """A model with the vocabularies and the Transform layer that belong to it.

    Args:
        model: See `export`.
        transform_output: See `export`.
        pairs: See `export`.
        temperatures: See `export`.
    """

    def __init__(
        self,
        model: keras.Model,
        transform_output: tft.TFTransformOutput,
        pairs: np.ndarray | None,
        temperatures: Mapping[str, float],
    ):
        super().__init__(name="catalog_model")
        self._model = model
        self._joint_decoding = None if pairs is None else JointDecoding(pairs)
        self._temperatures = dict(temperatures)
        self._transform_output = transform_output
        # As an attribute the layer becomes part of what is saved, its vocabulary files with it.
        self._transform_layer = transform_output.transform_features_layer()
        self._labels = preprocessing.vocabularies(transform_output)

    @tf.function
    def serve(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers pictures: the signature `serving_default`.

        With joint decoding no sub-category stands under a category that it was never seen with; see
        `trainer.decoding` for what its score then means.

        Args:
            image_bytes: Encoded pictures, string (N).

        Returns:
            `category`, `subcategory` string (N) and `category_score`, `subcategory_score` float32
            (N), the likeliest of each; `category_scores` (N, C1), `subcategory_scores` (N, C2) and
            `attribute_scores` (N, A) float32 with the labels they belong to, the same in every
            row, in `category_labels`, `subcategory_labels` and `attributes`, string of the same
            shapes; for every extra label what there is for the category; `embedding` float32
            (N, E) of unit length.

        Raises:
            tf.errors.InvalidArgumentError: a picture cannot be decoded; the message has its index.
        """
        outputs = self._answers(image_bytes, self._decoded)
        answers = {
            features.ATTRIBUTES: self._label_rows(features.ATTRIBUTES, outputs),
            features.ATTRIBUTE_SCORES: outputs[features.ATTRIBUTES],
            features.EMBEDDING: outputs[features.EMBEDDING],
        }
        for level in self._labels.keys() - {features.ATTRIBUTES}:
            answers[level], answers[features.score(level)] = self._likeliest(level, outputs)
            answers[features.scores(level)] = outputs[level]
            answers[features.labels(level)] = self._label_rows(level, outputs)
        return answers

    @tf.function
    def evaluate(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """What is served for serialized Examples, string (N), as numbers: the signature `evaluate`.

        Returns:
            `category` (N, C1), `subcategory` (N, C2), `attributes` (N, A), `embedding` (N, E), and
            the extra labels' probabilities. Beside them what would be served without one of two
            things: with joint decoding `category_independent` and `subcategory_independent`, and
            with temperatures `category_uncalibrated` and so on for every level that has one.

        Raises:
            tf.errors.InvalidArgumentError: a picture cannot be decoded; the message has its index.
        """
        parsed = tf.io.parse_example(
            examples, {features.IMAGE: tf.io.FixedLenFeature([], tf.string)}
        )
        return self._answers(parsed[features.IMAGE], self._compared)

    @tf.function
    def transform_labels(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """The true labels of serialized Examples, string (N), as numbers.

        Returns:
            `category_label`, `subcategory_label` and those of the extra labels int64 (N), negative
            where they are unknown (`features.NOT_IN_TRAIN`, `features.NOT_GIVEN`), and
            `attributes_label` float32 (N, A).
        """
        return input_pipeline.transformed_labels(
            input_pipeline.parse_labels(examples, self._transform_output),
            self._transform_layer,
            len(self._labels[features.ATTRIBUTES]),
        )

    def _decoded(self, outputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The model's outputs as they are served."""
        if self._joint_decoding is None:
            return dict(outputs)
        category, subcategory = self._joint_decoding(
            outputs[features.CATEGORY], outputs[features.SUBCATEGORY]
        )
        return {**outputs, features.CATEGORY: category, features.SUBCATEGORY: subcategory}

    def _compared(self, outputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The same, and what would be served without joint decoding or without calibration."""
        answers = self._decoded(outputs)
        if self._joint_decoding is not None:
            for level in (features.CATEGORY, features.SUBCATEGORY):
                answers[features.independent(level)] = outputs[level]
        before = calibration.uncalibrated(self._model, outputs, self._temperatures)
        before = self._decoded({**outputs, **before})
        for level in self._temperatures:
            answers[features.uncalibrated(level)] = before[level]
        return answers

    def _answers(
        self,
        image_bytes: tf.Tensor,
        answer: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]],
    ) -> dict[str, tf.Tensor]:
        """What `answer` makes of the model's outputs, for all pictures, chunk by chunk."""
        _, height, width, _ = self._model.input_shape
        pictures = input_pipeline.decode_pictures(image_bytes, height, width)
        outputs = {
            name: tf.TensorSpec([None, output.shape[-1]], tf.float32)
            for name, output in self._model.output.items()
        }
        answers = tf.function(answer).get_concrete_function(outputs).structured_outputs
        widths = {name: of.shape[-1] for name, of in answers.items()}
        count = tf.shape(pictures)[0]
        chunks = (count + _CHUNK - 1) // _CHUNK

        def run_chunk(index, collected):
            chunk = pictures[index * _CHUNK : (index + 1) * _CHUNK]
            outputs = answer(self._model(tf.cast(chunk, tf.float32), training=False))
            return index + 1, {
                name: array.write(index, outputs[name]) for name, array in collected.items()
            }

        collected = {
            name: tf.TensorArray(tf.float32, chunks, infer_shape=False, element_shape=(None, width))
            for name, width in widths.items()
        }
        _, collected = tf.while_loop(
            lambda index, _: index < chunks,
            run_chunk,
            (tf.constant(0), collected),
            parallel_iterations=1,
        )
        return {
            name: tf.reshape(array.concat(), (count, widths[name]))
            for name, array in collected.items()
        }

    def _likeliest(self, level: str, outputs) -> tuple[tf.Tensor, tf.Tensor]:
        indices = tf.argmax(outputs[level], axis=1)
        return tf.gather(tf.constant(self._labels[level]), indices), tf.reduce_max(
            outputs[level], axis=1
        )

    def _label_rows(self, level: str, outputs) -> tf.Tensor:
        labels = tf.constant(self._labels[level], tf.string, shape=(1, len(self._labels[level])))
        return tf.tile(labels, [tf.shape(outputs[level])[0], 1])
