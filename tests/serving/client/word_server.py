"""A server in this process whose model is a few lines of Python, and whose moods a test can set."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent import futures

import grpc
import numpy as np

from schema import features
from serving.client import tf_serving_pb2 as messages

COLORS = ("red", "green", "blue")

OLDER, NEWER = (features.SERVING_SIGNATURE,), features.PICTURE_SIGNATURES
"""What signatures a model has."""


def tensor(values) -> messages.Tensor:
    """Numbers or texts in whatever nesting, as TensorFlow Serving sends them."""
    found = np.asarray(values)
    shape = messages.TensorShape(dim=[messages.TensorShape.Dim(size=n) for n in found.shape])
    if found.dtype.kind in "US":
        texts = [str(value).encode() for value in found.ravel()]
        return messages.Tensor(dtype=messages.DT_STRING, tensor_shape=shape, string_val=texts)
    floats = found.ravel().tolist()
    return messages.Tensor(dtype=messages.DT_FLOAT, tensor_shape=shape, float_val=floats)


class Refusal(Exception):
    """What a server answers in place of an answer."""

    def __init__(self, code: grpc.StatusCode, details: str):
        super().__init__(details)
        self.code, self.details = code, details


class WordServer:
    """Its pictures are words: `red`, `green` and `blue` are answered with that category.

    A real JPEG is answered as if it were `red`. With `extra` the category has that name as well.
    `mood` is called with each request first, and may raise a `Refusal`. Requests and their metadata
    are kept.
    """

    def __init__(
        self,
        credentials: grpc.ServerCredentials | None = None,
        port: int = 0,
        **options: object,
    ):
        self.signatures: tuple[str, ...] = NEWER
        self.version = 3
        self.extra = ""
        self.mood: Callable[[messages.PredictRequest], None] = lambda request: None
        self.requests: list[messages.PredictRequest] = []
        self.metadata: list[dict[str, str]] = []
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        self._server = grpc.server(futures.ThreadPoolExecutor(16), options=list(options.items()))
        predict = grpc.unary_unary_rpc_method_handler(
            self._predict,
            request_deserializer=messages.PredictRequest.FromString,
            response_serializer=messages.PredictResponse.SerializeToString,
        )
        self._server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(
                    "tensorflow.serving.PredictionService", {"Predict": predict}
                )
            ]
        )
        address = f"127.0.0.1:{port}"
        self.port = (
            self._server.add_secure_port(address, credentials)
            if credentials
            else self._server.add_insecure_port(address)
        )
        self.endpoint = f"127.0.0.1:{self.port}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    @property
    def sizes(self) -> list[int]:
        """How many pictures each request had."""
        return [len(request.inputs["image_bytes"].string_val) for request in self.requests]

    @property
    def asked(self) -> list[str]:
        """The signature that each request asked for."""
        return [request.model_spec.signature_name for request in self.requests]

    def _predict(self, request, context):
        with self._lock:
            self.requests.append(request)
            self.metadata.append(dict(context.invocation_metadata()))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self.mood(request)
            return messages.PredictResponse(
                outputs=self._outputs(request),
                model_spec=messages.ModelSpec(version={"value": self.version}),
            )
        except Refusal as refusal:
            context.abort(refusal.code, refusal.details)
        finally:
            with self._lock:
                self.at_once -= 1

    def _outputs(self, request) -> dict[str, messages.Tensor]:
        signature = request.model_spec.signature_name
        if signature not in self.signatures:
            raise Refusal(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{signature}" not found.',
            )
        contents = request.inputs["image_bytes"].string_val
        words = ["red" if c[:2] == b"\xff\xd8" else c.decode() for c in contents]
        bad = [word not in COLORS for word in words]
        if signature in (features.SERVING_SIGNATURE, features.EVERYTHING_SIGNATURE) and any(bad):
            first = bad.index(True)
            raise Refusal(
                grpc.StatusCode.INVALID_ARGUMENT,
                "assertion failed: [" + features.UNDECODABLE.format(first, words[first]) + "]",
            )
        outputs = {}
        levels = [("category", 0.5), ("subcategory", 0.9)]
        for level, threshold in levels + [(self.extra, 0.75)] * bool(self.extra):
            labels = [
                ["", ""] if no else [word, "other"] for word, no in zip(words, bad, strict=True)
            ]
            outputs[level] = [row[0] for row in labels]
            outputs[f"{level}_score"] = [0.0 if no else 0.75 for no in bad]
            outputs[f"{level}_labels"] = labels
            outputs[f"{level}_scores"] = [[0.0, 0.0] if no else [0.75, 0.25] for no in bad]
            if self.signatures != OLDER:
                outputs[f"{level}_threshold"] = [0.0 if no else threshold for no in bad]
        outputs["attributes"] = [["", ""] if no else ["tone=dark", "tone=bright"] for no in bad]
        outputs["attribute_scores"] = [[0.0, 0.0] if no else [0.25, 0.5] for no in bad]
        if self.signatures != OLDER:
            outputs["attributes_threshold"] = [0.0 if no else 0.5 for no in bad]
        if "everything" in signature or self.signatures == OLDER:
            outputs["embedding"] = [[0.0, 0.0] if no else [0.6, 0.8] for no in bad]
        if "tolerant" in signature:
            outputs["status"] = [word if no else "" for word, no in zip(words, bad, strict=True)]
        return {name: tensor(values) for name, values in outputs.items()}
