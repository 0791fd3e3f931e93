"""Over REST the server answers as TensorFlow Serving does.

What is expected was read in TensorFlow Serving's http_rest_api_handler.cc, http_rest_api_util.cc,
http_server.cc and evhttp_server.cc, and in its REST page.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.client
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.model_server import ModelServer
from serving.model_server.options import ServerOptions, single_model
from serving.model_server.server_config_pb2 import MonitoringConfig
from tests.serving.model_server import echo_model

MODEL = "/v1/models/default"
PREDICT = f"{MODEL}:predict"
HALF_PLUS_TWO = {"instances": [[1.0]]}
TIMEOUT_S = 1.0
MAX_BODY_BYTES = 4 * 1024 * 1024


class Caller:
    """Asks a server, a connection for each request."""

    def __init__(self, endpoint: str):
        host, port = endpoint.rsplit(":", 1)
        self.address = host, int(port)

    def request(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection(*self.address, timeout=30)
        with contextlib.closing(connection):
            headers = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return response.status, response.read(), names

    def get(self, path: str) -> tuple[int, Any]:
        status, content, _ = self.request("GET", path)
        return status, json.loads(content)

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        content = body if isinstance(body, bytes) else json.dumps(body)
        status, content, received = self.request("POST", path, content, **headers)
        assert received["content-type"] == "application/json"
        return status, json.loads(content)

    def predict(self, body: Any, **headers: str) -> tuple[int, Any]:
        return self.post(PREDICT, body, **headers)

    def echo(self, dtype: str, *values: Any) -> tuple[int, Any]:
        return self.predict({"signature_name": f"echo_{dtype}", "instances": list(values)})

    def raw(self, sent: bytes) -> bytes:
        """What comes back for bytes, until the server closes."""
        with socket.create_connection(self.address, timeout=30) as connection:
            connection.sendall(sent)
            received = b""
            with contextlib.suppress(ConnectionResetError):
                while data := connection.recv(65536):
                    received += data
            return received


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder with version 123."""
    folder = tmp_path_factory.mktemp("models") / "default"
    echo_model.save(folder / "123")
    return folder


@contextlib.contextmanager
def running(folder: Path, **options: Any) -> Iterator[Caller]:
    models = single_model(folder)
    (model,) = models.model_config_list.config
    model.version_labels["stable"] = 123
    server = ModelServer.from_options(
        ServerOptions(
            models=models,
            allow_version_labels_for_unavailable_models=True,
            rest_api_port=0,
            max_message_bytes=MAX_BODY_BYTES,
            **options,
        )
    )
    with server:
        yield Caller(server.rest_endpoint)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Caller]:
    """A server with everything off that is off by default, except a short timeout."""
    with running(folder, rest_api_timeout_s=TIMEOUT_S) as caller:
        yield caller


@pytest.fixture(scope="module")
def open_server(folder: Path) -> Iterator[Caller]:
    """A server with CORS and metrics, and strict limits on connections."""
    monitoring = MonitoringConfig()
    monitoring.prometheus_config.enable = True
    with running(
        folder,
        rest_api_enable_cors_support=True,
        monitoring=monitoring,
        max_connections=40,
        header_timeout_s=1.0,
    ) as caller:
        yield caller


# Paths and methods.

AVAILABLE = {
    "model_version_status": [
        {
            "version": "123",
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
    ]
}


@pytest.mark.parametrize(
    "path",
    [
        MODEL,
        f"{MODEL}/versions/123",
        f"{MODEL}/labels/stable",
        "/V1/Models/default",
        "/v1/models/def%61ult",
        f"{MODEL}/METADATA",
    ],
)
def test_status_is_told_of_a_model_a_version_and_a_label(server, path):
    assert server.get(path) == (200, AVAILABLE)


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/v1/models/nope", 404, "Could not find any versions of model nope"),
        (f"{MODEL}/versions/1", 404, "Could not find version 1 of model default"),
        (
            f"{MODEL}/versions/9223372036854775807",
            404,
            "Could not find version 9223372036854775807 of model default",
        ),
        (
            f"{MODEL}/versions/9223372036854775808",
            400,
            "Failed to convert version: 9223372036854775808 to numeric.",
        ),
        (f"{MODEL}/versions/{'0' * 5000}{'9' * 5000}", 400, "Failed to convert version: 000"),
        (f"{MODEL}/labels/nope", 400, "Unrecognized servable version label: nope"),
        (f"{MODEL}?x=1", 404, "Could not find any versions of model default?x=1"),
        ("/v1/models", 400, "Missing model name in request."),
        ("/v1/models/", 400, "Malformed request: GET /v1/models/"),
        (f"{MODEL}/versions/x", 400, f"Malformed request: GET {MODEL}/versions/x"),
        (PREDICT, 400, f"Malformed request: GET {PREDICT}"),
        ("/v1/models/%FF", 404, "Could not find any versions of model"),
        ("/v1/models/a%0Ab", 404, "Could not find any versions of model"),
        ("/%0A", 404, "Not Found"),
        ("/%zz", 404, "Not Found"),
        ("/", 404, "Not Found"),
        ("/foo", 404, "Not Found"),
        ("/v1", 404, "Not Found"),
        ("/monitoring/prometheus/metrics", 404, "Not Found"),
    ],
)
def test_other_paths_are_refused(server, path, status, said):
    found, answer = server.get(path)

    assert (found, answer["error"][: len(said)]) == (status, said)


