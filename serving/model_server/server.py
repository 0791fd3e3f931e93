"""The server: its ports, its loop, its life."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config import model_server_config_pb2

from schema.errors import UserError
from serving.model_server import memory
from serving.model_server.access import ApiKeys, Tls
from serving.model_server.admission import Admission
from serving.model_server.errors import RequestError
from serving.model_server.grpc_server import GrpcServer, Parts
from serving.model_server.metrics import Metrics
from serving.model_server.options import ServerOptions, single_model
from serving.model_server.request_log import Observer, RequestLog, Tracing
from serving.model_server.rest import RestServer
from serving.model_server.servables import Model, Servables, saved_models
from serving.model_server.traffic_log import TrafficLog, asking
from serving.process import (
    LOOPBACK,
    address,
    cores,
    exit_at_once,
    is_loopback,
    new_loop,
    reachable,
)

_log = logging.getLogger("seamline.serving")

_Result = TypeVar("_Result")

_OPEN_FILES = 1 << 16

_LONGER_THAN_GRACE_S = 5.0
"""How long stopping may take beyond what callers are waited for."""

_SIGNALS_ARE_SEEN_S = 0.2
"""A signal that comes in the moment before the main thread waits does not wake it (CPython looks
for signals before it gives up the interpreter, and then only sleeps); so it never waits longer."""


class ModelServer:
    """TensorFlow Serving's gRPC and REST interfaces over SavedModels, in this process.

    As a context manager it starts, waits until the model answers, and stops at the end:

        with ModelServer("workspace/demo/serving") as server:
            print(server.endpoint, server.version)

    Args:
        serving_root: holds the served models, each in `<serving_root>/<model_name>/<version>/`; a
            workspace's `serving` folder.
        model_name: the model to serve, and the name to serve it under.
        port: gRPC port; 0 takes any free one.
        rest_port: REST port; 0 takes any free one, None serves no REST.
        host: address to listen on; `0.0.0.0` or `::` for every network that the machine is in.
        poll_interval_s: how often the folder is looked into for a new version, in seconds.
        settings: any other field of `ServerOptions`.
    """

    def __init__(
        self,
        serving_root: str | os.PathLike[str],
        model_name: str = "catalog",
        port: int = 0,
        rest_port: int | None = None,
        host: str = LOOPBACK,
        poll_interval_s: float = 1.0,
        **settings: Any,
    ):
        folder = Path(serving_root).absolute() / model_name
        self._set_up(
            ServerOptions(
                models=single_model(folder, model_name),
                port=port,
                rest_api_port=rest_port,
                host=host,
                file_system_poll_wait_seconds=poll_interval_s,
                **settings,
            ),
            waits_for_first_version=False,
        )

    @classmethod
    def from_options(cls, options: ServerOptions) -> ModelServer:
        """A server that does what it is told, and waits for models whose folders are empty yet."""
        server = cls.__new__(cls)
        server._set_up(options, waits_for_first_version=True)
        return server

    def _set_up(self, options: ServerOptions, waits_for_first_version: bool) -> None:
        self.options = options
        self._waits_for_first_version = waits_for_first_version
        self._stopping = threading.Lock()
        self._stopped = threading.Event()
        self._loop: _LoopThread | None = None
        self._observer: Observer | None = None
        self._servables: Servables | None = None
        self._admission: Admission | None = None
        self._traffic_log: TrafficLog | None = None
        self._grpc: GrpcServer | None = None
        self._rest: RestServer | None = None

    def start(self) -> ModelServer:
        """Opens the ports and begins to load the models; until then calls are UNAVAILABLE.

        Raises:
            UserError: a port is taken, a certificate, a key file or the models' configuration is of
                no use, or, of a server that was made of a folder, there is no version in it.
        """
        options = self.options
        if options.port and options.port == options.rest_api_port:
            raise UserError(
                f"gRPC and REST cannot share port {options.port}. Choose another for one of them."
            )
        try:
            tls = Tls.of(options.ssl) if options.ssl else None
            keys = ApiKeys(options.api_key_file) if options.api_key_file else None
            self._observer = Observer(
                RequestLog(options.access_log) if options.access_log else None,
                Tracing(options.otlp_endpoint) if options.otlp_endpoint else None,
            )
            metrics = Metrics()
            self._servables = Servables(
                options,
                _counted(saved_models(options), metrics),
                on_warmup=metrics.observe_warmup,
            )
            if options.traffic_log:
                self._traffic_log = TrafficLog(
                    options.traffic_log,
                    options.traffic_log_rate,
                    options.traffic_log_pictures,
                    ask=asking(self._servables),
                    count=metrics.observe_logged,
                )
                self._servables.observe = self._traffic_log.observe
            self._admission = Admission(
                options.max_requests_in_flight,
                options.max_queued_requests,
                options.max_queued_bytes,
                threads=options.batch_threads,
                batching=self._servables.batching,
                slow=max(1, cores() // 2),
            )
            _watch(metrics, self._servables, self._admission)
            parts = Parts(
                servables=self._servables,
                admission=self._admission,
                metrics=metrics,
                observer=self._observer,
                keys=keys,
                is_ready=self._servables.is_ready,
            )
            self._loop = _LoopThread()
            self._grpc = GrpcServer(options, parts, tls)
            self._loop.run(self._grpc.open())
            if options.rest_api_port is not None:
                self._rest = RestServer(options, parts, tls)
                self._loop.run(self._rest.open())
            self._servables.listen(self._tell_health)
            if not self._waits_for_first_version:
                self._servables.check_folders()
            self._servables.start()
            self._loop.run(self._grpc.start())
            if self._rest:
                self._loop.run(self._rest.start())
        except BaseException:
            self.stop(grace_s=0.0)
            raise
        if self.is_open_to_anybody:
            _log.warning(
                "anybody who can reach %s may ask this server: it knows neither API keys nor "
                "callers' certificates",
                options.host,
            )
        _log.info(
            "serving: gRPC at %s, REST at %s",
            self.endpoint or options.grpc_socket_path or "no port",
            self.rest_endpoint or "no port",
        )
        return self

    def _tell_health(self) -> None:
        assert self._loop is not None and self._grpc is not None
        self._loop.call_soon(self._grpc.tell_health)

    @property
    def models(self) -> model_server_config_pb2.ModelServerConfig:
        """What is served now."""
        return self._servables.config if self._servables else self.options.models

    def reload(self, models: model_server_config_pb2.ModelServerConfig) -> None:
        """Serves what another configuration says, and nothing else.

        Models that both name go on without a break. Returns when the new ones answer.

        Raises:
            UserError: the configuration cannot be served, and nothing has changed; or one of its
                new models cannot be loaded, and all else is served.
        """
        assert self._servables is not None
        try:
            self._servables.reload(models)
        except RequestError as error:
            raise UserError(str(error)) from error

    def wait_until_ready(self, timeout_s: float | None = 300.0) -> None:
        """Waits until every model answers.

        Raises:
            UserError: a model cannot be loaded, or it takes longer.
        """
        assert self._servables is not None
        self._servables.wait_until_ready(timeout_s)

    def wait_for_termination(self) -> None:
        """Waits until another thread stops the server, or Ctrl-C interrupts."""
        while not self._stopped.wait(_SIGNALS_ARE_SEEN_S):
            pass

    def stop(self, grace_s: float | None = None) -> None:
        """Closes the ports, and ends when the last call is answered and no thread is left.

        Args:
            grace_s: callers are cut off after so many seconds, `stop_grace_s` of the options by
                default. What is computed at that moment is computed to its end.
        """
        with self._stopping:
            if self._stopped.is_set():
                return
            if grace_s is None:
                grace_s = self.options.stop_grace_s
            if self._loop:
                self._loop.run(self._close_ports(grace_s))
            if self._traffic_log:
                # Before the models are gone that it asks.
                self._traffic_log.close()
            # From here on nobody asks: what is left is waited for.
            if self._servables:
                self._servables.close()
            if self._admission:
                self._admission.close()
            if self._grpc:
                self._grpc.close()
            if self._loop:
                self._loop.close()
            if self._observer:
                self._observer.close()
            self._stopped.set()

    def __enter__(self) -> ModelServer:
        self.start()
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def endpoint(self) -> str | None:
        """`host:port` to reach the gRPC interface at from this machine; None if there is none."""
        port = self._grpc.port if self._grpc else None
        return None if port is None else address(reachable(self.options.host), port)

    @property
    def rest_endpoint(self) -> str | None:
        """`host:port` to reach the REST interface at from this machine; None if there is none."""
        port = self._rest.port if self._rest else None
        return None if port is None else address(reachable(self.options.host), port)

    @property
    def version(self) -> int | None:
        """The version of the first model that answers; None if none does."""
        models = self.options.models.model_config_list.config
        if not self._servables or not models:
            return None
        try:
            with self._servables.find(model_pb2.ModelSpec(name=models[0].name)) as servable:
                return servable.version
        except RequestError:
            return None

    @property
    def is_open_to_anybody(self) -> bool:
        """Whether other machines may ask without a key or a certificate."""
        options = self.options
        is_mutual = options.ssl is not None and options.ssl.client_verify
        return not options.api_key_file and not is_mutual and not is_loopback(options.host)

    async def _close_ports(self, grace_s: float) -> None:
        closing = [server.stop(grace_s) for server in (self._grpc, self._rest) if server]
        for problem in await asyncio.gather(*closing, return_exceptions=True):
            if isinstance(problem, Exception):
                _log.error("a port was not closed well", exc_info=problem)


def serve(server: ModelServer, announce: Callable[[], None]) -> None:
    """Runs a server until SIGTERM or SIGINT, then answers what it has been asked, and returns.

    A second signal ends the process at once. So does, with exit status 0, a computation that goes
    on for longer than callers are waited for.

    Args:
        server: not started yet.
        announce: called when every model answers.

    Raises:
        UserError: it cannot be started, or no version of a model can be loaded.
    """
    _allow_many_connections()
    memory.give_large_blocks_back()
    with _signals() as was_signaled:
        try:
            server.start()
            server.wait_until_ready(timeout_s=None)
            # TensorFlow's hundred thousands of objects stay; looking through them again and again
            # would make large requests take three times as long.
            gc.collect()
            gc.freeze()
            announce()
            server.wait_for_termination()
        except _Signaled:
            _log.info("asked to stop: answering the calls there are")
        finally:
            stopping = threading.Thread(target=server.stop, name="stop", daemon=True)
            stopping.start()
            deadline = time.monotonic() + server.options.stop_grace_s + _LONGER_THAN_GRACE_S
            while stopping.is_alive() and time.monotonic() < deadline:
                stopping.join(_SIGNALS_ARE_SEEN_S)
            if stopping.is_alive() and was_signaled():
                _log.warning("what is still computed, and nobody waits for, is given up")
                exit_at_once(0)


def _allow_many_connections() -> None:
    """Lets the process open enough files; a connection is one."""
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if most == resource.RLIM_INFINITY else min(most, _OPEN_FILES)
    if least < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _counted(load: Callable[[Path], Model], metrics: Metrics) -> Callable[[Path], Model]:
    """The same, and the metrics are told of it."""

    def load_and_count(folder: Path) -> Model:
        began = time.perf_counter()
        succeeded = False
        try:
            model = load(folder)
            succeeded = True
            return model
        finally:
            metrics.observe_load(str(folder), succeeded, time.perf_counter() - began)

    return load_and_count


def _watch(metrics: Metrics, servables: Servables, admission: Admission) -> None:
    """Shows what is at every scrape as it is then."""

    def versions() -> Iterator[tuple[str, int, str]]:
        for model in list(servables.config.model_config_list.config):
            # Nothing is known yet of a model that was just named.
            with suppress(RequestError):
                for state in servables.states(model_pb2.ModelSpec(name=model.name)):
                    yield model.name, state.version, state.state

    metrics.watch_versions(versions)
    metrics.watch("requests_in_flight", "Requests that are computed.", lambda: admission.in_flight)
    metrics.watch("requests_queued", "Requests that wait for their turn.", lambda: admission.queued)
    for model in servables.options.models.model_config_list.config:
        metrics.add_model(model.name)


class _Signaled(BaseException):
    """A signal asks the server to stop."""


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Makes the first SIGTERM or SIGINT a `_Signaled`, and the second one the end."""
    seen = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        if seen:
            exit_at_once(128 + number)
        seen = True
        raise _Signaled

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _LoopThread:
    """An asyncio loop that runs in a thread of its own."""

    def __init__(self) -> None:
        self._loop = new_loop()
        self._thread = threading.Thread(target=self._run, name="serving loop", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        """Runs a coroutine in the loop, and gives its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def call_soon(self, function: Callable[[], None]) -> None:
        """Has a function called in the loop, if that still runs."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)

    def close(self) -> None:
        """Ends the loop, and what still runs in it."""
        self.run(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _cancel_all(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()
