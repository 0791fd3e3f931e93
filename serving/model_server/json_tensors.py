"""TensorFlow Serving's JSON: requests to arrays and Examples, answers to text.

The format is https://www.tensorflow.org/tfx/serving/api_rest. What that page leaves open is as in
TensorFlow Serving's own util/json_tensor.cc, error texts included; the parser is the same library,
RapidJSON, so that the same bodies are refused at the same offsets. Known differences:

- A key that is there twice counts with its last value; TensorFlow Serving takes the first.
- A number that an int8, int16 or uint8 cannot hold is refused; TensorFlow Serving wraps it around.
- A value that an error text repeats is cut after `_SHOWN_CHARACTERS`.
"""

from __future__ import annotations

import base64
import binascii
import gc
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NoReturn

import grpc
import numpy as np
import rapidjson
import tensorflow as tf
from tensorflow.core.example import example_pb2, feature_pb2
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import classification_pb2, input_pb2, regression_pb2

from serving.model_server.errors import RequestError

MEMORY_LIMIT_BYTES = 256 * 1024 * 1024
"""A body whose values would take more than this as Python objects is refused."""

_SHOWN_CHARACTERS = 1024

# NumPy's limit.
_MOST_DIMENSIONS = 64

# What an array or object of one value, and a value in it, weigh at most in 64-bit CPython.
_CONTAINER_BYTES = 64
_VALUE_BYTES = 32
# What a byte of JSON comes to at most, by these: in `[],[],`, and in `[[[...]]]`.
_MOST_BYTES_A_BYTE = 34

# The parser refuses what is nested deeper than Python's recursion limit, 1,000. Deeper bodies are
# parsed in pieces of so many levels.
_PIECE_LEVELS = 500
# What takes Python's own hand is slow, and so has a shorter limit.
_MOST_SLOW_BYTES = 4 * 1024 * 1024
_LONG_BYTES = 64 * 1024
# Values that are written at a time: nobody else's Python runs meanwhile.
_CHUNK = 8192

_PARSE_ERROR = re.compile(r"Parse error at offset (\d+): (.*)", re.DOTALL)
# A text that has no end takes the rest, so that the search is linear.
_STRUCTURE = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[][{}]', re.DOTALL)
_BASE64_DIGITS = re.compile(rb"[A-Za-z0-9+/]*")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_decode = rapidjson.Decoder(number_mode=rapidjson.NM_NATIVE | rapidjson.NM_NAN)
_quoted: Callable[[str], str] = json.encoder.encode_basestring

_WHOLE = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint32, np.uint64)
# Whole numbers up to these are exact.
_MOST_WHOLE: Mapping[Any, int] = {np.float32: 2**24 - 1, np.float64: 2**53 - 1}
_DTYPES = {
    types_pb2.DT_FLOAT: np.float32,
    types_pb2.DT_DOUBLE: np.float64,
    types_pb2.DT_INT8: np.int8,
    types_pb2.DT_INT16: np.int16,
    types_pb2.DT_INT32: np.int32,
    types_pb2.DT_INT64: np.int64,
    types_pb2.DT_UINT8: np.uint8,
    types_pb2.DT_UINT32: np.uint32,
    types_pb2.DT_UINT64: np.uint64,
    types_pb2.DT_BOOL: np.bool_,
    types_pb2.DT_STRING: np.object_,
}
# Python's surrogates for bytes that cannot be decoded, and private characters in their place.
_TO_STAND_IN = {0xDC80 + byte: 0x10FF80 + byte for byte in range(128)}
_FROM_STAND_IN = {stand_in: surrogate for surrogate, stand_in in _TO_STAND_IN.items()}
_STAND_INS = re.compile("[\U0010ff80-\U0010ffff]")

_JSON_TYPES: Mapping[Any, Any] = {
    np.object_: {str, dict},
    np.bool_: {bool},
    np.float32: {int, float},
    np.float64: {int, float},
} | {dtype: {int} for dtype in _WHOLE}
_KIND_OF_TYPE = {
    bool: "int64_list",
    int: "int64_list",
    float: "float_list",
    str: "bytes_list",
    dict: "bytes_list",
}
# The names that C++ has for what Python calls otherwise.
_DTYPE_NAMES = {"float16": "half", "float32": "float", "float64": "double"}
_NOT_FINITE = {"nan.0": "NaN", "-nan.0": "NaN", "inf.0": "Infinity", "-inf.0": "-Infinity"}
_KINDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


