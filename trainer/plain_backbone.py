"""A backbone as ImageNet left it, served for its embedding: what trained ones are held against."""

from __future__ import annotations

import keras
from keras import layers

from schema import features
from trainer.backbones import IMAGENET, build_backbone
from trainer.hierarchical_model import HEADS, build_model
from trainer.picture_model import PictureModel


def export_backbone(
    backbone: str,
    image_height: int,
    image_width: int,
    directory: str,
    *,
    mirror_average: bool = False,
    weights: str = IMAGENET,
) -> None:
    """Writes a SavedModel whose embedding is a backbone's features, brought to unit length.

    It has the signatures that answer pictures, each with `embedding` alone (and `status` where it
    is tolerant), and `explain`, which knows no label.

    Args:
        backbone: A key of `trainer.backbones.SMALLEST_SIDE`.
        image_height: Height of the pictures in pixels.
        image_width: Width of the pictures in pixels.
        directory: Where to write.
        mirror_average: Whether the features are the mean of those of a picture and of its mirror
            image.
        weights: `imagenet`, or a Keras weights file of this network.

    Raises:
        UserError: the weights cannot be had or do not fit, or the pictures are too small.
        ValueError: no backbone has this name.
    """
    network = build_backbone(
        backbone,
        image_height=image_height,
        image_width=image_width,
        # Read by small_residual alone, which has weights of a file at most.
        filters=8,
        weights=weights,
    )
    found = keras.Input(network.output_shape[1:], name="features")
    embedding = layers.UnitNormalization(axis=-1, dtype="float32", name=features.EMBEDDING)(found)
    heads = keras.Model(found, {features.EMBEDDING: embedding}, name=HEADS)
    model = build_model(network, heads, mirror_average=mirror_average)
    PictureModel(model, labels={}).save(directory)
