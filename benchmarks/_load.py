"""Callers of a model server, in a process of their own: `python benchmarks/_load.py` and JSON.

Reads one JSON object from standard input and writes one to standard output, so that the callers'
Python never waits for that of whoever measures. Imports gRPC and the client's messages alone.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import grpc  # noqa: E402

from serving.client import tf_serving_pb2 as messages  # noqa: E402

_METHOD = "/tensorflow.serving.PredictionService/Predict"


def request(pictures: list[bytes], model: str, signature: str) -> bytes:
    """A Predict request, serialized."""
    asked = messages.PredictRequest(
        model_spec=messages.ModelSpec(name=model, signature_name=signature)
    )
    asked.inputs["image_bytes"].dtype = messages.DT_STRING
    asked.inputs["image_bytes"].tensor_shape.dim.add(size=len(pictures))
    asked.inputs["image_bytes"].string_val.extend(pictures)
    return asked.SerializeToString()


async def ask(
    endpoint: str, requests: list[bytes], clients: int, seconds: float, rate: float | None
) -> list[tuple[float, str]]:
    """Calls of `clients` callers, each on a connection of its own, for so many seconds.

    Args:
        endpoint: "host:port".
        requests: Serialized; taken in turn.
        clients: Callers; each asks again when it is answered, unless `rate` says otherwise.
        seconds: How long.
        rate: Requests a second of all callers together, on time whether or not the ones before
            are answered; None for as many as are answered.

    Returns:
        Seconds that each call took, and its status' name.
    """
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
    channels = [grpc.aio.insecure_channel(endpoint, options) for _ in range(clients)]
    calls = [channel.unary_unary(_METHOD) for channel in channels]
    done: list[tuple[float, str]] = []

    async def once(call, content: bytes, due: float) -> None:
        try:
            await call(content, timeout=60)
            status = "OK"
        except grpc.aio.AioRpcError as error:
            status = error.code().name
        done.append((time.perf_counter() - due, status))

    for call in calls:
        await once(call, requests[0], time.perf_counter())
    done.clear()
    began = time.perf_counter()
    if rate is None:

        async def caller(number: int, call) -> None:
            turn = number
            while time.perf_counter() - began < seconds:
                await once(call, requests[turn % len(requests)], time.perf_counter())
                turn += clients

        await asyncio.gather(*(caller(number, call) for number, call in enumerate(calls)))
    else:
        waiting = []
        for turn in range(int(seconds * rate)):
            due = began + turn / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            content = requests[turn % len(requests)]
            waiting.append(asyncio.create_task(once(calls[turn % clients], content, due)))
        await asyncio.gather(*waiting)
    for channel in channels:
        await channel.close()
    return done


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
    done = asyncio.run(
        ask(order["endpoint"], requests, order["clients"], order["seconds"], order.get("rate"))
    )
    took = time.perf_counter() - began
    json.dump(
        {
            "seconds": took,
            "latencies": [latency for latency, _ in done],
            "failed": sum(status != "OK" for _, status in done),
            "request_bytes": sum(map(len, requests)) / len(requests),
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
