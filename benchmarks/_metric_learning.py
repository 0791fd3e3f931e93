"""Metrics that are learned: vectors of unit length which lie the nearer the more labels they share.

Every loss knows each class by a vector of its own, a proxy (Movshovitz-Attias et al. 2017, arXiv
1703.07464), so that a batch need not hold two products of a class. Imports Keras alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import keras
import numpy as np
from keras import layers, ops

LEVELS = (("articleType",), ("articleType", "gender"), ("articleType", "gender", "baseColour"))
"""The columns whose values are alike or not within a class of each level, coarse to fine."""


class ProxyAnchor(keras.losses.Loss):
    """Pulls and pushes each class's proxy: labels are int (B), predictions cosines (B, C).

    Kim et al. 2020, arXiv 2003.13911, equation 4. A product of weight w counts w times.
    """

    def __init__(self, alpha: float = 32.0, delta: float = 0.1):
        super().__init__(name="proxy_anchor")
        self.alpha, self.delta = alpha, delta

    def __call__(self, y_true, y_pred, sample_weight=None):
        """The loss of a batch, a scalar; the sums of the equation are over weighted products."""
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        own = ops.one_hot(labels, y_pred.shape[-1], dtype=y_pred.dtype)
        weights = ops.ones_like(own[:, :1])
        if sample_weight is not None:
            weights = ops.reshape(ops.cast(sample_weight, y_pred.dtype), (-1, 1))
        near = weights * own * ops.exp(-self.alpha * (y_pred - self.delta))
        far = weights * (1 - own) * ops.exp(self.alpha * (y_pred + self.delta))
        there = ops.cast(ops.any(own > 0, axis=0), y_pred.dtype)
        pull = ops.sum(ops.log1p(ops.sum(near, axis=0))) / ops.maximum(ops.sum(there), 1)
        return pull + ops.mean(ops.log1p(ops.sum(far, axis=0)))


class ArcFace(keras.losses.Loss):
    """Cross-entropy of scaled cosines (B, C), with a margin between the label's angle and all.

    Deng et al. 2019, arXiv 1801.07698, equation 3; without a margin it is the normalized softmax.
    """

    def __init__(self, scale: float = 20.0, margin: float = 0.1):
        super().__init__(reduction="sum_over_batch_size", name="arc_face")
        self.scale, self.margin = scale, margin

    def call(self, y_true, y_pred):
        """The losses of a batch, (B)."""
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        own = ops.one_hot(labels, y_pred.shape[-1])
        if self.margin:
            angle = ops.arccos(ops.clip(y_pred, -1 + 1e-6, 1 - 1e-6))
            y_pred = ops.where(own > 0, ops.cos(ops.minimum(angle + self.margin, np.pi)), y_pred)
        return keras.losses.sparse_categorical_crossentropy(
            labels, self.scale * y_pred, from_logits=True
        )


LOSSES: Mapping[str, Callable[[], keras.losses.Loss]] = {
    "proxy_anchor": ProxyAnchor,
    "normalized_softmax": lambda: ArcFace(margin=0.0),
    "arc_face": ArcFace,
}
"""Each loss by its name, made anew."""


class Proxies(layers.Layer):
    """Cosines (B, C) of vectors of unit length (B, D) to learned ones, one a class."""

    def __init__(self, classes: int, **options):
        super().__init__(dtype="float32", **options)
        self.classes = classes

    def build(self, input_shape):
        """Makes the proxies."""
        self.proxies = self.add_weight(
            shape=(self.classes, input_shape[-1]), initializer="random_normal", name="proxies"
        )

    def call(self, vectors):
        """See the class."""
        return vectors @ ops.transpose(ops.normalize(self.proxies, axis=-1))


@dataclasses.dataclass(frozen=True)
class Metric:
    """How a metric is learned.

    Attributes:
        loss: Of each level, made anew.
        size: Dimensions of the vector.
        shares: What each of `LEVELS` counts in the loss.
        epochs: Over the train part.
    """

    loss: Callable[[], keras.losses.Loss]
    size: int = 256
    shares: tuple[float, float, float] = (1.0, 1.0, 1.0)
    epochs: int = 20


def codes_of(columns: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The class of each of N products at each of `LEVELS`, int (N,), of its columns' values."""
    return [
        np.unique(
            ["\n".join(map(str, row)) for row in zip(*(columns[of] for of in level), strict=True)],
            return_inverse=True,
        )[1]
        for level in LEVELS
    ]
