"""Pictures are asked about over REST; what else is asked is in test_rest_api.py."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from typing import Any

import pytest

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