def takes_more_than(body: bytes, memory_bytes: int) -> bool:
    """Whether a body's values may take more memory than this as Python objects.

    A body of two million brackets is small, and two million Python lists are not.
    """
    if len(body) * _MOST_BYTES_A_BYTE <= memory_bytes:
        return False
    containers = body.count(b"[") + body.count(b"{")
    values = _CONTAINER_BYTES * containers + _VALUE_BYTES * body.count(b",")
    return len(body) + values > memory_bytes


class JsonRequest:
    """A request's body, parsed.

    Args:
        body: JSON in UTF-8. What follows the object is ignored.

    Attributes:
        document: the object.
        signature_name: the signature that it names; empty if it names none.

    Raises:
        RequestError: INVALID_ARGUMENT; the body is no JSON object, names no signature by a text, or
            would take more than `MEMORY_LIMIT_BYTES`.
    """

    def __init__(self, body: bytes):
        # Bytes that are no UTF-8 are legal within a text: they are an input of the model.
        self._encode: Callable[[str], bytes] = str.encode
        self.document: dict[str, Any] = self._parsed(body)
        if not isinstance(self.document, dict):
            raise _format_error(self.document, "Is not object")
        name = self.document.get("signature_name", "")
        if not isinstance(name, str):
            raise _format_error(
                self.document,
                "not formatted correctly. 'signature_name' key must be a string value.",
            )
        self.signature_name: str = name

    def tensors(self, inputs: Mapping[str, int]) -> tuple[dict[str, np.ndarray], bool]:
        """The inputs of a Predict.

        Args:
            inputs: the dtype of each of the signature's inputs, a number of `tensorflow.DataType`,
                by alias.

        Returns:
            The arrays by alias, text as objects of bytes; and whether they were written row by row
            (`instances`), which is how the answer must be written too.

        Raises:
            RequestError: INVALID_ARGUMENT, or UNIMPLEMENTED for a dtype that JSON has no form for.
        """
        if not inputs:
            raise _invalid(
                f"Failed to get input map for signature: {self.signature_name or 'DEFAULT'}"
            )
        document = self.document
        if "instances" in document and "inputs" in document:
            raise _format_error(
                document,
                "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to "
                "exist ",
            )
        if "instances" in document:
            rows = document["instances"]
            if not isinstance(rows, list):
                raise _format_error(document, "Excepting 'instances' to be an list/array")
            if not rows:
                raise _format_error(document, "No values in 'instances' array")
            return self._rows(rows, inputs), True
        if "inputs" in document:
            return self._columns(document["inputs"], inputs), False
        raise _invalid("Missing 'inputs' or 'instances' key")

    def examples(self) -> input_pb2.Input:
        """The Examples of a Classify or Regress.

        Raises:
            RequestError: INVALID_ARGUMENT.
        """
        document = self.document
        found = input_pb2.Input()
        context = None
        if "context" in document:
            context = found.example_list_with_context.context
            self._fill_example(document["context"], context)
            # An empty context is one too.
            context.SetInParent()
        if "examples" not in document:
            raise _format_error(
                document, "When method is classify, key 'examples' is expected and was not found"
            )
        values = document["examples"]
        if not isinstance(values, list):
            raise _format_error(document, "Expecting 'examples' value to be an list/array")
        if not values:
            raise _format_error(document, "'examples' value is an empty array")
        examples = (
            found.example_list if context is None else found.example_list_with_context
        ).examples
        for value in values:
            self._fill_example(value, examples.add())
        return found

    def _parsed(self, body: bytes) -> Any:
        if not body:
            raise _invalid("JSON Parse error: The document is empty")
        if takes_more_than(body, MEMORY_LIMIT_BYTES):
            raise _invalid(
                f"The JSON has {len(body):,} bytes and so many values that they would take more "
                f"than {MEMORY_LIMIT_BYTES >> 20} MB of memory. Send fewer instances a request, "
                "b64, or gRPC's tensors"
            )
        try:
            return _parse(body)
        except UnicodeDecodeError:
            self._encode = _with_raw_bytes
            return _parse(_with_stand_ins(body))

    def _rows(self, rows: list[Any], inputs: Mapping[str, int]) -> dict[str, np.ndarray]:
        if not _is_object(rows[0]):
            if len(inputs) > 1:
                raise _invalid(
                    "instances is a plain list, but expecting list of objects as multiple input "
                    "tensors required as per tensorinfo_map"
                )
            for item, row in enumerate(rows):
                if _is_object(row):
                    raise _invalid(
                        f"Expecting value/list but got object at item {item} of input list"
                    )
            name, dtype = next(iter(inputs.items()))
            array = self._array(rows, dtype)
            if array is None:
                self._explain_rows(rows, dtype)
            return {name: array}
        names = inputs.keys()
        for item, row in enumerate(rows):
            if not _is_object(row):
                raise _invalid(f"Expecting object but got list at item {item} of input list")
            if row.keys() != names:
                self._explain_keys(item, row, inputs)
        arrays = {}
        for name, dtype in inputs.items():
            column = [row[name] for row in rows]
            array = self._array(column, dtype)
            if array is None:
                self._explain_rows(column, dtype, f" key: {name}")
            arrays[name] = array
        return arrays

    def _columns(self, value: Any, inputs: Mapping[str, int]) -> dict[str, np.ndarray]:
        if not _is_object(value):
            if len(inputs) > 1:
                raise _invalid(
                    "inputs is a plain value/list, but expecting an object as multiple input "
                    "tensors required as per tensorinfo_map"
                )
            value = {next(iter(inputs)): value}
        arrays = {}
        for name, dtype in inputs.items():
            if name not in value:
                raise _invalid(f"Missing named input: {name} in 'inputs' object.")
            array = self._array(value[name], dtype)
            if array is None:
                self._explain(value[name], dtype)
                raise _unexplained(name)
            arrays[name] = array
        return arrays

    def _array(self, value: Any, dtype: int) -> np.ndarray | None:
        """The value as an array of its own shape; None if it is none of this dtype."""
        shape = _shape(value)
        if len(shape) > _MOST_DIMENSIONS:
            raise _invalid(
                f"The tensor has {len(shape)} dimensions; at most {_MOST_DIMENSIONS} are possible"
            )
        flat = self._filled([value], shape, dtype)
        return None if flat is None else flat.reshape(shape)

    def _filled(self, values: list[Any], shape: Sequence[int], dtype: int) -> np.ndarray | None:
        """What is in values of this shape, one after the other; None if one does not fit."""
        for size in shape:
            if set(map(type, values)) - {list} or set(map(len, values)) - {size}:
                return None
            values = values[0] if len(values) == 1 else list(chain.from_iterable(values))
        return self._flat(values, dtype)

    def _first_bad(self, values: list[Any], shape: Sequence[int], dtype: int) -> int | None:
        """The index of the first of the values that is not of this shape and dtype."""
        if self._filled(values, shape, dtype) is not None:
            return None
        low, high = 0, len(values)
        while high - low > 1:
            middle = (low + high) // 2
            if self._filled(values[low:middle], shape, dtype) is None:
                high = middle
            else:
                low = middle
        return low

    def _flat(self, leaves: list[Any], dtype: int) -> np.ndarray | None:
        """An array of one dimension; None if one of the values does not fit the dtype."""
        if not leaves:
            return np.empty(0, tf.as_dtype(dtype).as_numpy_dtype)
        numpy_dtype = _DTYPES.get(dtype)
        types = set(map(type, leaves))
        if numpy_dtype is None or not types <= _JSON_TYPES[numpy_dtype]:
            return None
        if numpy_dtype is np.object_:
            array = np.empty(len(leaves), object)
            if types <= {str}:
                array[:] = [self._encode(text) for text in leaves]
                return array
            for index, leaf in enumerate(leaves):
                text = self._encode(leaf) if type(leaf) is str else _from_base64(leaf)
                if text is None:
                    return None
                array[index] = text
            return array
        if numpy_dtype in _WHOLE:
            try:
                # Raises for what does not fit, in place of wrapping it around.
                return np.array(leaves, numpy_dtype)
            except OverflowError:
                return None
        if numpy_dtype in _MOST_WHOLE:
            return _floats(leaves, numpy_dtype, int in types)
        return np.array(leaves, numpy_dtype)

    def _explain_rows(self, rows: list[Any], dtype: int, key: str = "") -> NoReturn:
        """Raises what is wrong with rows that make no array."""
        first = _shape(rows[0])
        item = self._first_bad(rows, first, dtype)
        if item is None:
            raise _unexplained("instances")
        try:
            self._explain(rows[item], dtype)
        except RequestError as error:
            raise _of_element(item, key, error) from None
        shape = _shape(rows[item])
        if math.prod(shape) != math.prod(first):
            said = f"Expecting tensor size: {math.prod(first)} but got: {math.prod(shape)}"
        else:
            said = f"Expecting shape {_dims(first)} but got: {_dims(shape)}"
        raise _of_element(item, key, _invalid(said))

    def _explain_keys(self, item: int, row: dict[str, Any], inputs: Mapping[str, int]) -> NoReturn:
        """Raises what is wrong with a row that has other keys than the signature has inputs."""
        for name, value in row.items():
            try:
                if name not in inputs:
                    raise _invalid(f"JSON object: does not have named input: {name}")
                self._explain(value, inputs[name])
            except RequestError as error:
                raise _of_element(item, f" key: {name}", error) from None
        raise _invalid(
            f"Failed to process element: {item} of 'instances' list. JSON object: {_shown(row)} "
            f"keys must be equal to: {','.join(sorted(inputs))}"
        )

    def _explain(self, value: Any, dtype: int) -> None:
        """Raises what is wrong with a value, if anything is: the first thing from the left."""
        shape = _shape(value)
        level = 0
        while type(value) is list:
            if level >= len(shape):
                raise _invalid(
                    f"Encountered list at unexpected level: {level} expected < {len(shape)}"
                )
            if len(value) != shape[level]:
                raise _invalid(
                    f"Encountered list at unexpected size: {len(value)} at level: {level} expected "
                    f"size: {shape[level]}"
                )
            level += 1
            bad = self._first_bad(value, shape[level:], dtype)
            if bad is None:
                return
            value = value[bad]
        if level != len(shape):
            raise _invalid(
                f"JSON Value: {_shown(value)} found at incorrect level: {level + 1} in the JSON "
                f"DOM. Expected at level: {len(shape)}"
            )
        self._explain_leaf(value, dtype)

    def _explain_leaf(self, value: Any, dtype: int) -> None:
        if self._flat([value], dtype) is not None:
            return
        name = _dtype_name(dtype)
        shown = f"JSON Value: {_shown(value)}"
        if dtype not in _DTYPES and type(value) is not dict:
            raise RequestError(
                grpc.StatusCode.UNIMPLEMENTED, f"Conversion of {shown} to type: {name}"
            )
        if dtype == types_pb2.DT_STRING and type(value) is dict:
            if _is_object(value):
                raise _invalid(f"{shown} not formatted correctly for base64 data")
            raise _invalid("Unable to base64 decode")
        if dtype in (types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE) and type(value) in (int, float):
            raise _lossy(value, name)
        raise _invalid(f"{shown} Type: {_type_name(value)} is not of expected type: {name}")

    def _fill_example(self, value: Any, example: example_pb2.Example) -> None:
        if not isinstance(value, dict):
            raise _invalid(f"Example must be JSON object but got JSON {_type_name(value)}")
        features = example.features.feature
        for name, content in value.items():
            feature = features[name]
            for item in content if isinstance(content, list) else [content]:
                self._add_to_feature(item, name, feature)

    def _add_to_feature(self, value: Any, name: str, feature: feature_pb2.Feature) -> None:
        kind = _KIND_OF_TYPE.get(type(value))
        if kind is None or _is_object(value):
            raise _invalid(
                f"Feature: {name} has element with unexpected JSON type: {_type_name(value)}"
            )
        before = feature.WhichOneof("kind") or kind
        if before != kind:
            raise _invalid(
                f"Unexpected element type in feature: {name} expecting type: {_KINDS[before]}"
            )
        if type(value) is float and _floats([value], np.float32, False) is None:
            raise _lossy(value, "float")
        if type(value) is int and value > np.iinfo(np.int64).max:
            raise _invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
        if type(value) is str:
            value = self._encode(value)
        elif type(value) is dict:
            value = _from_base64(value)
            if value is None:
                raise _invalid("Unable to base64 decode")
        values = getattr(feature, kind).value
        values.append(int(value) if kind == "int64_list" else value)


