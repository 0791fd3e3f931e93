"""The model as TensorFlow Serving, TFMA and a warm start take it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from schema import features
from trainer import calibration, input_pipeline, preprocessing
from trainer.decoding import JointDecoding
from trainer.picture_model import Answers, PictureModel, all_usable
from trainer.shared_functions import traced


def keras_file(directory: str) -> str:
    """Where the Keras model of an exported one is: Keras cannot load a SavedModel.

    Beside the SavedModel and not in it, for nobody who answers from that needs it.

    Args:
        directory: TFX's `serving_model_dir`.
    """
    return os.path.join(os.path.dirname(directory.rstrip("/")), "Format-Keras", "model.keras")


def export(
    model: keras.Model,
    transform_output: tft.TFTransformOutput,
    directory: str,
    *,
    pairs: np.ndarray | None = None,
    temperatures: Mapping[str, float] | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> None:
    """Writes a SavedModel with its signatures, and the Keras model to `keras_file(directory)`.

    Args:
        model: From pictures (N, H, W, 3), 0 to 255, to the dict of outputs of
            `trainer.hierarchical_model`.
        transform_output: The Transform graph whose vocabularies the outputs follow.
        directory: Where to write; TFX's `serving_model_dir`.
        pairs: Products of the train split by category and sub-category, for joint decoding in the
            signatures (the Keras model is without it); None leaves the levels as they are.
        temperatures: What `calibration.calibrate` made of the model.
        thresholds: The score from which a level's answer counts as known; .75 where it is missing.
    """
    module = CatalogModel(model, transform_output, pairs, temperatures or {}, thresholds or {})
    module.save(directory)
    file = keras_file(directory)
    tf.io.gfile.makedirs(os.path.dirname(file))
    model.save(file)


class CatalogModel(PictureModel):
    """A model with the vocabularies and the Transform layer that belong to it.

    Args:
        model: See `export`.
        transform_output: See `export`.
        pairs: See `export`.
        temperatures: See `export`.
        thresholds: See `export`.
    """

    def __init__(
        self,
        model: keras.Model,
        transform_output: tft.TFTransformOutput,
        pairs: np.ndarray | None,
        temperatures: Mapping[str, float],
        thresholds: Mapping[str, float],
    ):
        labels = preprocessing.vocabularies(transform_output)
        super().__init__(model, labels)
        object.__setattr__(self, "_model", model)
        self._joint_decoding = None if pairs is None else JointDecoding(pairs)
        self._temperatures = dict(temperatures)
        self._transform_output = transform_output
        # As an attribute the layer becomes part of what is saved, its vocabulary files with it.
        self._transform_layer = transform_output.transform_features_layer()
        self._labels = labels
        self._thresholds = {level: thresholds.get(level, 0.75) for level in labels}

    def signatures(self) -> dict[str, Callable[..., Answers]]:
        """Those of every model of pictures, and what judges this one."""
        examples = tf.TensorSpec([None], tf.string, name="examples")
        return super().signatures() | {
            features.EVALUATE_SIGNATURE: traced(self.evaluate, examples),
            features.LABELS_SIGNATURE: traced(self.transform_labels, examples),
        }

    def warmup_requests(self, picture: bytes) -> Iterator[tuple[str, dict[str, list[bytes]]]]:
        """Those of every model of pictures, and one to judge this one by."""
        yield from super().warmup_requests(picture)
        example = tf.train.Example()
        example.features.feature[features.IMAGE].bytes_list.value.append(picture)
        yield features.EVALUATE_SIGNATURE, {"examples": [example.SerializeToString()]}

    def evaluate(self, examples: tf.Tensor) -> Answers:
        """What is served for serialized Examples, string (N), as numbers: the signature `evaluate`.

        Returns:
            `category` (N, C1), `subcategory` (N, C2), `attributes` (N, A), `embedding` (N, E), and
            the extra labels' probabilities. Beside them what would be served without one of two
            things: with joint decoding `category_independent` and `subcategory_independent`, and
            with temperatures `category_uncalibrated` and so on for every level that has one.

        Raises:
            tf.errors.InvalidArgumentError: as `serve`.
        """
        parsed = tf.io.parse_example(
            examples, {features.IMAGE: tf.io.FixedLenFeature([], tf.string)}
        )
        return all_usable(*self._answers(parsed[features.IMAGE], self._compared))

    def transform_labels(self, examples: tf.Tensor) -> Answers:
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

    def _served(self, outputs: Answers) -> Answers:
        """The model's outputs as they are served.

        With joint decoding no sub-category stands under a category that it was never seen with; see
        `trainer.decoding` for what its score then means.
        """
        if self._joint_decoding is None:
            return dict(outputs)
        category, subcategory = self._joint_decoding(
            outputs[features.CATEGORY], outputs[features.SUBCATEGORY]
        )
        return {**outputs, features.CATEGORY: category, features.SUBCATEGORY: subcategory}

    def _compared(self, outputs: Answers) -> Answers:
        """The same, and what would be served without joint decoding or without calibration."""
        answers = self._served(outputs)
        if self._joint_decoding is not None:
            for level in (features.CATEGORY, features.SUBCATEGORY):
                answers[features.independent(level)] = outputs[level]
        before = calibration.uncalibrated(self._model, outputs, self._temperatures)
        before = self._served({**outputs, **before})
        for level in self._temperatures:
            answers[features.uncalibrated(level)] = before[level]
        return answers

    def _most_needed(self, outputs: Answers) -> Answers:
        """The answers of `serve` and `serve_tolerantly`.

        Returns:
            `category`, `subcategory` string (N) and `category_score`, `subcategory_score` float32
            (N), the likeliest of each; `category_labels`, `subcategory_labels` string (N, k) and
            `category_scores`, `subcategory_scores` float32 (N, k), the best k, at most
            `features.BEST`, likeliest first; `category_threshold`, `subcategory_threshold` float32
            (N); for every extra label what there is for the category; `attributes` string (N, K),
            `attribute_scores` float32 (N, K), the best K, at most `features.BEST_ATTRIBUTES`, and
            `attributes_threshold` float32 (N).
        """
        answers = self._likeliest(outputs)
        for level, of in self._labels.items():
            most = features.BEST_ATTRIBUTES if level == features.ATTRIBUTES else features.BEST
            scores, indices = tf.math.top_k(outputs[level], min(most, len(of)))
            answers |= _labelled(level, tf.gather(tf.constant(of, tf.string), indices), scores)
        return answers

    def _everything(self, outputs: Answers) -> Answers:
        """The answers of `serve_everything` and `serve_everything_tolerantly`.

        Returns:
            What `_most_needed` does, but with all labels and scores of every level, (N, C) and
            (N, A), the labels the same in every row; and `embedding` float32 (N, E).
        """
        answers = self._likeliest(outputs)
        for level, of in self._labels.items():
            labels = tf.constant(of, tf.string, shape=(1, len(of)))
            rows = tf.tile(labels, [tf.shape(outputs[level])[0], 1])
            answers |= _labelled(level, rows, outputs[level])
        answers[features.EMBEDDING] = outputs[features.EMBEDDING]
        return answers

    def _likeliest(self, outputs: Answers) -> Answers:
        """The likeliest label of every level with one a picture, and every level's threshold."""
        answers = {}
        for level, of in self._labels.items():
            scores = outputs[level]
            if level != features.ATTRIBUTES:
                answers[level] = tf.gather(tf.constant(of), tf.argmax(scores, axis=1))
                answers[features.score(level)] = tf.reduce_max(scores, axis=1)
            answers[features.threshold(level)] = tf.fill(
                [tf.shape(scores)[0]], self._thresholds[level]
            )
        return answers


def _labelled(level: str, labels: tf.Tensor, scores: tf.Tensor) -> Answers:
    if level == features.ATTRIBUTES:
        return {features.ATTRIBUTES: labels, features.ATTRIBUTE_SCORES: scores}
    return {features.labels(level): labels, features.scores(level): scores}
