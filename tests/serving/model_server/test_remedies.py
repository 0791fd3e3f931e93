"""The sentence behind a refusal says what is wrong with what was sent, and with nothing else."""

from __future__ import annotations

import base64
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from tensorflow.core.framework import types_pb2

from serving.model_server import remedies
from serving.model_server.errors import RequestError
from tests.serving import color_model

RED = color_model.picture(255, 0, 0, suffix="jpeg")
BASE64 = base64.b64encode(RED).decode()
EXAMPLE = remedies.EXAMPLE
PYTHONS = "JSON has null, true and false for Python's None, True and False"
TWENTY = [f"s{i:02}" for i in range(20)]
PICTURES = SimpleNamespace(name="serving_default", inputs={"image_bytes": types_pb2.DT_STRING})
OTHERS = [
    SimpleNamespace(name="x", inputs={"image_bytes": types_pb2.DT_FLOAT}),
    SimpleNamespace(name="x", inputs={"text": types_pb2.DT_STRING}),
    SimpleNamespace(name="x", inputs={"image_bytes": types_pb2.DT_STRING, "y": types_pb2.DT_FLOAT}),
]


@pytest.mark.parametrize(
    ("said", "whole"),
    [
        ("It is wrong", "It is wrong. Do it so"),
        ("It is wrong. ", "It is wrong. Do it so"),
        ("It is wrong\n\t [[{{node x}}]]", "It is wrong\n\t [[{{node x}}]]\nDo it so"),
    ],
)
def test_a_remedy_stands_behind_what_is_said(said, whole):
    error = RequestError(grpc.StatusCode.NOT_FOUND, said)
    told = remedies.with_remedy(error, "Do it so")
    assert (told.code, told.message) == (grpc.StatusCode.NOT_FOUND, whole)
    assert remedies.with_remedy(error, "") is error


@pytest.mark.parametrize(
    ("asked", "there", "told"),
    [
        ("x", [], ""),
        ("x", ["__saved_model_init_op"], ""),
        ("x", ["b", "a", "__init"], "There are a, b"),
        (
            *("x", ["tolerant", "serving_default"]),
            "There are serving_default, tolerant; a request that names none asks serving_default",
        ),
        (" Tolerant", ["tolerant", "b"], "Did you mean tolerant? There are b, tolerant"),
        ("x", TWENTY, f"There are {', '.join(TWENTY)}"),
        ("x", [*TWENTY, "s20", "s21"], f"There are {', '.join(TWENTY)} and 2 more"),
    ],
)
def test_a_signature_that_there_is_not_is_told_which_there_are(asked, there, told):
    assert remedies.of_signature(asked, there) == told