def predictions(tensors: Mapping[str, np.ndarray]) -> bytes:
    """The answer to a Predict that was asked row by row.

    Args:
        tensors: by alias; the first dimension is the row. Text is objects of bytes, and written as
            base64 where the alias ends with `_bytes`.

    Returns:
        `{"predictions": [...]}`: a value or list a row, or an object if there are several outputs.

    Raises:
        RequestError: INVALID_ARGUMENT; an output has no rows, not as many as the others, or a dtype
            that JSON has no form for.
    """
    rows = None
    for name, array in _some(tensors).items():
        if array.ndim == 0:
            raise _invalid(f"Tensor name: {name} has no shape information ")
        if rows is not None and len(array) != rows:
            raise _invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {rows}"
            )
        rows = len(array)
    if not rows:
        return _text('{\n    "predictions": []\n}')
    if len(tensors) == 1:
        name, array = next(iter(tensors.items()))
        parts = (", ".join(part) for part in _parts(name, array, levels=2, one_line=True))
        return _text(f'{{\n    "predictions": [{", ".join(parts)}\n    ]\n}}')
    columns = [
        [
            f"\n            {_quoted(name)}: {value}"
            for part in _parts(name, array, levels=3, one_line=True)
            for value in part
        ]
        for name, array in tensors.items()
    ]
    objects = ",\n        ".join(
        f"{{{','.join(row)}\n        }}" for row in zip(*columns, strict=True)
    )
    return _text(f'{{\n    "predictions": [\n        {objects}\n    ]\n}}')


