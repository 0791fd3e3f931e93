"""Mixed load on the embedded server for some minutes: good, broken, huge and slow, while it swaps.

    python benchmarks/serving_soak.py --model FOLDER --pictures FOLDER [--minutes 10]

`--model` is the folder of one version, e.g. workspace/demo/serving/catalog/1764150000, and
`--pictures` one of JPEGs. Good callers ask over gRPC and REST without a break. Beside them others
send broken pictures and huge ones, read answers slowly or not at all, and leave connections half
open on both ports. Every 20 seconds the next version takes over, a copy of the same model, and the
one before the last is removed; one version in between is broken. Exit status 1 if a good request
failed or waited too long, or the server's memory, threads or files grew.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import itertools
import json
import os
import random
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import grpc

from benchmarks import _bombs, _embedded, _load, serving_fuzz
from schema import features

MOST_GROWTH = 1.1
LONGEST_WAIT_S = 5.0
SWAP_S = 20.0
_LINE_S = 30.0
_SETTLING_S = 5.0
_MORE_THREADS = 8
_MORE_FILES = 8
_SLOW_SOCKETS = 12


@dataclass
class Report:
    """What was seen.

    Attributes:
        faults: what was wrong.
        good: how many good requests were answered.
        waits_s: how long each took.
        others: how many other requests were sent, by kind.
        swaps: how many versions took over.
        memory_mb, threads, files: of the server, after it was warm and at the end.
    """

    faults: list[str] = field(default_factory=list)
    good: int = 0
    waits_s: list[float] = field(default_factory=list)
    others: dict[str, int] = field(default_factory=dict)
    swaps: int = 0
    memory_mb: tuple[float, float] = (0.0, 0.0)
    threads: tuple[int, int] = (0, 0)
    files: tuple[int, int] = (0, 0)


def soak(
    server: _embedded.Served,
    pictures: Sequence[str],
    seconds: float,
    *,
    swap_s: float = SWAP_S,
    longest_wait_s: float = LONGEST_WAIT_S,
    most_growth: float = MOST_GROWTH,
    says: Callable[[str], None] = lambda line: None,
) -> Report:
    """Loads a server that serves version 1 in every way.

    Args:
        server: with that one version in its folder.
        pictures: files of good pictures.
        seconds: how long.
        swap_s: between two versions.
        longest_wait_s: a good request that takes longer is a fault.
        most_growth: so many times the memory before may be held afterwards.
        says: takes a line of progress every 30 s.
    """
    report = Report()
    contents = [Path(file).read_bytes() for file in pictures]
    serving_fuzz.warm_up(server, contents)
    versions = _Versions(server, report)
    # Two versions are there while one takes over from the other, which costs memory once.
    versions.swap()
    stop = threading.Event()
    jobs = [
        lambda: _ask_for_bad_pictures(server, contents, stop, report),
        lambda: _ask_for_huge_pictures(server, stop, report),
        lambda: _read_slowly(server, contents, stop, report),
        lambda: _leave_half_open(server, stop, report),
        lambda: versions.swap_every(swap_s, stop),
    ]
    with _embedded.GoodCallers(server, pictures, callers=2, pause_s=0.02) as good:
        # All kinds have been there once before what is there is counted.
        threads = [threading.Thread(target=_noted(job, stop, report)) for job in jobs]
        for thread in threads:
            thread.start()
        stop.wait(min(seconds / 4, 2 * swap_s))
        before = server.memory_mb(), server.threads(), server.files()
        began, told = time.monotonic(), time.monotonic()
        left = seconds - min(seconds / 4, 2 * swap_s)
        while time.monotonic() < began + left and server.is_alive():
            stop.wait(0.5)
            if time.monotonic() > told + _LINE_S:
                told = time.monotonic()
                waits = [answer.seconds for answer in good.answers()]
                says(
                    f"{len(waits):,} good requests, the slowest {max(waits, default=0):.2f} s; "
                    f"version {versions.number}; memory {server.memory_mb():,.0f} MB, "
                    f"{server.threads()} threads, {server.files()} files"
                )
        stop.set()
        for thread in threads:
            thread.join()
        answers = good.answers()
    report.swaps = versions.number - 1
    _judge_answers(answers, report, longest_wait_s)
    if not server.is_alive():
        report.faults.append(f"the server ended with status {server.process.returncode}")
        return report
    time.sleep(_SETTLING_S)
    after = server.memory_mb(), server.threads(), server.files()
    report.memory_mb = before[0], after[0]
    report.threads = before[1], after[1]
    report.files = before[2], after[2]
    if after[0] > most_growth * before[0]:
        report.faults.append(f"memory went from {before[0]:,.0f} to {after[0]:,.0f} MB")
    for name, counts, more in (
        ("threads", report.threads, _MORE_THREADS),
        ("files", report.files, _MORE_FILES),
    ):
        if counts[1] > counts[0] + more:
            report.faults.append(f"{name} went from {counts[0]} to {counts[1]}")
    report.faults += [f"the server's log: {line}" for line in server.faults()]
    return report


def _judge_answers(
    answers: Sequence[_embedded.Answer], report: Report, longest_wait_s: float
) -> None:
    report.good = len(answers)
    report.waits_s = [answer.seconds for answer in answers]
    for answer in answers:
        if answer.problem:
            report.faults.append(f"a good request over {answer.over}: {answer.problem}")
        if answer.seconds > longest_wait_s:
            report.faults.append(f"a good request over {answer.over} took {answer.seconds:.1f} s")
    for over in ("gRPC", "REST"):
        if not any(answer.over == over for answer in answers):
            report.faults.append(f"no good request was answered over {over}")


class _Versions:
    """The model's folder: a new version takes over, and old ones are removed."""

    def __init__(self, server: _embedded.Served, report: Report):
        self._server = server
        self._report = report
        self.number = 1

    def swap(self) -> None:
        """Adds the next version, waits until it answers, and removes the one before the last."""
        folder = self._server.folder
        sound = folder / str(self.number)
        self.number += 1
        _push(sound, folder / str(self.number))
        if not self._comes_to(self.number, "AVAILABLE", 120.0):
            self._report.faults.append(f"version {self.number} did not take over")
        for old in folder.iterdir():
            if old.name.isdigit() and int(old.name) < self.number - 1:
                shutil.rmtree(old)

    def swap_every(self, seconds: float, stop: threading.Event) -> None:
        """Goes on so; the second time a broken version comes first."""
        for turn in itertools.count():
            if stop.wait(seconds):
                return
            if turn == 1:
                self._push_broken(stop)
            self.swap()

    def _push_broken(self, stop: threading.Event) -> None:
        folder = self._server.folder
        broken = folder.parent / "broken"
        shutil.copytree(folder / str(self.number), broken)
        (broken / "saved_model.pb").write_bytes(b"no model")
        number = self.number + 1
        broken.rename(folder / str(number))
        if not self._comes_to(number, "END", 60.0):
            self._report.faults.append(f"the broken version {number} is not refused")
        shutil.rmtree(folder / str(number))
        self._comes_to(self.number, "AVAILABLE", 60.0)

    def _comes_to(self, number: int, state: str, timeout_s: float) -> bool:
        from http.client import HTTPConnection, HTTPException

        until = time.monotonic() + timeout_s
        while time.monotonic() < until and self._server.is_alive():
            connection = HTTPConnection(*self._server.address, timeout=30)
            with contextlib.suppress(OSError, HTTPException, ValueError, KeyError):
                connection.request("GET", f"/v1/models/{_embedded.NAME}/versions/{number}")
                found = json.loads(connection.getresponse().read())
                if found["model_version_status"][0]["state"] == state:
                    return True
            connection.close()
            time.sleep(0.1)
        return False


