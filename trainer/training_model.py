"""The model as it is fitted: with what changes the pictures before it, and all the losses on it."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from schema import features
from trainer.augmentation import Augmentation
from trainer.hierarchical_model import EMBEDDING_PROJECTION, HEADS
from trainer.mixing import Mixing, of_partner
from trainer.options import Options
from trainer.stages import Stage, is_mixed

_OWN_PART = "own_part"


def training_model(
    model: keras.Model, options: Options, stage: Stage, losses: list[str]
) -> TrainingModel:
    """Puts together, of the parts of a model, what one stage of its training fits.

    Args:
        model: From `hierarchical_model.build_model`; its weights are the ones that are trained.
            What the stage leaves as it is, is not trainable afterwards.
        options: Sections `augmentation` and `training` are used.
        stage: Whether the backbone is frozen, and whether pictures or features go in.
        losses: The outputs that have a loss.

    Returns:
        A model from pictures uint8 (N, H, W, 3), or from features (N, D), to those outputs.
    """
    settings = options["training"]
    heads = model.get_layer(HEADS)
    backbone = backbone_of(model)
    backbone.trainable = not stage.frozen
    for layer in heads.layers:
        if layer.name == EMBEDDING_PROJECTION:
            # Without a loss of its own it stays the orthogonal map that it is.
            layer.trainable = features.EMBEDDING in losses

    own_part = None
    if stage.on_features:
        inputs = found = keras.Input(heads.input_shape[1:], name="features")
    else:
        inputs = keras.Input(model.input_shape[1:], dtype="uint8", name="pictures")
        pictures = Augmentation(**options["augmentation"], seed=settings["seed"])(inputs)
        if is_mixed(options):
            pictures, own_part = Mixing(
                mixup_alpha=settings["mixup_alpha"],
                cutmix_alpha=settings["cutmix_alpha"],
                # Another than the augmentation's, which would draw the same numbers.
                seed=settings["seed"] + 1,
            )(pictures)
        as_served = stage.frozen or settings["frozen_normalization"]
        found = Inference(backbone)(pictures) if as_served else backbone(pictures)
    answers = heads(found)
    # Keras wants a label for every output, so those without are none of the fitted model's.
    outputs = {name: answers[name] for name in losses}
    if own_part is not None:
        outputs[_OWN_PART] = own_part
    return TrainingModel(inputs, outputs)


def backbone_of(model: keras.Model) -> keras.Model:
    """The part from pictures to features of a model from `hierarchical_model.build_model`."""
    (backbone,) = [
        part for part in model.layers if isinstance(part, keras.Model) and part.name != HEADS
    ]
    return backbone


class Inference(keras.layers.Layer):
    """Runs a model as in inference, in training too: no dropout, normalization by what is stored.

    Args:
        model: What to run. Whether it is trainable is its own affair.
    """

    def __init__(self, model: keras.Model):
        super().__init__(name=f"{model.name}_inference")
        self.model = model

    def call(self, x):
        """What the model makes of a batch."""
        return self.model(x, training=False)

    def compute_output_shape(self, input_shape):
        """The model's."""
        return self.model.compute_output_shape(input_shape)


class TrainingModel(keras.Model):
    """A model that knows labels of mixed pictures, and the label that embeddings are judged by."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The losses' sum; a mixed picture counts with its partner's labels for the other part."""
        own_part = y_pred.get(_OWN_PART)
        y, y_pred = _with_labels(y, y_pred)
        if own_part is not None and training:
            # Every product is in the batch twice, with either's labels.
            y = {name: ops.concatenate([of, of_partner(of)]) for name, of in y.items()}
            y_pred = {name: ops.concatenate([of, of]) for name, of in y_pred.items()}
            sample_weight = 2.0 * ops.concatenate([own_part, 1.0 - own_part])
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """The figures of the outputs; mixed pictures are compared with their own labels."""
        return super().compute_metrics(x, *_with_labels(y, y_pred), sample_weight)


def _with_labels(labels: dict[str, Any], outputs: dict[str, Any]) -> tuple[dict, dict]:
    """The outputs that have a loss, and the labels of each."""
    labels = labels | {features.EMBEDDING: labels[features.SUBCATEGORY]}
    outputs = {name: of for name, of in outputs.items() if name != _OWN_PART}
    return {name: labels[name] for name in outputs}, outputs
