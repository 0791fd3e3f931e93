"""Mistakes of beginners get an answer that says what is wanted, over both wires.

TensorFlow Serving's own text comes first: callers match it.
"""

from __future__ import annotations

import base64
import gzip
import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from schema.picture_text import in_place_of_picture
from serving.model_server import ModelServer, remedies
from tests.serving import color_model

RED = color_model.picture(255, 0, 0, suffix="jpeg")
# Whatever the picture's length, its base64 then ends with =.
PADDED = RED + b"\0" * ((1 - len(RED)) % 3)
BASE64 = base64.b64encode(RED).decode()
URL_SAFE = base64.urlsafe_b64encode(RED).decode()
PIXELS = np.zeros((4, 4, 3), int).tolist()
CATALOG = "/v1/models/catalog"
EXAMPLE = '{"instances": [{"b64": "BASE64"}]}'


def _instances(*values: object, **more: object) -> bytes:
    return json.dumps({"instances": list(values), **more}).encode()


def _asked(
    server: ModelServer, path: str, body: bytes | None, **headers: str
) -> tuple[int, dict[str, object]]:
    request = urllib.request.Request(
        f"http://{server.rest_endpoint}{path}",
        body,
        {name.replace("_", "-"): value for name, value in headers.items()},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


@pytest.mark.parametrize(
    "text",
    [
        BASE64,
        base64.encodebytes(RED).decode(),
        base64.b64encode(PADDED).decode(),
        base64.b64encode(PADDED).decode().rstrip("="),
    ],
    ids=["plain", "with line breaks", "padded", "without padding"],
)
def test_base64_is_taken_as_tensorflow_serving_takes_it(server, text):
    status, answer = _asked(server, f"{CATALOG}:predict", _instances({"b64": text}))
    assert (status, answer["predictions"][0]["category"]) == (200, "red")


@pytest.mark.parametrize(
    ("body", "first", "then"),
    [
        (_instances(PIXELS), "Failed to process element: 0", "not sent as their pixels"),
        (_instances({"image_bytes": PIXELS}), "Failed to process", "not sent as their pixels"),
        (json.dumps({"inputs": [PIXELS]}).encode(), "JSON Value: 0", "not sent as their pixels"),
        (_instances(list(RED[:9])), "Failed to process", "not sent as their pixels"),
        (_instances(f"data:image/jpeg;base64,{BASE64}"), "", "Picture 0 is a data URL"),
        (_instances({"b64": f"data:image/jpeg;base64,{BASE64}"}), "Failed", "up to its comma"),
        (_instances({"b64": URL_SAFE}), "Failed", "wanted are + and / in place of - and _"),
        (_instances({"b64": BASE64.rstrip("=")[:21]}), "Failed", "cut off: it has 21 digits"),
        (_instances({"b64": repr(RED[:9])}), "Failed", "b64 holds what Python prints of bytes"),
        (_instances({"b64": "shoe.jpg"}), "Failed", "b64 holds a file's name"),
        (_instances({"b64": "né"}), "Failed", r'b64 holds "\u00e9" at place 1, which is no base64'),
        (_instances({"b64": {"b64": BASE64}}), "Failed", EXAMPLE),
        (_instances({"b64": base64.b64encode(BASE64.encode()).decode()}), "", "0 is base64 text"),
        (_instances({"b64": BASE64}, BASE64), "", "Picture 1 is base64 text, not a picture"),
        (_instances({"image_bytes": BASE64}), "", "Picture 0 is base64 text, not a picture"),
        (_instances("images/shoe.JPG"), "", "Picture 0 is a file's name, not a picture"),
        (_instances("https://shop.example/1.jpg"), "", "Picture 0 is an address, not a picture"),
        (_instances({"url": "https://shop.example/1"}), "Failed", "only input is image_bytes"),
        (_instances({"image": {"b64": BASE64}}), "Failed", "The only input is image_bytes"),
        (json.dumps({"inputs": {"image": {"b64": ""}}}).encode(), "Missing named", "only input is"),
        (_instances({"b64": BASE64}, signature_name="predict"), "Serving sig", "There are everyth"),
        (_instances({"b64": BASE64}, signature_name="Tolerant"), "Serving", "Did you mean toler"),
        (b'{"instance": [1]}', "Missing 'inputs' or 'instances' key", 'found the keys "instance"'),
        (b"{}", "Missing 'inputs' or 'instances' key", f"{EXAMPLE}; found no key"),
        (b'{"instances": {"b64": "aaaa"}}', "JSON Value", "instances is a list, with one entry"),
        (b'{"instances": "aaaa"}', "JSON Value", "instances is a list, with one entry a picture"),
        (b'{"instances": []}', "JSON Value", EXAMPLE),
        (b'{"instances": [null]}', "Failed to process element: 0", EXAMPLE),
        (b'[{"b64": "aaaa"}]', "JSON Value", f"Wanted is an object, e.g. {EXAMPLE}"),
        (_instances([{"b64": BASE64}]), "", "Wanted is a list of pictures, and the shape sent is"),
        (json.dumps({"inputs": {"b64": BASE64}}).encode(), "", "the shape sent is []"),
        (b"", "JSON Parse error: The document is empty", EXAMPLE),
        (RED, "JSON Parse error: Invalid value", "The body is a picture; wanted is JSON with"),
        (BASE64.encode(), "JSON Parse error", "The body is base64 text; wanted is JSON"),
        (b"shoe.jpg", "JSON Parse error", "The body is a file's name; wanted is JSON"),
        (b"instances=%5B%5D", "JSON Parse error: Invalid value", EXAMPLE),
        (
            b'--X\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + RED + b"\r\n--X--\r\n",
            "JSON Parse error: Invalid value",
            "The body is a form with a file; wanted is JSON",
        ),
        (
            gzip.compress(_instances({"b64": BASE64}), mtime=0),
            "JSON Parse",
            "header Content-Encoding: gzip",
        ),
        (b'{"instances": [1,]}', "JSON Parse error", "a comma too many before the ]"),
        (b'{"instances": [1],}', "JSON Parse error", "a comma too many before the }"),
        (b"{'instances': [1]}", "JSON Parse error", "in double quotation marks"),
        (b'{"instances": [None]}', "JSON Parse error", "null, true and false for Python's None"),
        (b'{"instances": [1', "JSON Parse error", "The body ends too early"),
        ('{"instances": []}'.encode("utf-16"), "JSON Parse error", "UTF-16; JSON is UTF-8"),
    ],
)
def test_a_body_that_is_not_as_it_should_be_is_told_what_is_wanted(server, body, first, then):
    status, answer = _asked(server, f"{CATALOG}:predict", body)

    assert (status, list(answer)) == (400, ["error"])
    assert answer["error"].startswith(first)
    assert then in answer["error"]


@pytest.mark.parametrize(
    ("path", "body", "status", "then"),
    [
        (f"{CATALOG}:predict", None, 400, "Ask by POST, with the question as JSON in the body"),
        (CATALOG, b"{}", 400, f"Questions go by POST to {CATALOG}:predict"),
        (f"{CATALOG}/predict", b"{}", 400, f"Questions go by POST to {CATALOG}:predict"),
        (f"{CATALOG}:predict/", b"{}", 400, f"Questions go by POST to {CATALOG}:predict"),
        (f"{CATALOG}/versions/7", b"{}", 400, f"by POST to {CATALOG}/versions/7:predict"),
        (f"{CATALOG}:explain", b"{}", 400, "Questions go by POST to /v1/models/NAME:predict"),
        ("/predict", b"{}", 404, "Questions go by POST to /v1/models/NAME:predict"),
        ("/v2/models/catalog/infer", b"{}", 404, "Questions go by POST to /v1/models/NAME:predict"),
        (f"{CATALOG}:classify", b'{"examples": [{}]}', 400, "answers Predict, over REST :predict"),
        (f"{CATALOG}:regress", b'{"examples": [{}]}', 400, "answers Predict, over REST :predict"),
    ],
)
def test_a_path_that_asks_for_nothing_names_the_one_that_does(server, path, body, status, then):
    found, answer = _asked(server, path, body)
    assert (found, then in answer["error"]) == (status, True), answer


def test_a_body_that_is_packed_and_says_so_is_answered(server):
    body = gzip.compress(_instances({"b64": BASE64}))
    assert _asked(server, f"{CATALOG}:predict", body, content_encoding="gzip")[0] == 200


@pytest.fixture
def stub(server: ModelServer) -> Iterator[prediction_service_pb2_grpc.PredictionServiceStub]:
    with grpc.insecure_channel(server.endpoint) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.mark.parametrize(
    ("signature", "inputs", "first", "then"),
    [
        ("", {"image_bytes": np.zeros((1, 4, 4, 3), np.float32)}, "Expects arg[0]", "their pixels"),
        ("", {"image": [RED]}, "", "The only input is image_bytes"),
        ("", {}, "input size does not match signature", "The only input is image_bytes"),
        ("", {"image_bytes": RED}, "", "the shape sent is []"),
        ("", {"image_bytes": [[RED]]}, "", "the shape sent is [1,1]"),
        ("", {"image_bytes": [RED, BASE64.encode()]}, "", "Picture 1 is base64 text"),
        ("", {"image_bytes": [b"shoe.jpg"]}, "", "Picture 0 is a file's name, not a picture"),
        (
            "predict",
            {"image_bytes": [RED]},
            'Serving signature key "predict" not',
            "There are ever",
        ),
    ],
)
def test_the_same_over_grpc(stub, signature, inputs, first, then):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "catalog", signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    with pytest.raises(grpc.RpcError) as refused:
        stub.Predict(request, timeout=20)
    assert refused.value.details().startswith(first)
    assert then in refused.value.details()


@pytest.mark.parametrize("suffix", ["jpeg", "png", "gif", "bmp", "webp"])
def test_a_picture_is_never_taken_for_something_else_and_its_base64_always_is_recognized(suffix):
    for size in (1, 2, 3, 16):
        picture = color_model.picture(200, 100, 50, size=size, suffix=suffix)
        assert in_place_of_picture(picture) == ""
        for text in (
            base64.b64encode(picture),
            base64.urlsafe_b64encode(picture),
            base64.encodebytes(picture),
            base64.b64encode(picture).rstrip(b"="),
        ):
            assert in_place_of_picture(text) == "base64 text"
        assert in_place_of_picture(repr(base64.b64encode(picture)).encode()).startswith("base64")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.booleans())
def test_any_body_gets_a_remedy_of_one_line_and_no_failure(body, bracketed):
    body = b'{"instances": [' + body if bracketed else body
    remedy = remedies.of_body(body, "JSON Parse error: Invalid value. at offset: 3")
    assert "\n" not in remedy and len(remedy) < 300


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["b64", "image_bytes", "instances", "inputs", "x"]), inner, max_size=3
        )
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(["instances", "inputs", "x"]), _JSON, max_size=3))
def test_any_json_gets_a_remedy_and_no_failure(document):
    signature = type("Asked", (), {"inputs": {"image_bytes": tf.string.as_datatype_enum}})
    assert remedies.of_instances(document, signature)
    other = type("Asked", (), {"inputs": {"x": tf.float32.as_datatype_enum}})
    assert remedies.of_instances(document, other) == ""
