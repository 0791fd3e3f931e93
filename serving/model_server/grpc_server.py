"""The gRPC port: TensorFlow Serving's services, health and reflection.

A call's message is not received before the caller has shown its key, and is parsed once, in the
thread that computes the answer, when it is its turn: what is turned away costs nothing, and the
loop that status and health are answered from only moves bytes.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import stat
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio as reflection_aio
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from schema.errors import UserError
from serving.model_server import inference
from serving.model_server.access import ApiKeys, Tls
from serving.model_server.admission import Admission, TakesLong
from serving.model_server.errors import RequestError
from serving.model_server.joint_runs import Asking, Kind, finish
from serving.model_server.options import ServerOptions
from serving.model_server.request_log import REQUEST_ID, Observer, Record, request_id
from serving.process import address

if TYPE_CHECKING:
    from serving.model_server.metrics import Metrics
    from serving.model_server.servables import Servables
from serving.model_server.traffic_log import CURRENT_REQUEST

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"

_log = logging.getLogger("seamline.serving")

_LONGEST_MESSAGE = 1024
"""Bytes of an error's text, where TensorFlow Serving cuts it; gRPC carries it in a header, and one
of more than 8 KB breaks the call."""

_MESSAGE_TIMEOUT_S = 60.0
"""A call's message must be there after so long, or half-sent ones would pile up."""

_MODEL_SPEC = 1 << 3 | 2
"""The first byte of a request that begins with its first field, the ModelSpec."""

_LONGEST_MODEL_SPEC = 0x7F
"""Bytes of it, of which the request's second one says how many they are."""

_MOST_ARRIVING = 1000
"""Messages that are being received at a time."""

_MOST_STANDING = 1000
"""Calls that may stay open for long: watchers of the health, and reflection."""

_QUIET_S = 0.1
_LONGEST_UNREST_S = 1.0
"""A server that is stopped closes its connections when no call has come for so long, or after so
long at the latest."""

_IS_STOPPING = "The server is being stopped"

_TURNED_AWAY = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: "requests",
    grpc.StatusCode.UNAUTHENTICATED: "keys",
}
"""What the metrics call those who are refused whatever they ask."""

_CLOCKS_DIFFER_S = 0.01
"""A deadline is the wall clock's, and gRPC ends a call a little before or after it."""

_IS_SERVERS_FAULT = frozenset(
    {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS}
)


@dataclass(frozen=True)
class Parts:
    """What the services answer from.

    Attributes:
        servables: the models.
        admission: whose turn it is.
        metrics: what Prometheus is told.
        observer: who sees each request begin and end.
        keys: the API keys that are good; None asks for none.
        is_ready: whether every configured model answers.
        answers: what computes answers; a stand-in has the functions of `inference`.
    """

    servables: Servables
    admission: Admission
    metrics: Metrics
    observer: Observer
    keys: ApiKeys | None
    is_ready: Callable[[], bool]
    answers: ModuleType = inference


@dataclass(frozen=True)
class _Method:
    """A method whose answer is computed.

    Attributes:
        name: as in its service.
        request: type of its message.
        answer: (parts, request, timeout_s) to the response, or to a request of `joint_runs`.
        is_metered: TensorFlow Serving counts its calls.
        takes_turns: it computes, so that it waits for its turn: it is a request of `joint_runs`.
    """

    name: str
    request: type[Message]
    response: type[Message]
    answer: Callable[[Parts, Any, float | None], Message | Asking[Message]]
    is_metered: bool = True
    takes_turns: bool = True


def _answered_by(function: str) -> Callable[[Parts, Message, float | None], Asking[Message]]:
    def answer(parts: Parts, request: Message, timeout_s: float | None) -> Asking[Message]:
        return getattr(parts.answers, function)(parts.servables, request, timeout_s)

    return answer


def _metadata(parts: Parts, request: Message, timeout_s: float | None) -> Message:
    return parts.answers.metadata(parts.servables, request)


def _status(parts: Parts, request: Message, timeout_s: float | None) -> Message:
    return parts.answers.status(parts.servables, request)


