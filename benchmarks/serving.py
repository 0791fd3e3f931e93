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
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402

from benchmarks import _embedded, _load  # noqa: E402
from schema import features  # noqa: E402
from serving.model_server.saved_model import SavedModel  # noqa: E402

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
    """32 callers of one picture, 8 of eight, one alone, and half the load."""
    files = _embedded.picture_files(arguments.pictures, _MOST_PICTURES)
    pictures = [Path(file).read_bytes() for file in files]
    model = SavedModel(arguments.model)
    signature = arguments.signature
    best = {}
    with _embedded.served(arguments.model) as server:

        def measured(clients: int, size: int, rate: float | None = None) -> dict:
            return load(
                server.endpoint,
                files,
                **{"clients": clients, "pictures_per_request": size, "rate": rate},
                **{"seconds": arguments.seconds, "signature": signature},
            )

        rows: dict[str, list[float]] = {}
        for turn in range(arguments.rounds):
            best = {
                size: in_process(model, pictures[:size], signature, arguments.seconds / 3)
                for size in _BATCHES
            }
            yardstick = max(best.values())
            for name, clients, size in (
                ("32 callers of 1 picture", 32, 1),
                ("8 callers of 8 pictures", 8, 8),
            ):
                seen = measured(clients, size)
                rate = len(seen["latencies"]) * size / seen["seconds"]
                rows.setdefault(name, []).append(rate / yardstick)
                print(
                    f"turn {turn + 1}: {name}: {rate:,.0f} pictures/s, {rate / yardstick:.2f} of "
                    f"the best in process ({yardstick:,.0f}); {seen['failed']} failed",
                    flush=True,
                )
                if clients == 32:
                    most = rate
            alone = measured(1, 1)
            extra = 1000 * (median(alone["latencies"]) - 1 / best[1])
            rows.setdefault("one caller: ms over the call in process", []).append(extra)
            half = measured(32, 1, most / 2)
            slow, usual = np.percentile(half["latencies"], [99, 50])
            rows.setdefault("p99 / median at half the load", []).append(slow / usual)
            print(
                f"turn {turn + 1}: one caller {1000 * median(alone['latencies']):.1f} ms, "
                f"{1000 / best[1]:.1f} in process; at half the load {1000 * usual:.1f} ms in the "
                f"median, {1000 * slow:.1f} at the 99th percentile",
                flush=True,
            )
    for name, values in rows.items():
        print(f"{name}: {median(values):.2f} in the median of {arguments.rounds} turns")


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
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("what", choices=("throughput", "signatures"))
    arguments.add_argument("--model", type=Path, required=True, help="folder of one version")
    arguments.add_argument("--pictures", type=Path, required=True, help="folder of JPEGs")
    arguments.add_argument("--signature", default=features.TOLERANT_SIGNATURE)
    arguments.add_argument("--seconds", type=float, default=6, help="of one measurement")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments = arguments.parse_args()
    {"throughput": throughput, "signatures": signatures}[arguments.what](arguments)


if __name__ == "__main__":
    main()
