"""Batch normalization folded into the layers before it, for a model that only answers."""

from __future__ import annotations

import dataclasses
from collections import Counter

import keras
import numpy as np
from keras import layers

_LINEAR_LAYERS = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)


def folded(network: keras.Model) -> keras.Model:
    """The same function of a picture without batch normalization, for inference alone.

    In inference a normalization multiplies and adds numbers that do not change. Where a
    convolution or a dense layer stands before it, and nothing else reads that layer, its kernel and
    bias take them up (Jacob et al. 2018, arXiv 1712.05877, section 3.2); elsewhere one scaling
    stays.

    Args:
        network: A functional model; models inside it are folded too. It is not changed.

    Returns:
        A model that shares every layer with `network` that folding does not touch.
    """
    folds = _folds(network)
    made: list[tuple[keras.Layer, list[np.ndarray]]] = []

    def cloned(layer):
        if isinstance(layer, keras.Model):
            return folded(layer)
        fold = folds.get(id(layer))
        if fold is None or layer is not fold.into:
            return layer
        with_bias = type(layer).from_config(layer.get_config() | {"use_bias": True})
        made.append((with_bias, _scaled_weights(layer, fold)))
        return with_bias

    def called(layer, inputs, *args, **kwargs):
        fold = folds.get(id(layer))
        if fold is None:
            return layer(inputs, *args, **kwargs)
        if fold.into is None:
            return layers.Rescaling(fold.scale.tolist(), fold.offset.tolist())(inputs)
        return inputs

    model = keras.models.clone_model(network, clone_function=cloned, call_function=called)
    for layer, weights in made:
        layer.set_weights(weights)
    return model


@dataclasses.dataclass(frozen=True)
class _Fold:
    """What a normalization does, x * scale + offset, and the layer that takes it up, if any."""

    scale: np.ndarray
    offset: np.ndarray
    into: keras.Layer | None


def _folds(network: keras.Model) -> dict[int, _Fold]:
    """For each normalization of a model, and each layer that takes one up, by its id."""
    nodes = [node for depth in network._nodes_by_depth.values() for node in depth]
    uses = Counter(id(node.operation) for node in nodes)
    makers = {id(tensor): node.operation for node in nodes for tensor in node.output_tensors}
    readers = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
    readers.update(id(tensor) for tensor in keras.tree.flatten(network.outputs))

    found = {}
    for node in nodes:
        normalization = node.operation
        if not isinstance(normalization, layers.BatchNormalization):
            continue
        (tensor,) = node.input_tensors
        before = makers[id(tensor)]
        takes_it_up = (
            isinstance(before, _LINEAR_LAYERS)
            and before.activation is keras.activations.linear
            and readers[id(tensor)] == uses[id(before)] == uses[id(normalization)] == 1
        )
        fold = _Fold(*_scale_and_offset(normalization), before if takes_it_up else None)
        found[id(normalization)] = fold
        if takes_it_up:
            found[id(before)] = fold
    return found


def _scale_and_offset(normalization: layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """The factor, gamma / sqrt(variance + epsilon), and beta - mean * factor; float32 (C)."""
    mean = np.asarray(normalization.moving_mean, np.float64)
    scale = 1 / np.sqrt(
        np.asarray(normalization.moving_variance, np.float64) + normalization.epsilon
    )
    if normalization.scale:
        scale = scale * np.asarray(normalization.gamma)
    offset = -mean * scale
    if normalization.center:
        offset = offset + np.asarray(normalization.beta)
    return scale.astype(np.float32), offset.astype(np.float32)


def _scaled_weights(layer: keras.Layer, fold: _Fold) -> list[np.ndarray]:
    """Kernel and bias with the normalization taken up."""
    kernel, *bias = layer.get_weights()
    # A depthwise kernel, (H, W, C, M), makes channel c * M + m of its picture's channel c.
    channels = kernel.shape[-2:] if isinstance(layer, layers.DepthwiseConv2D) else kernel.shape[-1:]
    scaled = bias[0] * fold.scale if bias else 0.0
    return [kernel * fold.scale.reshape(channels), scaled + fold.offset]