def _reload(parts: Parts, request: Any, timeout_s: float | None) -> Message:
    config = request.config
    if config.WhichOneof("config") != "model_config_list":
        raise RequestError(
            grpc.StatusCode.INVALID_ARGUMENT,
            "ServerModelConfig type not supported by HandleReloadConfigRequest. "
            "Only ModelConfigList is currently supported",
        )
    for model in config.model_config_list.config:
        _log.info("asked to serve %s from %s", model.name, model.base_path)
    parts.servables.reload(config)
    response = model_management_pb2.ReloadConfigResponse()
    response.status.SetInParent()
    return response


# In the order of the services' definitions, of which reflection gives copies.
_PREDICTION_METHODS = (
    _Method(
        "Classify",
        classification_pb2.ClassificationRequest,
        classification_pb2.ClassificationResponse,
        _answered_by("classify"),
    ),
    _Method(
        "Regress",
        regression_pb2.RegressionRequest,
        regression_pb2.RegressionResponse,
        _answered_by("regress"),
    ),
    _Method(
        "Predict", predict_pb2.PredictRequest, predict_pb2.PredictResponse, _answered_by("predict")
    ),
    _Method(
        "MultiInference",
        inference_pb2.MultiInferenceRequest,
        inference_pb2.MultiInferenceResponse,
        _answered_by("multi_inference"),
    ),
    _Method(
        "GetModelMetadata",
        get_model_metadata_pb2.GetModelMetadataRequest,
        get_model_metadata_pb2.GetModelMetadataResponse,
        _metadata,
        is_metered=False,
        takes_turns=False,
    ),
)
_MODEL_METHODS = (
    _Method(
        "GetModelStatus",
        get_model_status_pb2.GetModelStatusRequest,
        get_model_status_pb2.GetModelStatusResponse,
        _status,
        is_metered=False,
        takes_turns=False,
    ),
    _Method(
        "HandleReloadConfigRequest",
        model_management_pb2.ReloadConfigRequest,
        model_management_pb2.ReloadConfigResponse,
        _reload,
        is_metered=False,
        takes_turns=False,
    ),
)


class GrpcServer:
    """The gRPC port. All but the constructor and `close` is called in one asyncio loop.

    Args:
        options: what the server is told.
        parts: what it answers from.
        tls: its certificate; None speaks without.
    """

    def __init__(self, options: ServerOptions, parts: Parts, tls: Tls | None):
        self._options = options
        self._tls = tls
        self._server: grpc.aio.Server | None = None
        self._calls = _Calls(parts, options.max_message_bytes)
        self._health = Health(parts.is_ready)
        self.port: int | None = None

    async def open(self) -> None:
        """Opens the port and the Unix socket; calls are answered after `start`.

        Raises:
            UserError: one of them is in use or not allowed.
        """
        server = grpc.aio.server(options=_channel_arguments(self._options))
        server.add_generic_rpc_handlers(self._handlers())
        # Ports are given back by `stop`, whichever of them could be opened.
        self._server = server
        credentials = self._tls.grpc_credentials() if self._tls else None
        if self._options.port is not None:
            check_port(self._options.host, self._options.port, "--port")
            self.port = _listen(
                server, address(self._options.host, self._options.port), credentials
            )
        if self._options.grpc_socket_path:
            _check_socket(self._options.grpc_socket_path)
            _listen(server, f"unix:{self._options.grpc_socket_path}", credentials)

    async def start(self) -> None:
        """Begins to answer."""
        assert self._server is not None
        await self._server.start()

    def tell_health(self) -> None:
        """Tells those who watch the health if it has changed."""
        self._health.tell()

    async def stop(self, grace_s: float) -> None:
        """Takes no further calls, and ends those that go on after `grace_s` seconds."""
        self._health.close()
        if self._server:
            began = time.monotonic()
            # gRPC cuts off the calls that it holds ready, as CANCELLED, which nobody repeats. So
            # they are told UNAVAILABLE here, and it is stopped when no more of them come.
            await self._calls.drain(grace_s)
            await self._server.stop(max(0.0, grace_s - (time.monotonic() - began)))

    def close(self) -> None:
        """Waits for threads that still compute; blocks, unlike all else, and comes last."""
        self._calls.close()

    def _handlers(self) -> list[grpc.GenericRpcHandler]:
        calls = self._calls
        services = {
            PREDICTION_SERVICE: {
                method.name: calls.handler(f"{PREDICTION_SERVICE}/{method.name}", method)
                for method in _PREDICTION_METHODS
            },
            MODEL_SERVICE: {
                method.name: calls.handler(f"{MODEL_SERVICE}/{method.name}", method)
                for method in _MODEL_METHODS
            },
        }
        if self._options.enable_grpc_healthcheck_service:
            services["grpc.health.v1.Health"] = {
                "Check": grpc.unary_unary_rpc_method_handler(
                    self._health.check,
                    health_pb2.HealthCheckRequest.FromString,
                    health_pb2.HealthCheckResponse.SerializeToString,
                ),
                "Watch": grpc.unary_stream_rpc_method_handler(
                    calls.standing(self._health.watch),
                    health_pb2.HealthCheckRequest.FromString,
                    health_pb2.HealthCheckResponse.SerializeToString,
                ),
            }
        services |= _reflection(calls, services)
        return [
            grpc.method_handlers_generic_handler(service, methods)
            for service, methods in services.items()
        ]


