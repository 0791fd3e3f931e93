"""Measures the embedded server on a pushed model against the same model in this process, in turns.

    python benchmarks/serving.py throughput --model FOLDER --pictures FOLDER
    python benchmarks/serving.py signatures --model FOLDER --pictures FOLDER

`--model` is the folder of one version, e.g. workspace/demo/serving/catalog/1764150000, and
`--pictures` one of JPEGs. The yardstick is what the same SavedModel gives in a Session of its own,
without a server, at its best batch; callers run in a third process, on the same processors. Leave
the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from benchmarks import _embedded, _load
from schema import features
from serving.model_server.saved_model import SavedModel

_BATCHES = (1, 8, 16, 32, 64)
_MOST_PICTURES = 256


def in_process(model: SavedModel, pictures: list[bytes], signature: str, seconds: float) -> float:
    """Pictures/s of a batch, without a server."""
    batch = {features.IMAGE_BYTES: np.array(pictures, object)}
    outputs = sorted(model.signature_defs[signature].outputs)
    model.run(batch, outputs, None, signature)
    began, runs = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        model.run(batch, outputs, None, signature)
        runs += 1
    return runs * len(pictures) / (time.perf_counter() - began)


def load(endpoint: str, files: list[str], **order: object) -> dict:
    """What callers saw, who ask in a process of their own."""
    asked = {"endpoint": endpoint, "model": _embedded.NAME, "pictures": files, **order}
    finished = subprocess.run(
        [sys.executable, _load.__file__],
        input=json.dumps(asked).encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(finished.stdout)


def throughput(arguments: argparse.Namespace) -> None:
    """32 callers of one picture, 8 of eight, one alone, and half the load.

    Everything is measured once in each turn, and compared by its median over the turns: on a
    machine that others share, the best of one turn is chance.
    """
    files = _embedded.picture_files(arguments.pictures, _MOST_PICTURES)
    pictures = [Path(file).read_bytes() for file in files]
    model = SavedModel(arguments.model)
    signature = arguments.signature
    alone: dict[int, list[float]] = {size: [] for size in _BATCHES}
    many: dict[tuple[int, int], list[float]] = {(32, 1): [], (8, 8): []}
    one, tails = [], []
    with _embedded.served(arguments.model) as server:

        def measured(clients: int, size: int, rate: float | None = None) -> dict:
            seen = load(
                server.endpoint,
                files,
                **{"clients": clients, "pictures_per_request": size, "rate": rate},
                **{"seconds": arguments.seconds, "signature": signature},
            )
            if seen["failed"]:
                sys.exit(f"error: {seen['failed']} calls were not answered.")
            return seen

        for turn in range(arguments.rounds):
            for size, rates in alone.items():
                seconds = arguments.seconds / len(alone)
                rates.append(in_process(model, pictures[:size], signature, seconds))
            for (clients, size), rates in many.items():
                seen = measured(clients, size)
                rates.append(len(seen["latencies"]) * size / seen["seconds"])
            one.append(1000 * median(measured(1, 1)["latencies"]))
            half = measured(32, 1, many[32, 1][-1] / 2)["latencies"]
            tails.append(np.percentile(half, [50, 99]) * 1000)
            print(
                f"turn {turn + 1}: in process "
                + ", ".join(f"{rates[-1]:,.0f}/s in batches of {n}" for n, rates in alone.items())
                + "; served "
                + ", ".join(f"{rates[-1]:,.0f}/s to {n} x {k}" for (n, k), rates in many.items())
                + f"; one caller {one[-1]:.1f} ms; at half the load {tails[-1][0]:.1f} ms in the "
                f"median and {tails[-1][1]:.1f} at the 99th percentile",
                flush=True,
            )
    best, yardstick = max(((n, median(rates)) for n, rates in alone.items()), key=lambda x: x[1])
    print(f"in process, in batches of {best}: {yardstick:,.0f} pictures/s")
    for (clients, size), rates in many.items():
        ratios = [rate / yardstick for rate in rates]
        print(
            f"{clients} callers of {size}: {median(rates):,.0f} pictures/s, "
            f"{median(ratios):.2f} of that ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    in_process_ms = 1000 / median(alone[1])
    print(
        f"one caller: {median(one) - in_process_ms:+.1f} ms to the {in_process_ms:.1f} in process"
    )
    print(f"p99 at half the load: {median(p99 / p50 for p50, p99 in tails):.1f} medians")


def signatures(arguments: argparse.Namespace) -> None:
    """Bytes and milliseconds a picture of each signature that answers pictures."""
    from tensorflow_serving.apis import predict_pb2

    from serving.model_server import tensors

    files = _embedded.picture_files(arguments.pictures, _MOST_PICTURES)
    pictures = [Path(file).read_bytes() for file in files]
    model = SavedModel(arguments.model)
    for signature in features.PICTURE_SIGNATURES:
        outputs = sorted(model.signature_defs[signature].outputs)
        found = model.run(
            {features.IMAGE_BYTES: np.array(pictures[:32], object)}, outputs, None, signature
        )
        answer = predict_pb2.PredictResponse()
        for name, values in zip(outputs, found, strict=True):
            tensors.fill(answer.outputs[name], values)
        milliseconds = [
            1000 / in_process(model, pictures[:size], signature, arguments.seconds)
            for size in (1, 32)
        ]
        print(
            f"{signature}: {answer.ByteSize() / 32:,.0f} bytes a picture; {milliseconds[0]:.1f} ms "
            f"for one, {milliseconds[1]:.1f} ms a picture for 32",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("throughput", "signatures"))
    parser.add_argument("--model", type=Path, required=True, help="folder of one version")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of JPEGs")
    parser.add_argument("--signature", default=features.TOLERANT_SIGNATURE)
    parser.add_argument("--seconds", type=float, default=6, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    {"throughput": throughput, "signatures": signatures}[arguments.what](arguments)


if __name__ == "__main__":
    main()
