"""What a network's features are made of, place by place.

Every backbone ends in an average over the places of its last map, so that its features are a sum of
what the places give. Zhu et al. 2021, "Visual Explanation for Deep Metric Learning" (arXiv
1909.12977), explain embeddings by such sums.
"""

from __future__ import annotations

import keras
from keras import layers, ops

from trainer.hierarchical_model import HEADS
from trainer.training_model import backbone_of


def with_parts(model: keras.Model) -> keras.Model:
    """The same network, which also gives the parts of its features.

    Args:
        model: From `hierarchical_model.build_model`, folded or not. It is not changed.

    Returns:
        A model from pictures (N, image height, image width, 3) to the outputs of `model` and the
        parts, float32 (N, H, W, D), H x W places: their sum over the places is the features that
        the heads get. With the mirror average a part is half of the picture's and half of its
        mirror image's, turned back.

    Raises:
        ValueError: the backbone does not end in an average over places.
    """
    backbone = with_map(backbone_of(model))
    pictures = keras.Input(model.input_shape[1:], name="pictures")
    features, of_places = backbone(pictures)
    of_places = ops.cast(of_places, "float32")
    if any(isinstance(layer, layers.Average) for layer in model.layers):
        mirrored, of_mirror = backbone(ops.flip(pictures, axis=2))
        features = layers.average([features, mirrored])
        of_mirror = ops.flip(ops.cast(of_mirror, "float32"), axis=2)
        of_places = (of_places + of_mirror) / 2
    parts = of_places / (of_places.shape[1] * of_places.shape[2])
    return keras.Model(pictures, (model.get_layer(HEADS)(features), parts))


def with_map(backbone: keras.Model) -> keras.Model:
    """The same backbone, which also gives the map that its features are the average of.

    Args:
        backbone: From pictures to features (N, D). Its last layer is the average, or a model in
            which that is so.

    Returns:
        A model from pictures to the features (N, D) and the map (N, H, W, D).

    Raises:
        ValueError: it does not end in such an average.
    """
    (features,) = backbone.outputs
    last = maker(features)
    if isinstance(last.operation, keras.Model):
        return keras.Model(backbone.inputs, with_map(last.operation)(*last.input_tensors))
    if not isinstance(last.operation, layers.GlobalAveragePooling2D):
        raise ValueError(
            f"A backbone must end in GlobalAveragePooling2D. Received: {backbone.name}, which ends "
            f"in {last.operation}"
        )
    return keras.Model(backbone.inputs, (features, *last.input_tensors))


def maker(tensor: keras.KerasTensor):
    """The call of a layer that gives a symbolic tensor: its `operation` and `input_tensors`."""
    operation, node_index, _ = tensor._keras_history
    return operation._inbound_nodes[node_index]
