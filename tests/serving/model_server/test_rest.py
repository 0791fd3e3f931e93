"""Over REST the server speaks TensorFlow Serving's JSON."""

from __future__ import annotations

import base64
import http.client
import json
from typing import Any

import pytest

from tests.serving import color_model


def _b64(content: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(content).decode()}


RED = _b64(color_model.picture(255, 0, 0))
BLUE = _b64(color_model.picture(0, 0, 255))
PREDICT = "/v1/models/catalog:predict"


@pytest.fixture
def connection(server):
    opened = http.client.HTTPConnection(server.rest_endpoint, timeout=30)
    yield opened
    opened.close()


@pytest.fixture
def get(connection):
    def get(path: str) -> tuple[int, Any]:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.load(response)

    return get


@pytest.fixture
def post(connection):
    def post(path: str, body: Any, **headers: str) -> tuple[int, Any]:
        content = body if isinstance(body, bytes) else json.dumps(body)
        connection.request("POST", path, content, headers)
        response = connection.getresponse()
        assert response.getheader("Content-Type") == "application/json"
        return response.status, json.load(response)

    return post


def test_rows_in_rows_out(post):
    status, answer = post(PREDICT, {"instances": [RED, BLUE]})

    assert status == 200 and set(answer) == {"predictions"}
    red, blue = answer["predictions"]
    assert (red["category"], blue["category"]) == ("red", "blue")
    assert red["category_labels"] == list(color_model.CATEGORIES)
    assert red["category_scores"] == pytest.approx(
        color_model.expected_scores(255, 0, 0).tolist(), abs=1e-6
    )


def test_columns_in_columns_out(post):
    status, answer = post(PREDICT, {"inputs": [RED, BLUE]})

    assert status == 200 and set(answer) == {"outputs"}
    assert answer["outputs"]["category"] == ["red", "blue"]
    assert len(answer["outputs"]["embedding"]) == 2


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [{"image_bytes": RED}]},
        {"inputs": {"image_bytes": [RED]}},
        {"signature_name": "serving_default", "instances": [RED]},
    ],
)
def test_inputs_and_signature_may_be_named(post, body):
    assert post(PREDICT, body)[0] == 200


def test_a_version_may_be_named(post):
    assert post("/v1/models/catalog/versions/7:predict", {"instances": [RED]})[0] == 200
    status, answer = post("/v1/models/catalog/versions/6:predict", {"instances": [RED]})
    assert status == 404 and "6" in answer["error"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "JSON Parse error"),
        (b"[" * 100_000, 400, "JSON Parse error"),
        (b"\xff\xfe", 400, "JSON Parse error"),
        ([], 400, "JSON object"),
        ({}, 400, "instances"),
        ({"instances": [RED], "inputs": [RED]}, 400, "one of"),
        ({"instances": []}, 400, "not empty"),
        ({"instances": RED}, 400, "must be a list"),
        ({"instances": [1.5]}, 400, "not a tensor"),
        ({"instances": [["a"], ["b", "c"]]}, 400, "not a tensor"),
        ({"instances": [None]}, 400, "not a tensor"),
        ({"instances": [{"b64": "%%%"}]}, 400, "b64"),
        ({"instances": [{"b64": 5}]}, 400, "b64"),
        ({"instances": [{"picture": RED}]}, 400, "image_bytes"),
        ({"instances": [{"image_bytes": RED}, RED]}, 400, "same keys"),
        ({"inputs": RED}, 400, "shape"),
        ({"signature_name": "regress", "instances": [RED]}, 412, "regress"),
        ({"signature_name": 5, "instances": [RED]}, 400, "signature_name"),
        ({"instances": [RED, _b64(b"no picture")]}, 400, "picture at index 1"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_with_the_reason(post, body, status, said):
    found, answer = post(PREDICT, body)

    assert (found, said in answer["error"]) == (status, True), answer
    assert post(PREDICT, {"instances": [RED]})[0] == 200


def test_status_is_given_for_the_model_and_for_a_version(get):
    expected = {
        "model_version_status": [
            {
                "version": "7",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }

    assert get("/v1/models/catalog") == (200, expected)
    assert get("/v1/models/catalog/versions/7") == (200, expected)
    assert get("/v1/models/catalog/versions/8")[0] == 404
    assert get("/v1/models/shoes")[0] == 404


def test_metadata_describes_the_signatures(get):
    status, answer = get("/v1/models/catalog/metadata")

    assert status == 200
    assert answer["model_spec"] == {"name": "catalog", "signature_name": "", "version": "7"}
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["image_bytes"]["dtype"] == "DT_STRING"
    assert signature["outputs"]["embedding"]["tensor_shape"]["dim"][1]["size"] == "3"


@pytest.mark.parametrize("path", ["/", "/v1/models/", "/v1/models/catalog:classify"])
def test_other_paths_are_refused(get, post, path):
    assert get(path)[0] == 400
    assert post(path, {"instances": [RED]})[0] == 400


def test_a_body_of_unknown_or_excessive_length_is_refused(server):
    def refused(length: str) -> int:
        connection = http.client.HTTPConnection(server.rest_endpoint, timeout=30)
        connection.putrequest("POST", PREDICT)
        connection.putheader(*length.split(": "))
        connection.endheaders()
        with connection.getresponse() as response:
            return response.status

    assert refused(f"Content-Length: {1 << 40}") == 400
    assert refused("Content-Length: many") == 400
    assert refused("Transfer-Encoding: chunked") == 400
