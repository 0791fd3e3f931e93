"""Callers of a model server, in a process of their own: `python benchmarks/_load.py` and JSON.

Reads one JSON object from standard input and writes one to standard output, so that the callers'
Python never waits for that of whoever measures.

They speak HTTP/2 (RFC 9113) by themselves, as much of it as a unary gRPC call needs: gRPC's own
client in Python takes .3 ms of a processor for a call, on the processors that the server is
measured on.
"""

from __future__ import annotations

import json
import selectors
import socket
import struct
import sys
import time
from collections import deque
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from serving.client import tf_serving_pb2 as messages

_PATH = b"/tensorflow.serving.PredictionService/Predict"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK = _END_STREAM = 0x1
_END_HEADERS = 0x4
_INITIAL_WINDOW_SIZE = 4
_LONGEST_FRAME = 16384
_FIRST_WINDOW = 65535
_LARGEST_WINDOW = 2**31 - 1
_TIMEOUT_S = 60.0


def request(pictures: list[bytes], model: str, signature: str) -> bytes:
    """A Predict request, serialized."""
    asked = messages.PredictRequest(
        model_spec=messages.ModelSpec(name=model, signature_name=signature)
    )
    asked.inputs["image_bytes"].dtype = messages.DT_STRING
    asked.inputs["image_bytes"].tensor_shape.dim.add(size=len(pictures))
    asked.inputs["image_bytes"].string_val.extend(pictures)
    return asked.SerializeToString()


