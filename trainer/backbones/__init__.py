"""The convolutional networks below the heads: pictures in, one feature vector a picture out.

Every backbone takes values from 0 to 255 and prepares them itself, so that no caller can forget to.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
from keras import layers

from schema.errors import UserError
from trainer.backbones.efficientnet_lite0 import efficientnet_lite0, load_imagenet_weights

IMAGENET = "imagenet"

_SMALLEST_SIDE = 32
"""Below this keras.applications build nothing."""

_STAGES = 4
"""Residual blocks of `small_residual`; each after the first doubles filters and halves sides."""


def build_backbone(
    name: str,
    *,
    image_height: int,
    image_width: int,
    filters: int,
    weights: str | None,
) -> keras.Model:
    """Builds a backbone.

    Args:
        name: `small_residual`, `efficientnetlite0`, `resnet50`, `efficientnetv2b0` or
            `mobilenetv3small`.
        image_height: Height of the pictures in pixels.
        image_width: Width of the pictures in pixels.
        filters: Filters of the first stage of `small_residual`; the others have their own.
        weights: None for random weights, `imagenet`, or a Keras weights file of this network.

    Returns:
        A model from pictures (N, image_height, image_width, 3) with values 0 to 255 to average-
        pooled features (N, D) float.

    Raises:
        UserError: the weights cannot be had or do not fit, or the pictures are too small.
        ValueError: no backbone has this name.
    """
    inputs = keras.Input((image_height, image_width, 3), name="pictures")
    if name == "small_residual":
        if weights == IMAGENET:
            raise UserError(
                "model.weights is `imagenet`, which model.backbone `small_residual` does not come "
                "in. Leave weights out, name a weights file, or choose another backbone."
            )
        backbone = keras.Model(inputs, _small_residual(inputs, filters))
    elif name == "efficientnetlite0":
        backbone = keras.Model(inputs, efficientnet_lite0(inputs))
        if weights == IMAGENET:
            load_imagenet_weights(backbone)
    elif name in _APPLICATIONS:
        backbone = _application(name, inputs, weights)
    else:
        raise ValueError(f"Unknown backbone. Received: name={name!r}")
    backbone.name = name
    if weights not in (None, IMAGENET):
        _load(backbone, weights)
    return backbone


def _application(name: str, inputs, weights: str | None) -> keras.Model:
    """One of keras.applications, with ImageNet weights if asked for; a file is loaded later."""
    height, width = inputs.shape[1:3]
    if min(height, width) < _SMALLEST_SIDE:
        raise UserError(
            f"model.backbone `{name}` reads pictures of at least {_SMALLEST_SIDE}x{_SMALLEST_SIDE} "
            f"pixels, and model.image_height x model.image_width is {height}x{width}. Enlarge "
            "these, or choose small_residual."
        )
    if weights != IMAGENET:
        return _APPLICATIONS[name](inputs, weights=None)
    try:
        return _APPLICATIONS[name](inputs, weights=IMAGENET)
    except Exception as error:
        # Keras wraps what went wrong on the way to its server in a bare Exception.
        raise UserError(
            f"The ImageNet weights of model.backbone `{name}` cannot be downloaded ({error}). Name "
            "a weights file in model.weights, or leave it out to start from random weights."
        ) from error


def _load(backbone: keras.Model, path: str) -> None:
    if not Path(path).is_file():
        raise UserError(
            f"model.weights names the file {path}, which does not exist. Give the path of a Keras "
            "weights file, `imagenet`, or leave weights out."
        )
    # The published weights of keras.applications are those of the network inside, without what
    # prepares the pictures for it.
    networks = [backbone] + [part for part in backbone.layers if isinstance(part, keras.Model)]
    problems = []
    for network in networks:
        try:
            network.load_weights(path)
            return
        except Exception as error:  # noqa: BLE001 - what is raised depends on the file's format
            problems.append(str(error).splitlines()[0])
    raise UserError(
        f"model.weights names the file {path}, which does not fit model.backbone "
        f"`{backbone.name}`: {problems[-1]}. Give weights saved from the same backbone (for "
        "small_residual: the same model.filters), without its classification layer."
    )


@keras.saving.register_keras_serializable(package="seamline")
class CenteredBGR(layers.Layer):
    """What ResNet's ImageNet weights expect: blue, green, red, each less its ImageNet mean."""

    def call(self, pictures):
        """RGB pictures of any shape (..., 3), 0 to 255, to centered BGR of the same shape."""
        means = keras.ops.convert_to_tensor([103.939, 116.779, 123.68], dtype=pictures.dtype)
        return keras.ops.flip(pictures, axis=-1) - means

    def compute_output_shape(self, input_shape):
        """The shape stays."""
        return input_shape


def _small_residual(inputs, filters: int):
    """A residual net (He et al. 2016, arXiv 1512.03385) for small pictures and processors.

    The first convolution halves the picture at once: most of the time would otherwise go into the
    first stage, where there is least to learn. More blocks a stage were slower and, in the same
    time, worse on both the demo catalog and fashion-products.
    """
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    x = _convolution(x, filters, kernel_size=5, strides=2)
    for stage in range(_STAGES):
        x = _residual_block(x, filters * 2**stage, strides=1 if stage == 0 else 2)
    return layers.GlobalAveragePooling2D()(x)


def _residual_block(x, filters: int, strides: int):
    shortcut = x
    if strides > 1 or x.shape[-1] != filters:
        shortcut = _convolution(x, filters, kernel_size=1, strides=strides, relu=False)
    x = _convolution(x, filters, kernel_size=3, strides=strides)
    x = _convolution(x, filters, kernel_size=3, strides=1, relu=False)
    return layers.ReLU()(layers.Add()([x, shortcut]))


def _convolution(x, filters: int, kernel_size: int, strides: int, relu: bool = True):
    x = layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
    )(x)
    # Keras' momentum of .99 would need hundreds of steps; small catalogs have few.
    x = layers.BatchNormalization(momentum=0.9)(x)
    return layers.ReLU()(x) if relu else x


def _resnet50(inputs, weights: str | None) -> keras.Model:
    network = keras.applications.ResNet50(
        include_top=False, weights=weights, input_shape=inputs.shape[1:], pooling="avg"
    )
    return keras.Model(inputs, network(CenteredBGR()(inputs)))


def _with_own_preprocessing(application: Callable[..., keras.Model]):
    """A builder for a network that brings the preparation of its pictures along."""

    def build(inputs, weights: str | None) -> keras.Model:
        network = application(
            include_top=False,
            weights=weights,
            input_shape=inputs.shape[1:],
            pooling="avg",
            include_preprocessing=True,
        )
        return keras.Model(inputs, network(inputs))

    return build


_APPLICATIONS: dict[str, Callable[..., keras.Model]] = {
    "resnet50": _resnet50,
    "efficientnetv2b0": _with_own_preprocessing(keras.applications.EfficientNetV2B0),
    "mobilenetv3small": _with_own_preprocessing(keras.applications.MobileNetV3Small),
}