def outputs(tensors: Mapping[str, np.ndarray]) -> bytes:
    """The answer to a Predict that was asked column by column.

    Args:
        tensors: by alias, of any shapes. Text as for `predictions`.

    Returns:
        `{"outputs": ...}`: a value, or an object of values by alias if there are several.

    Raises:
        RequestError: INVALID_ARGUMENT; a dtype that JSON has no form for.
    """
    if len(_some(tensors)) == 1:
        name, array = next(iter(tensors.items()))
        return _text(f'{{\n    "outputs": {_nested(name, array, levels=1, one_line=False)}\n}}')
    members = ",\n".join(
        f"        {_quoted(name)}: {_nested(name, array, levels=2, one_line=False)}"
        for name, array in tensors.items()
    )
    return _text(f'{{\n    "outputs": {{\n{members}\n    }}\n}}')


def classifications(result: classification_pb2.ClassificationResult) -> bytes:
    """The answer to a Classify: `{"results": [[[label, score], ...], ...]}`.

    Raises:
        RequestError: INVALID_ARGUMENT; there is no result.
    """
    if not result.classifications:
        raise _invalid("Cannot convert empty ClassificationResults to JSON")
    examples = []
    for example in result.classifications:
        scores = _decimals(np.array([one.score for one in example.classes], np.float32))
        labelled = (
            f"[{_quoted(one.label)}, {score}]"
            for one, score in zip(example.classes, scores, strict=True)
        )
        examples.append(f"[{', '.join(labelled)}]")
    return _text(f'{{\n    "results": [{", ".join(examples)}\n    ]\n}}')


