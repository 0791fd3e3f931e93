"""Qdrant's REST interface, as much as `QdrantIndex` asks, in front of its client's local form.

Qdrant is one program and no Python package. So that the client is asked over HTTP as in production,
keys, statuses, a server that goes and one that comes back are real here; what finds is not.
"""

from __future__ import annotations

import json
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from qdrant_client import QdrantClient, models

_DONE = {"operation_id": 0, "status": "completed"}


class Qdrant:
    """What the server has, which outlives the server.

    Args:
        api_key: that callers must send; None asks for none.

    Attributes:
        local: what it has.
        port: where it answers, the same whenever it does.
        refuses: the status of HTTP that it answers everything with; None where it answers.
    """

    def __init__(self, api_key: str | None = None):
        self.local = QdrantClient(":memory:")
        self.port = 0
        self.refuses: int | None = None
        self._api_key = api_key
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def answering(self) -> Iterator[Qdrant]:
        """Answers until the end of the block."""
        this = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("content-length", 0))
                body = json.loads(self.rfile.read(length) or b"null")
                status, told = this._answer(self, body)
                content = json.dumps(told).encode()
                self.send_response(status)
                if status == 429:
                    self.send_header("retry-after", "3")
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = answer

            def log_message(self, *_: Any) -> None:
                pass

        # Without connections that are kept: whoever is away does not answer on them either.
        server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler, body: Any) -> tuple[int, Any]:
        if self._api_key not in (None, request.headers.get("api-key")):
            return 401, {"status": {"error": "Must provide an API key"}}
        if self.refuses is not None:
            return self.refuses, {"status": {"error": "for a test"}}
        path = request.path.partition("?")[0]
        try:
            with self._lock, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = _result(self.local, request.command, path, body)
        except ValueError as error:
            status = 404 if "not found" in str(error) else 400
            return status, {"status": {"error": str(error)}}
        return 200, {"result": result, "status": "ok", "time": 0.0}


def _result(client: QdrantClient, method: str, path: str, body: Any) -> Any:
    if path == "/aliases":
        return client.get_aliases().model_dump(mode="json")
    if path == "/collections/aliases":
        return client.update_collection_aliases(models.ChangeAliasesOperation(**body).actions)
    found = re.fullmatch(r"/collections/([^/]+)(/.*)?", path)
    assert found, path
    name, what = unquote(found[1]), found[2] or ""
    match method, what:
        case "GET", "/exists":
            return {"exists": client.collection_exists(name)}
        case "GET", "":
            return client.get_collection(name).model_dump(mode="json")
        case "PUT", "":
            asked = models.CreateCollection(**body)
            return client.create_collection(name, asked.vectors, metadata=asked.metadata)
        case "PATCH", "":
            return client.update_collection(name, metadata=body["metadata"])
        case "DELETE", "":
            return client.delete_collection(name)
        case "PUT", "/index":
            return _DONE
        case "PUT", "/points":
            client.upsert(name, models.PointsList(**body).points)
            return _DONE
        case "POST", "/points/delete":
            client.delete(name, models.PointIdsList(**body))
            return _DONE
        case "POST", "/points":
            asked = models.PointRequest(**body)
            records = client.retrieve(name, asked.ids, asked.with_payload, bool(asked.with_vector))
            return [record.model_dump(mode="json") for record in records]
        case "POST", "/points/count":
            asked = models.CountRequest(**body)
            return client.count(name, asked.filter, exact=True).model_dump(mode="json")
        case "POST", "/facet":
            asked = models.FacetRequest(**body)
            told = client.facet(name, asked.key, facet_filter=asked.filter, limit=asked.limit)
            return told.model_dump(mode="json")
        case "POST", "/points/scroll":
            asked = models.ScrollRequest(**body)
            records, offset = client.scroll(
                name,
                asked.filter,
                limit=asked.limit,
                offset=asked.offset,
                with_payload=True,
                with_vectors=bool(asked.with_vector),
            )
            page = [record.model_dump(mode="json") for record in records]
            return {"points": page, "next_page_offset": offset}
        case "POST", "/points/query/batch":
            searches = models.QueryRequestBatch(**body).searches
            answers = client.query_batch_points(name, searches)
            return [answer.model_dump(mode="json") for answer in answers]
    raise AssertionError((method, path))
