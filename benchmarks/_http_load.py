"""Callers of an HTTP server, in a process of their own: `python benchmarks/_http_load.py` and JSON.

Reads one JSON object from standard input and writes one to standard output, as `_load.py` does for
gRPC. They send requests that were made before and look at no more of an answer than its status and
its length, so that they take little of the processors that the server is measured on.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import sys
import time
from pathlib import Path

_TIMEOUT_S = 60.0
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def request(host: str, path: str, picture: bytes) -> bytes:
    """A POST of a picture as multipart, as it goes over the wire."""
    body = (
        b'--cut\r\nContent-Disposition: form-data; name="picture"; filename="a.jpg"\r\n'
        b"Content-Type: image/jpeg\r\n\r\n" + picture + b"\r\n--cut--\r\n"
    )
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: multipart/form-data; boundary=cut\r\n\r\n"
    )
    return head.encode() + body


class Caller:
    """A caller on a connection of its own, who asks one thing at a time.

    Attributes:
        socket: the connection.
    """

    def __init__(self, host: str, port: int):
        self.socket = socket.create_connection((host, port), _TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._began = 0.0
        self._received = b""

    def ask(self, message: bytes) -> None:
        """Sends a request."""
        self._began = time.perf_counter()
        self._received = b""
        self.socket.sendall(message)

    def receive(self) -> tuple[float, int] | None:
        """Takes what has come; once all has, the seconds that it took and the status."""
        chunk = self.socket.recv(1 << 18)
        if not chunk:
            raise ConnectionError("the server has closed the connection")
        self._received += chunk
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return None
        length = _LENGTH.search(head)
        if length is None:
            raise ConnectionError("an answer does not say how long it is")
        if len(body) < int(length[1]):
            return None
        return time.perf_counter() - self._began, int(head[9:12])


def ask(
    host: str, port: int, requests: list[bytes], clients: int, seconds: float
) -> list[tuple[float, int]]:
    """Seconds and status of each call of so many callers, who ask again when they are answered."""
    callers = [Caller(host, port) for _ in range(clients)]
    selector = selectors.DefaultSelector()
    done: list[tuple[float, int]] = []
    began, turn = time.perf_counter(), 0
    for caller in callers:
        selector.register(caller.socket, selectors.EVENT_READ, caller)
        caller.ask(requests[turn % len(requests)])
        turn += 1
    while len(done) < turn:
        for key, _ in selector.select(_TIMEOUT_S):
            ended = key.data.receive()
            if ended:
                done.append(ended)
                if time.perf_counter() < began + seconds:
                    key.data.ask(requests[turn % len(requests)])
                    turn += 1
    for caller in callers:
        caller.socket.close()
    return done


def main() -> None:
    order = json.load(sys.stdin)
    host, port = order["host"], order["port"]
    requests = [request(host, order["path"], Path(file).read_bytes()) for file in order["pictures"]]
    began = time.perf_counter()
    done = ask(host, port, requests, order["clients"], order["seconds"])
    took = time.perf_counter() - began
    latencies = [seconds for seconds, _ in done]
    failed = sorted({status for _, status in done if status != 200})
    json.dump({"seconds": took, "latencies": latencies, "failed": failed}, sys.stdout)


if __name__ == "__main__":
    main()
