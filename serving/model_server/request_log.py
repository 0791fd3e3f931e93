"""What became of each request: one JSON line, and an OpenTelemetry span where one is asked for.

A line says who asked what of which model, how it ended, and how long it took. It never holds what
was asked about: no picture, no answer, no error text that may quote one.
"""

from __future__ import annotations

import datetime
import io
import json
import logging
import os
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from schema.errors import UserError
from serving.process import address

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanProcessor
    from opentelemetry.trace import Span
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID = "x-request-id"
"""Header, and gRPC metadata, that names a request; it comes back with the answer."""

STANDARD_ERROR = "-"
"""In place of a file's name."""

_log = logging.getLogger("seamline.serving")

_GOOD_ID = re.compile(r"[!-~]{1,128}")

_LONGEST_FIELD = 256
"""A caller chooses the names of model and signature, and a log line must stay one."""

_FLUSH_S = 0.2

_MOST_WAITING = 50_000
"""Lines that wait for a slow disk; further ones are dropped, and counted."""


def request_id(asked_for: str | None) -> str:
    """The caller's own name of a request if it is fit for a log, otherwise a new one."""
    if asked_for and _GOOD_ID.fullmatch(asked_for):
        return asked_for
    return os.urandom(8).hex()


class Record:
    """What is known of one request; filled in while it is answered.

    Attributes:
        request_id: see `request_id`.
        entrypoint: `GRPC` or `REST`, as the metrics name them.
        method: `Predict`, `GetModelStatus` and so on.
        peer: address of the caller's end of the connection.
        caller: name of the API key; empty where none is asked for.
        model: name that was asked for.
        version: version that answered; None if none did.
        signature: signature that was asked for.
        examples: rows of the request; None if it was never read.
        status: name of a gRPC status code, over REST the number of the HTTP status.
        bytes_in: length of the request's message or body.
        bytes_out: length of the answer's.
        error_id: ties a failure that the caller saw to its traceback in the server's log.
        trace_id: of the request's OpenTelemetry span.
        span: that span, if there is one.
    """

    __slots__ = (
        *("request_id", "entrypoint", "method", "peer", "caller", "model", "version", "signature"),
        *("examples", "status", "bytes_in", "bytes_out", "error_id", "trace_id"),
        *("span", "time", "began", "ended"),
    )

    def __init__(self, entrypoint: str, method: str, request_id: str, peer: str, caller: str = ""):
        self.request_id = request_id
        self.entrypoint = entrypoint
        self.method = method
        self.peer = peer
        self.caller = caller
        self.model = ""
        self.version: int | None = None
        self.signature = ""
        self.examples: int | None = None
        self.status: str | int = ""
        self.bytes_in = 0
        self.bytes_out = 0
        self.error_id = ""
        self.trace_id = ""
        self.span: Span | None = None
        self.time = time.time()
        self.began = time.perf_counter()
        self.ended = self.began

    @property
    def seconds(self) -> float:
        """How long it took, once it has ended."""
        return self.ended - self.began

    def line(self) -> str:
        """The record as one line of JSON in ASCII, whatever the caller put into its names."""
        moment = datetime.datetime.fromtimestamp(self.time, datetime.timezone.utc)
        fields = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "request_id": self.request_id,
            "entrypoint": self.entrypoint,
            "method": self.method,
            "model": self.model[:_LONGEST_FIELD],
            "version": self.version,
            "signature": self.signature[:_LONGEST_FIELD],
            "examples": self.examples,
            "status": self.status,
            "milliseconds": round(1000 * self.seconds, 3),
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "peer": _shown(self.peer),
        }
        rare = {"caller": self.caller, "error_id": self.error_id, "trace_id": self.trace_id}
        return json.dumps(fields | {name: value for name, value in rare.items() if value})


def _shown(peer: str) -> str:
    """A peer in gRPC's terms, e.g. `ipv6:%5B::1%5D:4242`, as people write it."""
    return unquote(peer.removeprefix("ipv4:").removeprefix("ipv6:"))[:_LONGEST_FIELD]


