"""A server of words, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from serving.client import CatalogClient
from tests.serving.client.word_server import WordServer


@pytest.fixture
def words() -> Iterator[WordServer]:
    """A server of words."""
    server = WordServer()
    yield server
    server.stop()


@pytest.fixture
def asker(words: WordServer) -> Iterator[CatalogClient]:
    """A client of it."""
    with CatalogClient(words.endpoint, timeout_s=5) as client:
        yield client
