"""Our own network, for small pictures and processors."""

from __future__ import annotations

from keras import layers

SMALLEST_SIDE = 16
"""What the strides multiply to: below it the last stage would see less than a point."""

_STAGES = 4
"""Each after the first doubles the filters and halves the sides."""


def small_residual(
    pictures, *, filters: int, kernel_size: int, blocks: int, batch_normalization: str
):
    """A residual net (He et al. 2016, arXiv 1512.03385).

    The first convolution halves the picture at once: most of the time would otherwise go into the
    first stage, where there is least to learn. More than one block a stage was slower and, in the
    same time, worse on both the demo catalog and fashion-products.

    Args:
        pictures: Keras tensor (N, H, W, 3), 0 to 255.
        filters: Filters of the first stage.
        kernel_size: Side of the kernels in the blocks, in points.
        blocks: Residual blocks a stage.
        batch_normalization: `every_convolution` normalizes after each, `block_end` once after each
            block's sum (and after the first convolution), `none` never.

    Returns:
        Features (N, 8 x filters), average-pooled.
    """
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(pictures)
    x = _convolution(x, filters, 5, strides=2, normalized=batch_normalization != "none")
    for stage in range(_STAGES):
        for block in range(blocks):
            strides = 2 if stage > 0 and block == 0 else 1
            x = _residual_block(x, filters * 2**stage, kernel_size, strides, batch_normalization)
    return layers.GlobalAveragePooling2D()(x)


def _residual_block(x, filters: int, kernel_size: int, strides: int, batch_normalization: str):
    normalized = batch_normalization == "every_convolution"
    shortcut = x
    if strides > 1 or x.shape[-1] != filters:
        shortcut = _convolution(x, filters, 1, strides, normalized, relu=False)
    x = _convolution(x, filters, kernel_size, strides, normalized)
    x = _convolution(x, filters, kernel_size, 1, normalized, relu=False)
    x = layers.Add()([x, shortcut])
    if batch_normalization == "block_end":
        x = _normalization(x)
    return layers.ReLU()(x)


def _convolution(
    x, filters: int, kernel_size: int, strides: int, normalized: bool, relu: bool = True
):
    x = layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=not normalized,
        kernel_initializer="he_normal",
    )(x)
    if normalized:
        x = _normalization(x)
    return layers.ReLU()(x) if relu else x


def _normalization(x):
    # Keras' momentum of .99 would need hundreds of steps; small catalogs have few.
    return layers.BatchNormalization(momentum=0.9)(x)