@pytest.mark.parametrize(
    ("method", "path", "told"),
    [
        ("GET", "/v1/models/m:predict", "Ask by POST, with the question as JSON in the body"),
        ("GET", "/v1/models/m:regress", "Ask by POST, with the question as JSON in the body"),
        ("GET", "/v1/models/m:predict/more", ""),
        ("GET", "/v1/models/m/other", ""),
        ("PUT", "/v1/models/m:predict", ""),
        ("POST", "/v1/models/m", "Questions go by POST to /v1/models/m:predict"),
        ("POST", "/v1/models/m/Infer?", "Questions go by POST to /v1/models/m:predict"),
        (
            *("POST", "/v1/models/m/labels/best/invocations"),
            "Questions go by POST to /v1/models/m/labels/best:predict",
        ),
        ("POST", "/v1/models/m:explain", "Questions go by POST to /v1/models/NAME:predict"),
        ("POST", "/predict", "Questions go by POST to /v1/models/NAME:predict"),
    ],
)
def test_a_path_that_asks_for_nothing_is_told_which_does(method, path, told):
    assert remedies.of_path(method, path) == told


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "Send JSON in the body, e.g. {}"),
        (b" \n", "Send JSON in the body, e.g. {}"),
        (RED, "The body is a picture; wanted is JSON with its bytes in base64: {}"),
        (
            *(b"\r\n--X\r\nContent-Disposition: form-data\r\n",),
            "The body is a form with a file; wanted is JSON with its bytes in base64: {}",
        ),
        (b"-- no form", "Send JSON in the body, e.g. {}"),
        (b"content-disposition: x", "Send JSON in the body, e.g. {}"),
        (
            *(b"\x1f\x8b\x08\0",),
            "The body is packed with gzip: say so with the header Content-Encoding: gzip",
        ),
        (b"\xff\xfe{\0", "The body is UTF-16; JSON is UTF-8"),
        (b"\xfe\xff\0{", "The body is UTF-16; JSON is UTF-8"),
        (b'{\0"\0', "The body is UTF-16; JSON is UTF-8"),
        (b"abc\0", "The body is UTF-16; JSON is UTF-8"),
        (b"abcd\0", "Send JSON in the body, e.g. {}"),
        (b"{'a': 1}", "JSON's texts stand in double quotation marks, not in single ones"),
        (b" ['a']", "JSON's texts stand in double quotation marks, not in single ones"),
        (BASE64.encode(), "The body is base64 text; wanted is JSON: {}"),
        (b"<html>", "The body is a web page; wanted is JSON: {}"),
        (b"[1]", "Wanted is an object, e.g. {}"),
        (b"hello", "Send JSON in the body, e.g. {}"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_body_that_is_no_json_object_is_told_what_it_is(body, told):
    assert remedies.of_body(body, "JSON Value is no object") == told.replace("{}", EXAMPLE)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (b'{"instances": [1,', b"]}", "There is a comma too many before the ]"),
        (b'{"instances": [1] , ', b"}", "There is a comma too many before the }"),
        (b'{"instances": [1,', b"x}", ""),
        (b'{"instances": [1 ', b"]}", ""),
        (b'{"a": ', b"None}", PYTHONS),
        (b'{"a": False', b"}   ", PYTHONS),
        (b'{"a": [0, 1, 2', b", None]}", PYTHONS),
        (b'{"a": [0, 1, ', b"2, 3, None]}", ""),
        (b'{"a": True, "b": ', b"x}", ""),
        (b'{"a": [1', b"", "The body ends too early"),
        (b'{"a": [1 ', b" \n", "The body ends too early"),
        (b'{"a": [', b"1", ""),
        (b'{"a": xTruex', b"y}", ""),
    ],
)
def test_a_mistake_in_json_is_told_by_its_place(before, after, told):
    said = f"JSON Parse error: Invalid value. at offset: {len(before)}"
    assert remedies.of_body(before + after, said) == told


def test_what_does_not_take_pictures_is_told_nothing():
    for signature in OTHERS:
        assert remedies.of_instances({}, signature) == ""
        assert remedies.of_inputs(signature, ["x"], "Expects arg[0]") == ""
        assert remedies.of_method(signature) == ""
        assert remedies.of_values(signature, {"x": np.array([b"shoe.jpg"], object)}) == ""


PIXELS = "These are numbers, and pictures are not sent as their pixels."
WANTED = f"Send the bytes of picture files (JPEG, PNG, GIF, BMP or WebP), as JSON {EXAMPLE}"
ONLY = "The only input is image_bytes. "


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({}, f"{WANTED}; found no key"),
        ({"x": 1, "instance": [], "a" * 50: 2}, f'found the keys "x", "instance", "{"a" * 40}"'),
        ({c: 1 for c in "abcdef"}, 'found the keys "a", "b", "c", "d", "e"'),
        ({"instances": {"b64": BASE64}}, "The value of instances is a list, with one entry a"),
        ({"inputs": {"b64": BASE64}}, WANTED),
        ({"instances": []}, WANTED),
        ({"instances": [None, True]}, WANTED),
        ({"instances": [[[7]]]}, PIXELS),
        ({"inputs": [[0.5]]}, PIXELS),
        ({"inputs": 3}, PIXELS),
        ({"instances": [{"image_bytes": [1, 2]}]}, PIXELS),
        ({"instances": [{"image": BASE64}]}, ONLY),
        ({"instances": [{"image_bytes": BASE64, "size": "x"}]}, ONLY),
        ({"instances": [{"b64": BASE64, "image_bytes": ""}]}, WANTED),
        ({"instances": [{"b64": "shoe.jpg"}]}, "b64 holds a file's name. Send the bytes"),
        ({"instances": [{"b64": {"b64": BASE64}}]}, WANTED),
        ({"instances": [{"b64": [7]}]}, PIXELS),
        ({"instances": [{"b64": BASE64}, {"b64": "shoe.jpg"}]}, "b64 holds a file's name"),
        ({"instances": [{"b64": BASE64}] * 2 + [{"b64": "shoe.jpg"}]}, WANTED),
        ({"instances": [{str(i): {"b64": BASE64} for i in range(300)}]}, ONLY),
        ({"instances": [{"image_bytes": {"b64": "x" * 5}, "x": 1}]}, PIXELS),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_json_that_makes_no_inputs_is_told_what_is_wanted(document, told):
    found = remedies.of_instances(document, PICTURES)
    if told == WANTED:
        assert found == told
    elif told.startswith("found"):
        assert found == f"{WANTED}; {told}"
    else:
        assert found.startswith(told)
        assert WANTED in found or "found" in found


