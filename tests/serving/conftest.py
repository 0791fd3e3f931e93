"""A model that can be reckoned by hand, saved once and served once for all tests of serving."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.client import CatalogClient
from serving.model_server import ModelServer
from tests.serving import color_model


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound SavedModel."""
    folder = tmp_path_factory.mktemp("model") / "saved"
    color_model.save(color_model.ColorModel(), str(folder))
    return folder


@pytest.fixture(scope="session")
def server(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """A server, with REST, of that model as version 7."""
    root = tmp_path_factory.mktemp("serving")
    (root / "catalog").mkdir()
    (root / "catalog" / "7").symlink_to(saved_model)
    with ModelServer(root, rest_port=0) as running:
        yield running


@pytest.fixture
def client(server: ModelServer) -> Iterator[CatalogClient]:
    """A client of that server."""
    with CatalogClient(server.endpoint) as connected:
        yield connected
