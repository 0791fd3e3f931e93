"""TensorFlow Serving's REST interface: its paths, its status codes, its error texts.

https://www.tensorflow.org/tfx/serving/api_rest; what that page leaves open is as in TensorFlow
Serving's http_rest_api_handler.cc and http_server.cc. More than it does: answers are packed with
gzip where the client takes that, and API keys can be asked for. Less: a body has a longest length.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
import urllib.parse
import zlib
from collections.abc import AsyncIterator, Callable, MutableMapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    regression_pb2,
)

from serving.model_server import inference, json_tensors, memory, remedies
from serving.model_server.errors import RequestError
from serving.model_server.http_server import HttpServer, Limits, listening_sockets
from serving.model_server.joint_runs import Asking, Kind
from serving.model_server.metrics import CONTENT_TYPE, DEFAULT_PATH
from serving.model_server.options import MAX_MESSAGE_BYTES, ServerOptions
from serving.model_server.request_log import RECORD, ObservedApp, Record, request_id
from serving.model_server.saved_model import DEFAULT_SIGNATURE
from serving.model_server.traffic_log import CURRENT_REQUEST

if TYPE_CHECKING:
    from serving.model_server.access import ApiKeys, Tls
    from serving.model_server.admission import Admission
    from serving.model_server.grpc_server import Parts
    from serving.model_server.metrics import Metrics
    from serving.model_server.servables import Servable, Servables

HTTP_STATUS = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}
"""TensorFlow Serving's HTTP status for each status code."""

_log = logging.getLogger("seamline.serving")

_API = re.compile(r"/v1/.*", re.IGNORECASE | re.ASCII)
_MODEL = r"(?:(?:/versions/(?P<version>\d+))|(?:/labels/(?P<label>[^/:]+)))?"
_COMPUTING = re.compile(
    rf"/v1/models/(?P<name>[^/:]+){_MODEL}:(?P<verb>classify|regress|predict)",
    re.IGNORECASE | re.ASCII,
)
_TELLING = re.compile(
    rf"/v1/models(?:/(?P<name>[^/:]+))?{_MODEL}(?:/(?P<part>metadata))?", re.IGNORECASE | re.ASCII
)
_LARGEST_VERSION = 2**63 - 1

# The others have no handler in TensorFlow Serving's HTTP server.
_METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH")

_JSON = "application/json"
_CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "POST, GET",
    "access-control-allow-headers": "Content-Type",
}

# One request at a time may take more than this as Python objects.
_LARGE_BYTES = 64 * 1024 * 1024
# A gzip body of more than this, unpacked, may be one.
_LARGE_UNPACKED_BYTES = 2 * 1024 * 1024
# Bodies that have come, in whole or in part, and are not answered yet.
_HELD_BODIES = 8

_GZIP_FROM_BYTES = 2048
# The fastest; the texts that are repeated in every row make most of an answer.
_GZIP_LEVEL = 1
_GZIP_WINDOW = 16 + zlib.MAX_WBITS

# For how much longer than the computation itself its answer is awaited.
_GRACE_S = 0.5


