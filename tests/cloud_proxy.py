"""The proxy of `tests.cloud_storage`, a process of its own: TensorFlow's C++ holds Python's lock
while it waits for an answer.

    python tests/cloud_proxy.py FOLDER PORT STORE_PORT

It stands for Google's hosts, hands requests on, and does itself what the store does not: tokens,
without which few buckets answer, and requests that come in batches. In the folder are `host.pem`
and `host.key`. `asked` there gets method and path of every request; a file `refusal` has the status
that every request is answered with while it is there.
"""

from __future__ import annotations

import http.client
import http.server
import json
import socket
import ssl
import sys
import threading
from contextlib import suppress
from email import message_from_bytes, message_from_string
from email.message import Message
from pathlib import Path

HOSTS = ("www.googleapis.com", "storage.googleapis.com", "oauth2.googleapis.com")

_TOKENS = ("/token", "/oauth2/v3/token")
"""Where credentials become tokens, for Python's libraries and for TensorFlow."""

_TOKEN = "token"
OPEN = "open-"
"""What the names of buckets begin with that everybody may read."""

_OF_THE_CONNECTION = ("transfer-encoding", "content-length", "connection", "expect")


class Hand(http.server.BaseHTTPRequestHandler):
    """Hands the requests of a connection on to the store."""

    protocol_version = "HTTP/1.1"

    def __init__(self, connection: socket.socket, folder: Path, store: int) -> None:
        self._folder, self._store = folder, store
        super().__init__(connection, ("", 0), None)  # type: ignore[arg-type]

    def _hand_on(self) -> None:
        body = self._body()
        with open(self._folder / "asked", "a", encoding="utf-8") as asked:
            asked.write(f"{self.command} {self.path}\n")
        with suppress(FileNotFoundError):
            status = int((self._folder / "refusal").read_text())
            self.send_response_only(status)
            self.send_header("Content-Type", "application/json")
            told = {"error": {"code": status, "message": "refused"}}
            self._answer(json.dumps(told).encode())
            return
        if self.path in _TOKENS:
            token = {"access_token": _TOKEN, "expires_in": 3600, "token_type": "Bearer"}
            self.send_response_only(200)
            self.send_header("Content-Type", "application/json")
            self._answer(json.dumps(token).encode())
            return
        if OPEN not in self.path and self.headers["Authorization"] != f"Bearer {_TOKEN}":
            self.send_response_only(401)
            self._answer(b"")
            return
        if self.path.startswith("/batch/"):
            self._batch(body)
            return
        status, reason, headers, content = self._asked(self.command, self.path, self.headers, body)
        self.send_response_only(status, reason)
        for name, value in headers:
            if name.lower() not in _OF_THE_CONNECTION:
                # It does not know that it was asked by TLS.
                self.send_header(name, value.replace("http://", "https://"))
        self._answer(content)

    def _asked(
        self, method: str, path: str, headers: Message, body: bytes
    ) -> tuple[int, str, list[tuple[str, str]], bytes]:
        store = http.client.HTTPConnection("localhost", self._store)
        store.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        # TensorFlow says `Transfer-Encoding: identity`, which Go does not take.
        for name, value in headers.items():
            if name.lower() not in _OF_THE_CONNECTION:
                store.putheader(name, value)
        store.putheader("Content-Length", str(len(body)))
        store.endheaders(body)
        answer = store.getresponse()
        told = answer.status, answer.reason, answer.getheaders(), answer.read()
        store.close()
        return told

    def _batch(self, body: bytes) -> None:
        """Asks one after the other what comes as one, of which the store finds none."""
        kind = self.headers["Content-Type"].encode()
        whole = message_from_bytes(b"Content-Type: " + kind + b"\r\n\r\n" + body)
        parts = []
        for part in whole.get_payload():
            line, _, rest = part.get_payload().partition("\n")
            method, url, _ = line.split()
            asked = message_from_string(rest)
            asked["Host"] = HOSTS[1]
            status, reason, _, content = self._asked(
                method, url[url.index("/storage/") :], asked, asked.get_payload().strip().encode()
            )
            parts.append(
                f"--part\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 {status} {reason}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
                f"{content.decode()}\r\n"
            )
        self.send_response_only(200)
        self.send_header("Content-Type", "multipart/mixed; boundary=part")
        self._answer("".join([*parts, "--part--\r\n"]).encode())

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _hand_on

    def _answer(self, content: bytes) -> None:
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def log_message(self, *_: object) -> None:
        """What was asked is in the file."""


def _serve(connection: socket.socket, tls: ssl.SSLContext, folder: Path, store: int) -> None:
    with connection, suppress(OSError):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = connection.recv(1)
            if not byte:
                return
            head += byte
        if head.split(b" ")[1].decode().partition(":")[0] not in HOSTS:
            connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with tls.wrap_socket(connection, server_side=True) as secured:
            Hand(secured, folder, store)


def main() -> None:
    """Serves until it is killed."""
    folder, port, store = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "host.pem", folder / "host.key")
    with socket.create_server(("localhost", port)) as server:
        while True:
            connection, _ = server.accept()
            arguments = (connection, tls, folder, store)
            threading.Thread(target=_serve, args=arguments, daemon=True).start()


if __name__ == "__main__":
    main()