class _Calls:
    """Answers calls: keys, limits, deadlines, turns, errors, and who is told of it."""

    def __init__(self, parts: Parts, max_message_bytes: int):
        self._parts = parts
        self._max_message_bytes = max_message_bytes
        self._arriving = 0
        self._standing: set[asyncio.Task[Any]] = set()
        self._stopping = False
        # When a call was last turned away because the server is being stopped.
        self._turned_away = 0.0
        self._open = 0
        # Status and metadata wait for no model that computes, and a reload for all it loads.
        self._quick = ThreadPoolExecutor(2, thread_name_prefix="metadata")
        self._reloads = ThreadPoolExecutor(1, thread_name_prefix="reload")

    def close(self) -> None:
        """Waits for what is computed."""
        self._quick.shutdown()
        self._reloads.shutdown()

    def handler(self, name: str, method: _Method) -> grpc.RpcMethodHandler:
        """The handler of one method, for gRPC.

        It is that of a stream of requests, which on the wire is the same as one request: so the
        message is received when this server asks for it.
        """

        async def answer(_: object, context: grpc.aio.ServicerContext) -> bytes:
            return await self._answer(name, method, context)

        return grpc.stream_unary_rpc_method_handler(answer)

    def standing(
        self,
        behavior: Callable[[Any, grpc.aio.ServicerContext], AsyncIterator[Message]],
        keyed: bool = False,
    ) -> Callable[[Any, grpc.aio.ServicerContext], AsyncIterator[Message]]:
        """Limits a method whose calls stay open, and ends them when the server stops."""

        async def limited(
            request: Any, context: grpc.aio.ServicerContext
        ) -> AsyncIterator[Message]:
            task = asyncio.current_task()
            assert task is not None
            try:
                if keyed and self._parts.keys:
                    self._parts.keys.name_of(_metadata_of(context))
                if len(self._standing) >= _MOST_STANDING:
                    raise RequestError(
                        grpc.StatusCode.RESOURCE_EXHAUSTED,
                        f"{_MOST_STANDING} such calls are open already; ask again later",
                    )
            except RequestError as error:
                await context.abort(error.code, _sendable(error.message))
            self._standing.add(task)
            try:
                async for response in behavior(request, context):
                    yield response
            except asyncio.CancelledError:
                if not self._stopping:
                    raise
                await context.abort(grpc.StatusCode.UNAVAILABLE, _IS_STOPPING)
            finally:
                self._standing.discard(task)

        return limited

    async def drain(self, grace_s: float) -> None:
        """Turns new calls away, and waits until those that there are have ended.

        Args:
            grace_s: for so many seconds at most.
        """
        began = self._turned_away = time.monotonic()
        # Those who watch the health hear of it before they are sent away.
        await asyncio.sleep(min(grace_s, _QUIET_S))
        self._stopping = True
        for task in self._standing:
            task.cancel()
        while (now := time.monotonic()) < began + grace_s:
            is_quiet = now > self._turned_away + _QUIET_S or now > began + _LONGEST_UNREST_S
            if is_quiet and not self._open:
                return
            await asyncio.sleep(0.01)

    async def _answer(self, name: str, method: _Method, context: grpc.aio.ServicerContext) -> bytes:
        parts = self._parts
        metadata = _metadata_of(context)
        peer = context.peer()
        record = parts.observer.begin("GRPC", method.name, metadata, peer)
        context.set_trailing_metadata(((REQUEST_ID, record.request_id),))
        refusal = grpc.StatusCode.CANCELLED, ""
        answer = deadline = None
        self._open += 1
        try:
            if self._stopping:
                self._turned_away = time.monotonic()
                raise RequestError(grpc.StatusCode.UNAVAILABLE, _IS_STOPPING)
            if parts.keys:
                record.caller = parts.keys.name_of(metadata)
            remaining_s = context.time_remaining()
            deadline = None if remaining_s is None else time.monotonic() + remaining_s
            work = _Work(method, parts, await self._receive(context), record, deadline)
            answer = await self._computed(work, method, record.caller or peer, record.bytes_in)
            record.bytes_out = len(answer)
            if len(answer) > self._max_message_bytes:
                answer = None
                raise RequestError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"The answer is larger than max ({record.bytes_out} vs. "
                    f"{self._max_message_bytes}); ask for less at a time, or for fewer outputs",
                )
        except RequestError as error:
            refusal = error.code, error.message
            if error.code in _TURNED_AWAY:
                parts.metrics.observe_refusal(_TURNED_AWAY[error.code])
        except MemoryError:
            refusal = (
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "There is not memory enough for the request; ask again later",
            )
        except asyncio.CancelledError:
            if deadline is not None and time.monotonic() > deadline - _CLOCKS_DIFFER_S:
                refusal = grpc.StatusCode.DEADLINE_EXCEEDED, ""
            raise
        except Exception:
            record.error_id = request_id(None)
            _log.exception("%s failed; the caller was told error %s", name, record.error_id)
            refusal = (
                grpc.StatusCode.INTERNAL,
                f"The server failed; its log says more under error {record.error_id}",
            )
        finally:
            self._open -= 1
            code = grpc.StatusCode.OK if answer is not None else refusal[0]
            parts.observer.end(record, code.name, failed=code in _IS_SERVERS_FAULT)
            if method.is_metered:
                parts.metrics.observe_request(
                    record.model, method.name, "GRPC", code, record.seconds
                )
        if answer is None:
            await context.abort(refusal[0], _sendable(refusal[1]))
        # An abort raises.
        return answer  # type: ignore[return-value]

    async def _receive(self, context: grpc.aio.ServicerContext) -> bytes:
        """The call's message, if it comes in time."""
        if self._arriving >= _MOST_ARRIVING:
            raise RequestError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{_MOST_ARRIVING} messages are being received already; ask again later",
            )
        task = asyncio.current_task()
        assert task is not None
        late = False

        def give_up() -> None:
            nonlocal late
            late = True
            task.cancel()

        timer = asyncio.get_running_loop().call_later(_MESSAGE_TIMEOUT_S, give_up)
        self._arriving += 1
        try:
            message = await context.read()
        except asyncio.CancelledError:
            if not late:
                raise
            raise RequestError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"The message was not there after {_MESSAGE_TIMEOUT_S:g} s",
            ) from None
        finally:
            self._arriving -= 1
            timer.cancel()
        if message is grpc.aio.EOF:
            # gRPC itself refuses one that is too large, and has done so by now.
            raise RequestError(grpc.StatusCode.RESOURCE_EXHAUSTED, "The message did not arrive")
        return message

    async def _computed(self, work: _Work, method: _Method, caller: str, size: int) -> bytes:
        try:
            if method.takes_turns:
                outcome = await self._parts.admission.run(caller, work, size, work.kind)
            else:
                threads = self._reloads if method.answer is _reload else self._quick
                outcome = await asyncio.get_running_loop().run_in_executor(
                    threads, lambda: finish(work())
                )
        except asyncio.CancelledError:
            work.is_awaited = False
            raise
        if isinstance(outcome, RequestError):
            raise outcome
        return outcome


