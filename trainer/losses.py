"""Cross-entropies in which rare classes can count more and labels be unknown, and a metric loss."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops


def effective_numbers(counts: Sequence[int] | np.ndarray, beta: float) -> np.ndarray:
    """Effective numbers of products: what further products of a class add grows ever less.

    Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples" (arXiv 1901.05555),
    equation 2. Weights by their inverses are between none (beta 0) and inverse frequencies (1).

    Args:
        counts: Products of each class in the train split, (C).
        beta: Part of the earlier products that one more product leaves new, 0 to below 1.

    Returns:
        float64 (C): (1 - beta ** count) / (1 - beta).
    """
    return (1 - beta ** np.asarray(counts, np.float64)) / (1 - beta)


def class_weights(
    counts: Sequence[int] | np.ndarray, limit: float, sizes: np.ndarray | None = None
) -> np.ndarray:
    """Weights of a level's classes by the inverse of their frequency, none above a limit.

    Where no weight reaches the limit, all classes have the same count times weight. Limiting the
    largest raises the others in proportion, so that a product's mean weight stays 1. (With a mean
    of 1 over the classes instead, the classes that most products have would weigh next to nothing,
    and the level as a whole little beside the others and the L2 penalty.)

    Args:
        counts: Products of each class in the train split, (C).
        limit: Largest weight, at least 1.
        sizes: By whose inverse classes are weighted, rising with the counts; `counts` if None.

    Returns:
        float32 (C): min(limit, t / size), t such that the mean over products is 1. A class
        without products gets the limit.

    Raises:
        ValueError: the limit is below 1, where no such weights exist.
    """
    counts = np.asarray(counts, np.float64)
    return _limited_inverses(counts if sizes is None else sizes, shares=counts, limit=limit)


def attribute_weights(
    counts: Sequence[int] | np.ndarray, limit: float, sizes: np.ndarray | None = None
) -> np.ndarray:
    """As `class_weights`, for attributes: each has a loss on every product, whether it is there.

    Args:
        counts: Products with each attribute in the train split, (A).
        limit: Largest weight, at least 1.
        sizes: By whose inverse attributes are weighted; `counts` if None.

    Returns:
        float32 (A): min(limit, t / size), t such that the mean over attributes is 1.

    Raises:
        ValueError: the limit is below 1, where no such weights exist.
    """
    counts = np.asarray(counts, np.float64)
    sizes = counts if sizes is None else sizes
    return _limited_inverses(sizes, shares=np.ones_like(counts), limit=limit)


def _limited_inverses(sizes: np.ndarray, shares: np.ndarray, limit: float) -> np.ndarray:
    """min(limit, t / sizes) with the mean 1, where each class has its share in the mean."""
    if limit < 1:
        raise ValueError(f"The mean weight is 1, so the limit cannot be less. Received: {limit=}")
    # What never occurs is treated as what occurs less than once, which brings it to the limit.
    sizes = np.maximum(sizes, 1e-9)
    order = np.argsort(sizes)
    sizes_sorted, shares_sorted = sizes[order], shares[order]
    t = np.inf
    # The rarest classes are those at the limit; each further one of them lowers what is left for
    # the others, until t / size of the next is within the limit.
    for limited in range(sizes.size):
        left = shares.sum() - limit * shares_sorted[:limited].sum()
        t = left / (shares_sorted[limited:] / sizes_sorted[limited:]).sum()
        if t <= limit * sizes_sorted[limited] * (1 + 1e-9):
            break
    return np.minimum(limit, t / sizes).astype(np.float32)


@keras.saving.register_keras_serializable(package="seamline")
class WeightedCrossentropy(keras.losses.Loss):
    """Cross-entropy of a level with one class a product, each product weighted by its class.

    Labels are integers (N) or (N, 1), -1 for unknown, which weighs nothing; predictions are
    probabilities (N, C). The result is the mean over the N products.

    Args:
        class_weights: Weight of each class, (C).
        focal_gamma: Products count times (1 - p) ** focal_gamma, p the probability that is given to
            their class, so that what is learned already pulls less: the focal loss of Lin et al.
            2017 (arXiv 1708.02002), equation 4. 0 lets all count alike.
        label_smoothing: Part of a product's label that is spread evenly over all classes.
        name: Name of the loss.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | np.ndarray,
        focal_gamma: float = 0.0,
        label_smoothing: float = 0.0,
        name: str = "crossentropy",
    ):
        super().__init__(name=name, reduction="sum_over_batch_size")
        self.class_weights = [float(weight) for weight in class_weights]
        self.focal_gamma = focal_gamma
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        """Weighted cross-entropy of each product, (N)."""
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        classes = ops.maximum(labels, 0)
        weights = ops.take(ops.convert_to_tensor(self.class_weights, dtype=y_pred.dtype), classes)
        weights = ops.where(labels < 0, 0.0, weights)
        if self.focal_gamma:
            given = ops.squeeze(ops.take_along_axis(y_pred, classes[:, None], axis=-1), -1)
            weights = weights * _focus(given, self.focal_gamma)
        if not self.label_smoothing:
            return weights * ops.sparse_categorical_crossentropy(classes, y_pred)
        count = len(self.class_weights)
        shares = ops.one_hot(classes, count, dtype=y_pred.dtype) * (1 - self.label_smoothing)
        return weights * ops.categorical_crossentropy(shares + self.label_smoothing / count, y_pred)

    def get_config(self):
        """The constructor's arguments."""
        return {
            "class_weights": self.class_weights,
            "focal_gamma": self.focal_gamma,
            "label_smoothing": self.label_smoothing,
            "name": self.name,
        }


