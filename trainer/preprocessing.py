"""The Transform graph: labels become indices. Pictures are not touched here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from schema import features
from schema.vocabulary import vocabulary_labels


def preprocessing_fn(
    inputs: dict[str, tf.Tensor], custom_config: Mapping[str, Any]
) -> dict[str, tf.Tensor]:
    """Turns the labels of a batch into numbers, with vocabularies learned from the train split.

    Args:
        inputs: `category`, `subcategory` and the extra labels, string (N, 1); `attributes`, sparse
            string (N, any).
        custom_config: `extra_labels`, the names of the extra labels; none where it is missing.

    Returns:
        `category_label`, `subcategory_label` and one of each extra label: int64 (N),
        `features.NOT_IN_TRAIN` for a label that train did not have, `features.NOT_GIVEN` where an
        extra label is `features.UNKNOWN`.
        `attributes_label`: float32 (N, A) of zeros and ones; labels unknown to train are left out.
    """
    outputs = {}
    for level in (features.CATEGORY, features.SUBCATEGORY):
        outputs[features.transformed_label(level)] = tft.compute_and_apply_vocabulary(
            tf.squeeze(inputs[level], axis=1),
            default_value=features.NOT_IN_TRAIN,
            vocab_filename=level,
        )
    for level in custom_config.get("extra_labels", ()):
        outputs[features.transformed_label(level)] = _known_index(
            tf.squeeze(inputs[level], axis=1), level
        )
    outputs[features.transformed_label(features.ATTRIBUTES)] = _multi_hot(
        inputs[features.ATTRIBUTES], vocabulary_name=features.ATTRIBUTES
    )
    return outputs


def vocabularies(transform_output: tft.TFTransformOutput) -> dict[str, list[str]]:
    """The labels of every level in the order of their indices, the extra labels' last."""
    return {level: vocabulary(transform_output, level) for level in levels(transform_output)}


def levels(transform_output: tft.TFTransformOutput) -> list[str]:
    """The levels that the graph gives labels of, the extra labels last."""
    return features.transformed_levels(transform_output.transformed_feature_spec())


def vocabulary(transform_output: tft.TFTransformOutput, level: str) -> list[str]:
    """The labels of a level in the order of their indices; empty where train has none."""
    return vocabulary_labels(transform_output.vocabulary_by_name(level))


def _known_index(labels: tf.Tensor, vocabulary_name: str) -> tf.Tensor:
    given = tf.not_equal(labels, features.UNKNOWN)
    learned = tft.vocabulary(tf.boolean_mask(labels, given), vocab_filename=vocabulary_name)
    indices = tft.apply_vocabulary(labels, learned, default_value=features.NOT_IN_TRAIN)
    return tf.where(given, indices, tf.cast(features.NOT_GIVEN, tf.int64))


def _multi_hot(labels: tf.SparseTensor, vocabulary_name: str) -> tf.Tensor:
    learned = tft.vocabulary(labels, vocab_filename=vocabulary_name)
    indices = tft.apply_vocabulary(labels, learned, default_value=-1)
    known = tf.sparse.retain(indices, indices.values >= 0)
    positions = tf.stack([known.indices[:, 0], known.values], axis=1)
    width = tft.experimental.get_vocabulary_size_by_name(vocabulary_name)
    hits = tf.scatter_nd(
        positions,
        tf.ones_like(known.values, tf.float32),
        tf.stack([known.dense_shape[0], width]),
    )
    # A product may name the same label twice.
    return tf.minimum(hits, 1.0)
