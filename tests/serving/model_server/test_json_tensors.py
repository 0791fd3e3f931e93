"""JSON becomes arrays and arrays JSON as in TensorFlow Serving's util/json_tensor.cc."""

from __future__ import annotations

import base64
import json
import tracemalloc
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import classification_pb2, regression_pb2

from serving.model_server import json_tensors
from serving.model_server.errors import RequestError
from serving.model_server.json_tensors import JsonRequest

FLOAT, DOUBLE, INT32, INT64, TEXT, BOOL = (
    types_pb2.DT_FLOAT,
    types_pb2.DT_DOUBLE,
    types_pb2.DT_INT32,
    types_pb2.DT_INT64,
    types_pb2.DT_STRING,
    types_pb2.DT_BOOL,
)


def tensors(body: Any, **dtypes: int) -> dict[str, np.ndarray]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return JsonRequest(content).tensors(dtypes)[0]


def tensor(body: Any, dtype: int) -> np.ndarray:
    return tensors(body, x=dtype)["x"]


def refusal(body: Any, **dtypes: int) -> str:
    with pytest.raises(RequestError) as error:
        tensors(body, **dtypes)
    assert error.value.code is grpc.StatusCode.INVALID_ARGUMENT
    return error.value.message


def strings(*values: bytes) -> np.ndarray:
    return np.array(values, object)


# Requests.


def test_rows_of_one_input_are_its_values():
    array = tensor({"instances": [[1.5, 2], [3, 4]]}, FLOAT)

    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, [[1.5, 2], [3, 4]])


def test_rows_may_name_the_inputs():
    found = tensors({"instances": [{"a": 1.0, "b": [1]}, {"b": [2], "a": 2.0}]}, a=FLOAT, b=INT32)

    np.testing.assert_array_equal(found["a"], [1, 2])
    np.testing.assert_array_equal(found["b"], [[1], [2]])


def test_columns_may_be_named_and_those_that_nobody_takes_are_left_out():
    found = tensors({"inputs": {"a": 2, "b": [[True]], "c": "?"}}, a=INT64, b=BOOL)

    assert found.keys() == {"a", "b"}
    assert (found["a"].shape, found["b"].shape) == ((), (1, 1))
    assert (found["a"].dtype, found["b"].dtype) == (np.int64, bool)


def test_the_answer_has_the_form_of_the_question():
    one = {"x": FLOAT}

    assert JsonRequest(b'{"instances": [1]}').tensors(one)[1]
    assert not JsonRequest(b'{"inputs": [1]}').tensors(one)[1]


def test_a_signature_may_be_named():
    assert JsonRequest(b'{"signature_name": "everything"}').signature_name == "everything"
    assert JsonRequest(b"{}").signature_name == ""


@pytest.mark.parametrize(
    "text", ["aGVsbG8=", "aGVsbG8", "aGVs\nbG8=\r\n", " aGVsbG8. ", "aGVsbG8.", "a G V s b G 8 ="]
)
def test_base64_may_lack_its_padding_and_have_line_breaks(text):
    assert tensor({"instances": [{"b64": text}]}, TEXT).tolist() == [b"hello"]


@pytest.mark.parametrize(
    "text", ["%%%", "aGVsbG8==", "a", "aGVs=bG8=", "aGVsbG8\u00e9", "=", "aGVs-_8="]
)
def test_other_base64_is_refused(text):
    assert "Unable to base64 decode" in refusal({"inputs": [{"b64": text}]}, x=TEXT)


@given(st.binary())
def test_every_sequence_of_bytes_arrives_as_base64(content):
    encoded = base64.b64encode(content).decode()

    assert tensor({"inputs": {"b64": encoded}}, TEXT)[()] == content
    assert tensor({"instances": [{"b64": encoded.rstrip("=")}]}, TEXT)[0] == content


@given(st.lists(st.text(), min_size=1))
def test_every_text_arrives_as_utf_8(texts):
    texts = [text.encode(errors="ignore").decode() for text in texts]

    for ascii_only in (True, False):
        body = json.dumps({"instances": texts}, ensure_ascii=ascii_only).encode()
        assert tensor(body, TEXT).tolist() == [text.encode() for text in texts]


