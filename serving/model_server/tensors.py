"""TensorProto to NumPy and back, as TensorFlow Serving reads and writes it.

What a request claims is held against what it carries before memory is taken: a shape of a few bytes
may otherwise ask for gigabytes.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving.model_server.errors import RequestError

MOST_DIMENSIONS = 32
"""TensorFlow's conversion of arrays of text crashes the process above it."""

MOST_REPEATED_BYTES = 16 << 20
"""A short list of numbers stands for a longer one; this much memory it may ask for."""

MOST_REPEATED_TEXT_BYTES = 1 << 20
"""The same for text, where every element may be a picture that is decoded."""

MOST_TEXTS = 1_000_000
"""Elements of a tensor of text; each takes 24 bytes of TensorFlow's memory, and 2 of a request."""

# What TensorFlow needs for a text beside its bytes, which it keeps elsewhere.
_TEXT_BYTES = 24

_LITTLE_ENDIAN = sys.byteorder == "little"


@dataclass(frozen=True)
class _Type:
    """How elements of a type are carried.

    Attributes:
        name: TensorFlow's name of the type.
        dtype: NumPy's.
        field: the list of TensorProto that holds the values.
        stored: the type of the list's values, which are those of `dtype` bit by bit; None where
            they are its numbers.
        per_element: values of the list for one element.
        packed_tag: the list's first byte on the wire where its values lie there as they do in
            memory; 0 where they do not.
    """

    name: str
    dtype: np.dtype
    field: str
    stored: np.dtype | None = None
    per_element: int = 1
    packed_tag: int = 0


def _types() -> dict[int, _Type]:
    def field(dtype: tf.DType) -> dict[str, Any]:
        same: dict[tf.DType, dict[str, Any]] = {
            tf.string: {"field": "string_val"},
            tf.float32: {"field": "float_val", "packed_tag": _tag("float_val")},
            tf.float64: {"field": "double_val", "packed_tag": _tag("double_val")},
            tf.bool: {"field": "bool_val", "packed_tag": _tag("bool_val")},
            tf.int64: {"field": "int64_val"},
            tf.uint32: {"field": "uint32_val"},
            tf.uint64: {"field": "uint64_val"},
            tf.half: {"field": "half_val", "stored": np.dtype(np.uint16)},
            tf.bfloat16: {"field": "half_val", "stored": np.dtype(np.uint16)},
            tf.complex64: {
                "field": "scomplex_val",
                "stored": np.dtype(np.float32),
                "per_element": 2,
                "packed_tag": _tag("scomplex_val"),
            },
            tf.complex128: {
                "field": "dcomplex_val",
                "stored": np.dtype(np.float64),
                "per_element": 2,
                "packed_tag": _tag("dcomplex_val"),
            },
        }
        if dtype in same:
            return same[dtype]
        if dtype.is_quantized:
            # NumPy has them as records of one field.
            return {"field": "int_val", "stored": np.dtype(dtype.as_numpy_dtype)[0]}
        return {"field": "int_val"}

    def _tag(name: str) -> int:
        return tensor_pb2.TensorProto.DESCRIPTOR.fields_by_name[name].number << 3 | 2

    carried = [
        *(tf.string, tf.float32, tf.float64, tf.half, tf.bfloat16, tf.bool),
        *(tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.uint32, tf.uint64),
        *(tf.complex64, tf.complex128, tf.qint8, tf.quint8, tf.qint16, tf.quint16, tf.qint32),
    ]
    return {
        dtype.as_datatype_enum: _Type(dtype.name, np.dtype(dtype.as_numpy_dtype), **field(dtype))
        for dtype in carried
    }


_TYPES = _types()
_BY_DTYPE = {kind.dtype: (number, kind) for number, kind in _TYPES.items()}
_VALUE_FIELDS = {"tensor_content"} | {
    field.name for field in tensor_pb2.TensorProto.DESCRIPTOR.fields if field.name.endswith("_val")
}


def array(proto: tensor_pb2.TensorProto, name: str) -> np.ndarray:
    """Reads a tensor of a request.

    As in TensorFlow, `tensor_content` comes first, more values than the shape has elements are
    left out, fewer are continued by the last one, and none are zeros.

    Args:
        proto: the tensor.
        name: the input's name, for messages.

    Returns:
        The values; text as an object array of bytes. Perhaps read-only.

    Raises:
        RequestError: INVALID_ARGUMENT if the message is no tensor, has more than `MOST_DIMENSIONS`
            dimensions, or asks for much more memory than it carries.
    """
    kind = _TYPES.get(proto.dtype)
    if kind is None:
        raise _invalid(name, f"the type {type_name(proto.dtype)} cannot be sent")
    dimensions = proto.tensor_shape.dim
    if len(dimensions) == 1 and not proto.tensor_shape.unknown_rank:
        shape: tuple[int, ...] = (dimensions[0].size,)
        count = shape[0]
        if count < 0:
            raise _invalid(name, f"the shape {list(shape)} is not possible")
    else:
        shape = _shape(proto, name)
        count = math.prod(shape)
    if kind.field == "string_val":
        return _texts(proto, name, shape, count)
    if shape and count * kind.dtype.itemsize > sys.maxsize:
        raise _invalid(name, f"the shape {list(shape)} is not possible")
    if proto.tensor_content and count:
        return _from_content(proto.tensor_content, kind, name, shape, count)
    return _from_list(proto, kind, name, shape, count)