def _push(source: Path, version: Path) -> None:
    unfinished = version.parent.parent / "unfinished"
    shutil.copytree(source, unfinished)
    unfinished.rename(version)


def _noted(job: Callable[[], None], stop: threading.Event, report: Report) -> Callable[[], None]:
    """The job, whose end before the time is a fault."""

    def noted() -> None:
        try:
            job()
        except Exception as error:
            report.faults.append(f"the load itself failed: {error!r}")
        if not stop.is_set():
            report.faults.append("a part of the load ended early")

    return noted


def _ask_for_bad_pictures(
    server: _embedded.Served, pictures: Sequence[bytes], stop: threading.Event, report: Report
) -> None:
    chance = random.Random(0)
    bad = [b"", b"no picture", *(picture[: len(picture) // 2] for picture in pictures[:8])]
    _ask(server, stop, report, "broken", lambda: [chance.choice([*bad, *pictures[:4]])] * 2)


def _ask_for_huge_pictures(server: _embedded.Served, stop: threading.Event, report: Report) -> None:
    chance = random.Random(1)
    claims = [
        *(_bombs.claiming_png(20_000, 20_000), _bombs.claiming_jpeg(60_000, 60_000, True)),
        *(_bombs.webp(16_383, 16_383), _bombs.bmp(20_000, 20_000)),
        *(_bombs.gif(3000, 3000, frames=50), _bombs.gif(9000, 9000, canvas=(64, 64))),
        *(_bombs.jpeg(5000, 5000, scans=2000), _bombs.jpeg(7000, 7000, scans=10, components=3)),
    ]
    real = [_bombs.png(4000, 3000), _bombs.jpeg(8000, 6000, components=3), _bombs.webp(3000, 2000)]
    _ask(
        server,
        stop,
        report,
        "huge",
        lambda: chance.choices(claims, k=4) if chance.random() < 0.7 else [chance.choice(real)],
        pause_s=0.2,
    )


def _ask(
    server: _embedded.Served,
    stop: threading.Event,
    report: Report,
    kind: str,
    choose: Callable[[], list[bytes]],
    pause_s: float = 0.05,
) -> None:
    """Asks for pictures, over a new gRPC connection now and then, in turn with REST."""
    signatures = itertools.cycle(features.PICTURE_SIGNATURES)
    while not stop.is_set():
        with grpc.insecure_channel(
            server.endpoint, (("grpc.use_local_subchannel_pool", 1),)
        ) as channel:
            predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
            for _ in range(20):
                if stop.wait(pause_s):
                    break
                pictures, signature = choose(), next(signatures)
                with contextlib.suppress(grpc.RpcError):
                    predict(_load.request(pictures, _embedded.NAME, signature), timeout=60)
                with contextlib.suppress(OSError), _connected(server) as connection:
                    connection.sendall(_over_rest(pictures, signature))
                    connection.recv(1 << 16)
                report.others[kind] = report.others.get(kind, 0) + 2


def _over_rest(pictures: Sequence[bytes], signature: str) -> bytes:
    rows = [{"b64": base64.b64encode(picture).decode()} for picture in pictures]
    body = json.dumps({"signature_name": signature, "instances": rows}).encode()
    head = f"POST /v1/models/{_embedded.NAME}:predict HTTP/1.1\r\nHost: localhost\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@contextlib.contextmanager
def _connected(server: _embedded.Served, port: str = "REST") -> Iterator[socket.socket]:
    where = server.address
    if port == "gRPC":
        where = where[0], int(server.endpoint.rpartition(":")[2])
    with socket.create_connection(where, timeout=60) as connection:
        yield connection


def _read_slowly(
    server: _embedded.Served, pictures: Sequence[bytes], stop: threading.Event, report: Report
) -> None:
    """Asks for answers of some MB, and reads some bytes of them at a time, or none."""
    many = [pictures[i % len(pictures)] for i in range(256)]
    request = _over_rest(many, features.EVERYTHING_SIGNATURE)
    while not stop.is_set():
        with contextlib.suppress(OSError), contextlib.ExitStack() as several:
            connections = [several.enter_context(_connected(server)) for _ in range(2)]
            for connection in connections:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.sendall(request)
            report.others["slow readers"] = report.others.get("slow readers", 0) + 2
            for _ in range(40):
                if stop.wait(0.25):
                    return
                connections[0].recv(64)


def _leave_half_open(server: _embedded.Served, stop: threading.Event, report: Report) -> None:
    """Opens connections on both ports, sends the beginning of something, and lets them be."""
    beginnings = {
        "REST": (b"", b"POST /v1/mod", b"POST / HTTP/1.1\r\nContent-Length: 60000000\r\n\r\n{"),
        "gRPC": (b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", b"\0" * 9),
    }
    while not stop.is_set():
        with contextlib.suppress(OSError), contextlib.ExitStack() as several:
            for number in range(_SLOW_SOCKETS):
                port = ("REST", "gRPC")[number % 2]
                connection = several.enter_context(_connected(server, port))
                connection.sendall(beginnings[port][number // 2 % 3])
                report.others["half open"] = report.others.get("half open", 0) + 1
            stop.wait(5.0)


def main() -> None:
    """Prints a line every 30 s, what was seen, and a verdict."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of one version")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of JPEGs")
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    pictures = _embedded.picture_files(arguments.pictures, 64)
    with _embedded.served(arguments.model) as server:
        report = soak(
            server,
            pictures,
            60 * arguments.minutes,
            says=lambda line: print(line, flush=True),
        )
    waits = sorted(report.waits_s)
    if waits:
        print(
            f"{report.good:,} good requests: {1000 * waits[len(waits) // 2]:.0f} ms in the median, "
            f"{1000 * waits[int(0.99 * len(waits))]:.0f} at the 99th percentile, the slowest "
            f"{waits[-1]:.2f} s"
        )
    others = ", ".join(f"{count:,} {kind}" for kind, count in report.others.items())
    print(f"beside them {others}; {report.swaps} versions took over")
    print(
        "after warm-up and at the end: memory {:,.0f} and {:,.0f} MB, threads {} and {}, files {} "
        "and {}".format(*report.memory_mb, *report.threads, *report.files)
    )
    for fault in report.faults[:50]:
        print(f"fault: {fault}")
    print(f"verdict: {len(report.faults)} faults" if report.faults else "verdict: good")
    sys.exit(1 if report.faults else 0)


if __name__ == "__main__":
    main()