def test_bytes_that_are_no_utf_8_arrive_as_they_are():
    assert tensor(b'{"instances": ["\xff\xe9t\xc3\xa9", "\\u00e9"]}', TEXT).tolist() == [
        b"\xff\xe9t\xc3\xa9",
        b"\xc3\xa9",
    ]


def test_what_would_be_taken_for_a_raw_byte_is_refused():
    for disguised in ("\U0010ff80".encode(), rb"\udbff\udf80"):
        assert "no UTF-8" in refusal(b'{"instances": ["\xff' + disguised + b'"]}', x=TEXT)
        assert tensor(b'{"instances": ["' + disguised + b'"]}', TEXT)[0] == "\U0010ff80".encode()


def test_infinities_and_nan_are_numbers():
    found = tensor(b'{"instances": [NaN, Inf, -Inf, Infinity, -Infinity]}', FLOAT)

    np.testing.assert_array_equal(found, [np.nan, np.inf, -np.inf, np.inf, -np.inf])


# The very largest are written with digits that say a little more, and refused as in TensorFlow
# Serving.
@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        hnp.array_shapes(max_side=4),
        elements={"allow_subnormal": False, "min_value": -(2.0**127), "max_value": 2.0**127},
    )
)
def test_every_number_survives_the_way_out_and_in(array):
    dtype = FLOAT if array.dtype == np.float32 else DOUBLE
    body = json_tensors.outputs({"x": array}).replace(b'"outputs"', b'"inputs"')

    np.testing.assert_allclose(tensor(body, dtype), array, rtol=1e-15, atol=0)


@given(
    hnp.arrays(
        st.sampled_from([np.int8, np.uint8, np.int16, np.int32, np.int64, np.uint32, np.uint64]),
        hnp.array_shapes(min_side=0, max_side=3),
    )
)
def test_every_whole_number_survives(array):
    dtype = types_pb2.DataType.Value(f"DT_{array.dtype.name.upper()}")
    body = json_tensors.outputs({"x": array}).replace(b'"outputs"', b'"inputs"')
    read = tensor(body, dtype)

    assert read.dtype == array.dtype
    # JSON does not say how long the lists are that a list without items would have.
    np.testing.assert_array_equal(read.reshape(array.shape), array)


@pytest.mark.parametrize(("dtype", "bits"), [(FLOAT, 24), (DOUBLE, 53)])
def test_whole_numbers_are_taken_as_fractions_up_to_the_last_without_a_loss(dtype, bits):
    most = 2**bits - 1
    body = f'{{"inputs": [{most}, 0.5, -{most}]}}'.encode()
    assert tensor(body, dtype).tolist() == [most, 0.5, -most]
    for beyond in (most + 1, -most - 1):
        assert "loss of pre" in refusal(f'{{"inputs": [0.5, {beyond}]}}'.encode(), x=dtype)