def regressions(result: regression_pb2.RegressionResult) -> bytes:
    """The answer to a Regress: `{"results": [value, ...]}`.

    Raises:
        RequestError: INVALID_ARGUMENT; there is no result.
    """
    if not result.regressions:
        raise _invalid("Cannot convert empty RegressionResults to JSON")
    values = _decimals(np.array([one.value for one in result.regressions], np.float32))
    return _text(f'{{\n    "results": [{", ".join(values)}]\n}}')


def error(message: str) -> bytes:
    """A refusal: `{"error": message}`."""
    return f'{{\n    "error": {_quoted(message)}\n}}'.encode(errors="replace")


def _parse(body: bytes) -> Any:
    """JSON as Python's objects, at any depth; UnicodeDecodeError for a text that is no UTF-8."""
    start = len(_BYTE_ORDER_MARK) if body.startswith(_BYTE_ORDER_MARK) else 0
    document = body[start:] if start else body
    try:
        return _decoded(document)
    except RecursionError:
        return _parse_deep(document)
    except rapidjson.JSONDecodeError as error:
        match = _PARSE_ERROR.fullmatch(str(error))
        if match is None:
            raise _invalid(f"JSON Parse error: {error}") from error
        offset, reason = int(match[1]), match[2]
        if "root must not be followed" in reason:
            return _decoded(document[:offset])
        raise _invalid(f"JSON Parse error: {reason} at offset: {start + offset}") from error