def fill(proto: tensor_pb2.TensorProto, values: np.ndarray, as_content: bool = False) -> None:
    """Writes an answer into an empty tensor.

    Args:
        proto: where to.
        values: what; text as an object array of bytes.
        as_content: into `tensor_content`, as TensorFlow Serving does with
            `--enable_serialization_as_tensor_content`; else into `float_val` and the like, every
            value of them.

    Raises:
        RequestError: INTERNAL if the values are of a type that no answer can have.
    """
    try:
        proto.dtype, kind = _BY_DTYPE[values.dtype]
    except KeyError:
        raise RequestError(
            grpc.StatusCode.INTERNAL, f"an output of type {values.dtype} cannot be sent"
        ) from None
    add = proto.tensor_shape.dim.add
    for size in values.shape:
        add(size=size)
    # A scalar has a shape, too: one without dimensions.
    proto.tensor_shape.SetInParent()
    if kind.field == "string_val":
        texts = values.ravel().tolist()
        if as_content:
            proto.tensor_content = _encoded_texts(texts)
        else:
            proto.string_val.extend(texts)
        return
    if as_content:
        proto.tensor_content = values.tobytes()
        return
    stored = values if kind.stored is None else np.ascontiguousarray(values).view(kind.stored)
    if kind.packed_tag and _LITTLE_ENDIAN:
        payload = stored.tobytes()
        if payload:
            proto.MergeFromString(
                b"".join((bytes((kind.packed_tag,)), _varint(len(payload)), payload))
            )
    else:
        getattr(proto, kind.field).extend(stored.ravel().tolist())


def type_number(values: np.ndarray) -> int:
    """The number of an array's type in `tensorflow.DataType`; `DT_INVALID` if it has none."""
    number, _ = _BY_DTYPE.get(values.dtype, (types_pb2.DT_INVALID, None))
    return number


def type_name(number: int) -> str:
    """The name that TensorFlow's C++ has for a type, e.g. `float`; the number if it has none."""
    try:
        return types_pb2.DataType.Name(number).removeprefix("DT_").lower()
    except ValueError:
        return str(number)


def proto(values: np.ndarray, as_content: bool = False) -> tensor_pb2.TensorProto:
    """The message for an array; see `fill`."""
    made = tensor_pb2.TensorProto()
    fill(made, values, as_content)
    return made


def _shape(proto: tensor_pb2.TensorProto, name: str) -> tuple[int, ...]:
    shape = tuple(dimension.size for dimension in proto.tensor_shape.dim)
    if len(shape) > MOST_DIMENSIONS:
        raise _invalid(
            name, f"it has {len(shape)} dimensions; at most {MOST_DIMENSIONS} are possible"
        )
    # Sizes beside a zero count too: neither NumPy nor TensorFlow can hold such a shape.
    if (
        min(shape, default=0) < 0
        or math.prod(size for size in shape if size) > sys.maxsize // 16
        or (proto.tensor_shape.unknown_rank and shape)
    ):
        raise _invalid(name, f"the shape {list(shape)} is not possible")
    return shape


def _from_content(
    content: bytes, kind: _Type, name: str, shape: tuple[int, ...], count: int
) -> np.ndarray:
    expected = count * kind.dtype.itemsize
    if len(content) != expected:
        raise _invalid(
            name,
            f"tensor_content has {len(content)} bytes; {kind.name} of shape {list(shape)} takes "
            f"{expected}",
        )
    if kind.dtype == np.bool_:
        # A bool of another byte than 0 and 1 is undefined in C++.
        return (np.frombuffer(content, np.uint8) != 0).reshape(shape)
    return np.frombuffer(content, kind.dtype).reshape(shape)