class _Work:
    """What is done for a call in a thread: its message parsed, answered, and the answer packed."""

    def __init__(
        self,
        method: _Method,
        parts: Parts,
        message: bytes,
        record: Record,
        deadline: float | None,
    ):
        record.bytes_in = len(message)
        self._method = method
        self._parts = parts
        self._message = message
        self._request: Message | None = None
        self._record = record
        self._deadline = deadline
        self.is_awaited = True

    @property
    def kind(self) -> Kind | None:
        """What is asked of whom, as it stands at the message's beginning, which is parsed later.

        None where something else comes first, which is allowed, and where several are asked.
        """
        message = self._message
        if self._method.request is inference_pb2.MultiInferenceRequest or len(message) < 2:
            return None
        if message[0] != _MODEL_SPEC or message[1] > _LONGEST_MODEL_SPEC:
            return None
        return Kind(self._method.name.lower(), message[2 : 2 + message[1]])

    def __call__(self) -> Asking[bytes | RequestError]:
        """The answer, or why there is none.

        A refusal comes back without its traceback, which holds every value of the request, and of
        which asyncio makes a cycle: memory would be taken until Python looks for those.
        """
        try:
            return (yield from self._answer())
        except RequestError as error:
            error.__traceback__ = error.__context__ = error.__cause__ = None
            return error

    def _answer(self) -> Asking[bytes]:
        timeout_s = None
        if self._deadline is not None:
            timeout_s = self._deadline - time.monotonic()
            if timeout_s <= 0:
                raise RequestError(
                    grpc.StatusCode.DEADLINE_EXCEEDED, "The deadline was over before its turn came"
                )
        if not self.is_awaited:
            raise RequestError(grpc.StatusCode.CANCELLED, "Nobody waits for the answer any more")
        request = self._parsed()
        _describe(request, self._record)
        CURRENT_REQUEST.set(self._record.request_id)
        began = time.perf_counter()
        try:
            response: Any = self._method.answer(self._parts, request, timeout_s)
            if self._method.takes_turns:
                response = yield from response
        except TakesLong:
            self._request = request
            raise
        self._record.version = _version_of(response)
        if self._method.takes_turns:
            self._measure(time.perf_counter() - began)
        return response.SerializeToString()

    def _parsed(self) -> Message:
        if self._request is not None:
            request, self._request = self._request, None
            return request
        try:
            request = self._method.request.FromString(self._message)
        except DecodeError as error:
            raise RequestError(
                grpc.StatusCode.INTERNAL,
                f"The message is no {self._method.request.DESCRIPTOR.full_name}: {error}",
            ) from None
        # Nobody else holds it: a message of pictures is not kept beside what was parsed of it.
        self._message = b""
        return request

    def _measure(self, seconds: float) -> None:
        record, metrics = self._record, self._parts.metrics
        metrics.observe_runtime(record.model, self._method.name, seconds)
        if self._method.name != "Predict":
            metrics.observe_examples(record.model, record.examples or 0)


