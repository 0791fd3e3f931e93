"""TensorFlow Serving's REST interface, answered from a `ServedModel`.

The JSON is described at https://www.tensorflow.org/tfx/serving/api_rest: rows under `instances`
and `predictions`, or columns under `inputs` and `outputs`; binary values as `{"b64": "..."}`.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import re
import socketserver
import sys
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2

from schema.errors import UserError
from serving.client import MAX_MESSAGE_BYTES
from serving.model_server import grpc_services
from serving.model_server.loaded_model import RequestError
from serving.model_server.served_model import ServedModel

_log = logging.getLogger("seamline.serving")

_PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d{1,18}))?(?P<call>:predict|/metadata)?"
)
_HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION: HTTPStatus.PRECONDITION_FAILED,
    grpc.StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    grpc.StatusCode.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    grpc.StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}

# A connection on which nothing comes for so long is closed; each one holds a thread.
_IDLE_S = 60


class RestServer:
    """An HTTP server in threads of its own.

    Args:
        served: what answers.
        host: address to listen on.
        port: port to listen on; 0 takes any free one.

    Attributes:
        port: the port in use.

    Raises:
        UserError: the port is taken.
    """

    def __init__(self, served: ServedModel, host: str, port: int):
        handler = type("Handler", (_Handler,), {"served": served})
        try:
            self._server = _HttpServer((host, port), handler)
        except (OSError, OverflowError) as error:
            raise UserError(
                f"Cannot listen on {host}:{port} ({error}). Choose another port with "
                "--rest-port, or 0 for any free one."
            ) from error
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="rest", daemon=True)

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Closes the port."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    # Waiting for the connections that clients keep open would take until they are idle.
    block_on_close = False
    # As many callers may knock at once as wait for an answer; beyond that TCP makes them wait 1 s.
    request_queue_size = 64

    def server_bind(self) -> None:
        """Binds without asking for the host's full name, which can take a resolver seconds."""
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Logs what the standard server would print with a traceback, a client's going included."""
        _log.warning("REST request of %s: %s", client_address, sys.exc_info()[1])


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests, one after the other."""

    served: ServedModel
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S

    def do_GET(self) -> None:
        self._answer({None: self._status, "/metadata": self._metadata})

    def do_POST(self) -> None:
        self._answer({":predict": self._predict})

    def log_message(self, format: str, *args: Any) -> None:
        """Keeps quiet: the standard handler writes a line on stderr for every request."""

    def _answer(self, calls: Mapping[str | None, Any]) -> None:
        try:
            body = self._body()
            match = _PATH.fullmatch(self.path.partition("?")[0])
            if not match or match["call"] not in calls:
                raise _invalid(f"Malformed request: {self.command} {self.path}")
            version = int(match["version"]) if match["version"] else None
            answer = calls[match["call"]](match["name"], version, body)
            self._send(HTTPStatus.OK, answer)
        except RequestError as error:
            status = _HTTP_STATUS.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)
            self._send(status, {"error": error.message})

    def _body(self) -> bytes:
        """The request's body, which must be read even if it is not wanted."""
        try:
            length = int(self.headers.get("Content-Length", 0))
        except ValueError:
            length = -1
        if "Transfer-Encoding" in self.headers or not 0 <= length <= MAX_MESSAGE_BYTES:
            # Where this body ends, and so where the next request begins, is not known.
            self.close_connection = True
            raise _invalid(
                f"A request needs a Content-Length of at most {MAX_MESSAGE_BYTES} bytes."
            )
        return self.rfile.read(length)

    def _send(self, status: HTTPStatus, answer: Mapping[str, Any]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def _status(self, name: str, version: int | None, body: bytes) -> dict[str, Any]:
        status = grpc_services.status(self.served.states(name, version))
        return json_format.MessageToDict(
            status, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )

    def _metadata(self, name: str, version: int | None, body: bytes) -> dict[str, Any]:
        model = self.served.version(name, version)
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=model.signature_defs)
        return {
            "model_spec": {"name": name, "signature_name": "", "version": str(model.version)},
            "metadata": {
                grpc_services.SIGNATURE_DEF: json_format.MessageToDict(
                    signatures, preserving_proto_field_name=True
                )
            },
        }

    def _predict(self, name: str, version: int | None, body: bytes) -> dict[str, Any]:
        model = self.served.version(name, version)
        request = _parsed(body)
        signature_name = request.get("signature_name", "")
        specs = model.inputs(signature_name)
        by_row = "instances" in request
        columns = _columns(request["instances"], specs) if by_row else _named(request, specs)
        inputs = {
            input_name: _array(input_name, values, specs.get(input_name))
            for input_name, values in columns.items()
        }
        outputs = self.served.predict(model, inputs, signature_name)
        plain = {output: _plain(output, value) for output, value in outputs.items()}
        if by_row:
            return {"predictions": _rows(plain, len(request["instances"]))}
        return {"outputs": plain if len(plain) > 1 else next(iter(plain.values()))}


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"JSON Parse error: {error}") from error
    if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
        raise _invalid('The request must be a JSON object with one of "instances" and "inputs".')
    if not isinstance(request.get("signature_name", ""), str):
        raise _invalid('"signature_name" must be a string.')
    return request