def _from_list(
    proto: tensor_pb2.TensorProto, kind: _Type, name: str, shape: tuple[int, ...], count: int
) -> np.ndarray:
    values = getattr(proto, kind.field)
    given = len(values) // kind.per_element
    if given < count:
        needed = count * kind.dtype.itemsize
        if needed > MOST_REPEATED_BYTES:
            raise _too_much(name, shape, given, needed, MOST_REPEATED_BYTES)
        if not given:
            _refuse_values_elsewhere(proto, kind, name)
            return np.zeros(shape, kind.dtype)
    taken = _numbers(proto, values, kind)[: min(given, count) * kind.per_element]
    if kind.stored is not None:
        taken = taken.view(kind.dtype)
    if given < count:
        repeated = np.empty(count, kind.dtype)
        repeated[:given] = taken
        repeated[given:] = taken[-1]
        taken = repeated
    return taken.reshape(shape)


def _numbers(proto: tensor_pb2.TensorProto, values: Sequence[Any], kind: _Type) -> np.ndarray:
    """The values of a list in the type they are stored in."""
    stored = kind.dtype if kind.stored is None else kind.stored
    # Python makes an object of every value, at 50 ns each; on the wire they lie in a row.
    if kind.packed_tag and _LITTLE_ENDIAN and len(values) > 64:
        proto.DiscardUnknownFields()
        return np.frombuffer(_packed(proto.SerializeToString(), kind.packed_tag), stored)
    numbers = np.array(
        values[:], np.int64 if stored.kind in "iu" and stored.itemsize < 8 else stored
    )
    # TensorFlow casts, too.
    return numbers.astype(stored, copy=False)


def _packed(wire: bytes, tag: int) -> memoryview:
    """The bytes of the list that begins with `tag` in a serialized TensorProto.

    All fields of a TensorProto are numbers or have a length before them.
    """
    view = memoryview(wire)
    position = 0
    while True:
        key, position = _read_varint(view, position)
        number, position = _read_varint(view, position)
        if key == tag:
            return view[position : position + number]
        if key & 7 == 2:
            position += number


def _texts(
    proto: tensor_pb2.TensorProto, name: str, shape: tuple[int, ...], count: int
) -> np.ndarray:
    if count > MOST_TEXTS:
        raise _invalid(name, f"it has {count} texts; at most {MOST_TEXTS} are possible")
    values = proto.string_val
    given = len(values)
    if proto.tensor_content and count:
        found = _decoded_texts(proto.tensor_content, name, count)
    elif given >= count:
        found = values[:count]
    else:
        last = values[-1] if given else b""
        needed = (count - given) * (_TEXT_BYTES + len(last))
        if needed > MOST_REPEATED_TEXT_BYTES:
            raise _too_much(name, shape, given, needed, MOST_REPEATED_TEXT_BYTES)
        if not given:
            _refuse_values_elsewhere(proto, _TYPES[types_pb2.DT_STRING], name)
        found = values[:] + [last] * (count - given)
    texts = np.empty(count, object)
    texts[:] = found
    return texts.reshape(shape)


def _refuse_values_elsewhere(proto: tensor_pb2.TensorProto, kind: _Type, name: str) -> None:
    """Zeros are right where nothing was sent, and wrong where it was sent in another list."""
    others = [field.name for field, _ in proto.ListFields() if field.name in _VALUE_FIELDS]
    others = [other for other in others if other not in (kind.field, "tensor_content")]
    if others:
        raise _invalid(
            name, f"{kind.name} goes into {kind.field}; the request has {', '.join(others)}"
        )


def _encoded_texts(texts: list[bytes]) -> bytes:
    return b"".join((*(_varint(len(text)) for text in texts), *texts))


def _decoded_texts(content: bytes, name: str, count: int) -> list[bytes]:
    """Texts of a `tensor_content`: all lengths, then all bytes."""
    lengths = []
    position = 0
    try:
        for _ in range(count):
            length, position = _read_varint(content, position)
            lengths.append(length)
    except IndexError:
        raise _invalid(name, f"tensor_content does not hold {count} texts") from None
    if position + sum(lengths) != len(content):
        raise _invalid(name, f"tensor_content does not hold {count} texts")
    texts = []
    for length in lengths:
        texts.append(content[position : position + length])
        position += length
    return texts


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def _read_varint(wire: bytes | memoryview, position: int) -> tuple[int, int]:
    """The number at a position, and the position after it; IndexError if there is none."""
    number = shift = 0
    while shift < 64:
        byte = wire[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7
    raise IndexError(position)


def _too_much(
    name: str, shape: tuple[int, ...], given: int, needed: int, allowed: int
) -> RequestError:
    return _invalid(
        name,
        f"the shape {list(shape)} takes {needed} bytes, and the request has {given} values for it; "
        f"values are repeated up to {allowed} bytes, so send all of them",
    )


def _invalid(name: str, reason: str) -> RequestError:
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, f"tensor parsing error: {name}: {reason}")