@pytest.mark.parametrize(
    ("value", "dtype", "said"),
    [
        ('"1.5"', FLOAT, 'JSON Value: "1.5" Type: String is not of expected type: float'),
        ("true", FLOAT, "JSON Value: true Type: True is not of expected type: float"),
        ("null", FLOAT, "JSON Value: null Type: Null is not of expected type: float"),
        ("1.5", INT32, "JSON Value: 1.5 Type: Number is not of expected type: int32"),
        ("1.0", INT32, "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        ("true", INT32, "JSON Value: true Type: True is not of expected type: int32"),
        ('"3"', INT32, 'JSON Value: "3" Type: String is not of expected type: int32'),
        ("2147483648", INT32, "JSON Value: 2147483648 Type: Number is not of expected type: int32"),
        ("1.5", INT64, "JSON Value: 1.5 Type: Number is not of expected type: int64"),
        ("300", types_pb2.DT_INT8, "JSON Value: 300 Type: Number is not of expected type: int8"),
        ("-1", types_pb2.DT_UINT64, "is not of expected type: uint64"),
        ("1", BOOL, "JSON Value: 1 Type: Number is not of expected type: bool"),
        ('"x"', BOOL, 'JSON Value: "x" Type: String is not of expected type: bool'),
        ("null", BOOL, "JSON Value: null Type: Null is not of expected type: bool"),
        ("0.5", BOOL, "JSON Value: 0.5 Type: Number is not of expected type: bool"),
        ("1", TEXT, "JSON Value: 1 Type: Number is not of expected type: string"),
        ('{"b64": 5}', INT32, 'JSON Value: {\n    "b64": 5\n} Type: Object is not of'),
        ("16777216", FLOAT, "Cannot convert JSON value: 16777216 to float without loss of pre"),
        ("1e39", FLOAT, "Cannot convert JSON value: 1e+39 to float without loss of precision."),
        ("9007199254740993", DOUBLE, "Cannot convert JSON value: 9007199254740993 to double"),
    ],
)
def test_a_value_of_another_type_is_refused(value, dtype, said):
    assert said in refusal(f'{{"inputs": [{value}]}}'.encode(), x=dtype)
    # Also behind one that fits.
    fits = {TEXT: '"a"', BOOL: "true"}.get(dtype, "1")
    assert said in refusal(f'{{"inputs": [{fits}, {value}]}}'.encode(), x=dtype)


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (types_pb2.DT_HALF, "half"),
        (types_pb2.DT_BFLOAT16, "bfloat16"),
        (types_pb2.DT_COMPLEX64, "complex64"),
        (types_pb2.DT_UINT16, "uint16"),
    ],
)
def test_dtypes_that_json_has_no_form_for_are_refused(dtype, name):
    assert refusal({"instances": [1]}, x=dtype) == (
        "Failed to process element: 0 of 'instances' list. Error: UNIMPLEMENTED: Conversion of "
        f"JSON Value: 1 to type: {name}"
    )
    with pytest.raises(RequestError) as error:
        tensor({"inputs": [1]}, dtype)
    assert error.value.code is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"instances": [[1, 2], [1]]}, "element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Ex"
         "pecting tensor size: 2 but got: 1"),
        ({"instances": [[[1, 2]], [[1], [2]]]}, "Expecting shape [1,2] but got: [2,1]"),
        ({"instances": [[1], 2]}, "Expecting shape [1] but got: []"),
        ({"inputs": [[1, 2], [1]]}, "Encountered list at unexpected size: 1 at level: 1 expected"
         " size: 2"),
        ({"inputs": [1, [1]]}, "Encountered list at unexpected level: 1 expected < 1"),
        ({"inputs": [[1], 1]}, "JSON Value: 1 found at incorrect level: 2 in the JSON DOM. Expected"
         " at level: 2"),
        ({"instances": [[1, "a"]]}, "element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON "
         'Value: "a" Type: String is not of expected type: float'),
        ({"instances": [{"y": 1}]}, "Failed to process element: 0 key: y of 'instances' list. Error"
         ": INVALID_ARGUMENT: JSON object: does not have named input: y"),
        ({"instances": [{"x": 1}, 1]}, "Expecting object but got list at item 1 of input list"),
        ({"instances": [1, {"x": 1}]}, "Expecting value/list but got object at item 1 of input"),
        ({"instances": 1}, "Excepting 'instances' to be an list/array"),
        ({"instances": []}, "No values in 'instances' array"),
        ({"inputs": {"y": 1}}, "Missing named input: x in 'inputs' object."),
        ({"inputs": 1, "instances": 1}, "Not formatted correctly expecting only one of 'inputs' or "
         "'instances' keys to exist "),
        ({}, "Missing 'inputs' or 'instances' key"),
        ([1, {"a": "b"}], 'JSON Value: [\n    1,\n    {\n        "a": "b"\n    }\n] Is not object'),
        (b"", "JSON Parse error: The document is empty"),
        (b"{", "JSON Parse error: Missing a name for object member. at offset: 1"),
        (b'{"inputs": [1e400]}', "JSON Parse error: Number too big to be stored in double. at off"),
        (b'{"inputs": [01]}', "JSON Parse error: Missing a comma or ']' after an array element. at"
         " offset: 13"),
        (b'\xef\xbb\xbf{"inputs": x}', "JSON Parse error: Invalid value. at offset: 14"),
        ({"signature_name": 5}, '{\n    "signature_name": 5\n} not formatted correctly. '
         "'signature_name' key must be a string value."),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_tensorflow_servings_words(body, said):
    assert said in refusal(body, x=FLOAT)