class _HttpError(Exception):
    """A refusal by a status that no status code of gRPC has."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass
class _Call:
    """A Predict, Classify or Regress on its way.

    Attributes:
        verb: which of them, in lower case.
        spec: the model that is asked.
        body: as it came.
        unpacked_bytes: how long it says to be without gzip; None if it is not packed.
        deadline: by `time.monotonic`; None for none.
        takes_gzip: whether the answer may be packed.
        record: what the log is told; None if there is no log.
    """

    verb: str
    spec: model_pb2.ModelSpec
    body: bytes
    unpacked_bytes: int | None
    deadline: float | None
    takes_gzip: bool
    record: Record | None


def rest_app(
    servables: Servables,
    admission: Admission,
    metrics: Metrics,
    *,
    keys: ApiKeys | None = None,
    timeout_s: float = 30.0,
    allows_cors: bool = False,
    metrics_path: str | None = None,
    max_body_bytes: int = MAX_MESSAGE_BYTES,
    answers: ModuleType = inference,
) -> Starlette:
    """Makes the ASGI application.

    Args:
        servables: the models.
        admission: gives turns to what computes.
        metrics: is told of every Predict, Classify and Regress.
        keys: the API keys that are good; None asks for none. A CORS preflight needs none.
        timeout_s: a call is given up after so long, in seconds; 0 never.
        allows_cors: answers carry the headers that let pages of other origins read them.
        metrics_path: where Prometheus finds the metrics; None for nowhere.
        max_body_bytes: the longest body, packed and unpacked, and the longest answer.
        answers: what computes; a stand-in has the functions of `inference`.
    """
    api = _RestApi(
        servables, admission, metrics, keys, timeout_s, allows_cors, metrics_path, max_body_bytes,
        answers,
    )  # fmt: skip
    app = Starlette()
    # Not a route: those know no path with a line break in it, and would answer it themselves.
    app.router.default = api
    return app


class RestServer:
    """The REST port.

    Args:
        options: what the server is told.
        parts: what answers; see `grpc_server.Parts`.
        tls: for HTTPS; None for HTTP.
    """

    def __init__(self, options: ServerOptions, parts: Parts, tls: Tls | None = None):
        monitoring = options.monitoring.prometheus_config if options.monitoring else None
        app = rest_app(
            parts.servables,
            parts.admission,
            parts.metrics,
            keys=parts.keys,
            timeout_s=options.rest_api_timeout_s,
            allows_cors=options.rest_api_enable_cors_support,
            metrics_path=(
                (monitoring.path or DEFAULT_PATH) if monitoring and monitoring.enable else None
            ),
            max_body_bytes=options.max_message_bytes,
            answers=parts.answers,
        )
        self._app = ObservedApp(app, parts.observer)
        self._options = options
        self._metrics = parts.metrics
        self._tls = tls
        self._server: HttpServer | None = None
        self.port: int | None = None

    async def open(self) -> None:
        """Takes the port.

        Raises:
            UserError: it is taken or not allowed, or the certificate is of no use.
        """
        options = self._options
        context = self._tls.http_context() if self._tls else None
        sockets = listening_sockets(options.host, options.rest_api_port or 0, "--rest_api_port")
        self.port = sockets[0].getsockname()[1]
        limits = Limits(connections=options.max_connections, header_s=options.header_timeout_s)
        server = HttpServer(self._app, sockets, context, limits, self._metrics.observe_refusal)
        self._metrics.watch(
            "rest_connections", "Open REST connections.", lambda: server.connections
        )
        self._server = server

    async def start(self) -> None:
        """Begins to answer."""
        if self._server:
            await self._server.start()

    async def stop(self, grace_s: float) -> None:
        """Closes the port; callers are answered for some seconds yet."""
        if self._server:
            await self._server.stop(grace_s)


class _RestApi:
    """The ASGI application behind every path; see `rest_app`."""

    def __init__(
        self,
        servables: Servables,
        admission: Admission,
        metrics: Metrics,
        keys: ApiKeys | None,
        timeout_s: float,
        allows_cors: bool,
        metrics_path: str | None,
        max_body_bytes: int,
        answers: ModuleType,
    ):
        self._servables = servables
        self._admission = admission
        self._metrics = metrics
        self._keys = keys
        self._timeout_s = timeout_s
        self._metrics_path = metrics_path
        self._max_body_bytes = max_body_bytes
        self._answers = answers
        self._cors = dict(_CORS) if allows_cors else {}
        if allows_cors and keys:
            self._cors["access-control-allow-headers"] += ", Authorization, X-Api-Key"
        self._held_bytes = 0
        self._large = asyncio.Semaphore(1)

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        """Answers one request, whatever happens."""
        request = Request(scope, receive)
        try:
            response = await self._answered(request)
        except (asyncio.CancelledError, ClientDisconnect):
            # Nobody is there to be answered.
            return
        except _HttpError as error:
            response = _refusal(error.status, error.message)
        except Exception as error:
            status, message = _told(error, scope)
            response = _refusal(status, message)
        response.headers.update(self._cors)
        await response(scope, receive, send)

    async def _answered(self, request: Request) -> Response:
        path = request.scope["raw_path"].decode("latin-1")
        query = request.scope["query_string"].decode("latin-1")
        target = f"{path}?{query}" if query else path
        if request.method not in _METHODS:
            raise _HttpError(501, f"Not Implemented: {request.method}")
        if path == self._metrics_path:
            self._caller(request)
            return self._shown_metrics(path, target)
        if not _API.fullmatch(target):
            more = remedies.of_path(request.method, target)
            raise _HttpError(404, f"Not Found. {more}" if more else "Not Found")
        if request.method == "OPTIONS" and request.headers.get("origin"):
            return Response(media_type=_JSON)
        caller = self._caller(request)
        if request.method == "POST" and (match := _COMPUTING.fullmatch(target)):
            if match["verb"] in ("predict", "classify", "regress"):
                return await self._computed(request, match["verb"], _spec(match), caller)
        elif request.method == "GET" and (match := _TELLING.fullmatch(target)):
            return await self._said(match)
        refusal = _invalid(f"Malformed request: {request.method} {target}")
        raise remedies.with_remedy(refusal, remedies.of_path(request.method, target))

    def _caller(self, request: Request) -> str:
        """Who asks, for fairness; raises where a key is asked for and not shown."""
        if self._keys:
            try:
                name = self._keys.name_of(request.headers)
            except RequestError:
                self._metrics.observe_refusal("keys")
                raise
            if RECORD in request.scope:
                request.scope[RECORD].caller = name
            return name
        return request.client.host if request.client else ""

    def _shown_metrics(self, path: str, target: str) -> Response:
        if target != path:
            return Response(
                f"Unexpected path: {target}. Should be {path}", 400, media_type="text/plain"
            )
        return Response(self._metrics.text(), headers={"content-type": CONTENT_TYPE})

    async def _said(self, match: re.Match[str]) -> Response:
        """Status or metadata, outside the queue: they are asked for most when it is full."""
        spec = _spec(match)
        if not spec.name:
            raise _invalid("Missing model name in request.")
        tell = self._metadata if match["part"] == "metadata" else self._status
        content = await asyncio.get_running_loop().run_in_executor(None, tell, spec)
        return Response(content, media_type=_JSON)

    def _status(self, spec: model_pb2.ModelSpec) -> str:
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=spec)
        return _message(self._answers.status(self._servables, request))

    def _metadata(self, spec: model_pb2.ModelSpec) -> str:
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=spec, metadata_field=[inference.SIGNATURE_DEF]
        )
        response = self._answers.metadata(self._servables, request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata[inference.SIGNATURE_DEF].Unpack(signatures)
        return (
            f'{{\n"model_spec":{_message(response.model_spec)},\n'
            f'"metadata": {{"signature_def": {_message(signatures)}}}\n}}\n'
        )

    async def _computed(
        self, request: Request, verb: str, spec: model_pb2.ModelSpec, caller: str
    ) -> Response:
        """The answer to a Predict, Classify or Regress, and what the metrics learn of it."""
        began = time.perf_counter()
        code = grpc.StatusCode.CANCELLED
        try:
            async with self._body(request) as body:
                content, is_packed = await self._in_turn(request, verb, spec, body, caller)
            code = grpc.StatusCode.OK
        except RequestError as error:
            code = error.code
            if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
                self._metrics.observe_refusal("requests")
            raise
        except _HttpError:
            code = grpc.StatusCode.INVALID_ARGUMENT
            raise
        except Exception:
            code = grpc.StatusCode.INTERNAL
            raise
        finally:
            seconds = time.perf_counter() - began
            self._metrics.observe_request(spec.name, verb, "REST", code, seconds)
        response = Response(content, media_type=_JSON)
        if is_packed:
            response.headers["content-encoding"] = "gzip"
        response.headers["vary"] = "accept-encoding"
        return response

    @contextlib.asynccontextmanager
    async def _body(self, request: Request) -> AsyncIterator[bytes]:
        """The body, which counts as held until it is answered."""
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._max_body_bytes:
            raise self._too_long()
        chunks: list[bytes] = []
        length = 0
        try:
            async for chunk in request.stream():
                length += len(chunk)
                self._held_bytes += len(chunk)
                if length > self._max_body_bytes:
                    raise self._too_long()
                if self._held_bytes > _HELD_BODIES * self._max_body_bytes:
                    raise RequestError(
                        grpc.StatusCode.RESOURCE_EXHAUSTED,
                        "The requests that are being received and answered fill the memory that "
                        "there is for them; ask again later",
                    )
                chunks.append(chunk)
            body = b"".join(chunks)
            chunks.clear()
            yield body
        finally:
            self._held_bytes -= length

    def _too_long(self) -> _HttpError:
        self._metrics.observe_refusal("body")
        return _HttpError(
            413,
            f"The body is longer than {self._max_body_bytes} bytes. Send fewer instances a request",
        )

    async def _in_turn(
        self, request: Request, verb: str, spec: model_pb2.ModelSpec, body: bytes, caller: str
    ) -> tuple[bytes, bool]:
        unpacked_bytes = None
        if "gzip" in request.headers.get("content-encoding", ""):
            # Gzip's last four bytes; where they lie, unpacking ends at what they say.
            unpacked_bytes = int.from_bytes(body[-4:], "little")
            is_large = unpacked_bytes > _LARGE_UNPACKED_BYTES
        else:
            is_large = json_tensors.takes_more_than(body, _LARGE_BYTES)
        call = _Call(
            verb=verb,
            spec=spec,
            body=body,
            unpacked_bytes=unpacked_bytes,
            deadline=time.monotonic() + self._timeout_s if self._timeout_s else None,
            takes_gzip=_takes_gzip(request.headers.get("accept-encoding", "")),
            record=request.scope.get(RECORD),
        )
        size = max(len(body), min(unpacked_bytes or 0, self._max_body_bytes))
        try:
            outcome = await asyncio.wait_for(
                self._admitted(call, caller, size, is_large),
                self._timeout_s + _GRACE_S if self._timeout_s else None,
            )
        except asyncio.TimeoutError:
            raise self._late() from None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _admitted(
        self, call: _Call, caller: str, size: int, is_large: bool
    ) -> tuple[bytes, bool] | Exception:
        if not is_large:
            kind = Kind(call.verb, call.spec.SerializeToString())
            return await self._admission.run(caller, lambda: self._outcome(call), size, kind)
        # What takes much memory is done one after the other, without a thread's waiting for it.
        async with self._large:
            try:
                return await self._admission.run(caller, lambda: self._outcome(call), size)
            finally:
                await asyncio.get_running_loop().run_in_executor(None, memory.give_back)

    def _outcome(self, call: _Call) -> Asking[tuple[bytes, bool] | Exception]:
        """What `_content` gives or raises.

        A refusal comes back without its traceback. That holds every value of the request, and
        asyncio makes a cycle of it, so that the memory would be taken until Python looks for those.
        """
        try:
            return (yield from self._content(call))
        except (RequestError, _HttpError) as error:
            error.__traceback__ = error.__context__ = error.__cause__ = None
            return error

    def _content(self, call: _Call) -> Asking[tuple[bytes, bool]]:
        """An answer's JSON, and whether that is packed."""
        body = call.body
        if call.unpacked_bytes is not None:
            body = self._unpacked(body, call.unpacked_bytes)
        if call.record:
            call.record.model = call.spec.name
            CURRENT_REQUEST.set(call.record.request_id)
        compute = self._predict if call.verb == "predict" else self._examined
        try:
            asked = json_tensors.JsonRequest(body)
        except RequestError as error:
            raise remedies.with_remedy(error, remedies.of_body(body, error.message)) from None
        content = yield from compute(call, asked)
        if len(content) > self._max_body_bytes:
            raise self._answer_too_long(len(content))
        if call.takes_gzip and len(content) >= _GZIP_FROM_BYTES:
            return zlib.compress(content, _GZIP_LEVEL, _GZIP_WINDOW), True
        return content, False

    def _unpacked(self, packed: bytes, says: int) -> bytes:
        unpacker = zlib.decompressobj(_GZIP_WINDOW)
        most = min(says, self._max_body_bytes)
        try:
            body = unpacker.decompress(packed, most + 1)
        except zlib.error as error:
            raise _invalid(f"JSON Parse error: The body is no gzip, as it says: {error}") from error
        if len(body) > self._max_body_bytes:
            raise self._too_long()
        if not unpacker.eof or len(body) != says:
            raise _invalid("JSON Parse error: The gzip body is cut off, or longer than it says")
        return body

    def _predict(self, call: _Call, asked: json_tensors.JsonRequest) -> Asking[bytes]:
        with self._servables.find(call.spec) as servable:
            name = asked.signature_name or DEFAULT_SIGNATURE
            signature = servable.signatures.get(name)
            if signature is None:
                refusal = _invalid(f'Serving signature name: "{name}" not found in signature def')
                there = remedies.of_signature(name, servable.signatures)
                raise remedies.with_remedy(refusal, there)
            try:
                inputs, by_row = asked.tensors(signature.inputs)
            except RequestError as error:
                wanted = remedies.of_instances(asked.document, signature)
                raise remedies.with_remedy(error, wanted) from None
            examples = next((len(value) for value in inputs.values() if value.ndim), 1)
            _note(call, servable, name, examples)
            timeout_s = self._remaining_s(call)
            began = time.perf_counter()
            outputs = yield from self._answers.predict_arrays(servable, name, inputs, (), timeout_s)
            self._metrics.observe_runtime(servable.name, "Predict", time.perf_counter() - began)
        # Before it takes the memory and the time to write them: each needs three characters.
        least_bytes = 3 * sum(value.size for value in outputs.values())
        if least_bytes > self._max_body_bytes:
            raise self._answer_too_long(least_bytes)
        return (json_tensors.predictions if by_row else json_tensors.outputs)(outputs)

    def _examined(self, call: _Call, asked: json_tensors.JsonRequest) -> Asking[bytes]:
        is_classify = call.verb == "classify"
        request = (
            classification_pb2.ClassificationRequest
            if is_classify
            else regression_pb2.RegressionRequest
        )(model_spec=call.spec)
        request.model_spec.signature_name = asked.signature_name
        request.input.CopyFrom(asked.examples())
        _note(call, None, asked.signature_name, None)
        answer = self._answers.classify if is_classify else self._answers.regress
        response = yield from answer(self._servables, request, self._remaining_s(call))
        write = json_tensors.classifications if is_classify else json_tensors.regressions
        return write(response.result)

    def _answer_too_long(self, length: int) -> RequestError:
        return RequestError(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"The answer is longer than {self._max_body_bytes} bytes (at least {length}); send "
            "fewer instances a request, or ask a signature of fewer outputs",
        )

    def _remaining_s(self, call: _Call) -> float | None:
        if call.deadline is None:
            return None
        remaining_s = call.deadline - time.monotonic()
        if remaining_s <= 0:
            raise self._late()
        return remaining_s

    def _late(self) -> RequestError:
        return RequestError(
            grpc.StatusCode.DEADLINE_EXCEEDED,
            f"Timeout of {self._timeout_s:g} s exceeded; --rest_api_timeout_in_ms sets it",
        )


