"""A shop whose labels are right, for tests to spoil."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.components.label_review.shop import Shop


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A shop whose labels are right."""
    return Shop(tmp_path)
