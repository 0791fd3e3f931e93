"""The app as it runs, in a thread of this process: its own loop, its own port."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from serving.app.api import make_app
from serving.app.models import Models
from serving.model_server.http_server import HttpServer, Limits, listening_sockets
from serving.search.qdrant_server import QdrantServer


@dataclass
class Running:
    """The app.

    Attributes:
        url: where it answers.
        models: what it searches; of the app's own loop.
        loop: that loop.
        http: asks it.
        engine: what finds products.
    """

    url: str
    models: Models
    loop: asyncio.AbstractEventLoop
    http: httpx.Client
    engine: str

    def do(self, coroutine):
        """Runs a coroutine in the app's loop, and gives its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def search(self, content=None, *, id=None, status=200, **query):
        """The answer to POST /api/search."""
        return self.post("search", content, id=id, status=status, **query)

    def post(self, path, content=None, *, id=None, status=200, **query):
        """The answer to a POST of a picture or an id."""
        body = {"json": {"id": id}} if id is not None else {"files": {"picture": content}}
        answer = self.http.post(f"/api/{path}", params=query, **body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def get(self, path, status=200, **query):
        """The answer to a GET."""
        answer = self.http.get(path, params=query)
        assert answer.status_code == status, answer.text
        return answer.json()


@contextmanager
def running(
    root: Path,
    server: str,
    *,
    limits: Limits | None = None,
    only: str | None = None,
    qdrant: QdrantServer | None = None,
) -> Iterator[Running]:
    """Serves until the end of the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start():
        models = Models(root, server, only, qdrant=qdrant)
        http = HttpServer(
            make_app(models), listening_sockets("127.0.0.1", 0, "--port"), limits=limits
        )
        await models.start()
        await http.start()
        return models, http

    async def stop():
        await http.stop(5.0)
        await models.close()

    def do(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)

    try:
        models, http = do(start())
        url = f"http://127.0.0.1:{http.port}"
        with httpx.Client(base_url=url, timeout=60) as client:
            yield Running(url, models, loop, client, "Qdrant" if qdrant else "FAISS")
        do(stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
