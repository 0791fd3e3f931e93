"""The network's options."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.section import Fraction, Positive, Section


class Model(Section):
    """The network: one backbone and the three-level heads on it."""

    backbone: Literal[
        "small_residual",
        "efficientnetlite0",
        "efficientnetlite2",
        "densenet121",
        "densenet169",
        "densenet201",
        "efficientnetb4",
        "efficientnetv2b0",
        "inceptionresnetv2",
        "inceptionv3",
        "mobilenetv3large",
        "mobilenetv3small",
        "resnet50",
        "vgg16",
    ] = Field("small_residual", description="The convolutional network below the heads.")
    weights: str | None = Field(
        None, description="`imagenet`, or a weights file for the backbone; random by default."
    )
    image_height: Positive = Field(80, description="Height in pixels that pictures are resized to.")
    image_width: Positive = Field(60, description="Width in pixels that pictures are resized to.")
    filters: Positive = Field(32, description="Filters of `small_residual`'s first stage.")
    kernel_size: Positive = Field(
        3, description="Side of the kernels in `small_residual`'s residual blocks."
    )
    blocks: Positive = Field(1, description="Residual blocks in each stage of `small_residual`.")
    batch_normalization: Literal["every_convolution", "block_end", "none"] = Field(
        "every_convolution", description="Where `small_residual` normalizes by batch."
    )
    heads: Literal["message_passing", "plain"] = Field(
        "message_passing",
        description="`message_passing` lets the levels inform one another; `plain` does not.",
    )
    attribute_classifier: Literal["together", "sigmoid_per_type", "softmax_per_type"] = Field(
        "together",
        description="One classifier over all attributes, or one for each attribute column, whose "
        "values are independent (sigmoid) or exclude one another (softmax).",
    )
    joint_decoding: bool = Field(
        True,
        description="Never answer with a sub-category under a category that training never saw it "
        "with.",
    )
    mirror_average: bool = Field(
        False,
        description="Answer by the mean of the features of a picture and of its mirror image: a "
        "little more often right, for twice the time a picture. Training takes as long as without.",
    )
    embedding_size: Positive | None = Field(
        512, description="Size of the embedding; `null` takes the backbone's features as they are."
    )
    dense_units: Positive = Field(1024, description="Units of every dense layer of the heads.")
    dropout: Fraction = Field(0.3, description="Dropout at the end of each branch.")
    l2: float = Field(0.0005, ge=0, description="L2 penalty on the dense layers' kernels.")