class Caller:
    """A caller on a connection of his own, who asks one thing at a time.

    Args:
        endpoint: "host:port".

    Attributes:
        socket: the connection.
    """

    def __init__(self, endpoint: str):
        host, _, port = endpoint.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), _TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._headers = _headers(endpoint.encode())
        self._stream = -1
        self._received = b""
        self._due = 0.0
        self._has_message = False
        # What the server may still be sent: of any stream, of this one, of one that begins.
        self._window = self._first_window = _FIRST_WINDOW
        self._stream_window = 0
        self._unsent = memoryview(b"")
        windows = struct.pack(">HI", _INITIAL_WINDOW_SIZE, _LARGEST_WINDOW)
        self.socket.sendall(
            _PREFACE
            + _frame(_SETTINGS, 0, 0, windows)
            + _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _LARGEST_WINDOW - _FIRST_WINDOW))
        )

    def ask(self, message: bytes, due: float) -> None:
        """Sends a request that was to be sent at `due`, by `time.perf_counter`."""
        self._stream += 2
        self._due = due
        self._has_message = False
        self._stream_window = self._first_window
        self._unsent = memoryview(struct.pack(">BI", 0, len(message)) + message)
        self._send(_frame(_HEADERS, _END_HEADERS, self._stream, self._headers))

    def receive(self) -> tuple[float, bool] | None:
        """Takes what has come; the seconds that the call took and whether it was answered."""
        chunk = self.socket.recv(1 << 16)
        if not chunk:
            raise ConnectionError("the server has closed the connection")
        received = self._received + chunk
        end = place = 0
        ended = False
        while len(received) - place >= 9:
            length = int.from_bytes(received[place : place + 3], "big")
            end = place + 9 + length
            if len(received) < end:
                break
            kind, flags = received[place + 3], received[place + 4]
            ended |= self._read(
                kind, flags, received[place + 5 : place + 9], received[end - length : end]
            )
            place = end
        self._received = received[place:]
        if not ended:
            self._send(b"")
            return None
        return time.perf_counter() - self._due, self._has_message

    def _read(self, kind: int, flags: int, stream: bytes, payload: bytes) -> bool:
        """Reads a frame; whether it ends the call."""
        if kind == _DATA:
            self._has_message |= len(payload) > 0
        elif kind == _SETTINGS and not flags & _ACK:
            for name, value in struct.iter_unpack(">HI", payload):
                if name == _INITIAL_WINDOW_SIZE:
                    self._stream_window += value - self._first_window
                    self._first_window = value
            self.socket.sendall(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self.socket.sendall(_frame(_PING, _ACK, 0, payload))
        elif kind == _WINDOW_UPDATE:
            (more,) = struct.unpack(">I", payload)
            if stream == b"\0\0\0\0":
                self._window += more
            elif int.from_bytes(stream, "big") == self._stream:
                self._stream_window += more
        elif kind == _GOAWAY:
            raise ConnectionError("the server sends callers away")
        return kind == _RESET or (kind in (_DATA, _HEADERS) and bool(flags & _END_STREAM))

    def _send(self, before: bytes) -> None:
        """Sends of the request what the server's windows take."""
        parts = [before]
        while self._unsent and min(self._window, self._stream_window) > 0:
            size = min(len(self._unsent), self._window, self._stream_window, _LONGEST_FRAME)
            chunk, self._unsent = self._unsent[:size], self._unsent[size:]
            self._window -= size
            self._stream_window -= size
            flags = 0 if self._unsent else _END_STREAM
            parts.append(_frame(_DATA, flags, self._stream, chunk))
        if len(parts) > 1 or before:
            self.socket.sendall(b"".join(parts))


def ask(
    endpoint: str, requests: list[bytes], clients: int, seconds: float, rate: float | None
) -> list[tuple[float, bool]]:
    """Calls of `clients` callers, each on a connection of its own, for so many seconds.

    Args:
        endpoint: "host:port".
        requests: Serialized; taken in turn.
        clients: Callers; each asks again when it is answered, unless `rate` says otherwise.
        seconds: How long.
        rate: Requests a second of all callers together; one that finds no caller free waits for
            him, and that is part of the time it takes. None for as many as are answered.

    Returns:
        Seconds that each call took, and whether it was answered.
    """
    callers = [Caller(endpoint) for _ in range(clients)]
    selector = selectors.DefaultSelector()
    for caller in callers:
        selector.register(caller.socket, selectors.EVENT_READ, caller)
    done: list[tuple[float, bool]] = []
    free, turn = deque(callers), 0
    # Every connection has been used before the time begins.
    for caller in callers:
        caller.ask(requests[0], time.perf_counter())
        while not caller.receive():
            pass
    began = time.perf_counter()
    while True:
        now = time.perf_counter()
        while free:
            due = now if rate is None else began + turn / rate
            if due > now or due > began + seconds:
                break
            free.popleft().ask(requests[turn % len(requests)], due)
            turn += 1
        next_due = began + turn / rate if rate is not None else began + seconds
        if now > began + seconds and len(done) == turn:
            break
        for key, _ in selector.select(max(0.0, min(1.0, next_due - now))):
            ended = key.data.receive()
            if ended:
                done.append(ended)
                free.append(key.data)
        if now > began + seconds + _TIMEOUT_S:
            raise TimeoutError(f"{turn - len(done)} calls are not answered")
    for caller in callers:
        caller.socket.close()
    return done


def _frame(kind: int, flags: int, stream: int, payload: bytes | memoryview) -> bytes:
    return b"".join(
        (len(payload).to_bytes(3, "big"), struct.pack(">BBI", kind, flags, stream), payload)
    )


def _headers(authority: bytes) -> bytes:
    """The header block of a call (RFC 7541), in which nothing is indexed or packed."""

    def text(value: bytes) -> bytes:
        return bytes((len(value),)) + value

    return b"".join(
        (
            # :method: POST, :scheme: http, and the names of :path and :authority by their numbers.
            *(b"\x83\x86", b"\x04", text(_PATH), b"\x01", text(authority)),
            *(b"\x00", text(b"te"), text(b"trailers")),
            *(b"\x00", text(b"content-type"), text(b"application/grpc")),
            *(b"\x00", text(b"grpc-timeout"), text(b"%dS" % _TIMEOUT_S)),
        )
    )


def main() -> None:
    order = json.load(sys.stdin)
    pictures = [Path(file).read_bytes() for file in order["pictures"]]
    size = order["pictures_per_request"]
    requests = [
        request(
            [pictures[(start + i) % len(pictures)] for i in range(size)],
            order["model"],
            order["signature"],
        )
        for start in range(0, len(pictures), size)
    ]
    began = time.perf_counter()
    done = ask(order["endpoint"], requests, order["clients"], order["seconds"], order.get("rate"))
    took = time.perf_counter() - began
    json.dump(
        {
            "seconds": took,
            "latencies": [latency for latency, _ in done],
            "failed": sum(not answered for _, answered in done),
            "request_bytes": sum(map(len, requests)) / len(requests),
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
