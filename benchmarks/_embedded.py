"""The embedded server in a process of its own, and good callers in another, to be looked at."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

ROOT = Path(__file__).resolve().parents[1]
NAME = "catalog"

_START_S = 180.0
_MEGABYTE = 1024.0  # of what the system counts in KB


@dataclass(frozen=True)
class Served:
    """A server that runs.

    Attributes:
        endpoint: of gRPC, "host:port".
        rest_endpoint: of REST.
        folder: of the model's versions.
        log: what the server says.
        process: the server's.
    """

    endpoint: str
    rest_endpoint: str
    folder: Path
    log: Path
    process: subprocess.Popen

    @property
    def address(self) -> tuple[str, int]:
        """Of REST, for a socket."""
        host, _, port = self.rest_endpoint.rpartition(":")
        return host, int(port)

    def memory_mb(self) -> float:
        """Resident set now."""
        return self._status("VmRSS") / _MEGABYTE

    def peak_mb(self) -> float:
        """Largest resident set since the start, or since `forget_peak`."""
        return self._status("VmHWM") / _MEGABYTE

    def threads(self) -> int:
        """How many there are."""
        return self._status("Threads")

    def files(self) -> int:
        """Open file descriptors."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def forget_peak(self) -> None:
        """Begins anew to look for the largest resident set."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None

    def faults(self) -> list[str]:
        """Lines of the log that tell of a fault of the server's own."""
        lines = self.log.read_text(errors="replace").splitlines()
        signs = ("Traceback", "the caller was told error", "Segmentation", "Fatal Python")
        return [line for line in lines if any(sign in line for sign in signs)]

    def _status(self, field: str) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name == field:
                return int(rest.split()[0])
        raise ProcessLookupError(self.process.pid)


@contextmanager
def served(model: Path, *flags: str) -> Iterator[Served]:
    """A server of a version, batching as `seamline serve` does it, both ports, no keys.

    Args:
        model: folder of one version, which becomes version 1.
        flags: of `python -m serving.model_server`, besides.
    """
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root, NAME)
        folder.mkdir()
        shutil.copytree(model, folder / "1")
        log = Path(root, "server.log")
        batching = Path(root, "batching.config")
        batching.write_text(_batching())
        port, rest_port = _free_port(), _free_port()
        with log.open("wb") as said:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "serving.model_server", f"--port={port}"),
                    *(f"--rest_api_port={rest_port}", f"--model_name={NAME}"),
                    *(f"--model_base_path={folder}", "--enable_batching"),
                    f"--batching_parameters_file={batching}",
                    *flags,
                ],
                cwd=ROOT,
                stdout=said,
                stderr=said,
            )
        server = Served(f"127.0.0.1:{port}", f"127.0.0.1:{rest_port}", folder, log, process)
        try:
            _wait_until_ready(server)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass(frozen=True)
class Answer:
    """What a good caller saw.

    Attributes:
        at: seconds since 1970.
        over: "gRPC" or "REST".
        seconds: that it took.
        problem: what was wrong with it; empty if nothing.
    """

    at: float
    over: str
    seconds: float
    problem: str


class GoodCallers:
    """Callers who ask for good pictures all the time, as a context manager.

    Args:
        server: whom they ask.
        pictures: files of good pictures.
        callers: over gRPC, and as many over REST.
        pause_s: between an answer and the next request of a caller.
    """

    def __init__(
        self, server: Served, pictures: Sequence[str], callers: int = 1, pause_s: float = 0.05
    ):
        self._order = {
            "endpoint": server.endpoint,
            "rest_endpoint": server.rest_endpoint,
            "model": NAME,
            "pictures": list(pictures),
            "callers": callers,
            "pause_s": pause_s,
        }
        self._read = 0

    def __enter__(self) -> GoodCallers:
        self._said = tempfile.NamedTemporaryFile("rb")
        with open(self._said.name, "wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, str(ROOT / "benchmarks" / "_good.py")],
                stdin=subprocess.PIPE,
                stdout=said,
            )
        # The pipe that was asked for.
        self._orders = cast(IO[bytes], self._process.stdin)
        self._orders.write(json.dumps(self._order).encode() + b"\n")
        self._orders.flush()
        return self

    def __exit__(self, *exception: object) -> None:
        self._orders.close()
        self._process.wait()

    def answers(self) -> list[Answer]:
        """All there are so far."""
        content = Path(self._said.name).read_bytes()
        return [
            Answer(*json.loads(line)) for line in content.splitlines(True) if line[-1:] == b"\n"
        ]


def picture_files(folder: Path, most: int) -> list[str]:
    """The first JPEGs below a folder."""
    files = sorted(map(str, folder.rglob("*.jpg")))[:most]
    if not files:
        sys.exit(f"error: there is no *.jpg below {folder}.")
    return files


def _batching() -> str:
    from google.protobuf import text_format

    from pipeline.serve_console import batched

    return text_format.MessageToString(batched()["batching_parameters"])


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _wait_until_ready(server: Served) -> None:
    import http.client

    host, port = server.address
    began = time.monotonic()
    while True:
        if not server.is_alive() or time.monotonic() > began + _START_S:
            raise RuntimeError(f"the server does not start:\n{server.log.read_text()[-4000:]}")
        connection = http.client.HTTPConnection(host, port, timeout=10)
        try:
            connection.request("GET", f"/v1/models/{NAME}")
            if b'"AVAILABLE"' in connection.getresponse().read():
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.1)