@pytest.mark.parametrize(
    "path",
    [
        PREDICT,
        f"{MODEL}/versions/123:predict",
        f"{MODEL}/labels/stable:predict",
        "/V1/MODELS/default:predict",
        "/v1/models/def%61ult:predict",
    ],
)
def test_a_model_a_version_and_a_label_can_be_asked(server, path):
    assert server.post(path, HALF_PLUS_TWO) == (200, {"predictions": [[2.5]]})


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/v1/models/nope:predict", 404, "Servable not found for request: Latest(nope)"),
        (
            f"{MODEL}/versions/1:predict",
            404,
            "Servable not found for request: Specific(default, 1)",
        ),
        (f"{PREDICT}?x=1", 400, f"Malformed request: POST {PREDICT}?x=1"),
        (f"{MODEL}:PREDICT", 400, f"Malformed request: POST {MODEL}:PREDICT"),
        (f"{MODEL}:explain", 400, f"Malformed request: POST {MODEL}:explain"),
        (MODEL, 400, f"Malformed request: POST {MODEL}"),
    ],
)
def test_other_things_cannot_be_asked(server, path, status, said):
    found, answer = server.post(path, HALF_PLUS_TWO)
    # What TensorFlow Serving says comes first; what to do may follow.
    assert (found, answer["error"].split(". ")[0]) == (status, said)


def test_json_is_read_before_the_model_is_looked_for(server):
    status, answer = server.post("/v1/models/nope:predict", b"")

    assert status == 400
    assert answer["error"].startswith("JSON Parse error: The document is empty")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods_are_malformed_requests(server, method):
    status, content, _ = server.request(method, PREDICT)

    assert (status, json.loads(content)) == (
        400,
        {"error": f"Malformed request: {method} {PREDICT}"},
    )


def test_head_is_a_malformed_request_too(server):
    assert server.request("HEAD", MODEL)[:2] == (400, b"")


def test_trace_is_not_implemented(server):
    assert server.request("TRACE", MODEL)[0] == 501


def test_metadata_is_as_tensorflow_serving_writes_it(server):
    status, answer = server.get(f"{MODEL}/metadata")

    assert status == 200
    assert answer["model_spec"] == {"name": "default", "signature_name": "", "version": "123"}
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    signature = signatures["serving_default"]
    # Names of a graph's nodes are TensorFlow's own affair.
    tensors = (signature["inputs"]["x"], signature["outputs"]["y"])
    assert all(tensor.pop("name").endswith(":0") for tensor in tensors)
    column = {
        "dtype": "DT_FLOAT",
        "tensor_shape": {
            "dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}],
            "unknown_rank": False,
        },
    }
    assert signature == {
        "inputs": {"x": column},
        "outputs": {"y": column},
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }
    assert signatures["echo_string"]["inputs"]["x"]["tensor_shape"] == {
        "dim": [],
        "unknown_rank": True,
    }
    assert server.get("/v1/models/nope/metadata")[0] == 404