def _decoded(document: bytes) -> Any:
    if len(document) < _LONG_BYTES or not gc.isenabled():
        return _decode(document)
    # There are no cycles in what JSON makes, and the search for them takes ten times as long as
    # the making. All other threads wait meanwhile, so that nobody else sees the switch.
    gc.disable()
    try:
        return _decode(document)
    finally:
        gc.enable()


def _parse_deep(body: bytes) -> Any:
    """Parses what is nested deeper than the parser goes, in one pass.

    Every so many levels a container is cut out, parsed for itself and stands as `{}` in the one
    around it. No tensor has so many dimensions, so what is cut out can only be a value that nobody
    reads, or belong to a value that is refused for its shape.
    """
    if len(body) > _MOST_SLOW_BYTES:
        raise _invalid(
            "JSON Parse error: More than 1000 levels are possible in a body of at most "
            f"{_MOST_SLOW_BYTES} bytes only"
        )
    depth, done = 0, 0
    # What has been seen of every container that is being cut out, and of the document.
    pieces: list[list[bytes]] = [[]]
    for match in _STRUCTURE.finditer(body):
        if match[0] in (b"[", b"{"):
            depth += 1
            if depth % _PIECE_LEVELS == 0:
                pieces[-1].append(body[done : match.start()])
                pieces.append([])
                done = match.start()
        elif match[0] in (b"]", b"}"):
            if depth % _PIECE_LEVELS == 0 and len(pieces) > 1:
                pieces[-1].append(body[done : match.end()])
                _parse(b"".join(pieces.pop()))
                pieces[-1].append(b"{}")
                done = match.end()
            depth -= 1
            if depth <= 0:
                break
    pieces[-1].append(body[done:])
    return _parse(b"".join(pieces[-1]))


def _with_stand_ins(body: bytes) -> bytes:
    """Private characters in place of bytes that are no UTF-8, which the parser does not take."""
    if len(body) > _MOST_SLOW_BYTES:
        raise _invalid(
            "JSON Parse error: Bytes that are no UTF-8 are possible in a body of at most "
            f"{_MOST_SLOW_BYTES} bytes only; send them as b64"
        )
    text = body.decode(errors="surrogateescape")
    if _STAND_INS.search(text) or "\\udbff" in text.lower():
        raise _invalid("JSON Parse error: Bytes that are no UTF-8 beside characters above U+10FF7F")
    return text.translate(_TO_STAND_IN).encode()


def _with_raw_bytes(text: str) -> bytes:
    """Text as UTF-8, with the bytes that the private characters stand for."""
    return text.translate(_FROM_STAND_IN).encode(errors="surrogateescape")


def _is_object(value: Any) -> bool:
    """Whether it is an object, and not one that stands for bytes."""
    return type(value) is dict and not (len(value) == 1 and type(value.get("b64")) is str)


