"""A server that the contract tests ask: one at an address, or ours as a process with its flags."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import Message
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 20.0
_START_S = 90.0
_PLACES = re.compile(r"serving: gRPC at (\S+), REST at (\S+)")
_READY = "every model answers"

OK = "OK"


@dataclass
class Asked:
    """A server and the ways to ask it. It answers `OK` and the answer, or a status and its text.

    Attributes:
        grpc_address: `host:port`, or `unix:path`.
        rest_address: `host:port`; None if REST is not to be asked.
        process: the server, if it is ours.
        log: what it writes to standard error.
    """

    grpc_address: str
    rest_address: str | None = None
    process: subprocess.Popen | None = None
    log: Path | None = None
    _channel: grpc.Channel = field(init=False)

    def __post_init__(self) -> None:
        self._channel = grpc.insecure_channel(self.grpc_address)
        self.predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self._channel)

    @property
    def channel(self) -> grpc.Channel:
        """For services of other packages."""
        return self._channel

    def call(self, method: Callable, request: Message) -> tuple[str, Any]:
        """A call's answer, or how it was refused."""
        try:
            return OK, method(request, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            return error.code().name, error.details()

    def predict(
        self, model: str = "", signature: str = "", outputs: tuple[str, ...] = (), **inputs: Any
    ) -> tuple[str, Any]:
        """Predict with arrays, or with messages for what an array cannot say."""
        return self.call(
            self.predictions.Predict, predict_request(model, signature, outputs, **inputs)
        )

    def classify(self, model: str, signature: str, *examples: dict) -> tuple[str, Any]:
        """Classify with Examples that have the features given."""
        request = classification_pb2.ClassificationRequest()
        return self.call(
            self.predictions.Classify, of_examples(request, model, signature, examples)
        )

    def regress(self, model: str, signature: str, *examples: dict) -> tuple[str, Any]:
        """Regress with Examples that have the features given."""
        request = regression_pb2.RegressionRequest()
        return self.call(self.predictions.Regress, of_examples(request, model, signature, examples))

    def infer(self, tasks: list[tuple[str, str, str]], *examples: dict) -> tuple[str, Any]:
        """MultiInference with tasks of a model, a signature and a method."""
        request = inference_pb2.MultiInferenceRequest()
        for model, signature, method in tasks:
            task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
            task.model_spec.name = model
            task.model_spec.signature_name = signature
        fill_examples(request.input, examples)
        return self.call(self.predictions.MultiInference, request)

    def metadata(self, model: str, *fields: str) -> tuple[str, Any]:
        """GetModelMetadata; of the signatures, by default."""
        request = get_model_metadata_pb2.GetModelMetadataRequest()
        request.model_spec.name = model
        request.metadata_field.extend(fields or ["signature_def"])
        return self.call(self.predictions.GetModelMetadata, request)

    def status(
        self, model: str, version: int | None = None, label: str | None = None
    ) -> tuple[str, Any]:
        """GetModelStatus: the state of each version by its number."""
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        if version is not None:
            request.model_spec.version.value = version
        if label is not None:
            request.model_spec.version_label = label
        code, answer = self.call(self.models.GetModelStatus, request)
        if code != OK:
            return code, answer
        name = get_model_status_pb2.ModelVersionStatus.State.Name
        return code, {one.version: name(one.state) for one in answer.model_version_status}

    def reload(self, config: Message) -> tuple[str, Any]:
        """HandleReloadConfigRequest."""
        request = model_management_pb2.ReloadConfigRequest(config=config)
        return self.call(self.models.HandleReloadConfigRequest, request)

    def rest(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, str, dict[str, str]]:
        """A REST request's status, text and headers."""
        host, port = self.rest_address.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT_S)
        with contextlib.closing(connection):
            headers = {name.replace("_", "-"): value for name, value in headers.items()}
            content = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            received = {name.lower(): value for name, value in response.getheaders()}
            return response.status, response.read().decode(errors="replace"), received

    def get(self, path: str) -> tuple[int, Any]:
        """A GET's status and JSON; of a refusal the sentence."""
        return self._json("GET", path, None)

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        """A POST's status and JSON; of a refusal the sentence."""
        return self._json("POST", path, body)

    def wait_until(self, holds: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
        """Asks again and again."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < deadline, f"not within {timeout_s:g} s"
            time.sleep(0.05)

    def close(self) -> None:
        """Hangs up, and ends the server if it is ours."""
        self._channel.close()
        if self.process:
            stop(self.process)

    def _json(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        status, text, headers = self.rest(method, path, body)
        assert headers["content-type"] == "application/json"
        answer = json.loads(text)
        return status, answer["error"] if status != 200 else answer


def tensor(value: Any, dtype: Any = None) -> Message:
    """A TensorProto of an array; text and pictures as bytes."""
    return tf.make_tensor_proto(value, dtype)


def predict_request(
    model: str, signature: str = "", outputs: tuple[str, ...] = (), **inputs: Any
) -> predict_pb2.PredictRequest:
    """A Predict's message."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    request.output_filter.extend(outputs)
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(
            value if isinstance(value, Message) else tensor(np.asarray(value))
        )
    return request


def of_examples(request: Any, model: str, signature: str, examples: tuple[dict, ...]) -> Any:
    """Fills a Classify's or Regress' message."""
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    fill_examples(request.input, examples)
    return request


def fill_examples(given: Any, examples: tuple[dict, ...]) -> None:
    """Writes Examples, each of a dictionary of numbers and texts."""
    for values in examples:
        fill_example(given.example_list.examples.add(), values)


def fill_example(example: Any, values: dict) -> None:
    """Writes an Example's features: numbers and bytes, or lists of them."""
    for name, value in values.items():
        content = value if isinstance(value, list) else [value]
        kind = {float: "float_list", int: "int64_list", bytes: "bytes_list"}[type(content[0])]
        getattr(example.features.feature[name], kind).value.extend(content)


def start(log: Path, *flags: str, **environment: str) -> subprocess.Popen:
    """Starts `python -m serving.model_server` with flags of tensorflow_model_server."""
    command = [sys.executable, "-m", "serving.model_server", *flags]
    with log.open("wb") as stderr:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"} | environment,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )


def connected(process: subprocess.Popen, log: Path, is_ready: bool = True) -> Asked:
    """Waits until a server that was started has its ports, and its models unless told otherwise."""
    deadline = time.monotonic() + _START_S
    while True:
        written = log.read_text(errors="replace")
        places = _PLACES.search(written)
        if places and (_READY in written or not is_ready):
            return Asked(*places.groups(), process=process, log=log)
        assert process.poll() is None, written
        assert time.monotonic() < deadline, written
        time.sleep(0.05)


@contextlib.contextmanager
def running(log: Path, *flags: str) -> Iterator[Asked]:
    """A server of our own, for the length of a `with`."""
    process = start(log, "--port=any", "--rest_api_port=any", *flags)
    try:
        asked = connected(process, log)
        yield asked
    finally:
        stop(process)


def stop(process: subprocess.Popen) -> None:
    """Ends a server, whatever it does."""
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