# Shapes, rows and columns.


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"instances": [2, 3, 4]}, {"predictions": [3.0, 3.5, 4.0]}),
        ({"inputs": [2, 3, 4]}, {"outputs": [3.0, 3.5, 4.0]}),
        ({"instances": [[1, 2], [3, 4]]}, {"predictions": [[2.5, 3.0], [3.5, 4.0]]}),
        ({"inputs": 2}, {"outputs": 3.0}),
        ({"instances": [{"x": [1]}]}, {"predictions": [[2.5]]}),
        ({"inputs": {"x": [[1]]}}, {"outputs": [[2.5]]}),
        (
            {"signature_name": "two", "instances": [{"a": [1, 2], "b": 1}]},
            {"predictions": [{"s": 4.0, "t": [2.0, 4.0]}]},
        ),
        (
            {"signature_name": "two", "inputs": {"a": [[1, 2]], "b": [1], "c": "too many"}},
            {"outputs": {"s": [4.0], "t": [[2.0, 4.0]]}},
        ),
        ({"signature_name": "twice", "instances": [1, 2]}, {"predictions": [1, 2, 1, 2]}),
        ({"signature_name": "wide", "instances": [[1, 2, 3]]}, {"predictions": [[2, 3, 4]]}),
        ({"signature_name": "echo_string", "inputs": {"b64": "aGVsbG8"}}, {"outputs": "hello"}),
        (
            {"signature_name": "both_bytes", "instances": [{"b64": "aGVs\nbG8."}]},
            {"predictions": [{"out_bytes": {"b64": "aGVsbG8="}, "text": "hello"}]},
        ),
    ],
)
def test_shapes_are_the_graphs_to_judge(server, body, answer):
    assert server.predict(body) == (200, answer)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {"signature_name": "nope", "instances": [1]},
            'Serving signature name: "nope" not found in signature def',
        ),
        (
            {"signature_name": "no_input", "inputs": {}},
            "Failed to get input map for signature: no_input",
        ),
        ({"signature_name": 5, "instances": [1]}, "'signature_name' key must be a string value."),
        ({"instances": []}, "No values in 'instances' array"),
        ({}, "Missing 'inputs' or 'instances' key"),
        ([], "JSON Value: [] Is not object"),
        (b"{", "JSON Parse error: Missing a name for object member. at offset: 1"),
        ({"signature_name": "echo_string", "inputs": 1}, "is not of expected type: string"),
        ({"signature_name": "two", "inputs": {"a": [[1], [1]], "b": [1, 2, 3]}}, ""),
        ({"signature_name": "fails", "instances": [{"b64": "//79"}]}, ""),
        (b'{"signature_name": "echo_string", "instances": [' + b"[" * 900 + b"]" * 901 + b"}", ""),
        (b'{"signature_name": "echo_string", "instances": [' + b"[" * 33 + b"]" * 34 + b"}", ""),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(server, body, said):
    status, answer = server.predict(body)

    assert (status, said in answer["error"]) == (400, True), answer
    assert server.predict(HALF_PLUS_TWO)[0] == 200


def test_an_error_of_the_graph_may_be_no_utf_8(server):
    status, answer = server.predict(b'{"signature_name": "fails", "instances": ["\xff\xfe"]}')

    assert status == 400 and answer["error"]


# Values.


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("float32", "1.5"),
        ("float32", True),
        ("float32", None),
        ("int32", 1.5),
        ("int32", 1.0),
        ("int32", True),
        ("int32", "3"),
        ("int64", 1.5),
        ("int8", 300),
        ("bool", 1),
        ("bool", "x"),
        ("bool", None),
        ("bool", 0.5),
        ("string", 1),
    ],
)
def test_no_value_is_taken_for_another(server, dtype, value):
    status, answer = server.echo(dtype, value)

    name = {"float32": "float"}.get(dtype, dtype)
    assert (status, f"is not of expected type: {name}" in answer["error"]) == (400, True)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "complex64", "uint16"])
def test_dtypes_without_a_form_in_json_are_refused(server, dtype):
    name = {"float16": "half"}.get(dtype, dtype)

    status, answer = server.echo(dtype, 1)
    assert (status, f"to type: {name}" in answer["error"]) == (400, True)
    assert server.predict({"signature_name": f"echo_{dtype}", "inputs": 1})[0] == 501


def test_numbers_are_written_as_tensorflow_serving_does(server):
    def echoed(values: bytes, dtype: str = "float32") -> bytes:
        body = b'{"signature_name": "echo_%s", "instances": [%s]}' % (dtype.encode(), values)
        return server.request("POST", PREDICT, body)[1].partition(b"[")[2].partition(b"\n")[0]

    assert echoed(b"0.1, 9000000, .00003".replace(b" .", b" 0.")) == b"0.1, 9e+06, 3e-05"
    assert echoed(b"555557.5, 999999") == b"555557.5, 999999.0"
    assert echoed(b"NaN, Inf, -Inf") == b"NaN, Infinity, -Infinity"
    assert echoed(b"0.1", "float64") == b"0.1"
    assert echoed(b"9007199254740993", "int64") == b"9007199254740993"
    assert echoed(b"true, false", "bool") == b"true, false"
    status, answer = server.predict(b'{"instances": [1e400]}')
    assert (status, "Number too big to be stored in double" in answer["error"]) == (400, True)