def _from_base64(value: dict[str, Any]) -> bytes | None:
    """The bytes of a `{"b64": ...}`; None if it is none.

    Spaces and line breaks are skipped, and padding is optional, of `=` or `.`.
    """
    if _is_object(value):
        return None
    text = value["b64"]
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        pass
    try:
        digits = text.encode("ascii").translate(None, b" \t\n\v\f\r").replace(b".", b"=")
    except UnicodeEncodeError:
        return None
    unpadded = digits.rstrip(b"=")
    padding = -len(unpadded) % 4
    if (
        padding == 3
        or len(digits) - len(unpadded) not in (0, padding)
        or not _BASE64_DIGITS.fullmatch(unpadded)
    ):
        return None
    return binascii.a2b_base64(unpadded + b"=" * padding)


def _floats(leaves: list[Any], dtype: type, with_ints: bool) -> np.ndarray | None:
    """Numbers as an array; None if one cannot be held without loss."""
    if with_ints:
        whole = [leaf for leaf in leaves if type(leaf) is int]
        if max(max(whole), -min(whole)) > _MOST_WHOLE[dtype]:
            return None
    array = np.array(leaves, np.float64)
    if dtype is np.float64:
        return array
    with np.errstate(over="ignore"):
        narrow: np.ndarray = array.astype(dtype)
    # Infinity that was sent as such is one; a number beyond the largest would become one.
    beyond = np.abs(array) > float(np.finfo(dtype).max)
    return None if (beyond & np.isfinite(array)).any() else narrow


def _shape(value: Any) -> tuple[int, ...]:
    """The shape that the first of each list has."""
    shape = []
    while type(value) is list:
        shape.append(len(value))
        value = value[0] if value else None
    return tuple(shape)