def _columns(instances: Any, specs: Mapping[str, tf.TensorSpec]) -> dict[str, list]:
    """Rows to columns; rows of a signature with one input may be bare values."""
    if not isinstance(instances, list) or not instances:
        raise _invalid('"instances" must be a list that is not empty.')
    if not _is_named(instances[0]):
        return {_only_input(specs): instances}
    names = set(instances[0])
    if any(not _is_named(row) or set(row) != names for row in instances):
        raise _invalid('Every object in "instances" must have the same keys.')
    return {name: [row[name] for row in instances] for name in names}


def _named(request: Mapping[str, Any], specs: Mapping[str, tf.TensorSpec]) -> dict[str, Any]:
    """Columns by name; a signature with one input may be given its value alone."""
    inputs = request["inputs"]
    return inputs if _is_named(inputs) else {_only_input(specs): inputs}


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and set(value) != {"b64"}


def _only_input(specs: Mapping[str, tf.TensorSpec]) -> str:
    if len(specs) != 1:
        raise _invalid(f"The signature takes several inputs: name them, as {sorted(specs)}.")
    return next(iter(specs))


def _array(name: str, values: Any, spec: tf.TensorSpec | None) -> np.ndarray:
    """JSON as the array that the spec asks for; as it looks, if there is no such input."""
    try:
        dtype = spec.dtype.as_numpy_dtype if spec is not None else None
        return np.array(_decoded(values), dtype=dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise _invalid(f"The input {name} is not a tensor: {error}") from error


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (KeyError, TypeError, binascii.Error) as error:
            raise ValueError(f'an object must be {{"b64": base64}}: {error}') from error
    return value


def _plain(name: str, value: np.ndarray) -> Any:
    """An output for JSON: text as UTF-8, but base64 if the output's name says that it is bytes."""
    if value.dtype != object:
        return value.tolist()

    def text(encoded: bytes) -> Any:
        if name.endswith("_bytes"):
            return {"b64": base64.b64encode(encoded).decode()}
        return encoded.decode(errors="replace")

    flat = np.empty(value.size, dtype=object)
    flat[:] = [text(encoded) for encoded in value.flat]
    return flat.reshape(value.shape).tolist()


def _rows(outputs: Mapping[str, Any], count: int) -> list:
    """Columns to rows; rows of a signature with one output are bare values."""
    for name, values in outputs.items():
        if not isinstance(values, list) or len(values) != count:
            raise _invalid(
                f'The output {name} has no row for each instance: use "inputs" in place of '
                '"instances".'
            )
    if len(outputs) == 1:
        return next(iter(outputs.values()))
    return [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]


def _invalid(message: str) -> RequestError:
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, message)