def test_bytes_go_through_as_they_are(server):
    body = b'{"signature_name": "echo_string", "instances": ["\xff\xfe ok"]}'

    assert b'"\xff\xfe ok"' in server.request("POST", PREDICT, body)[1]


def test_text_after_the_object_and_deep_values_of_other_keys_do_no_harm(server):
    assert server.predict(b'{"instances": [1]} and more') == (200, {"predictions": [2.5]})
    deep = b'{"other": ' + b"[" * 100_000 + b"]" * 100_000 + b', "instances": [1]}'
    assert server.predict(deep) == (200, {"predictions": [2.5]})


# Classify and Regress.


def test_examples_are_classified(server):
    body = {"signature_name": "classify", "examples": [{"x": 2.0}, {"x": [4.0]}]}

    assert server.post(f"{MODEL}:classify", body) == (200, {"results": [[["", 3.0]], [["", 4.0]]]})


def test_examples_are_regressed_with_a_context(server):
    body = {"signature_name": "regress", "context": {"x": 2.0}, "examples": [{}, {"x": 4.0}]}

    assert server.post(f"{MODEL}:regress", body) == (200, {"results": [3.0, 4.0]})


def test_examples_that_do_not_fit_are_refused(server):
    status, answer = server.post(f"{MODEL}:classify", {"examples": [1]})
    assert status == 400
    assert answer["error"] == "Example must be JSON object but got JSON Number"
    body = {"signature_name": "nope", "examples": [{"x": 1.0}]}
    assert server.post(f"{MODEL}:classify", body)[0] == 400


# HTTP.


def test_bodies_may_be_packed(server):
    packed = gzip.compress(json.dumps(HALF_PLUS_TWO).encode())

    assert server.predict(packed, Content_Encoding="gzip") == (200, {"predictions": [[2.5]]})


@pytest.mark.parametrize(
    ("packed", "status"),
    [
        (b"{}", 400),
        (b"", 400),
        (gzip.compress(b"{}", mtime=0)[:-9], 400),
        # Says that it is short, and is not.
        (gzip.compress(b" " * 50_000_000, mtime=0)[:-4] + struct.pack("<I", 100), 400),
        # Says how long it is.
        (gzip.compress(b" " * 50_000_000, mtime=0), 413),
        (zlib.compress(b"{}"), 400),
    ],
)
def test_packed_bodies_that_are_none_or_bombs_are_refused(server, packed, status):
    assert server.predict(packed, Content_Encoding="gzip")[0] == status
    assert server.predict(HALF_PLUS_TWO)[0] == 200


def test_long_answers_are_packed_where_that_is_accepted(server):
    body = json.dumps({"instances": [[float(number)] for number in range(1000)]})

    plain = server.request("POST", PREDICT, body)
    packed = server.request("POST", PREDICT, body, Accept_Encoding="br, gzip")
    refused = server.request("POST", PREDICT, body, Accept_Encoding="gzip;q=0")

    assert packed[2]["content-encoding"] == "gzip" and len(packed[1]) < len(plain[1]) / 2
    assert gzip.decompress(packed[1]) == plain[1] == refused[1]
    assert "content-encoding" not in refused[2] | plain[2]


def test_bodies_may_come_in_chunks(server):
    chunks = iter([b'{"instances"', b": [1.0]}"])

    status, content, _ = server.request("POST", PREDICT, chunks)
    assert (status, json.loads(content)) == (200, {"predictions": [2.5]})


def test_a_body_that_is_too_long_is_refused_and_the_client_reads_why(server):
    long = b'{"instances": [1.0]' + b" " * MAX_BODY_BYTES + b"}"

    status, answer = server.predict(long)
    assert (status, f"longer than {MAX_BODY_BYTES} bytes" in answer["error"]) == (413, True)
    status, content, _ = server.request("POST", PREDICT, iter([long[:1000], long[1000:]]))
    assert status == 413
    within = long[:20] + b" " * (MAX_BODY_BYTES - 100) + long[-1:]
    assert server.predict(within)[0] == 200


