"""The convolutional networks below the heads: pictures in, one feature vector a picture out.

Every backbone takes values from 0 to 255 and prepares them itself, so that no caller can forget to.
"""

from __future__ import annotations

from pathlib import Path

import keras

from schema.errors import UserError
from trainer.backbones import efficientnet_lite, small_residual
from trainer.backbones.applications import APPLICATIONS, build_application

IMAGENET = "imagenet"

SMALLEST_SIDE: dict[str, int] = {
    "small_residual": small_residual.SMALLEST_SIDE,
    **dict.fromkeys(efficientnet_lite.VARIANTS, efficientnet_lite.SMALLEST_SIDE),
    **{name: application.smallest_side for name, application in APPLICATIONS.items()},
}
"""Every backbone's name, and the least height and width in pixels of its pictures."""


def build_backbone(
    name: str,
    *,
    image_height: int,
    image_width: int,
    filters: int,
    weights: str | None,
    kernel_size: int = 3,
    blocks: int = 1,
    batch_normalization: str = "every_convolution",
) -> keras.Model:
    """Builds a backbone.

    Args:
        name: A key of `SMALLEST_SIDE`.
        image_height: Height of the pictures in pixels.
        image_width: Width of the pictures in pixels.
        filters: Filters of the first stage of `small_residual`. This and what follows the weights
            are read by `small_residual` alone; the other networks are as they were published.
        weights: None for random weights, `imagenet`, or a Keras weights file of this network.
        kernel_size: Side of the kernels in the residual blocks.
        blocks: Residual blocks a stage.
        batch_normalization: `every_convolution`, `block_end` or `none`.

    Returns:
        A model from pictures (N, image_height, image_width, 3) with values 0 to 255 to average-
        pooled features (N, D) float.

    Raises:
        UserError: the weights cannot be had or do not fit, or the pictures are too small.
        ValueError: no backbone has this name.
    """
    if name not in SMALLEST_SIDE:
        raise ValueError(f"Unknown backbone. Received: name={name!r}")
    smallest = SMALLEST_SIDE[name]
    if min(image_height, image_width) < smallest:
        raise UserError(
            f"model.backbone `{name}` reads pictures of at least {smallest}x{smallest} pixels, and "
            f"model.image_height x model.image_width is {image_height}x{image_width}. Enlarge "
            "these, or choose a backbone for smaller pictures."
        )
    pictures = keras.Input((image_height, image_width, 3), name="pictures")
    if name == "small_residual":
        if weights == IMAGENET:
            raise UserError(
                "model.weights is `imagenet`, which model.backbone `small_residual` does not come "
                "in. Leave weights out, name a weights file, or choose another backbone."
            )
        features = small_residual.small_residual(
            pictures,
            filters=filters,
            kernel_size=kernel_size,
            blocks=blocks,
            batch_normalization=batch_normalization,
        )
        backbone = keras.Model(pictures, features)
    elif name in efficientnet_lite.VARIANTS:
        backbone = keras.Model(pictures, efficientnet_lite.efficientnet_lite(name, pictures))
        if weights == IMAGENET:
            efficientnet_lite.load_imagenet_weights(name, backbone)
    else:
        backbone = build_application(name, pictures, download=weights == IMAGENET)
    backbone.name = name
    if weights not in (None, IMAGENET):
        load_weights_file(backbone, weights)
    return backbone


def load_weights_file(backbone: keras.Model, path: str) -> None:
    """Gives a backbone the weights in a file.

    Args:
        backbone: As `build_backbone` returned it.
        path: What Keras saved (`.weights.h5`, `.keras`, or `.h5` as keras.applications publish
            them without their top) of the backbone, or of the application inside it.

    Raises:
        UserError: the file does not exist or does not fit.
    """
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
        "small_residual: the same model.filters, kernel_size, blocks and batch_normalization), "
        "without its classification layer."
    )
