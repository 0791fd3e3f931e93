"""Good callers of a model server, in a process of their own: `python benchmarks/_good.py` and JSON.

Reads one line of JSON from standard input, asks until that ends, and writes a line for each answer:
`[seconds since 1970, "gRPC" or "REST", seconds it took, what was wrong with it]`. Each picture must
always get the same answer, whoever else is asking. Imports gRPC and the client's messages alone.
"""

from __future__ import annotations

import base64
import http.client
import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import grpc

from benchmarks import _load
from serving.client import tf_serving_pb2 as messages

_PATIENCE_S = 120.0
_TOLERANCE = 1e-3

_Answer = tuple[str, float]
"""The category and its score."""


class Unexpected(Exception):
    """An answer is not what a good request gets."""


def over_grpc(endpoint: str, model: str) -> Callable[[bytes], _Answer]:
    """Asks the signature `tolerant`, over a connection of its own."""
    channel = grpc.insecure_channel(
        endpoint, (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
    )
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")

    def ask(picture: bytes) -> _Answer:
        try:
            content = call(_load.request([picture], model, "tolerant"), timeout=_PATIENCE_S)
        except grpc.RpcError as error:
            raise Unexpected(f"{error.code().name}: {error.details()}") from None
        outputs = messages.PredictResponse.FromString(content).outputs
        if status := outputs["status"].string_val[0]:
            raise Unexpected(f"status: {status.decode()}")
        return (
            outputs["category"].string_val[0].decode(),
            outputs["category_score"].float_val[0],
        )

    return ask


def over_rest(endpoint: str, model: str) -> Callable[[bytes], _Answer]:
    """Asks the signature `serving_default`, over a connection that is kept."""
    connection = http.client.HTTPConnection(endpoint, timeout=_PATIENCE_S)
    headers = {"content-type": "application/json"}

    def ask(picture: bytes) -> _Answer:
        body = json.dumps({"instances": [{"b64": base64.b64encode(picture).decode()}]})
        # A connection that is idle may be closed at any time; then the request has not been seen.
        for is_last in (False, True):
            reused = connection.sock is not None
            try:
                connection.request("POST", f"/v1/models/{model}:predict", body, headers)
                response = connection.getresponse()
                content = response.read()
                break
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if is_last or not reused:
                    raise Unexpected(repr(error)) from None
        if response.status != 200:
            raise Unexpected(f"{response.status}: {content[:200].decode(errors='replace')}")
        (row,) = json.loads(content)["predictions"]
        return row["category"], row["category_score"]

    return ask


def _keep_asking(
    ask: Callable[[bytes], _Answer], name: str, pictures: Sequence[bytes], pause_s: float
) -> None:
    first: dict[bytes, _Answer] = {}
    turn = 0
    while True:
        picture = pictures[turn % len(pictures)]
        turn += 1
        began = time.perf_counter()
        problem = ""
        try:
            answer = ask(picture)
            label, score = first.setdefault(picture, answer)
            if answer[0] != label or abs(answer[1] - score) > _TOLERANCE:
                problem = f"{answer} in place of {(label, score)}"
        except Unexpected as error:
            problem = str(error)
        took = time.perf_counter() - began
        sys.stdout.write(json.dumps([time.time(), name, took, problem]) + "\n")
        sys.stdout.flush()
        time.sleep(pause_s)


def main() -> None:
    order = json.loads(sys.stdin.readline())
    pictures = [Path(file).read_bytes() for file in order["pictures"]]
    for name, ask, endpoint in (
        ("gRPC", over_grpc, order["endpoint"]),
        ("REST", over_rest, order["rest_endpoint"]),
    ):
        for _ in range(order["callers"]):
            asked = (ask(endpoint, order["model"]), name, pictures, order["pause_s"])
            threading.Thread(target=_keep_asking, args=asked, daemon=True).start()
    sys.stdin.read()
    sys.stdout.flush()


if __name__ == "__main__":
    main()
