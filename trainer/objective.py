"""What a training minimizes, and the figures by which its epochs are compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from schema import features
from trainer import losses
from trainer.hierarchical_model import SOFTMAX_PER_TYPE
from trainer.label_space import LabelCounts
from trainer.options import Options

ATTRIBUTE_THRESHOLD = 0.75
"""Score from which an attribute counts as found when epochs are compared (Ferreira et al. 2018)."""


def level_losses(options: Options, train: LabelCounts) -> dict[str, keras.losses.Loss]:
    """The loss of each level that has labels, and of the embedding if `triplet_weight` asks for it.

    Classes are weighted as `imbalance` says, by the counts of the train split.
    """
    settings = options["training"]
    gamma = settings["focal_gamma"] if settings["imbalance"] == "focal" else 0.0

    def loss(level: str) -> keras.losses.Loss:
        if level != features.ATTRIBUTES:
            weights = _weights(losses.class_weights, train.labels[level], settings)
            return losses.WeightedCrossentropy(weights, gamma, settings["label_smoothing"])
        weights = _weights(losses.attribute_weights, train.labels[level], settings)
        if exclusive(options):
            return losses.TypeCrossentropy(weights, gamma)
        if gamma:
            return keras.losses.BinaryFocalCrossentropy(gamma=gamma)
        return losses.WeightedBinaryCrossentropy(weights)

    of_outputs = {level: loss(level) for level in levels_of(train)}
    if settings["triplet_weight"]:
        of_outputs[features.EMBEDDING] = losses.SemiHardTriplet(settings["triplet_margin"])
    return of_outputs


def _weights(
    weights_of: Callable[..., np.ndarray], counts: np.ndarray, settings: dict[str, Any]
) -> np.ndarray:
    """Weights of the classes of a level, or of the attributes, by their counts."""
    limit = settings["class_weight_limit"]
    if settings["imbalance"] == "inverse_frequency":
        return weights_of(counts, limit)
    if settings["imbalance"] == "effective_number":
        sizes = losses.effective_numbers(counts, settings["effective_number_beta"])
        return weights_of(counts, limit, sizes)
    return np.ones(len(counts))


def exclusive(options: Options) -> bool:
    """Whether the attributes of a type share the probability 1."""
    return options["model"]["attribute_classifier"] == SOFTMAX_PER_TYPE


def level_loss_weights(options: Options, train: LabelCounts) -> dict[str, float]:
    """How much each loss counts, times what the options say: A attributes 2 sqrt(A), the rest 1.

    The mean over A attributes gives each 1/A of the pull that a class has, and attributes are then
    learned long after the classes; their sum drowns the other levels. Twice the root is in between:
    on the demo catalog and on fashion-products it cost the classes nothing. Attributes that exclude
    one another within their type are so many further classes, and count 1 a type.
    """
    settings = options["training"]
    weights = {
        level: settings[f"{level if level in features.LEVELS else 'extra_labels'}_weight"]
        for level in levels_of(train)
    }
    if features.ATTRIBUTES in weights and not exclusive(options):
        weights[features.ATTRIBUTES] *= 2 * len(train.labels[features.ATTRIBUTES]) ** 0.5
    if triplet_weight := settings["triplet_weight"]:
        weights[features.EMBEDDING] = triplet_weight
    return weights


def level_metrics(train: LabelCounts) -> dict[str, list[keras.metrics.Metric]]:
    """One figure a level, by whose mean epochs are compared."""
    return {
        level: [
            keras.metrics.F1Score(average="micro", threshold=ATTRIBUTE_THRESHOLD, name="f1")
            if level == features.ATTRIBUTES
            else AccuracyOfGiven(name="accuracy")
        ]
        for level in levels_of(train)
    }


class AccuracyOfGiven(keras.metrics.SparseCategoricalAccuracy):
    """Part of the products whose likeliest label is the true one, among those that have a label."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Counts a batch: labels int (N), probabilities (N, C), weights (N) or none."""
        given = ops.cast(y_true != features.NOT_GIVEN, "float32")
        weights = given if sample_weight is None else given * ops.cast(sample_weight, "float32")
        return super().update_state(y_true, y_pred, weights)


def levels_of(train: LabelCounts) -> list[str]:
    """The levels that the catalog has labels for: all, or all but the attributes."""
    return [level for level, counts in train.labels.items() if len(counts)]