def test_a_connection_answers_one_request_after_the_other(server):
    connection = http.client.HTTPConnection(*server.address, timeout=30)
    with contextlib.closing(connection):
        for path, body, status in (
            (PREDICT, json.dumps(HALF_PLUS_TWO), 200),
            (PREDICT, "{", 400),
            (f"{MODEL}:explain", "x" * 100_000, 400),
            (PREDICT, b" " * (MAX_BODY_BYTES + 1), 413),
            (PREDICT, json.dumps(HALF_PLUS_TWO), 200),
        ):
            connection.request("POST", path, body)
            response = connection.getresponse()
            assert (response.status, response.will_close) == (status, False)
            response.read()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"CONNECT localhost:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /v1/models/default#x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://a/v1/models/default HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200),
        (b"GET /v1/models/default HTTP/1.0\r\n\r\n", 200),
        (b"POST /v1/models/default:predict HTTP/1.1\r\nContent-Length: many\r\n\r\n", 400),
        (
            b"POST /v1/models/default:predict HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, "
            b"HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
            b'Content-Length: 20\r\n\r\n{"instances": [1.0]}',
            200,
        ),
        (
            b"GET /v1/models/default HTTP/1.1\r\nConnection: close\r\nX: "
            + b"x" * 100_000
            + b"\r\n\r\n",
            200,
        ),
        (
            b"GET /v1/models/default HTTP/1.1\r\nConnection: close\r\n"
            + b"".join(b"X-%d: x\r\n" % number for number in range(150))
            + b"\r\n",
            200,
        ),
        (b"GET /v1/models/default HTTP/1.1\r\nX: " + b"x" * 1_000_000, 431),
        (b"GET /v1/models/default HTTP/1.1\r\n" + b"X: x\r\n" * 100_000, 431),
    ],
)
def test_what_is_no_good_http_is_answered_all_the_same(server, sent, status):
    assert server.raw(sent).startswith(b"HTTP/1.1 %d " % status)
    assert server.predict(HALF_PLUS_TWO)[0] == 200


def test_a_call_that_takes_too_long_is_given_up(server):
    began = time.monotonic()
    status, answer = server.predict({"signature_name": "slow", "instances": [1.0]})

    assert status == 504 and answer["error"]
    assert time.monotonic() - began > TIMEOUT_S - 0.1


def test_an_answer_that_is_too_long_is_refused(server):
    # An answer in columns has a line for every value.
    body = {"signature_name": "echo_bool", "inputs": [[[[True] * 400_000]]]}

    assert server.predict(body)[0] == 429


def test_callers_who_ask_at_once_each_get_their_answer(server):
    answers: dict[int, Any] = {}

    def ask(number: int) -> None:
        answers[number] = server.predict({"instances": [[float(number)]]})

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == {n: (200, {"predictions": [[n / 2 + 2]]}) for n in range(32)}


@pytest.mark.parametrize("seed", range(40))
def test_mutated_requests_are_answered(server, seed):
    random = np.random.default_rng(seed)
    body = bytearray(
        json.dumps(
            {
                "signature_name": "both_bytes",
                "instances": [{"b64": base64.b64encode(b"hello" * 10).decode()}, "text"],
            }
        ).encode()
    )
    for _ in range(random.integers(1, 6)):
        place, length = random.integers(len(body)), random.integers(5)
        body[place : place + length] = random.bytes(int(random.integers(5)))

    status, content, _ = server.request("POST", PREDICT, bytes(body))

    assert status in (200, 400, 404)
    assert status == 200 or json.loads(content)["error"]


# CORS.


def test_a_preflight_is_answered_and_allows_nothing_by_default(server):
    status, content, headers = server.request("OPTIONS", PREDICT, Origin="http://shop")

    assert (status, content) == (200, b"")
    assert not any(name.startswith("access-control") for name in headers)
    assert server.request("OPTIONS", PREDICT)[0] == 400


def test_cors_can_be_allowed(open_server):
    allowed = {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "POST, GET",
        "access-control-allow-headers": "Content-Type",
    }

    for method, path, body, status in (
        ("OPTIONS", PREDICT, None, 200),
        ("POST", PREDICT, json.dumps(HALF_PLUS_TWO), 200),
        ("POST", PREDICT, "{", 400),
        ("GET", MODEL, None, 200),
    ):
        found, _, headers = open_server.request(method, path, body, Origin="http://shop")
        assert found == status and allowed.items() <= headers.items()