class RequestLog:
    """Writes the records, in a thread of its own and several at a time.

    A request costs the thread that answers it one append to a queue. A file that was moved away, as
    logrotate does, is opened anew. What cannot be written is dropped: a full disk stops no answer.

    Args:
        target: a file to append to, or `-` for standard error.

    Raises:
        UserError: the file cannot be opened.
    """

    def __init__(self, target: str | os.PathLike[str]):
        self._path = None if os.fspath(target) == STANDARD_ERROR else Path(target)
        self._waiting: deque[Record] = deque()
        self._dropped = 0
        self._failing = False
        self._closed = threading.Event()
        self._file = self._open()
        self._thread = threading.Thread(target=self._write_all, name="request log", daemon=True)
        self._thread.start()

    def write(self, record: Record) -> None:
        """Takes a record that is complete; it is written within some tenths of a second."""
        if len(self._waiting) < _MOST_WAITING:
            self._waiting.append(record)
        else:
            self._dropped += 1

    def close(self) -> None:
        """Writes what is left, and closes the file."""
        self._closed.set()
        self._thread.join()
        if self._file:
            self._file.close()

    def _open(self) -> io.FileIO | None:
        if self._path is None:
            return None
        try:
            # Closed by `close`. Without a buffer, for one that could not be written stays full.
            return open(self._path, "ab", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise UserError(
                f"The access log {self._path} cannot be written: {error.strerror}. Name another "
                f"file, or `{STANDARD_ERROR}` for standard error."
            ) from error

    def _write_all(self) -> None:
        while not self._closed.wait(_FLUSH_S):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        lines = []
        while self._waiting:
            lines.append(self._waiting.popleft().line() + "\n")
        text = "".join(lines)
        try:
            if self._path is None:
                sys.stderr.write(text)
                sys.stderr.flush()
            else:
                self._append(text.encode())
        except (OSError, UserError, ValueError) as error:
            self._dropped += len(lines)
            if not self._failing:
                _log.error("lines of the access log are lost: %s", error)
            self._failing = True
        else:
            self._failing = False
            if self._dropped:
                _log.error("%d lines of the access log were lost", self._dropped)
                self._dropped = 0

    def _append(self, text: bytes) -> None:
        if self._was_moved():
            if self._file is not None:
                self._file.close()
            self._file = self._open()
        assert self._file is not None
        if self._failing:
            # What went wrong may have left a line that is not whole.
            text = b"\n" + text
        while text:
            text = text[self._file.write(text) :]

    def _was_moved(self) -> bool:
        assert self._path is not None and self._file is not None
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return True
        here = os.fstat(self._file.fileno())
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)


class Tracing:
    """OpenTelemetry spans of requests, as children of what `traceparent` names.

    Args:
        endpoint: Where spans go over OTLP/HTTP, e.g. `http://collector:4318`.
        processor: What takes the spans in place of an exporter to `endpoint`.

    Raises:
        UserError: the packages for it are not installed, or the endpoint is none.
    """

    def __init__(self, endpoint: str = "", processor: SpanProcessor | None = None):
        try:
            from opentelemetry import trace
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

            processor = processor or _otlp(endpoint)
        except ImportError as error:
            raise UserError(
                f"OpenTelemetry traces need a package that is not installed ({error.name}): "
                "`pip install 'seamline[tracing]'`, or leave them out."
            ) from error
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say more, and come first.
        named = os.environ.get("OTEL_SERVICE_NAME", "seamline-model-server")
        self._provider = TracerProvider(resource=Resource.create({"service.name": named}))
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("seamline.serving")
        self._propagator = TraceContextTextMapPropagator()
        self._trace = trace

    def begin(self, record: Record, headers: Mapping[str, str]) -> None:
        """Starts the span of a request, and puts it into the record.

        Args:
            record: the request's, with what is known before it is read.
            headers: its headers or metadata, of which `traceparent` and `tracestate` are read.
        """
        record.span = self._tracer.start_span(
            f"{record.entrypoint} {record.method}",
            context=self._propagator.extract(headers),
            kind=self._trace.SpanKind.SERVER,
            attributes={
                "rpc.method": record.method,
                "network.peer.address": record.peer,
                "seamline.entrypoint": record.entrypoint,
                "seamline.request_id": record.request_id,
            },
        )
        record.trace_id = f"{record.span.get_span_context().trace_id:032x}"

    def end(self, record: Record, failed: bool) -> None:
        """Ends the span with what the record says; `failed` if the server is to blame."""
        attributes = {
            "seamline.model": record.model[:_LONGEST_FIELD],
            "seamline.version": record.version,
            "seamline.signature": record.signature[:_LONGEST_FIELD],
            "seamline.examples": record.examples,
            "seamline.status": record.status,
        }
        assert record.span is not None
        record.span.set_attributes({name: value for name, value in attributes.items() if value})
        if failed:
            record.span.set_status(self._trace.StatusCode.ERROR, str(record.status))
        record.span.end()

    def close(self) -> None:
        """Sends what is left."""
        self._provider.shutdown()