def test_the_first_of_many_values_that_does_not_fit_is_found_at_once():
    rows = [[float(number)] for number in range(50_000)]
    for wrong, said in (("x", "not of expected type"), ([1], "unexpected level")):
        rows[30_000], rows[40_000] = [wrong], [None]
        assert refusal({"instances": rows}, x=FLOAT).startswith(
            "Failed to process element: 30000 of 'instances' list. Error: INVALID_ARGUMENT: "
        )
        assert said in refusal({"inputs": rows}, x=FLOAT)
    rows[30_000] = [1, 2]
    assert refusal({"instances": rows}, x=FLOAT) == (
        "Failed to process element: 30000 of 'instances' list. Error: INVALID_ARGUMENT: "
        "Expecting tensor size: 1 but got: 2"
    )


def test_several_inputs_must_be_named():
    assert refusal({"instances": [1]}, a=FLOAT, b=FLOAT).startswith(
        "instances is a plain list, but"
    )
    assert refusal({"inputs": [1]}, a=FLOAT, b=FLOAT).startswith(
        "inputs is a plain value/list, but"
    )
    assert refusal({"instances": [{"a": 1}]}, a=FLOAT, b=FLOAT) == (
        "Failed to process element: 0 of 'instances' list. JSON object: "
        '{\n    "a": 1\n} keys must be equal to: a,b'
    )


def test_a_signature_without_inputs_cannot_be_asked():
    assert refusal({"inputs": {}}) == "Failed to get input map for signature: DEFAULT"
    assert refusal({"inputs": {}, "signature_name": "none"}).endswith("signature: none")


def test_text_after_the_object_is_ignored():
    assert tensor(b'{"instances": [1]} and more', FLOAT).tolist() == [1]
    assert tensor(b'\xef\xbb\xbf{"instances": [1]}{', FLOAT).tolist() == [1]


@pytest.mark.parametrize("opening", ["[", '{"k":'])
def test_an_unused_key_may_be_nested_to_any_depth(opening):
    closing = "]" if opening == "[" else "}"
    nested = opening * 100_000 + '"]}[{"' + closing * 100_000
    body = f'{{"unused": {nested}, "instances": [1.5]}}'.encode()

    assert tensor(body, FLOAT).tolist() == [1.5]


@pytest.mark.parametrize("depth", [33, 65, 66, 900, 100_000])
def test_an_input_nested_to_any_depth_ends_in_an_array_or_a_refusal(depth):
    body = f'{{"instances": {"[" * depth}1{"]" * depth}}}'.encode()

    if depth <= 64:
        assert tensor(body, FLOAT).ndim == depth
    else:
        assert "dimensions" in refusal(body, x=FLOAT)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":' + b"[" * 100_000 + b"}" * 100_000,
        b'{"a":' + b"[" * 100_000 + b"1 1" + b"]" * 100_000 + b"}",
        b'{"a":' + b"[" * 2_000 + b'"' + b'\\"' * 1_000_000,
        b"[" * 5_000_000,
        b'{"a": "' + b"\xff" * 5_000_000 + b'"}',
    ],
)
def test_deep_nonsense_is_refused_at_once(body):
    assert "JSON" in refusal(body, x=FLOAT)


def test_values_that_would_fill_the_memory_are_refused_before_they_do():
    body = b'{"instances": [' + b"[]," * 6_000_000 + b"[]]}"
    tracemalloc.start()
    try:
        assert "memory" in refusal(body, x=FLOAT)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_long_value_is_cut_in_the_error():
    message = refusal({"instances": 1, "unused": list(range(100_000))}, x=FLOAT)

    assert len(message) < 1200 and "...TRUNCATED Excepting" in message


@given(st.binary(max_size=200))
def test_no_bytes_do_worse_than_a_refusal(content):
    for body in (content, b'{"instances": ' + content + b"}", b'{"inputs": "' + content + b'"}'):
        for dtype in (FLOAT, TEXT, INT32):
            try:
                JsonRequest(body).tensors({"x": dtype})
            except RequestError as error:
                assert error.code is grpc.StatusCode.INVALID_ARGUMENT


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda values: (
        st.lists(values, max_size=3)
        | st.dictionaries(st.sampled_from(["x", "y", "b64"]), values, max_size=2)
    ),
    max_leaves=8,
)


