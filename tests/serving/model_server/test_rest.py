"""Pictures are asked about over REST, and its parts; all else is asked in test_rest_api.py."""

from __future__ import annotations

import base64
import gzip
import json
import time
import urllib.error
import urllib.request
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from serving.model_server import rest
from serving.model_server.errors import RequestError
from serving.model_server.metrics import Metrics
from tests.serving import color_model

RED = color_model.picture(255, 0, 0)
BLUE = color_model.picture(0, 0, 255)


def b64(content: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(content).decode()}


@pytest.fixture
def post(server):
    def post(body: Any, path: str = "/v1/models/catalog:predict") -> tuple[int, Any]:
        url = f"http://{server.rest_endpoint}{path}"
        try:
            with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=30) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    return post


def test_rows_in_rows_out(post):
    status, answer = post({"instances": [b64(RED), b64(BLUE)]})

    assert status == 200 and set(answer) == {"predictions"}
    red, blue = answer["predictions"]
    assert (red["category"], blue["category"]) == ("red", "blue")
    assert red["category_labels"][0] == "red"
    # The scores of red, green and blue; green's and blue's are the same.
    expected = sorted(color_model.expected_scores(255, 0, 0).tolist(), reverse=True)
    assert red["category_scores"] == pytest.approx(expected, abs=1e-6)


def test_columns_in_columns_out(post):
    status, answer = post({"inputs": [b64(RED), b64(BLUE)], "signature_name": "everything"})

    assert status == 200 and set(answer) == {"outputs"}
    assert answer["outputs"]["category"] == ["red", "blue"]
    assert len(answer["outputs"]["embedding"]) == 2


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [{"image_bytes": b64(RED)}]},
        {"inputs": {"image_bytes": [b64(RED)]}},
        {"signature_name": "serving_default", "instances": [b64(RED)]},
    ],
)
def test_inputs_and_signature_may_be_named(post, body):
    assert post(body)[0] == 200


def test_a_version_may_be_named(post):
    assert post({"instances": [b64(RED)]}, "/v1/models/catalog/versions/7:predict")[0] == 200
    status, answer = post({"instances": [b64(RED)]}, "/v1/models/catalog/versions/6:predict")
    assert (status, "Specific(catalog, 6)" in answer["error"]) == (404, True)


def test_what_is_no_picture_is_named_by_its_place(post):
    status, answer = post({"instances": [b64(RED), b64(b"no picture")]})

    assert status == 400 and "picture at index 1" in answer["error"]


def test_or_costs_only_itself_where_that_is_asked_for(post):
    body = {"signature_name": "tolerant", "instances": [b64(RED), b64(b"no picture")]}
    status, answer = post(body)

    assert status == 200
    good, bad = answer["predictions"]
    assert (good["category"], good["status"]) == ("red", "")
    assert (bad["category"], bad["category_score"], bool(bad["status"])) == ("", 0.0, True)


@pytest.mark.parametrize(
    ("accepted", "is_taken"),
    [
        ("", False),
        ("gzip", True),
        ("deflate, GZip;q=0.5", True),
        ("br , gzip ; q=0.001", True),
        ("gzip;q=0", False),
        ("gzip; q = 0.000", False),
        ("identity, gzip;q=1.0", True),
        ("xgzip, gzipx", False),
        ("*", False),
    ],
)
def test_an_answer_may_be_packed_where_gzip_is_accepted(accepted, is_taken):
    assert rest._takes_gzip(accepted) == is_taken


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/models/m:predict", ("m", None, "")),
        ("/v1/models/a%20%C3%A9:predict", ("a é", None, "")),
        ("/v1/models/m/versions/0:predict", ("m", 0, "")),
        ("/v1/models/m/versions/00:predict", ("m", 0, "")),
        ("/v1/models/m/versions/007:predict", ("m", 7, "")),
        (f"/v1/models/m/versions/{2**63 - 1}:predict", ("m", 2**63 - 1, "")),
        (f"/v1/models/m/versions/000{2**63 - 1}:predict", ("m", 2**63 - 1, "")),
        ("/v1/models/m/labels/best%2Fone:predict", ("m", None, "best/one")),
    ],
)
def test_a_path_names_a_model_and_a_version_or_a_label(path, expected):
    spec = rest._spec(rest._COMPUTING.fullmatch(path))
    version = spec.version.value if spec.HasField("version") else None
    assert (spec.name, version, spec.version_label) == expected


