"""The app as a process: its port, its signals, its life."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import threadpoolctl

from serving.app.api import make_app
from serving.app.models import Models
from serving.model_server.http_server import HttpServer, Limits, listening_sockets
from serving.process import LOOPBACK, address, exit_at_once, is_loopback, reachable
from serving.search.qdrant_server import QdrantServer

PORT = 8080

_GRACE_S = 10.0
_MOST_CONNECTIONS = 500

_log = logging.getLogger("seamline.app")


@dataclass(frozen=True)
class AppOptions:
    """What the app is told.

    Attributes:
        root: holds `<model>/<version>/`.
        server: "host:port" of the model server's gRPC.
        model: the one model to search by; all by default.
        host: address to listen on.
        port: to listen on; 0 takes any that is free.
        api_key: for the model server; None for none.
        qdrant: where the indexes were brought to and are searched; None searches the folders' own.
    """

    root: Path
    server: str
    model: str | None = None
    host: str = LOOPBACK
    port: int = PORT
    api_key: str | None = None
    qdrant: QdrantServer | None = None

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)


def bound(options: AppOptions) -> list[socket.socket]:
    """Takes the port.

    Raises:
        UserError: it is taken, or not allowed, or there is no such host.
    """
    return listening_sockets(options.host, options.port, "--port")


async def serve(
    options: AppOptions,
    sockets: list[socket.socket],
    announce: Callable[[str, Models], None],
    on_stop: Callable[[], None] = lambda: None,
) -> None:
    """Serves until SIGTERM or SIGINT, then answers what it has been asked, and returns.

    A second signal ends the process at once.

    Args:
        options: what it is told.
        sockets: of `bound`.
        announce: is told the page's address when it answers, and what there is to search by.
        on_stop: is called, in a thread, when nobody asks any more.
    """
    # BLAS's threads wait for each other by spinning, on processors that the model server needs.
    threadpoolctl.threadpool_limits(1, "blas")
    loop = asyncio.get_running_loop()
    is_over = asyncio.Event()

    def end(number: int) -> None:
        if is_over.is_set():
            exit_at_once(128 + number)
        is_over.set()

    signals = (signal.SIGTERM, signal.SIGINT)
    models = Models(options.root, options.server, options.model, options.api_key, options.qdrant)
    server = HttpServer(
        make_app(models, local_only=options.is_local),
        sockets,
        limits=Limits(connections=_MOST_CONNECTIONS),
        on_refusal=lambda reason: _log.info("cut off: %s", reason),
    )
    for number in signals:
        loop.add_signal_handler(number, end, number)
    try:
        await models.start()
        await server.start()
        if not is_over.is_set():
            announce(address_of(options, server.port), models)
        await is_over.wait()
        _log.info("asked to stop: answering the requests there are")
    finally:
        await server.stop(_GRACE_S)
        await models.close()
        await asyncio.to_thread(on_stop)
        for number in signals:
            loop.remove_signal_handler(number)


def address_of(options: AppOptions, port: int) -> str:
    """Where a browser on this machine finds the page."""
    host = "localhost" if options.host == LOOPBACK else reachable(options.host)
    return f"http://{address(host, port)}/"
