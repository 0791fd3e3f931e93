"""Nobody holds the HTTP server's connections or memory by being slow, and all others are served."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPResponse

import pytest

from schema.errors import UserError
from serving.model_server import http_server
from serving.model_server.http_server import HttpServer, Limits, listening_sockets
from tests.serving.model_server.certificates import Authority

ANSWER = b"x" * 20_000_000
LIMITS = Limits(
    connections=5,
    header_bytes=10_000,
    header_s=0.5,
    body_s=0.5,
    body_bytes_per_s=2000,
    idle_s=0.5,
    write_s=0.5,
    drain_s=0.5,
)


class Running:
    """A server in a loop of its own. /slow takes a while, /big says much, /none reads nothing."""

    def __init__(self, limits: Limits, tls: ssl.SSLContext | None = None):
        self.refusals: Counter[str] = Counter()
        self.cancelled = 0
        self.finished = threading.Event()
        self.sockets = listening_sockets("127.0.0.1", 0, "--port")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.server = HttpServer(
            self._app, self.sockets, tls, limits, lambda reason: self.refusals.update([reason])
        )
        self.run(self.server.start())
        self.address = "127.0.0.1", self.server.port

    def run(self, coroutine) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    def close(self, grace_s: float = 0.0) -> None:
        self.run(self.server.stop(grace_s))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _app(self, scope, receive, send) -> None:
        body = b""
        path = scope["path"]
        try:
            while path != "/none":
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                body += message["body"]
                if not message.get("more_body"):
                    break
            if path == "/slow":
                await asyncio.sleep(1.5)
                self.finished.set()
        except asyncio.CancelledError:
            self.cancelled += 1
            return
        content = ANSWER if path == "/big" else b"%d" % len(body)
        headers = [(b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections are looked at often, so that the tests need not wait for long."""
    monkeypatch.setattr(http_server, "_SWEEP_S", 0.1)


@pytest.fixture
def running() -> Iterator[Running]:
    server = Running(LIMITS)
    yield server
    server.close()


@contextlib.contextmanager
def connected(running: Running) -> Iterator[socket.socket]:
    with socket.create_connection(running.address, timeout=10) as connection:
        yield connection


