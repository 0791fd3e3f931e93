"""Sends malformed requests to the embedded server, and looks what becomes of it and of good ones.

    python benchmarks/serving_fuzz.py --model FOLDER --pictures FOLDER [--requests 10000] [--seed 1]

`--model` is the folder of one version, e.g. workspace/demo/serving/catalog/1764150000, and
`--pictures` one of JPEGs. Four callers send damaged protobufs to every method, tensors of any rank,
claim and type, strange JSON and HTTP, and pictures that cost far more than they weigh; beside them
somebody asks for good pictures all the time, over gRPC and over REST. Exit status 1 if the server
crashed, hung, answered with an error that is not its own, or held memory, or if a good request
failed or waited too long. The same seed sends the same requests; `--only N` sends one of them.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import grpc

from benchmarks import _bombs, _embedded, _load, _malformed
from schema import features

MOST_PEAK = 1.5
MOST_AFTERWARDS = 1.1
LONGEST_WAIT_S = 2.0
LONGEST_ANSWER_S = 60.0
_CALLERS = 4
_SETTLING_S = 3.0


@dataclass
class Report:
    """What was seen.

    Attributes:
        outcomes: how many requests of a kind ended with a status.
        faults: what was wrong, by what.
        slowest_s: the longest that a malformed request took.
        before_mb, peak_mb, after_mb: the server's resident set.
        good: how many good requests were answered.
        longest_good_s: how long the slowest took.
    """

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    before_mb: float = 0.0
    peak_mb: float = 0.0
    after_mb: float = 0.0
    good: int = 0
    longest_good_s: float = 0.0


def attack(
    server: _embedded.Served,
    pictures: Sequence[str],
    count: int,
    seed: int,
    *,
    longest_wait_s: float = LONGEST_WAIT_S,
    most_peak: float = MOST_PEAK,
    most_afterwards: float = MOST_AFTERWARDS,
    only: int | None = None,
    every: int = 1000,
) -> Report:
    """Sends so many malformed requests beside good callers.

    Args:
        server: that is attacked.
        pictures: files of good pictures.
        count: of requests.
        seed: of their choice.
        longest_wait_s: a good request that takes longer is a fault.
        most_peak: so many times the memory before may be held at a time.
        most_afterwards: and so many times afterwards.
        only: the number of the one request to send.
        every: how many requests there are between two lines of progress; 0 for none.
    """
    report = Report()
    contents = [Path(file).read_bytes() for file in pictures]
    warm_up(server, contents)
    report.before_mb = server.memory_mb()
    server.forget_peak()
    with _embedded.GoodCallers(server, pictures) as good:
        numbers = range(count) if only is None else [only]
        requests = _malformed.malformed(seed, numbers, _embedded.NAME, contents)
        _send_all(server, requests, report, good, every)
        time.sleep(_SETTLING_S)
        answers = good.answers()
    report.good = len(answers)
    report.longest_good_s = max((answer.seconds for answer in answers), default=0.0)
    for answer in answers:
        if answer.problem:
            report.faults.append(f"a good request over {answer.over}: {answer.problem}")
        if answer.seconds > longest_wait_s:
            report.faults.append(f"a good request over {answer.over} took {answer.seconds:.1f} s")
    if not answers:
        report.faults.append("no good request was answered")
    if not server.is_alive():
        report.faults.append(f"the server ended with status {server.process.returncode}")
        return report
    report.peak_mb, report.after_mb = server.peak_mb(), server.memory_mb()
    for name, found, most in (
        ("the peak of memory", report.peak_mb, most_peak),
        ("the memory afterwards", report.after_mb, most_afterwards),
    ):
        if found > most * report.before_mb:
            report.faults.append(
                f"{name} is {found:,.0f} MB, {found / report.before_mb:.2f} times that before"
            )
    report.faults += [f"the server's log: {line}" for line in server.faults()]
    return report


def warm_up(server: _embedded.Served, pictures: Sequence[bytes]) -> None:
    """Asks every signature, so that what the server keeps for good is there.

    That is, of one picture and of many, and of the largest ones that are taken: TensorFlow keeps
    the memory that it has once needed for tensors.
    """
    with _channel(server) as channel, ThreadPoolExecutor(64) as callers:
        predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        for size in (1, 8, 32, 64):
            for signature in features.PICTURE_SIGNATURES:
                some = [pictures[i % len(pictures)] for i in range(size)]
                content = _load.request(some, _embedded.NAME, signature)
                list(callers.map(lambda _, it=content: predict(it, timeout=60), range(64 // size)))
        for large in (_bombs.png(5000, 5000), _bombs.jpeg(8000, 6000, components=3)):
            predict(_load.request([large] * 5, _embedded.NAME, signature), timeout=60)


def _channel(server: _embedded.Served) -> grpc.Channel:
    return grpc.insecure_channel(
        server.endpoint,
        (
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_http_proxy", 0),
        ),
    )


def _send_all(
    server: _embedded.Served,
    requests: Iterator[_malformed.Malformed],
    report: Report,
    good: _embedded.GoodCallers,
    every: int,
) -> None:
    # A caller to the server is a connection.
    channels = [_channel(server) for _ in range(_CALLERS)]

    def send(place: int, request: _malformed.Malformed) -> tuple:
        outcome = _malformed.send(request, channels[place], server.address, LONGEST_ANSWER_S)
        return request, outcome

    done = 0
    with ThreadPoolExecutor(_CALLERS) as callers:
        while several := [
            request for _, request in zip(range(8 * _CALLERS), requests, strict=False)
        ]:
            places = (place % _CALLERS for place in range(len(several)))
            for request, outcome in callers.map(send, places, several):
                done += 1
                report.outcomes[request.kind, outcome.status] += 1
                report.slowest_s = max(report.slowest_s, outcome.seconds)
                if found := _malformed.fault(request, outcome):
                    report.faults.append(f"request {request.number}, {request.kind}: {found[:300]}")
                if every and done % every == 0:
                    waited = max((answer.seconds for answer in good.answers()), default=0.0)
                    print(
                        f"{done:,} requests, {len(report.faults)} faults; memory "
                        f"{server.memory_mb():,.0f} MB, peak {server.peak_mb():,.0f}; good "
                        f"requests wait {waited:.2f} s at most",
                        flush=True,
                    )
            if not server.is_alive():
                return
    for channel in channels:
        channel.close()


def main() -> None:
    """Prints a line for every 1,000 requests, what became of each kind, and a verdict."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of one version")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of JPEGs")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="number of the one request to send")
    parser.add_argument("--every", type=int, default=1000, help="requests a line of progress")
    arguments = parser.parse_args()
    pictures = _embedded.picture_files(arguments.pictures, 64)
    began = time.monotonic()
    with _embedded.served(arguments.model) as server:
        report = attack(
            server,
            pictures,
            arguments.requests,
            arguments.seed,
            only=arguments.only,
            every=arguments.every,
        )
    for (kind, status), count in sorted(report.outcomes.items()):
        print(f"{kind}: {status} {count:,}")
    print(
        f"{sum(report.outcomes.values()):,} malformed requests in "
        f"{time.monotonic() - began:,.0f} s, the slowest {report.slowest_s:.1f} s; "
        f"{report.good:,} good ones, the slowest "
        f"{report.longest_good_s:.2f} s; memory {report.before_mb:,.0f} MB before, "
        f"{report.peak_mb:,.0f} at the peak, {report.after_mb:,.0f} afterwards"
    )
    for fault in report.faults[:50]:
        print(f"fault: {fault}")
    print(f"verdict: {len(report.faults)} faults" if report.faults else "verdict: good")
    sys.exit(1 if report.faults else 0)


if __name__ == "__main__":
    main()
