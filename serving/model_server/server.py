"""The server: its ports, its threads, its life."""

from __future__ import annotations

import logging
import os
from concurrent import futures
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from schema.errors import UserError
from serving.client import MAX_MESSAGE_BYTES
from serving.model_server.grpc_services import HealthService, ModelService, PredictionService
from serving.model_server.rest import RestServer
from serving.model_server.served_model import ServedModel

_log = logging.getLogger("seamline.serving")

# Calls that wait for their turn hold their request in memory; more than these are turned away.
_WAITING_CALLS = 64
_STOP_GRACE_S = 5.0


class ModelServer:
    """Serves the newest version of one model over gRPC, and REST if a port is given for it.

    As a context manager it starts, waits until the model answers, and stops at the end.

    Args:
        serving_root: holds the served models, each in `<serving_root>/<model_name>/<version>/`;
            a workspace's `serving` folder.
        model_name: the model to serve, and the name to serve it under.
        port: gRPC port; 0 takes any free one.
        rest_port: REST port; 0 takes any free one, None serves no REST.
        host: address to listen on; "0.0.0.0" for every network that the machine is in.
        max_workers: predictions that are computed at a time; one a core by default.
        poll_interval_s: how often the folder is looked into for a new version, in seconds.
    """

    def __init__(
        self,
        serving_root: str | os.PathLike[str],
        model_name: str = "catalog",
        port: int = 0,
        rest_port: int | None = None,
        host: str = "127.0.0.1",
        max_workers: int | None = None,
        poll_interval_s: float = 1.0,
    ):
        self._folder = Path(serving_root) / model_name
        self._host = host
        self._requested_port = port
        self._requested_rest_port = rest_port
        self._max_workers = max_workers or os.cpu_count() or 1
        self._served = ServedModel(self._folder, model_name, self._max_workers, poll_interval_s)
        self._grpc_server: grpc.Server | None = None
        self._rest_server: RestServer | None = None
        self._port = 0

    def start(self) -> ModelServer:
        """Opens the ports and begins to load the model; until it is loaded, calls are UNAVAILABLE.

        Raises:
            UserError: a port is taken, or the folder holds no version.
        """
        calls = self._max_workers + _WAITING_CALLS
        server = grpc.server(
            # A thread for every call that may wait: status and health are answered under load.
            futures.ThreadPoolExecutor(calls, thread_name_prefix="grpc"),
            maximum_concurrent_rpcs=calls,
            options=[
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                # Otherwise two servers share a port, and each gets some of the calls.
                ("grpc.so_reuseport", 0),
            ],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(self._served), server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelService(self._served), server
        )
        health_pb2_grpc.add_HealthServicer_to_server(HealthService(self._served), server)
        self._grpc_server = server
        try:
            self._port = self._bind()
            if self._requested_rest_port is not None:
                self._rest_server = RestServer(self._served, self._host, self._requested_rest_port)
            self._served.start()
        except UserError:
            self.stop()
            raise
        server.start()
        if self._rest_server:
            self._rest_server.start()
        _log.info(
            "serving %s from %s: gRPC at %s%s",
            self._served.name,
            self._folder,
            self.endpoint,
            f", REST at http://{self.rest_endpoint}/v1/models/{self._served.name}"
            if self._rest_server
            else "",
        )
        return self

    def wait_until_ready(self, timeout_s: float = 300.0) -> None:
        """Waits until the model answers.

        Raises:
            UserError: no version can be loaded, or it takes longer.
        """
        self._served.wait_until_ready(timeout_s)

    def wait_for_termination(self) -> None:
        """Waits until another thread stops the server, or Ctrl-C interrupts."""
        self._grpc_server.wait_for_termination()

    def stop(self) -> None:
        """Answers the calls it has, for a few seconds at most, and closes the ports."""
        if self._grpc_server:
            self._grpc_server.stop(_STOP_GRACE_S).wait()
        if self._rest_server:
            self._rest_server.stop()
        self._served.stop()

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
    def endpoint(self) -> str:
        """`host:port` to reach the gRPC interface at from this machine."""
        return f"{self._reachable_host}:{self._port}"

    @property
    def rest_endpoint(self) -> str | None:
        """`host:port` to reach the REST interface at from this machine; None if there is none."""
        return f"{self._reachable_host}:{self._rest_server.port}" if self._rest_server else None

    @property
    def version(self) -> int | None:
        """The version that answers; None until the first one is loaded."""
        return self._served.current_version

    @property
    def _reachable_host(self) -> str:
        return "localhost" if self._host in ("", "0.0.0.0", "[::]") else self._host

    def _bind(self) -> int:
        address = f"{self._host}:{self._requested_port}"
        try:
            return self._grpc_server.add_insecure_port(address)
        except RuntimeError as error:
            raise UserError(
                f"Cannot listen on {address}: port {self._requested_port} is in use or not "
                "allowed. Choose another with --port, or 0 for any free one."
            ) from error