def everything(connection: socket.socket) -> bytes:
    """What comes until the server closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(1 << 20):
            received += data
    return received


def answer(connection: socket.socket) -> tuple[int, int]:
    """The status and the body of an answer, which is a number."""
    with HTTPResponse(connection) as response:
        response.begin()
        return response.status, int(response.read())


def get(path: str, headers: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n".encode()


def test_headers_that_take_too_long_are_answered_408(running):
    with connected(running) as connection:
        connection.sendall(get("/")[:-2])
        assert everything(connection).startswith(b"HTTP/1.1 408 ")
    assert running.refusals == {"slow headers": 1}


def test_a_drop_a_second_does_not_help(running):
    with connected(running) as connection:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            for drop in get("/", "X: y\r\n" * 20):
                connection.sendall(bytes([drop]))
                time.sleep(0.1)
        assert time.monotonic() - began < 5


def test_a_body_that_takes_too_long_is_answered_408(running):
    with connected(running) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 60000000\r\n\r\n" + b"x" * 100)
        assert everything(connection).startswith(b"HTTP/1.1 408 ")
    assert running.refusals == {"slow body": 1}


def test_a_long_body_has_longer(running):
    with connected(running) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 6000\r\n\r\n" + b"x" * 5000)
        time.sleep(1.5)
        connection.sendall(b"x" * 1000)
        assert answer(connection) == (200, 6000)


def test_a_body_that_nobody_reads_is_taken_so_that_the_answer_arrives(running):
    with connected(running) as connection:
        connection.sendall(b"POST /none HTTP/1.1\r\nContent-Length: 5000000\r\n\r\n")
        connection.sendall(b"x" * 5_000_000)
        assert answer(connection) == (200, 0)
        connection.sendall(get("/"))
        assert answer(connection) == (200, 0)


def test_but_not_for_ever(running):
    with connected(running) as connection:
        connection.sendall(b"POST /none HTTP/1.1\r\nContent-Length: 5000000\r\n\r\n")
        began = time.monotonic()
        assert everything(connection).startswith(b"HTTP/1.1 200 ")
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "sent",
    [
        get("/" + "x" * 20_000),
        get("/", "X: " + "y" * 20_000),
        get("/", "X: y\r\n" * 5000),
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 5000,
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"y" * 20_000,
    ],
)
def test_headers_and_trailers_that_are_too_long_are_refused(running, sent):
    with connected(running) as connection:
        for begin in range(0, len(sent) - 4, 4096):
            with contextlib.suppress(OSError):
                connection.sendall(sent[begin : min(begin + 4096, len(sent) - 4)])
            time.sleep(0.01)
        assert b" 431 " in everything(connection)
    assert running.refusals == {"headers": 1}


def test_headers_may_be_as_long_as_the_limit_says(running):
    for length, status in ((LIMITS.header_bytes, 200), (LIMITS.header_bytes + 1, 431)):
        with connected(running) as connection:
            begun = get("/", "X: ").removesuffix(b"\r\n").ljust(length, b"x")
            connection.sendall(begun)
            time.sleep(0.05)
            if status == 200:
                connection.sendall(b"\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 %d" % status


def test_connections_without_a_request_are_closed(running):
    with connected(running) as silent, connected(running) as idle, connected(running) as blank:
        idle.sendall(get("/"))
        blank.sendall(get("/"))
        for connection in (idle, blank):
            assert answer(connection) == (200, 0)
        blank.sendall(b"\r\n")
        began = time.monotonic()
        assert everything(idle) == b""
        assert b"200" not in everything(silent) + everything(blank)
        assert time.monotonic() - began < 5


def test_who_does_not_read_his_answer_is_cut_off(running):
    with connected(running) as connection:
        connection.sendall(get("/big"))
        time.sleep(2)
        assert len(everything(connection)) < len(ANSWER)
    assert running.refusals == {"slow reader": 1}


def test_who_reads_it_slowly_gets_it(running):
    with connected(running) as connection:
        connection.sendall(get("/big", "Connection: close\r\n"))
        received = 0
        for _ in range(5):
            received += len(connection.recv(1 << 20))
            time.sleep(0.25)
        received += len(everything(connection))
        assert received > len(ANSWER)
    assert not running.refusals


def test_one_connection_more_pushes_out_the_one_that_was_idle_for_longest(running):
    with contextlib.ExitStack() as opened:
        idle = []
        for _ in range(6):
            connection = opened.enter_context(connected(running))
            connection.sendall(get("/"))
            assert answer(connection) == (200, 0)
            idle.append(connection)
        assert everything(idle[0]) == b""
        idle[1].sendall(get("/"))
        assert answer(idle[1]) == (200, 0)
    assert running.refusals == {"idle connection": 1}


def test_one_connection_more_is_refused_where_none_is_idle(running):
    with contextlib.ExitStack() as opened:
        for _ in range(5):
            opened.enter_context(connected(running)).sendall(get("/slow"))
        time.sleep(0.2)
        last = opened.enter_context(connected(running))
        assert everything(last).startswith(b"HTTP/1.1 503 ")
    assert running.refusals == {"connections": 1}


def test_what_is_asked_in_one_go_is_answered_in_turn(running):
    with connected(running) as connection:
        connection.sendall(get("/") * 50 + get("/", "Connection: close\r\n"))
        assert everything(connection).count(b"HTTP/1.1 200 ") == 51


def test_nothing_is_done_for_a_client_that_has_gone(running):
    with connected(running) as connection:
        connection.sendall(get("/slow"))
        time.sleep(0.2)
    deadline = time.monotonic() + 5
    while not running.cancelled and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running.cancelled == 1 and not running.finished.is_set()


def test_a_request_for_http_2_is_answered_with_its_body(running):
    with connected(running) as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            b"HTTP2-Settings: AAMAAABk\r\nContent-Length: 5\r\n\r\nhello"
        )
        assert answer(connection) == (200, 5)
        connection.sendall(get("/"))
        assert answer(connection) == (200, 0)


def test_what_has_begun_is_answered_when_the_server_stops():
    running = Running(LIMITS)
    with connected(running) as connection, connected(running) as idle:
        connection.sendall(get("/slow"))
        time.sleep(0.2)
        running.close(grace_s=5.0)
        assert everything(connection).endswith(b"\r\n\r\n0")
        assert everything(idle) == b""
    with pytest.raises(ConnectionRefusedError), connected(running):
        pass


def test_but_not_longer_than_the_grace():
    running = Running(Limits())
    with connected(running) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n")
        time.sleep(0.2)
        began = time.monotonic()
        running.close(grace_s=0.5)
        assert time.monotonic() - began < 4
        everything(connection)


def test_tls_is_spoken_and_a_handshake_must_come_in_time(tmp_path):
    authority = Authority()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.pair().write(tmp_path, "server"))
    client = ssl.create_default_context(cadata=authority.certificate.decode())
    running = Running(LIMITS, context)
    try:
        with (
            connected(running) as plain,
            client.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            secure.sendall(get("/"))
            assert secure.recv(4096).startswith(b"HTTP/1.1 200 ")
        with connected(running) as silent:
            began = time.monotonic()
            assert everything(silent) == b""
            assert time.monotonic() - began < 5
    finally:
        running.close()


def test_a_port_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port}.*in use.*--rest_api_port"):
            listening_sockets("127.0.0.1", port, "--rest_api_port")
    with pytest.raises(UserError, match="Cannot listen on no.such.host.invalid"):
        listening_sockets("no.such.host.invalid", 0, "--rest_api_port")
    with pytest.raises(UserError, match="Cannot listen"):
        listening_sockets("127.0.0.1", 99999, "--rest_api_port")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="there is no IPv6")
def test_every_address_of_both_kinds_can_be_listened_to():
    for host in ("::", ""):
        (listening,) = listening_sockets(host, 0, "--port")
        with listening:
            for address in ("127.0.0.1", "::1"):
                socket.create_connection((address, listening.getsockname()[1])).close()
    (listening,) = listening_sockets("::1", 0, "--port")
    with listening, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", listening.getsockname()[1])).close()