def _spec(match: re.Match[str]) -> model_pb2.ModelSpec:
    """The model that a path asks for."""
    spec = model_pb2.ModelSpec(name=_unescaped(match["name"] or ""))
    if match["version"]:
        digits = match["version"].lstrip("0") or "0"
        if len(digits) > 19 or int(digits) > _LARGEST_VERSION:
            raise _invalid(f"Failed to convert version: {match['version']} to numeric.")
        spec.version.value = int(digits)
    if match["label"]:
        spec.version_label = _unescaped(match["label"])
    return spec


def _unescaped(text: str) -> str:
    return urllib.parse.unquote_to_bytes(text.encode("latin-1")).decode(errors="replace")


def _takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding names gzip, and not as what it does not want."""
    for coding in accepted.split(","):
        name, _, weight = coding.partition(";")
        if name.strip().lower() == "gzip":
            return not re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight)
    return False


def _message(message: Message) -> str:
    return json_format.MessageToJson(
        message,
        indent=1,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )


def _note(call: _Call, servable: Servable | None, signature: str, examples: int | None) -> None:
    """Tells the log what is asked."""
    if call.record:
        call.record.version = servable.version if servable else None
        call.record.signature = signature
        call.record.examples = examples


def _told(error: Exception, scope: MutableMapping[str, Any]) -> tuple[int, str]:
    """The HTTP status and the sentence for a failure, which is logged where it is our own."""
    if isinstance(error, RequestError):
        return HTTP_STATUS[error.code], error.message
    if isinstance(error, MemoryError):
        return 429, "There is not memory enough for the request; ask again later"
    error_id = request_id(None)
    if RECORD in scope:
        scope[RECORD].error_id = error_id
    _log.error(
        "%s %s failed; the caller was told error %s", scope["method"], scope["path"], error_id,
        exc_info=error,
    )  # fmt: skip
    return 500, f"The server failed; its log says more under error {error_id}"


def _refusal(status: int, message: str) -> Response:
    headers = {}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    if status in (429, 503):
        headers["retry-after"] = "1"
    return Response(json_tensors.error(message), status, headers, _JSON)


def _invalid(message: str) -> RequestError:
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, message)