class Health:
    """grpc.health.v1: SERVING from when every model answers until the server is stopped.

    A model that is added later, or whose versions are removed, changes nothing: its callers are
    told, and those of the others need the server.

    The services that are known are the whole server (the empty name) and those of TensorFlow
    Serving, by the short names that it uses and by their full ones.

    Args:
        is_ready: whether every configured model answers.
    """

    NAMES = frozenset({"", "PredictionService", "ModelService", PREDICTION_SERVICE, MODEL_SERVICE})

    def __init__(self, is_ready: Callable[[], bool]):
        self._is_ready = is_ready
        self._was_ready = False
        self._closed = False
        self._told: int | None = None
        self._watchers: set[asyncio.Event] = set()

    async def check(
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        """Says how a service is now."""
        if request.service not in self.NAMES:
            await context.abort(
                grpc.StatusCode.NOT_FOUND, _sendable(f"unknown service {request.service}")
            )
        return health_pb2.HealthCheckResponse(status=self._status())

    async def watch(
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Says how a service is now, and again whenever that changes."""
        changed = asyncio.Event()
        self._watchers.add(changed)
        told = None
        try:
            while True:
                changed.clear()
                status = (
                    self._status()
                    if request.service in self.NAMES
                    else health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
                )
                if status != told:
                    yield health_pb2.HealthCheckResponse(status=status)
                    told = status
                await changed.wait()
        finally:
            self._watchers.discard(changed)

    def tell(self) -> None:
        """Wakes those who watch if something has changed."""
        status = self._status()
        if status != self._told:
            self._told = status
            for watcher in self._watchers:
                watcher.set()

    def close(self) -> None:
        """From now on nothing is served."""
        self._closed = True
        self.tell()

    def _status(self) -> int:
        states = health_pb2.HealthCheckResponse
        self._was_ready = self._was_ready or self._is_ready()
        return states.SERVING if self._was_ready and not self._closed else states.NOT_SERVING


def check_port(host: str, port: int, option: str) -> None:
    """Sees whether a port can be listened to, because gRPC does not say why one cannot.

    Args:
        host: name or address.
        port: 0 is any free one.
        option: the flag that sets it, for the message.

    Raises:
        UserError: it cannot; the sentence says why and what to do.
    """
    where = address(host, port)
    remedy = f"Choose another with {option}."
    if not 0 <= port < 1 << 16:
        raise UserError(f"Cannot listen on {where}: ports go from 0 to 65535. {remedy}")
    nowhere = f"Cannot listen on {where}: {host} is no address of this machine"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise UserError(f"{nowhere} ({error}).") from error
    reachable = 0
    for family, kind, protocol, _, place in found:
        try:
            with socket.socket(family, kind, protocol) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.bind(place)
                # Two may be bound to a port, and only one of them listens.
                tried.listen()
        except OSError as error:
            # A name may have addresses of a kind that this machine does not speak.
            if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                continue
            reason = {
                errno.EADDRINUSE: f"port {port} is in use",
                errno.EACCES: f"port {port} is not allowed to this user",
            }.get(error.errno or 0, str(error))
            raise UserError(f"Cannot listen on {where}: {reason}. {remedy}") from error
        reachable += 1
    if not reachable:
        raise UserError(f"{nowhere}.")


def _check_socket(path: str) -> None:
    """Sees whether a Unix socket can be made, because gRPC takes over one that is in use."""
    place = Path(path)
    try:
        if place.exists():
            if not stat.S_ISSOCK(place.stat().st_mode):
                raise UserError(
                    f"Cannot listen on the Unix socket {path}: there is a file of that name. Name "
                    "another with --grpc_socket_path."
                )
            with socket.socket(socket.AF_UNIX) as tried:
                try:
                    tried.connect(path)
                except ConnectionRefusedError:
                    return
            raise UserError(
                f"Cannot listen on the Unix socket {path}: a server listens there already. Name "
                "another with --grpc_socket_path."
            )
        with socket.socket(socket.AF_UNIX) as tried:
            tried.bind(path)
        place.unlink()
    except OSError as error:
        raise UserError(
            f"Cannot listen on the Unix socket {path}: {error.strerror or error}. Name another "
            "with --grpc_socket_path."
        ) from error


def _listen(server: grpc.aio.Server, where: str, credentials: grpc.ServerCredentials | None) -> int:
    try:
        if credentials:
            return server.add_secure_port(where, credentials)
        return server.add_insecure_port(where)
    except RuntimeError as error:
        raise UserError(
            f"Cannot listen on {where}: it is in use or not allowed. Choose another with --port."
        ) from error


def _channel_arguments(options: ServerOptions) -> list[tuple[str, int | str]]:
    arguments: dict[str, int | str] = {
        "grpc.max_send_message_length": options.max_message_bytes,
        "grpc.max_receive_message_length": options.max_message_bytes,
        # Otherwise two servers share a port, and each gets some of the calls.
        "grpc.so_reuseport": 0,
        # Callers behind balancers ping to keep connections; gRPC would hang up on them for it.
        "grpc.http2.min_ping_interval_without_data_ms": 10_000,
        "grpc.http2.min_recv_ping_interval_without_data_ms": 10_000,
        "grpc.keepalive_permit_without_calls": 1,
        # A caller whose machine has gone says no goodbye.
        "grpc.keepalive_time_ms": 300_000,
        "grpc.keepalive_timeout_ms": 20_000,
    }
    if options.max_connection_age_s:
        arguments["grpc.max_connection_age_ms"] = int(1000 * options.max_connection_age_s)
    return list((arguments | dict(options.grpc_channel_arguments)).items())


def _metadata_of(context: grpc.aio.ServicerContext) -> dict[str, str]:
    return {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}


def _sendable(message: str) -> str:
    """An error's text as gRPC can carry it: in UTF-8, and cut where TensorFlow Serving cuts."""
    encoded = message.encode("utf-8", "backslashreplace")
    if len(encoded) <= _LONGEST_MESSAGE:
        return encoded.decode()
    return encoded[:_LONGEST_MESSAGE].decode("utf-8", "ignore") + "...TRUNCATED"


def _describe(request: Any, record: Record) -> None:
    """Notes what the log says of a request: its model, signature and number of rows."""
    if isinstance(request, inference_pb2.MultiInferenceRequest):
        spec = request.tasks[0].model_spec if request.tasks else None
    elif isinstance(request, model_management_pb2.ReloadConfigRequest):
        return
    else:
        spec = request.model_spec
    if spec is not None:
        record.model = spec.name
        record.signature = spec.signature_name
    if isinstance(request, predict_pb2.PredictRequest):
        for tensor in request.inputs.values():
            dimensions = tensor.tensor_shape.dim
            record.examples = dimensions[0].size if dimensions else 1
            break
    elif hasattr(request, "input"):
        which = request.input.WhichOneof("kind")
        record.examples = len(getattr(request.input, which).examples) if which else 0


def _version_of(response: Any) -> int | None:
    if isinstance(response, inference_pb2.MultiInferenceResponse):
        response = response.results[0] if response.results else None
    spec = getattr(response, "model_spec", None)
    return spec.version.value if spec is not None and spec.HasField("version") else None


def _reflection(
    calls: _Calls, services: Mapping[str, object]
) -> dict[str, dict[str, grpc.RpcMethodHandler]]:
    """Both versions of the reflection service, which have the same messages."""
    versions = [f"grpc.reflection.{version}.ServerReflection" for version in ("v1alpha", "v1")]
    pool = descriptor_pool.Default()
    # The published Python package's own descriptions of the two services cannot be imported beside
    # protobuf 6.
    _define(pool, "prediction_service", "PredictionService", _PREDICTION_METHODS)
    _define(pool, "model_service", "ModelService", _MODEL_METHODS)
    servicer = reflection_aio.ReflectionServicer([*services, *versions], pool)
    return {
        version: {
            "ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(
                calls.standing(servicer.ServerReflectionInfo, keyed=True),
                reflection_pb2.ServerReflectionRequest.FromString,
                reflection_pb2.ServerReflectionResponse.SerializeToString,
            )
        }
        for version in versions
    }


def _define(
    pool: descriptor_pool.DescriptorPool, file: str, service: str, methods: Sequence[_Method]
) -> None:
    name = f"tensorflow_serving/apis/{file}.proto"
    try:
        pool.FindFileByName(name)
    except KeyError:
        described = descriptor_pb2.FileDescriptorProto(
            name=name, package="tensorflow.serving", syntax="proto3"
        )
        described.service.add(name=service)
        for method in methods:
            described.service[0].method.add(
                name=method.name,
                input_type=f".{method.request.DESCRIPTOR.full_name}",
                output_type=f".{method.response.DESCRIPTOR.full_name}",
            )
        described.dependency.extend(
            sorted({method.request.DESCRIPTOR.file.name for method in methods})
        )
        pool.Add(described)