# Metrics.


def test_prometheus_finds_the_metrics(open_server):
    path = "/monitoring/prometheus/metrics"
    open_server.predict(HALF_PLUS_TWO)
    open_server.predict({})

    status, content, headers = open_server.request("GET", path)

    assert status == 200 and headers["content-type"].startswith("text/plain")
    found = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(content.decode())
        for sample in family.samples
    }
    name = ":tensorflow:serving:request_count_total"
    assert found[name, (("model_name", "default"), ("status", "OK"))] >= 1
    assert found[name, (("model_name", "default"), ("status", "INVALID_ARGUMENT"))] >= 1
    labels = (("API", "predict"), ("entrypoint", "REST"), ("model_name", "default"))
    assert found[":tensorflow:serving:request_latency_count", labels] >= 1
    labels = (("API", "Predict"), ("model_name", "default"), ("runtime", "TF1"))
    assert found[":tensorflow:serving:runtime_latency_count", labels] >= 1
    status, content, _ = open_server.request("GET", f"{path}?x=1")
    assert (status, content.decode()) == (400, f"Unexpected path: {path}?x=1. Should be {path}")


# Keys.

KEY = "0123456789abcdef0123456789abcdef"


def test_without_a_key_nothing_is_told(folder, tmp_path):
    (tmp_path / "keys").write_text(f"shop {KEY}\n")
    with running(
        folder, api_key_file=tmp_path / "keys", rest_api_enable_cors_support=True
    ) as caller:
        for method, path in (("GET", MODEL), ("POST", PREDICT), ("GET", f"{MODEL}/metadata")):
            status, content, headers = caller.request(method, path)
            assert status == 401 and "API key" in json.loads(content)["error"]
            assert headers["www-authenticate"] == "Bearer"
        assert caller.predict(HALF_PLUS_TWO, X_Api_Key="no such key")[0] == 401
        assert caller.predict(HALF_PLUS_TWO, X_Api_Key=KEY)[0] == 200
        assert caller.predict(HALF_PLUS_TWO, Authorization=f"Bearer {KEY}")[0] == 200
        status, _, headers = caller.request("OPTIONS", PREDICT, Origin="http://shop")
        assert status == 200 and "Authorization" in headers["access-control-allow-headers"]


# Clients that take their time.


def closed(connection: socket.socket) -> bool:
    """Whether the server has closed it; what it says before that is read."""
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except ConnectionResetError:
        pass
    return True


def test_connections_that_send_no_request_are_closed_in_time(open_server):
    with contextlib.ExitStack() as opened:
        slow = [
            opened.enter_context(socket.create_connection(open_server.address, timeout=10))
            for _ in range(20)
        ]
        for number, connection in enumerate(slow):
            connection.sendall(b"POST /v1/models/default:predict HTTP/1.1\r\n"[: number * 2])
        assert open_server.predict(HALF_PLUS_TWO)[0] == 200

        assert all(closed(connection) for connection in slow)


def test_who_connects_beyond_the_limit_pushes_out_idle_connections(open_server):
    with contextlib.ExitStack() as opened:
        for _ in range(100):
            connection = http.client.HTTPConnection(*open_server.address, timeout=10)
            opened.callback(connection.close)
            connection.request("GET", MODEL)
            response = connection.getresponse()
            assert response.status == 200
            response.read()


def test_beyond_the_limit_without_idle_ones_a_connection_is_refused(open_server):
    with contextlib.ExitStack() as opened:
        busy = [
            opened.enter_context(socket.create_connection(open_server.address, timeout=10))
            for _ in range(60)
        ]
        heads = []
        for connection in busy[40:]:
            heads.append(connection.recv(12))
        assert b"HTTP/1.1 503" in heads
        assert all(closed(connection) for connection in busy)
    assert open_server.predict(HALF_PLUS_TWO)[0] == 200


def test_a_client_that_leaves_is_not_computed_for(server):
    body = json.dumps({"signature_name": "slow", "instances": [1.0]}).encode()
    head = b"POST %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (PREDICT.encode(), len(body))
    for _ in range(100):
        with socket.create_connection(server.address, timeout=10) as connection:
            connection.sendall(head + body)

    # The few that had begun end with their time; the others never begin.
    began = time.monotonic()
    while server.predict(HALF_PLUS_TWO)[0] != 200:
        assert time.monotonic() < began + 10
    assert time.monotonic() < began + 10
