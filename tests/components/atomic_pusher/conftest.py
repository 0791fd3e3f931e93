"""A small model, what differs from it, and a serving folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

WEIGHTS = "variables/variables.data-00000-of-00001"


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a SavedModel's files with a content of one's own; returns its folder."""

    def make(content: str) -> Path:
        folder = tmp_path / f"model-{content}"
        (folder / "variables").mkdir(parents=True)
        (folder / "assets").mkdir()
        (folder / "saved_model.pb").write_bytes(b"graph")
        (folder / "assets" / "category").write_text("Bags\n")
        (folder / "variables" / "variables.index").write_bytes(b"index")
        (folder / WEIGHTS).write_bytes(bytes(100_000) + content.encode())
        return folder

    return make


@pytest.fixture
def model(make_model) -> Path:
    """A SavedModel's folder."""
    return make_model("0")


@pytest.fixture
def serving_root(tmp_path: Path) -> Path:
    """Where versions are pushed to; not there yet."""
    return tmp_path / "serving" / "catalog"
