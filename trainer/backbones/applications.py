"""The networks of keras.applications, each behind the preparation that its weights were made for.

The preparations are those of the applications' own `preprocess_input`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
from keras import applications, layers

from schema.errors import UserError

_MEAN = np.array([0.485, 0.456, 0.406])
_DEVIATION = np.array([0.229, 0.224, 0.225])
"""Of ImageNet's pictures: red, green, blue, on the scale from 0 to 1."""


@keras.saving.register_keras_serializable(package="seamline")
class CenteredBGR(layers.Layer):
    """What Caffe's ImageNet weights expect: blue, green, red, each less its ImageNet mean."""

    def call(self, pictures):
        """RGB pictures of any shape (..., 3), 0 to 255, to centered BGR of the same shape."""
        means = keras.ops.convert_to_tensor([103.939, 116.779, 123.68], dtype=pictures.dtype)
        return keras.ops.flip(pictures, axis=-1) - means

    def compute_output_shape(self, input_shape):
        """The shape stays."""
        return input_shape


def _plus_minus_one() -> layers.Layer:
    return layers.Rescaling(1 / 127.5, offset=-1.0)


def _standardized() -> layers.Layer:
    return layers.Rescaling((1 / (255 * _DEVIATION)).tolist(), (-_MEAN / _DEVIATION).tolist())


def _divided_by_the_root_of_the_deviation() -> layers.Layer:
    """What EfficientNet's own preparation lacks, put before it.

    Its weights file holds the deviation where Keras expects its square, so that the network inside
    computes (x / 255 - mean) / sqrt(deviation). Keras divides by the root a second time only where
    it downloads the weights itself.
    """
    root = np.sqrt(_DEVIATION)
    return layers.Rescaling((1 / root).tolist(), (255 * _MEAN * (1 - 1 / root)).tolist())


class Application(NamedTuple):
    """How a network of keras.applications becomes a backbone."""

    network: Callable[..., keras.Model]
    preparation: Callable[[], layers.Layer] | None = None
    """None where the network brings its own along."""
    smallest_side: int = 32
    """Height and width in pixels below which Keras builds nothing."""
    downloads_prepared: bool = False
    """Whether the preparation falls away where Keras downloads the weights itself."""


APPLICATIONS: dict[str, Application] = {
    "densenet121": Application(applications.DenseNet121, _standardized),
    "densenet169": Application(applications.DenseNet169, _standardized),
    "densenet201": Application(applications.DenseNet201, _standardized),
    "efficientnetb4": Application(
        applications.EfficientNetB4, _divided_by_the_root_of_the_deviation, downloads_prepared=True
    ),
    "efficientnetv2b0": Application(applications.EfficientNetV2B0),
    "inceptionresnetv2": Application(
        applications.InceptionResNetV2, _plus_minus_one, smallest_side=75
    ),
    "inceptionv3": Application(applications.InceptionV3, _plus_minus_one, smallest_side=75),
    "mobilenetv3large": Application(applications.MobileNetV3Large),
    "mobilenetv3small": Application(applications.MobileNetV3Small),
    "resnet50": Application(applications.ResNet50, CenteredBGR),
    "vgg16": Application(applications.VGG16, CenteredBGR),
}


def build_application(name: str, pictures, *, download: bool) -> keras.Model:
    """Builds a network of `APPLICATIONS` on its preparation, average-pooled.

    Args:
        name: A key of `APPLICATIONS`.
        pictures: Keras tensor (N, H, W, 3), 0 to 255, H and W known.
        download: Whether Keras shall fetch ImageNet weights; they are random otherwise.

    Raises:
        UserError: the weights cannot be downloaded.
    """
    application = APPLICATIONS[name]
    try:
        network = application.network(
            include_top=False,
            weights="imagenet" if download else None,
            input_shape=pictures.shape[1:],
            pooling="avg",
        )
    except Exception as error:
        if not download:
            raise
        # Keras wraps what went wrong on the way to its server in a bare Exception.
        raise UserError(
            f"The ImageNet weights of model.backbone `{name}` cannot be downloaded ({error}). Name "
            "a weights file in model.weights, or leave it out to start from random weights."
        ) from error
    prepared = pictures
    if application.preparation and not (download and application.downloads_prepared):
        prepared = application.preparation()(pictures)
    return keras.Model(pictures, network(prepared))
