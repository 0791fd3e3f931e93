"""What a training minimizes, and the figures by which its epochs are compared."""

from __future__ import annotations

import keras

from schema import features
from trainer import losses
from trainer.hierarchical_model import SOFTMAX_PER_TYPE
from trainer.options import Options
from trainer.splits import Splits

ATTRIBUTE_THRESHOLD = 0.75
"""Score from which an attribute counts as found when epochs are compared (Ferreira et al. 2018)."""


def level_losses(options: Options, splits: Splits) -> dict[str, keras.losses.Loss]:
    """The loss of each level that has labels, classes weighted as `class_weighting` says."""
    settings = options["training"]

    def loss(level: str) -> keras.losses.Loss:
        counts, limit = splits.train.labels[level], settings["class_weight_limit"]
        if level == features.ATTRIBUTES:
            kind, weights = losses.WeightedBinaryCrossentropy, losses.attribute_weights
            if exclusive(options):
                kind = losses.TypeCrossentropy
        else:
            kind, weights = losses.WeightedCrossentropy, losses.class_weights
        if settings["class_weighting"] == "none":
            return kind([1.0] * len(counts))
        return kind(weights(counts, limit))

    return {level: loss(level) for level in levels_of(splits)}


def exclusive(options: Options) -> bool:
    """Whether the attributes of a type share the probability 1."""
    return options["model"]["attribute_classifier"] == SOFTMAX_PER_TYPE


def level_loss_weights(options: Options, splits: Splits) -> dict[str, float]:
    """How much each level counts in the loss: A attributes 2 sqrt(A), the other levels 1.

    The mean over A attributes gives each 1/A of the pull that a class has, and attributes are then
    learned long after the classes; their sum drowns the other levels. Twice the root is in between:
    on the demo catalog and on fashion-products it cost the classes nothing. Attributes that exclude
    one another within their type are so many further classes, and count 1 a type.
    """
    weights = dict.fromkeys(levels_of(splits), 1.0)
    if features.ATTRIBUTES in weights and not exclusive(options):
        weights[features.ATTRIBUTES] = 2 * len(splits.train.labels[features.ATTRIBUTES]) ** 0.5
    return weights


def level_metrics(splits: Splits) -> dict[str, list[keras.metrics.Metric]]:
    """One figure a level, by whose mean epochs are compared."""
    return {
        level: [
            keras.metrics.F1Score(average="micro", threshold=ATTRIBUTE_THRESHOLD, name="f1")
            if level == features.ATTRIBUTES
            else keras.metrics.SparseCategoricalAccuracy(name="accuracy")
        ]
        for level in levels_of(splits)
    }


def levels_of(splits: Splits) -> list[str]:
    """The levels that the catalog has labels for: all, or all but the attributes."""
    return [level for level, counts in splits.train.labels.items() if len(counts)]
