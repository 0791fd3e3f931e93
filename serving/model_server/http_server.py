"""Uvicorn within an asyncio loop that is there already, with limits on what a connection may cost.

Uvicorn itself bounds neither a request's head nor the time that a client takes. Here whoever sends
or reads too slowly is cut off, and whoever connects beyond the limit pushes out the connection that
has been idle for longest.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http
import json
import logging
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from schema.errors import UserError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_log = logging.getLogger("seamline.serving")

_SWEEP_S = 1.0
_BACKLOG = 2048
# What a client says that asks for HTTP/2, in headers that go from hop to hop.
_UPGRADE_HEADERS = (b"upgrade", b"http2-settings")


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a connection may cost.

    Attributes:
        connections: how many there may be. One more closes the one that has been idle for longest;
            if none is idle, it is answered 503 and closed.
        header_bytes: of a request's line and headers together.
        header_s: seconds within which they must be there, from the connection's beginning or the
            first byte of a further request on it.
        body_s: seconds that a body may take; for each `body_bytes_per_s` bytes of it one more.
        body_bytes_per_s: how fast a long body must come.
        idle_s: seconds after which a connection without a request is closed. Longer than load
            balancers keep theirs (60 s), or they would now and then send one into a closing one.
        write_s: seconds within which a client must read some of its answer.
        drain_s: seconds for which the rest of a body is read that was refused before it was there,
            so that the client comes to read why.
    """

    connections: int = 1000
    header_bytes: int = 256 * 1024
    header_s: float = 10.0
    body_s: float = 30.0
    body_bytes_per_s: int = 64 * 1024
    idle_s: float = 75.0
    write_s: float = 30.0
    drain_s: float = 10.0


class HttpServer:
    """Serves an ASGI application on sockets.

    Args:
        app: The application.
        sockets: Bound; they are closed with the server.
        tls: For HTTPS; None for HTTP.
        limits: What a connection may cost.
        on_refusal: Is told, in one of few words, why a connection or request is cut off.
    """

    def __init__(
        self,
        app: ASGIApp,
        sockets: Sequence[socket.socket],
        tls: ssl.SSLContext | None = None,
        limits: Limits | None = None,
        on_refusal: Callable[[str], None] = lambda reason: None,
    ):
        self._sockets = list(sockets)
        config = _Config(
            app,
            http=_Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            # Anybody can write the headers that proxies do.
            proxy_headers=False,
        )
        config.limits = limits or Limits()
        config.timeout_keep_alive = config.limits.idle_s
        config.on_refusal = on_refusal
        config.load()
        config.ssl = tls
        self._server = _Server(config)
        self._serving: asyncio.Task[None] | None = None
        self._sweeping: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._server.server_state.connections)

    async def start(self) -> None:
        """Begins to accept connections."""
        self._port = self._sockets[0].getsockname()[1]
        self._serving = asyncio.create_task(self._server.serve(self._sockets))
        self._sweeping = asyncio.create_task(self._sweep())
        while not self._server.started:
            if self._serving.done():
                self._serving.result()
            await asyncio.sleep(0.005)

    async def stop(self, grace_s: float) -> None:
        """Accepts nothing more, answers what it has for some seconds at most, and cuts the rest."""
        if self._serving is None:
            for listening in self._sockets:
                listening.close()
            return
        self._server.config.timeout_graceful_shutdown = grace_s
        self._server.should_exit = True
        try:
            await asyncio.wait_for(asyncio.shield(self._serving), grace_s + 1.0)
        except asyncio.TimeoutError:
            _log.warning("callers are cut off that were not answered within %g s", grace_s)
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connection in self._connections():
            connection.transport.abort()
        self._server.force_exit = True
        tasks = [task for task in (self._serving, self._sweeping) if task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    def _connections(self) -> list[_Connection]:
        return list(self._server.server_state.connections)

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_S)
            for connection in self._connections():
                connection.check(loop.time())


def listening_sockets(host: str, port: int, option: str) -> list[socket.socket]:
    """Binds a port on every address of a host.

    Args:
        host: an IPv4 or IPv6 address or a name; `::` and the empty one are all addresses of both
            kinds.
        port: 0 takes any that is free.
        option: how the port is chosen, for the error.

    Raises:
        UserError: there is no such host, or the port is taken or not allowed.
    """
    if host in ("", "::") and not socket.has_dualstack_ipv6():
        host = "0.0.0.0"
    try:
        found = socket.getaddrinfo(
            host or "::", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        return _bound(found, port)
    except (OSError, OverflowError, UnicodeError) as error:
        raise UserError(
            f"Cannot listen on {host or '*'}, port {port}: {error}. Choose another with {option}, "
            "or 0 for any that is free."
        ) from error


def _bound(addresses: list[tuple[Any, ...]], port: int) -> list[socket.socket]:
    with contextlib.ExitStack() as undo:
        sockets: list[socket.socket] = []
        for family, kind, protocol, _, address in dict.fromkeys(addresses):
            try:
                one = undo.enter_context(socket.socket(family, kind, protocol))
            except OSError:
                # A name may have addresses of a kind that this machine does not speak.
                if len(addresses) == 1:
                    raise
                continue
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != "::")
            # Every address has the same port.
            chosen = sockets[0].getsockname()[1] if sockets else port
            one.bind((address[0], chosen, *address[2:]))
            # Only now is it sure that nobody else has the port.
            one.listen(_BACKLOG)
            one.setblocking(False)
            sockets.append(one)
        if not sockets:
            raise OSError("no address of it can be used here")
        undo.pop_all()
        return sockets