@pytest.mark.parametrize("version", [2**63, 10**19, 10**30])
def test_a_version_beyond_64_bits_is_none(version):
    with pytest.raises(RequestError, match=f"Failed to convert version: {version} to numeric"):
        rest._spec(rest._COMPUTING.fullmatch(f"/v1/models/m/versions/{version}:predict"))


@pytest.fixture
def api():
    """What answers, alone: 1.5 s for a call and 1000 bytes for a body."""
    return rest._RestApi(
        None, None, Metrics(), None, timeout_s=1.5, allows_cors=False, metrics_path=None,
        max_body_bytes=1000, answers=None,
    )  # fmt: skip


def test_a_call_has_the_time_until_its_deadline(api):
    assert api._remaining_s(SimpleNamespace(deadline=None)) is None
    assert 9 < api._remaining_s(SimpleNamespace(deadline=time.monotonic() + 10)) <= 10
    with pytest.raises(RequestError) as refused:
        api._remaining_s(SimpleNamespace(deadline=time.monotonic()))
    assert refused.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert refused.value.message == "Timeout of 1.5 s exceeded; --rest_api_timeout_in_ms sets it"


def test_a_packed_body_is_as_long_as_it_says_and_may_be(api):
    for length in (0, 1, 999, 1000):
        body = bytes(length)
        assert api._unpacked(gzip.compress(body), length) == body
    packed = gzip.compress(bytes(1000))
    for sent, says in ((packed, 999), (packed[:-9], 1000), (packed, 1001)):
        with pytest.raises(RequestError, match="is cut off, or longer than it says"):
            api._unpacked(sent, says)
    with pytest.raises(RequestError, match="is no gzip, as it says"):
        api._unpacked(b"no gzip at all", 10)
    with pytest.raises(rest._HttpError, match="The body is longer than 1000 bytes") as refused:
        api._unpacked(gzip.compress(bytes(1001)), 1001)
    assert refused.value.status == 413


def test_a_refusal_says_what_to_do_next_in_its_headers():
    headers = {status: rest._refusal(status, "no").headers for status in (400, 401, 429, 503)}
    assert headers[401]["www-authenticate"] == "Bearer"
    assert headers[429]["retry-after"] == headers[503]["retry-after"] == "1"
    for status, of in headers.items():
        assert ("www-authenticate" in of) == (status == 401)
        assert ("retry-after" in of) == (status in (429, 503))


def test_what_goes_wrong_inside_is_told_in_the_log_alone(caplog):
    record = SimpleNamespace(error_id="")
    scope = {"method": "POST", "path": "/v1/models/m:predict", rest.RECORD: record}
    status, said = rest._told(ZeroDivisionError("a secret"), scope)
    assert status == 500 and "secret" not in said
    assert record.error_id and said.endswith(f"error {record.error_id}")
    assert "a secret" in caplog.text and record.error_id in caplog.text
    del scope[rest.RECORD]
    assert rest._told(ZeroDivisionError(), scope)[0] == 500
    assert rest._told(MemoryError(), scope)[0] == 429
    error = RequestError(grpc.StatusCode.NOT_FOUND, "gone")
    assert rest._told(error, scope) == (404, "gone")


def test_the_log_is_told_of_the_version_that_answers():
    record = SimpleNamespace()
    call = SimpleNamespace(record=record)
    rest._note(call, SimpleNamespace(version=3), "tolerant", 5)
    assert vars(record) == {"version": 3, "signature": "tolerant", "examples": 5}
    rest._note(call, None, "", None)
    assert vars(record) == {"version": None, "signature": "", "examples": None}
    rest._note(SimpleNamespace(record=None), None, "", None)