@given(json_values, st.sampled_from([FLOAT, INT32, TEXT, BOOL, types_pb2.DT_HALF]))
def test_no_json_does_worse_than_a_refusal(value, dtype):
    for body in ({"instances": value}, {"inputs": value}, {"instances": [value, value]}):
        try:
            found = tensors(body, x=dtype, **({"y": dtype} if len(str(value)) % 2 else {}))
            assert all(isinstance(array, np.ndarray) for array in found.values())
        except RequestError as error:
            assert error.code.name in ("INVALID_ARGUMENT", "UNIMPLEMENTED")
    for body in ({"examples": value}, {"examples": [value], "context": value}):
        try:
            JsonRequest(json.dumps(body).encode()).examples()
        except RequestError as error:
            assert error.code is grpc.StatusCode.INVALID_ARGUMENT


# Examples.


def examples(body: Any) -> Any:
    return JsonRequest(json.dumps(body).encode()).examples()


def test_examples_have_a_kind_for_each_feature():
    found = examples(
        {"examples": [{"i": [1, True], "f": 1.5, "s": ["a", {"b64": "/w=="}], "none": []}]}
    )

    assert found.WhichOneof("kind") == "example_list"
    (example,) = found.example_list.examples
    feature = example.features.feature
    assert list(feature["i"].int64_list.value) == [1, 1]
    assert list(feature["f"].float_list.value) == [1.5]
    assert list(feature["s"].bytes_list.value) == [b"a", b"\xff"]
    assert feature["none"].WhichOneof("kind") is None


def test_examples_may_have_a_context():
    found = examples({"context": {"c": 1}, "examples": [{"a": 2}, {}]})

    assert found.WhichOneof("kind") == "example_list_with_context"
    context = found.example_list_with_context.context
    assert list(context.features.feature["c"].int64_list.value) == [1]
    assert len(found.example_list_with_context.examples) == 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "When method is classify, key 'examples' is expected and was not found"),
        ({"examples": 1}, "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": [1]}, "Example must be JSON object but got JSON Number"),
        ({"examples": [{"a": None}]}, "Feature: a has element with unexpected JSON type: Null"),
        ({"examples": [{"a": [[1]]}]}, "Feature: a has element with unexpected JSON type: Array"),
        ({"examples": [{"a": {}}]}, "Feature: a has element with unexpected JSON type: Object"),
        ({"examples": [{"a": [1, 1.5]}]}, "Unexpected element type in feature: a expecting type: in"
         "t64"),
        ({"examples": [{"a": [1.5, "x"]}]}, "feature: a expecting type: float"),
        ({"examples": [{"a": 2**63}]}, "Feature: a has uint64 element. Only int64 is supported."),
        ({"examples": [{"a": 1e39}]}, "to float without loss of precision."),
        ({"examples": [{"a": {"b64": "!"}}]}, "Unable to base64 decode"),
        ({"context": [], "examples": [{}]}, "Example must be JSON object but got JSON Array"),
    ],
)  # fmt: skip
def test_other_examples_are_refused(body, said):
    with pytest.raises(RequestError) as error:
        examples(body)
    assert said in error.value.message


# Answers. The layout is that of RapidJSON's PrettyWriter, as in TensorFlow Serving's REST page.


def test_numbers_are_written_as_short_as_they_are_exact():
    values = [0.1, 9e6, 3e-5, 555557.5, 999999, -0.0, 2.5, 1 / 3, np.nan, np.inf, -np.inf]

    assert json_tensors.predictions({"y": np.array(values, np.float32)}) == (
        b'{\n    "predictions": [0.1, 9e+06, 3e-05, 555557.5, 999999.0, -0.0, 2.5, 0.333333343, '
        b"NaN, Infinity, -Infinity\n    ]\n}"
    )
    assert json_tensors.predictions({"y": np.array([0.1, 1 / 3])}) == (
        b'{\n    "predictions": [0.1, 0.33333333333333331\n    ]\n}'
    )


def test_several_outputs_are_rows_of_objects():
    written = json_tensors.predictions(
        {"a": np.array([[1, 2], [3, 4]], np.int32), "b_bytes": strings(b"\xff", b"")}
    )

    assert (
        written.decode()
        == """{
    "predictions": [
        {
            "a": [1, 2],
            "b_bytes": {
                "b64": "/w=="
            }
        },
        {
            "a": [3, 4],
            "b_bytes": {
                "b64": ""
            }
        }
    ]
}"""
    )