class _Config(uvicorn.Config):
    limits: Limits
    on_refusal: Callable[[str], None]


class _Server(uvicorn.Server):
    """Uvicorn's server without its hold on the process: no signals, no exit."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        loop = asyncio.get_running_loop()
        config: _Config = self.config
        timeout: dict[str, Any] = (
            {"ssl_handshake_timeout": config.limits.header_s} if config.ssl else {}
        )
        self.servers = [
            await loop.create_server(
                lambda: _Connection(config, self.server_state, {}),
                sock=one,
                ssl=config.ssl,
                backlog=_BACKLOG,
                **timeout,
            )
            for one in sockets or ()
        ]
        self.started = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Connection(HttpToolsProtocol):
    """A connection that is watched: what it waits for, since when, and how much has come."""

    config: _Config
    parser: httptools.HttpRequestParser

    def __init__(self, config: _Config, server_state: Any, app_state: dict[str, Any], **loop: Any):
        super().__init__(config, server_state, app_state, **loop)
        self._limits = config.limits
        self._task: asyncio.Task[None] | None = None
        # When what is awaited must be there; None while nothing is.
        self._deadline: float | None = None
        self._body_bytes: int | None = None
        # Bytes since the request last came to something: it is made of headers, or of nothing.
        self._quiet_bytes = 0
        self._idle_since: float | None = None
        self._upgrading = False
        self._refused = False
        # Bytes that the client has not read, and since when they have not become fewer.
        self._unread = 0, 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._deadline = self.loop.time() + self._limits.header_s
        if len(self.connections) > self._limits.connections:
            idle = [one for one in self.connections if one._idle_since is not None]
            if idle:
                self.config.on_refusal("idle connection")
                min(idle, key=lambda one: one._idle_since).transport.close()
            else:
                self._refuse(503, "There are too many connections", "connections")

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._task and not self._task.done():
            # Nobody is there to read the answer.
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unset_keepalive_if_required()
        self._quiet_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(400, "Malformed request", "malformed")
        if self._deadline is not None and self._quiet_bytes > self._limits.header_bytes:
            said = f"The request's headers are longer than {self._limits.header_bytes} bytes"
            self._refuse(431, said, "headers")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._idle_since = None
        if self._deadline is None:
            self._deadline = self.loop.time() + self._limits.header_s

    def on_headers_complete(self) -> None:
        if b"#" in self.url or self.parser.get_method() == b"CONNECT":
            raise ValueError("no request for an HTTP server")
        if self.parser.should_upgrade():
            self._upgrading = True
            return
        self._quiet_bytes = 0
        self._body_bytes = 0
        self._deadline = self.loop.time() + self._limits.body_s
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._quiet_bytes = 0
        self._body_bytes = (self._body_bytes or 0) + len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._upgrading:
            return
        self._quiet_bytes = 0
        self._body_bytes = None
        self._deadline = None
        if self.cycle.response_complete:
            self._idle_since = self.loop.time()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        now = self.loop.time()
        if self._body_bytes is not None:
            self._deadline = now + self._limits.drain_s
            self._body_bytes = 0
        elif not self.pipeline:
            self._idle_since = now

    def check(self, now: float) -> None:
        """Cuts the connection off if its client is too slow; called once a second."""
        unread = self.transport.get_write_buffer_size()
        if not unread or unread != self._unread[0]:
            self._unread = unread, now
        elif now > self._unread[1] + self._limits.write_s:
            self.config.on_refusal("slow reader")
            self.transport.abort()
            return
        if self._idle_since is not None:
            if now > self._idle_since + self._limits.idle_s:
                self.transport.close()
            return
        # Reading is paused while the server itself is not done with what came before.
        if self._deadline is None or self.flow.read_paused:
            return
        late = self._deadline + (self._body_bytes or 0) / self._limits.body_bytes_per_s
        if now <= late:
            return
        if self._refused or self.transport.is_closing():
            self.transport.abort()
        elif self._body_bytes is None:
            self._refuse(408, "The request's headers took too long", "slow headers")
        elif self.cycle.response_complete:
            self.transport.close()
        else:
            self._refuse(408, "The request's body took too long", "slow body")

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:
        self._task = self.loop.create_task(cycle.run_asgi(app))
        self._task.add_done_callback(self.tasks.discard)
        self.tasks.add(self._task)

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        """Takes up a request again that would rather be HTTP/2, as Java's client sends them.

        The parser stops at such a request and would lose its body.
        """
        self._upgrading = False
        head = [self.parser.get_method(), b" ", self.url, b" HTTP/1.1\r\n"]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                value = b", ".join(t for t in tokens if t.lower() not in _UPGRADE_HEADERS)
            if name not in _UPGRADE_HEADERS and value:
                head += [name, b": ", value, b"\r\n"]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"".join([*head, b"\r\n", rest]))

    def _refuse(self, status: int, said: str, reason: str) -> None:
        """Answers in place of the application, if it has not begun to, and closes."""
        if self._refused:
            return
        self._refused = True
        self._deadline = self.loop.time() + self._limits.drain_s
        self.config.on_refusal(reason)
        answering = self.cycle is not None and not self.cycle.response_complete
        if not answering or not self.cycle.response_started:
            content = json.dumps({"error": said}).encode()
            self.transport.write(
                b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
                b"connection: close\r\n\r\n%s"
                % (status, http.HTTPStatus(status).phrase.encode(), len(content), content)
            )
        if answering:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()