def _dims(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _type_name(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "Null", True: "True", False: "False"}[value]
    names: Mapping[type, str] = {dict: "Object", list: "Array", str: "String"}
    return names.get(type(value), "Number")


def _dtype_name(dtype: int) -> str:
    name = tf.as_dtype(dtype).name
    return _DTYPE_NAMES.get(name, name)


def _shown(value: Any) -> str:
    """A value of a request for an error's text, as RapidJSON's PrettyWriter prints it, cut."""
    if isinstance(value, float):
        narrow = abs(value) <= float(np.finfo(np.float32).max)
        return _decimals(np.array([value], np.float32 if narrow else np.float64))[0]
    shown = ""
    for piece in _pretty(value, ""):
        shown += piece
        if len(shown) > _SHOWN_CHARACTERS:
            return f"{shown[:_SHOWN_CHARACTERS]}...TRUNCATED"
    return shown


def _pretty(value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict | list) and value:
        deeper = f"{indent}    "
        brackets = "{}" if isinstance(value, dict) else "[]"
        yield brackets[0]
        for index, item in enumerate(value):
            yield f",\n{deeper}" if index else f"\n{deeper}"
            if isinstance(value, dict):
                yield f"{_quoted(item[:_SHOWN_CHARACTERS])}: "
                item = value[item]
            yield from _pretty(item, deeper)
        yield f"\n{indent}{brackets[1]}"
    elif isinstance(value, float):
        yield repr(value).replace("e+", "e")
    elif isinstance(value, str):
        yield _quoted(value[: 2 * _SHOWN_CHARACTERS])
    else:
        yield json.dumps(value)


def _some(outputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    if not outputs:
        raise _invalid("Cannot convert empty tensor map to JSON")
    return outputs


def _nested(name: str, array: np.ndarray, levels: int, one_line: bool) -> str:
    """An output's value, or a part of it, as JSON.

    Args:
        name: the output's alias.
        array: the value.
        levels: in how many lists and objects it stands.
        one_line: whether lists are written in one line, else every value has its own.
    """
    if array.ndim == 0:
        return _leaves(name, array, "    " * levels)[0]
    parts = _parts(name, array, levels + 1, one_line)
    begin, between, end = _brackets(levels, one_line)
    joined = between.join(between.join(part) for part in parts)
    return f"{begin}{joined}{end}" if len(array) else "[]"


def _parts(name: str, array: np.ndarray, levels: int, one_line: bool) -> Iterator[list[str]]:
    """Each item of an array's first dimension as JSON, several at a time; see `_nested`."""
    size = math.prod(array.shape[1:])
    if size > _CHUNK:
        for item in array:
            yield [_nested(name, item, levels, one_line)]
        return
    step = _CHUNK // max(1, size)
    for first in range(0, len(array), step):
        yield _items(name, array[first : first + step], levels, one_line)


def _items(name: str, array: np.ndarray, levels: int, one_line: bool) -> list[str]:
    """Each item of an array's first dimension as JSON, in one go; see `_nested`."""
    count, *shape = array.shape
    texts = _leaves(name, array, "    " * (levels + len(shape)))
    # From the innermost lists outward.
    for level in reversed(range(len(shape))):
        size = shape[level]
        if size == 0:
            texts = ["[]"] * (count * math.prod(shape[:level]))
            continue
        begin, between, end = _brackets(levels + level, one_line)
        texts = [
            f"{begin}{between.join(texts[first : first + size])}{end}"
            for first in range(0, len(texts), size)
        ]
    return texts


def _brackets(levels: int, one_line: bool) -> tuple[str, str, str]:
    """How a list begins, is divided and ends that stands in so many lists and objects."""
    if one_line:
        return "[", ", ", "]"
    line = "\n" + "    " * levels
    return f"[{line}    ", f",{line}    ", f"{line}]"


def _leaves(name: str, array: np.ndarray, indent: str) -> list[str]:
    flat = array.reshape(-1)
    if array.dtype == object:
        if name.endswith("_bytes"):
            return [
                f'{{\n{indent}    "b64": "{binascii.b2a_base64(value, newline=False).decode()}"'
                f"\n{indent}}}"
                for value in flat
            ]
        # Bytes that are no UTF-8 are written as they are.
        return [_quoted(value.decode(errors="surrogateescape")) for value in flat]
    if array.dtype in (np.float32, np.float64):
        return _decimals(flat)
    if array.dtype == bool:
        return ["true" if value else "false" for value in flat.tolist()]
    if array.dtype.type in _WHOLE:
        return list(map(str, flat.tolist()))
    raise _invalid(
        f"Failed to write JSON value for tensor type: {_dtype_name(tf.as_dtype(array.dtype))}"
    )


def _decimals(values: np.ndarray) -> list[str]:
    """Numbers as TensorFlow Serving writes them: six digits, or all if six are not exact.

    Args:
        values: float32 or float64 (N).
    """
    texts = _formatted("%g", values)
    read = np.array(list(map(float, texts)), np.float64)
    with np.errstate(over="ignore"):
        inexact = np.flatnonzero(read.astype(values.dtype) != values)
    all_digits = "%.9g" if values.dtype == np.float32 else "%.17g"
    for index, text in zip(inexact, _formatted(all_digits, values[inexact]), strict=True):
        texts[index] = text
    texts = [text if "." in text or "e" in text else f"{text}.0" for text in texts]
    for index in np.flatnonzero(~np.isfinite(values)):
        texts[index] = _NOT_FINITE[texts[index]]
    return texts


def _formatted(form: str, values: np.ndarray) -> list[str]:
    # One call for all is several times faster than one for each.
    return (f"{form} " * len(values) % tuple(values.tolist())).split()


def _text(json_text: str) -> bytes:
    return json_text.encode(errors="surrogateescape")


def _invalid(message: str) -> RequestError:
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, message)


def _format_error(value: Any, message: str) -> RequestError:
    return _invalid(f"JSON Value: {_shown(value)} {message}")


def _unexplained(name: str) -> RequestError:
    return _invalid(f"The values of {name} are no tensor of the signature's dtype")


def _lossy(value: Any, target: str) -> RequestError:
    return _invalid(
        f"Cannot convert JSON value: {_shown(value)} to {target} without loss of precision."
    )


def _of_element(item: int, key: str, error: RequestError) -> RequestError:
    return _invalid(
        f"Failed to process element: {item}{key} of 'instances' list. Error: "
        f"{error.code.name}: {error.message}"
    )