def _focus(probabilities, gamma: float):
    # The root of 0 has no slope, and gamma can be below 1.
    return ops.maximum(1.0 - probabilities, keras.config.epsilon()) ** gamma


@keras.saving.register_keras_serializable(package="seamline")
class TypeCrossentropy(keras.losses.Loss):
    """Cross-entropy of attributes that exclude one another within each type.

    Labels (N, A) are zeros and ones, predictions (N, A) probabilities that sum to 1 within each
    type. A type of which a product has no attribute weighs nothing. The result is the mean over the
    products of the sum over the types.

    Args:
        attribute_weights: Weight of each attribute, (A).
        focal_gamma: As in `WeightedCrossentropy`.
        name: Name of the loss.
    """

    def __init__(
        self,
        attribute_weights: Sequence[float] | np.ndarray,
        focal_gamma: float = 0.0,
        name: str = "type_crossentropy",
    ):
        super().__init__(name=name, reduction="sum_over_batch_size")
        self.attribute_weights = [float(weight) for weight in attribute_weights]
        self.focal_gamma = focal_gamma

    def call(self, y_true, y_pred):
        """Weighted cross-entropy of each product, (N)."""
        weights = ops.convert_to_tensor(self.attribute_weights, dtype=y_pred.dtype)
        if self.focal_gamma:
            weights = weights * _focus(y_pred, self.focal_gamma)
        logarithms = ops.log(ops.maximum(y_pred, keras.config.epsilon()))
        return -ops.sum(weights * ops.cast(y_true, y_pred.dtype) * logarithms, axis=-1)

    def get_config(self):
        """The constructor's arguments."""
        return {
            "attribute_weights": self.attribute_weights,
            "focal_gamma": self.focal_gamma,
            "name": self.name,
        }


@keras.saving.register_keras_serializable(package="seamline")
class WeightedBinaryCrossentropy(keras.losses.Loss):
    """Binary cross-entropy of the attributes, each attribute weighted by its own weight.

    Labels (N, A) are zeros and ones, predictions (N, A) probabilities. The result is the mean over
    products and attributes.

    Args:
        attribute_weights: Weight of each attribute, (A).
        name: Name of the loss.
    """

    def __init__(
        self, attribute_weights: Sequence[float] | np.ndarray, name: str = "binary_crossentropy"
    ):
        super().__init__(name=name, reduction="sum_over_batch_size")
        self.attribute_weights = [float(weight) for weight in attribute_weights]

    def call(self, y_true, y_pred):
        """Weighted binary cross-entropy of each product, (N)."""
        weights = ops.convert_to_tensor(self.attribute_weights, dtype=y_pred.dtype)
        return ops.mean(weights * ops.binary_crossentropy(y_true, y_pred), axis=-1)

    def get_config(self):
        """The constructor's arguments."""
        return {"attribute_weights": self.attribute_weights, "name": self.name}


@keras.saving.register_keras_serializable(package="seamline")
class SemiHardTriplet(keras.losses.Loss):
    """Triplet margin loss of embeddings, with semi-hard negatives out of the same batch.

    Schroff et al. 2015, "FaceNet" (arXiv 1503.03832), section 3: an anchor is to be closer to every
    positive (a product of its class) than to a negative (one of another class), by a margin of the
    squared distance. Of the negatives, the nearest that is farther from the anchor than the
    positive is taken; where none is farther, the farthest.

    Labels are integers (N) or (N, 1); products whose label is unknown, -1, take no part. Embeddings
    (N, E) are of unit length. The result is the mean over all pairs of an anchor and a positive
    that have a negative, 0 where there is no such pair.

    Args:
        margin: Difference of squared distances, which are 0 to 4, from which on a triplet is left
            alone.
        name: Name of the loss.
    """

    def __init__(self, margin: float, name: str = "semi_hard_triplet"):
        super().__init__(name=name, reduction="sum_over_batch_size")
        self.margin = margin

    def call(self, y_true, y_pred):
        """The loss of the batch, ()."""
        labels = ops.reshape(y_true, (-1,))
        distances = 2.0 - 2.0 * ops.matmul(y_pred, ops.transpose(y_pred))
        known = labels >= 0
        known = ops.logical_and(known[:, None], known[None, :])
        same = labels[:, None] == labels[None, :]
        another = ops.logical_not(ops.eye(ops.shape(labels)[0], dtype="bool"))
        positive = ops.logical_and(ops.logical_and(same, another), known)
        negative = ops.logical_and(ops.logical_not(same), known)

        # Pairs are (anchor, positive), triplets (anchor, positive, negative).
        farther = distances[:, None, :] > distances[:, :, None]
        semi_hard = ops.logical_and(negative[:, None, :], farther)
        beyond = 5.0
        nearest = ops.min(ops.where(semi_hard, distances[:, None, :], beyond), axis=-1)
        farthest = ops.max(ops.where(negative, distances, -1.0), axis=-1, keepdims=True)
        chosen = ops.where(ops.any(semi_hard, axis=-1), nearest, farthest)
        counted = ops.logical_and(positive, ops.any(negative, axis=-1, keepdims=True))
        counted = ops.cast(counted, y_pred.dtype)
        violations = ops.relu(distances - chosen + self.margin) * counted
        return ops.sum(violations) / ops.maximum(ops.sum(counted), 1.0)

    def get_config(self):
        """The constructor's arguments."""
        return {"margin": self.margin, "name": self.name}