def _otlp(endpoint: str) -> SpanProcessor:
    if not re.match(r"https?://[^/\s]", endpoint):
        raise UserError(
            f"{endpoint!r} is no address for OpenTelemetry traces; it is one of OTLP over HTTP, "
            "e.g. http://localhost:4318."
        )
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    if not re.match(r"https?://[^/]+/.", endpoint):
        endpoint = endpoint.rstrip("/") + "/v1/traces"
    return BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint))


class Observer:
    """Sees every request begin and end, and tells the log and the tracing of it.

    Args:
        log: where lines go; None writes none.
        tracing: where spans go; None makes none.
    """

    def __init__(self, log: RequestLog | None = None, tracing: Tracing | None = None):
        self._log = log
        self._tracing = tracing

    def begin(
        self, entrypoint: str, method: str, headers: Mapping[str, str], peer: str, caller: str = ""
    ) -> Record:
        """Makes the record of a request that has come; see `Record` for the arguments.

        Args:
            entrypoint: `GRPC` or `REST`.
            method: what is asked for.
            headers: the request's headers or metadata, with names in lower case.
            peer: address of the caller's end of the connection.
            caller: name of the API key.
        """
        record = Record(entrypoint, method, request_id(headers.get(REQUEST_ID)), peer, caller)
        if self._tracing:
            self._tracing.begin(record, headers)
        return record

    def end(self, record: Record, status: str | int, failed: bool = False) -> None:
        """Takes a request that has ended.

        Args:
            record: the request's.
            status: how it ended.
            failed: whether that is the server's fault, not the caller's.
        """
        record.ended = time.perf_counter()
        record.status = status
        if self._tracing:
            self._tracing.end(record, failed)
        if self._log:
            self._log.write(record)

    def close(self) -> None:
        """Writes and sends what is left."""
        if self._log:
            self._log.close()
        if self._tracing:
            self._tracing.close()


RECORD = "seamline.record"
"""Where a REST request's ASGI scope holds its `Record`, for handlers to fill in."""

_PATH = re.compile(
    r"/v1/models/(?P<model>[^/:]+)(?:/(?:versions|labels)/[^/:]+)?(?::(?P<verb>\w+)|/(?P<part>\w+))?",
    re.IGNORECASE,
)

_METHODS = {
    None: "GetModelStatus",
    "predict": "Predict",
    "classify": "Classify",
    "regress": "Regress",
    "metadata": "GetModelMetadata",
}


class ObservedApp:
    """An ASGI application around another: shows its requests to an `Observer`.

    The request's id comes back in the header `x-request-id`.

    Args:
        app: The application that answers.
        observer: Who sees the requests.
    """

    def __init__(self, app: ASGIApp, observer: Observer):
        self._app = app
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one connection's request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        client = scope.get("client")
        record = self._observer.begin("REST", "", headers, address(*client) if client else "")
        record.method, record.model = _asked_for(scope["path"])
        scope[RECORD] = record
        status = 0

        async def counted() -> Message:
            message = await receive()
            record.bytes_in += len(message.get("body", b""))
            return message

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                named = (REQUEST_ID.encode(), record.request_id.encode())
                message["headers"] = [*message.get("headers", ()), named]
            else:
                record.bytes_out += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, counted, told)
        except Exception:
            status = status or 500
            raise
        finally:
            # 499 is what proxies write for a caller that left before it was answered.
            self._observer.end(record, status or 499, failed=status >= 500)


def _asked_for(path: str) -> tuple[str, str]:
    """The method, as gRPC names it, and the model that a path asks for; the path of another."""
    found = _PATH.fullmatch(path)
    if not found:
        return path[:_LONGEST_FIELD], ""
    verb = found["verb"] or found["part"]
    return _METHODS.get(verb and verb.lower(), path[:_LONGEST_FIELD]), found["model"]