def test_columns_have_a_line_for_every_value():
    columns = json_tensors.outputs({"y": np.array([[1], [2]], np.int32)})
    several = json_tensors.outputs({"s": np.array(True), "t": np.zeros((2, 0), np.float32)})

    assert (
        columns.decode()
        == """{
    "outputs": [
        [
            1
        ],
        [
            2
        ]
    ]
}"""
    )
    assert (
        several.decode()
        == """{
    "outputs": {
        "s": true,
        "t": [
            [],
            []
        ]
    }
}"""
    )


def test_what_is_written_in_several_parts_is_as_if_in_one(monkeypatch):
    arrays = [np.arange(24.0).reshape(shape) for shape in [(24,), (24, 1), (1, 24), (2, 3, 4)]]

    def written() -> list[bytes]:
        return [
            write(tensors)
            for array in arrays
            for tensors in ({"y": array}, {"y": array, "z": array})
            for write in (json_tensors.predictions, json_tensors.outputs)
        ]

    in_one = written()
    for chunk in (1, 3, 5):
        monkeypatch.setattr(json_tensors, "_CHUNK", chunk)
        assert written() == in_one


def test_a_scalar_is_an_output_but_no_row():
    assert json.loads(json_tensors.outputs({"y": np.array(3, np.float32)})) == {"outputs": 3.0}
    with pytest.raises(RequestError, match="Tensor name: y has no shape information"):
        json_tensors.predictions({"y": np.array(3, np.float32)})


def test_outputs_of_other_lengths_are_no_rows():
    with pytest.raises(RequestError, match="b has inconsistent batch size: 2 expecting: 1"):
        json_tensors.predictions({"a": np.zeros(1), "b": np.zeros(2)})
    with pytest.raises(RequestError, match="empty tensor map"):
        json_tensors.outputs({})


def test_text_is_written_as_its_bytes():
    written = json_tensors.predictions({"y": strings(b"\xff \xc3\xa9", b'"\\\n\x01')})

    assert written == b'{\n    "predictions": ["\xff \xc3\xa9", "\\"\\\\\\n\\u0001"\n    ]\n}'


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(np.complex64, "complex64"), (np.float16, "half"), (np.uint16, "uint16")],
)
def test_outputs_that_json_has_no_form_for_are_refused(dtype, name):
    with pytest.raises(RequestError, match=f"for tensor type: {name}"):
        json_tensors.outputs({"y": np.zeros(1, dtype)})


@given(
    hnp.arrays(
        st.sampled_from([np.int8, np.int64, bool]),
        hnp.array_shapes(min_side=0, max_side=3, max_dims=4),
    )
)
def test_the_json_that_is_written_has_the_shape_of_the_array(array):
    columns = json.loads(json_tensors.outputs({"y": array, "z": array}))["outputs"]
    rows = json.loads(json_tensors.predictions({"y": array}))["predictions"]
    objects = json.loads(json_tensors.predictions({"y": array, "z": array}))["predictions"]
    assert columns["y"] == columns["z"] == rows == [row["z"] for row in objects]
    np.testing.assert_array_equal(np.array(rows, array.dtype).reshape(array.shape), array)


def test_classes_and_values_are_results():
    result = classification_pb2.ClassificationResult()
    first, second = result.classifications.add(), result.classifications.add()
    first.classes.add(label="", score=3)
    second.classes.add(label="a", score=0.1)
    second.classes.add(label="b", score=0.9)
    assert json_tensors.classifications(result).decode() == (
        '{\n    "results": [[["", 3.0]], [["a", 0.1], ["b", 0.9]]\n    ]\n}'
    )

    regression = regression_pb2.RegressionResult()
    regression.regressions.add(value=3)
    assert json_tensors.regressions(regression) == b'{\n    "results": [3.0]\n}'

    for write, empty in (
        (json_tensors.classifications, classification_pb2.ClassificationResult()),
        (json_tensors.regressions, regression_pb2.RegressionResult()),
    ):
        with pytest.raises(RequestError, match="Cannot convert empty"):
            write(empty)


def test_an_error_is_json_whatever_it_says():
    assert json_tensors.error('a "b"\n') == b'{\n    "error": "a \\"b\\"\\n"\n}'
    assert json.loads(json_tensors.error("\udcff")) == {"error": "?"}
