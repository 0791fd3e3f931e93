"""The network of a training: a backbone and heads, as the options say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras

from trainer import stages
from trainer.backbones import build_backbone
from trainer.hierarchical_model import build_heads, build_model
from trainer.label_space import LabelSpace
from trainer.options import Options


def network(options: Options, labels: Mapping[str, Sequence[str]]) -> keras.Model:
    """Builds the model for some labels, without augmentation.

    Args:
        options: Section `model` and `training.mixed_precision` are used.
        labels: The labels of every level, in the order of their indices.
    """
    settings = options["model"]
    before = keras.config.dtype_policy()
    if options["training"]["mixed_precision"]:
        keras.config.set_dtype_policy(f"mixed_{stages.half_precision()}")
    try:
        backbone = build_backbone(
            settings["backbone"],
            image_height=settings["image_height"],
            image_width=settings["image_width"],
            filters=settings["filters"],
            weights=settings["weights"],
            kernel_size=settings["kernel_size"],
            blocks=settings["blocks"],
            batch_normalization=settings["batch_normalization"],
        )
        if keras.backend.backend() == "tensorflow":
            # Here alone, so that other back ends need no TensorFlow.
            from trainer.fused_normalization import with_fused_normalization

            backbone = with_fused_normalization(backbone)
        heads = build_heads(
            backbone.output_shape[-1],
            LabelSpace.of(labels),
            heads=settings["heads"],
            attribute_classifier=settings["attribute_classifier"],
            dense_units=settings["dense_units"],
            dropout=settings["dropout"],
            l2=settings["l2"],
            embedding_size=settings["embedding_size"],
        )
        return build_model(backbone, heads, mirror_average=settings["mirror_average"])
    finally:
        keras.config.set_dtype_policy(before)