def test_json_of_any_depth_is_looked_at_for_a_while():
    deep: object = 7
    for _ in range(99):
        deep = [deep]
    assert remedies.of_instances({"instances": deep}, PICTURES).startswith(PIXELS)
    assert remedies.of_instances({"instances": [deep]}, PICTURES) == WANTED


def test_inputs_are_told_by_their_names_and_then_by_their_types():
    any_form = f"{WANTED}, or as a tensor of strings of the shape [N]"
    told = remedies.of_inputs
    assert told(PICTURES, ["image"], "") == ONLY + any_form
    assert told(PICTURES, ["image_bytes", "x"], "Expects arg[0]") == ONLY + any_form
    assert told(PICTURES, ["image_bytes"], "Expects arg[0] to be string") == (
        f"Pictures are not sent as their pixels. {any_form}"
    )
    assert told(PICTURES, ["image_bytes"], "it Expects arg[0]") == ""
    assert remedies.of_method(PICTURES) == (
        f"serving_default answers Predict, over REST :predict. {any_form}"
    )


def texts(*values: bytes) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (texts(RED, RED), ""),
        (texts(), ""),
        (texts(RED, b"shoe.jpg"), "Picture 1 is a file's name, not a picture. Send the bytes"),
        (texts(*[RED] * 99, b"shoe.jpg"), "Picture 99 is a file's name"),
        (texts(*[RED] * 100, b"shoe.jpg"), ""),
        (texts(RED).reshape(()), "Wanted is a list of pictures, and the shape sent is []. Send"),
        (
            texts(RED, RED).reshape(2, 1),
            "Wanted is a list of pictures, and the shape sent is [2,1]",
        ),
        (texts(RED, b"[1]").reshape(1, 2), "Picture 1 is JSON, not a picture"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_values_that_the_model_refuses_are_looked_at(values, told):
    found = remedies.of_values(PICTURES, {"image_bytes": values})
    assert found.startswith(told) and bool(found) == bool(told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("DATA:image/jpeg;base64,/9j/", "b64 holds a data URL: leave out everything up"),
        ("b'/9j/'", "b64 holds what Python prints of bytes"),
        ('b"/9j/"', "b64 holds what Python prints of bytes"),
        ("ab-_", "b64 holds base64 as URLs have it: wanted are + and / in place of - and _"),
        ("ab\n-_ab==", "b64 holds base64 as URLs have it"),
        ("ab-_===", 'b64 holds "-" at place 2, which is no base64'),
        ("abcd#", 'b64 holds "#" at place 4, which is no base64'),
        ("ab=cd", 'b64 holds "=" at place 2, which is no base64'),
        ("shoe.jpg", "b64 holds a file's name. Send"),
        ("abcde", "b64 is cut off: it has 5 digits"),
        ("a" * 4001, "b64 is cut off: it has 4,001 digits"),
        ("ab cd\ne=", "b64 is cut off: it has 5 digits"),
        ("abcd=", "b64 ends with another number of = than its digits need"),
        ("abc==", "b64 ends with another number of = than its digits need"),
        ("ab=", "b64 ends with another number of = than its digits need"),
        ("ab.", "b64 ends with another number of = than its digits need"),
        *((sound, "") for sound in ("", "abcd", "abc=", "ab==", "ab", "abc", "ab ==", "+/")),
    ],
)
def test_a_fault_of_base64_is_found(text, told):
    found = remedies._of_base64(text)
    assert found.startswith(told) and bool(found) == bool(told)
