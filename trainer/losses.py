"""Cross-entropies in which every class of a level can count alike, and labels can be unknown."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops


def class_weights(counts: Sequence[int] | np.ndarray, limit: float) -> np.ndarray:
    """Weights of a level's classes by the inverse of their frequency, none above a limit.

    Where no weight reaches the limit, all classes have the same count times weight. Limiting the
    largest raises the others in proportion, so that a product's mean weight stays 1. (With a mean
    of 1 over the classes instead, the classes that most products have would weigh next to nothing,
    and the level as a whole little beside the others and the L2 penalty.)

    Args:
        counts: Products of each class in the train split, (C).
        limit: Largest weight, at least 1.

    Returns:
        float32 (C): min(limit, t / count), t such that the mean over products is 1. A class
        without products gets the limit.

    Raises:
        ValueError: the limit is below 1, where no such weights exist.
    """
    counts = np.asarray(counts, np.float64)
    return _limited_inverses(counts, shares=counts, limit=limit)


def attribute_weights(counts: Sequence[int] | np.ndarray, limit: float) -> np.ndarray:
    """As `class_weights`, for attributes: each has a loss on every product, whether it is there.

    Args:
        counts: Products with each attribute in the train split, (A).
        limit: Largest weight, at least 1.

    Returns:
        float32 (A): min(limit, t / count), t such that the mean over attributes is 1.

    Raises:
        ValueError: the limit is below 1, where no such weights exist.
    """
    counts = np.asarray(counts, np.float64)
    return _limited_inverses(counts, shares=np.ones_like(counts), limit=limit)


def _limited_inverses(counts: np.ndarray, shares: np.ndarray, limit: float) -> np.ndarray:
    """min(limit, t / counts) with the mean 1, where each class has its share in the mean."""
    if limit < 1:
        raise ValueError(f"The mean weight is 1, so the limit cannot be less. Received: {limit=}")
    # What never occurs is treated as what occurs less than once, which brings it to the limit.
    counts = np.maximum(counts, 1e-9)
    order = np.argsort(counts)
    counts_sorted, shares_sorted = counts[order], shares[order]
    t = np.inf
    # The rarest classes are those at the limit; each further one of them lowers what is left for
    # the others, until t / count of the next is within the limit.
    for limited in range(counts.size):
        left = shares.sum() - limit * shares_sorted[:limited].sum()
        t = left / (shares_sorted[limited:] / counts_sorted[limited:]).sum()
        if t <= limit * counts_sorted[limited] * (1 + 1e-9):
            break
    return np.minimum(limit, t / counts).astype(np.float32)


@keras.saving.register_keras_serializable(package="seamline")
class WeightedCrossentropy(keras.losses.Loss):
    """Cross-entropy of a level with one class a product, each product weighted by its class.

    Labels are integers (N) or (N, 1), -1 for unknown, which weighs nothing; predictions are
    probabilities (N, C). The result is the mean over the N products.

    Args:
        class_weights: Weight of each class, (C).
        name: Name of the loss.
    """

    def __init__(self, class_weights: Sequence[float], name: str = "crossentropy"):
        super().__init__(name=name, reduction="sum_over_batch_size")
        self.class_weights = [float(weight) for weight in class_weights]

    def call(self, y_true, y_pred):
        """Weighted cross-entropy of each product, (N)."""
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        classes = ops.maximum(labels, 0)
        weights = ops.take(ops.convert_to_tensor(self.class_weights, dtype=y_pred.dtype), classes)
        weights = ops.where(labels < 0, 0.0, weights)
        return weights * ops.sparse_categorical_crossentropy(classes, y_pred)

    def get_config(self):
        """The constructor's arguments."""
        return {"class_weights": self.class_weights, "name": self.name}


@keras.saving.register_keras_serializable(package="seamline")
class TypeCrossentropy(keras.losses.Loss):
    """Cross-entropy of attributes that exclude one another within each type.

    Labels (N, A) are zeros and ones, predictions (N, A) probabilities that sum to 1 within each
    type. A type of which a product has no attribute weighs nothing. The result is the mean over the
    products of the sum over the types.

    Args:
        attribute_weights: Weight of each attribute, (A).
        name: Name of the loss.
    """

    def __init__(self, attribute_weights: Sequence[float], name: str = "type_crossentropy"):
        super().__init__(name=name, reduction="sum_over_batch_size")
        self.attribute_weights = [float(weight) for weight in attribute_weights]

    def call(self, y_true, y_pred):
        """Weighted cross-entropy of each product, (N)."""
        weights = ops.convert_to_tensor(self.attribute_weights, dtype=y_pred.dtype)
        logarithms = ops.log(ops.maximum(y_pred, keras.config.epsilon()))
        return -ops.sum(weights * ops.cast(y_true, y_pred.dtype) * logarithms, axis=-1)

    def get_config(self):
        """The constructor's arguments."""
        return {"attribute_weights": self.attribute_weights, "name": self.name}


@keras.saving.register_keras_serializable(package="seamline")
class WeightedBinaryCrossentropy(keras.losses.Loss):
    """Binary cross-entropy of the attributes, each attribute weighted by its own weight.

    Labels (N, A) are zeros and ones, predictions (N, A) probabilities. The result is the mean over
    products and attributes.

    Args:
        attribute_weights: Weight of each attribute, (A).
        name: Name of the loss.
    """

    def __init__(self, attribute_weights: Sequence[float], name: str = "binary_crossentropy"):
        super().__init__(name=name, reduction="sum_over_batch_size")
        self.attribute_weights = [float(weight) for weight in attribute_weights]

    def call(self, y_true, y_pred):
        """Weighted binary cross-entropy of each product, (N)."""
        weights = ops.convert_to_tensor(self.attribute_weights, dtype=y_pred.dtype)
        return ops.mean(weights * ops.binary_crossentropy(y_true, y_pred), axis=-1)

    def get_config(self):
        """The constructor's arguments."""
        return {"attribute_weights": self.attribute_weights, "name": self.name}
