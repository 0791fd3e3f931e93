"""Tensors of requests and answers: as TensorFlow reads and writes them, and no memory on credit."""

from __future__ import annotations

import tracemalloc

import grpc
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving.model_server import tensors
from serving.model_server.errors import RequestError

NUMBERS = [
    *(tf.float32, tf.float64, tf.half, tf.bfloat16, tf.bool, tf.int8, tf.int16, tf.int32, tf.int64),
    *(tf.uint8, tf.uint16, tf.uint32, tf.uint64, tf.complex64, tf.complex128),
]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=9)


def _tensor(dtype, shape=(), **values) -> tensor_pb2.TensorProto:
    proto = tensor_pb2.TensorProto(dtype=dtype, **values)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def _as_tensorflow_reads(proto: tensor_pb2.TensorProto) -> np.ndarray:
    """C++'s `Tensor::FromProto`, which TensorFlow Serving reads requests by."""
    dtype = tf.as_dtype(proto.dtype)
    return tf.io.parse_tensor(proto.SerializeToString(), dtype).numpy()


def _refused(proto: tensor_pb2.TensorProto, code=grpc.StatusCode.INVALID_ARGUMENT) -> str:
    with pytest.raises(RequestError) as refusal:
        tensors.array(proto, "x")
    assert refusal.value.code == code
    assert refusal.value.message.startswith("tensor parsing error: x")
    return refusal.value.message


@st.composite
def _numbers(draw) -> np.ndarray:
    dtype = draw(st.sampled_from(NUMBERS))
    raw = draw(hnp.arrays(np.int16, draw(SHAPES)))
    return raw.astype(dtype.as_numpy_dtype)


@st.composite
def _texts(draw) -> np.ndarray:
    return draw(hnp.arrays(object, draw(SHAPES), elements=st.binary(max_size=200)))


def _same(left: np.ndarray, right: np.ndarray) -> bool:
    return (
        left.dtype == right.dtype and left.shape == right.shape and left.tolist() == right.tolist()
    )


@settings(deadline=None)
@given(st.one_of(_numbers(), _texts()), st.booleans())
def test_what_is_written_is_read_again_by_us_and_by_tensorflow(values, as_content):
    proto = tensors.proto(values, as_content)
    assert _same(tensors.array(proto, "x"), values)
    read = _as_tensorflow_reads(proto)
    if values.dtype == object and not values.shape:
        # What NumPy has for a single text is the text.
        assert read == values[()]
    else:
        assert _same(read, values)


@settings(deadline=None)
@given(st.one_of(_numbers(), _texts()))
def test_an_answer_fills_its_list_and_not_the_content_unless_told_to(values):
    plain = tensors.proto(values)
    assert not plain.tensor_content
    assert plain.HasField("tensor_shape")
    lists = {
        field.name: len(value) for field, value in plain.ListFields() if field.name.endswith("_val")
    }
    per_element = 2 if values.dtype.kind == "c" else 1
    assert sum(lists.values()) == values.size * per_element
    content = tensors.proto(values, as_content=True)
    assert bool(content.tensor_content) == bool(values.size)
    assert not any(field.name.endswith("_val") for field, _ in content.ListFields())


@settings(deadline=None)
@given(
    st.sampled_from(NUMBERS),
    st.lists(st.integers(-(2**15), 2**15 - 1), max_size=100),
    hnp.array_shapes(min_dims=0, max_dims=3, max_side=6),
)
def test_lists_that_are_short_or_long_are_taken_as_tensorflow_takes_them(dtype, numbers, shape):
    proto = tensors.proto(np.array(numbers, np.int64).astype(dtype.as_numpy_dtype))
    proto.tensor_shape.Clear()
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    assert _same(tensors.array(proto, "x"), np.asarray(_as_tensorflow_reads(proto)))


@pytest.mark.parametrize(
    ("values", "shape", "expected"),
    [
        ([b"a"], (3,), [b"a", b"a", b"a"]),
        ([b"a", b"b"], (4,), [b"a", b"b", b"b", b"b"]),
        ([b"a", b"b"], (1,), [b"a"]),
        ([], (2,), [b"", b""]),
    ],
)
def test_the_last_text_stands_for_those_that_are_missing(values, shape, expected):
    proto = _tensor(types_pb2.DT_STRING, shape, string_val=values)
    assert tensors.array(proto, "x").tolist() == expected
    assert _as_tensorflow_reads(proto).tolist() == expected


def test_half_a_complex_number_does_not_count():
    proto = _tensor(types_pb2.DT_COMPLEX64, (2,), scomplex_val=[1, 2, 3])
    assert tensors.array(proto, "x").tolist() == [1 + 2j, 1 + 2j]
    assert _as_tensorflow_reads(proto).tolist() == [1 + 2j, 1 + 2j]


def test_numbers_too_large_for_their_type_wrap_as_in_tensorflow():
    proto = _tensor(types_pb2.DT_INT8, (2,), int_val=[300, -1])
    assert tensors.array(proto, "x").tolist() == [44, -1]
    assert _as_tensorflow_reads(proto).tolist() == [44, -1]


def test_bytes_of_a_bool_that_are_neither_0_nor_1_are_true():
    proto = _tensor(types_pb2.DT_BOOL, (3,), tensor_content=b"\0\1\7")
    assert tensors.array(proto, "x").view(np.uint8).tolist() == [0, 1, 1]


def test_fields_that_we_do_not_know_are_no_obstacle():
    proto = tensors.proto(np.arange(100, dtype=np.float32))
    # Field 99 as a number, as 64 bits, as 32 bits and as a group, each as a newer sender may have.
    unknown = (
        b"\x98\x06\x01" + b"\x99\x06" + bytes(8) + b"\x9d\x06" + bytes(4) + b"\x9b\x06\x9c\x06"
    )
    proto = tensor_pb2.TensorProto.FromString(unknown + proto.SerializeToString() + unknown)
    assert tensors.array(proto, "x").tolist() == list(range(100))


class TestHostileClaims:
    @pytest.mark.parametrize("dimensions", [33, 64, 65, 300])
    @pytest.mark.parametrize("dtype", [types_pb2.DT_STRING, types_pb2.DT_FLOAT])
    def test_more_dimensions_than_32_are_refused(self, dtype, dimensions):
        proto = _tensor(dtype, [1] * dimensions, string_val=[b"a"])
        assert f"it has {dimensions} dimensions; at most 32" in _refused(proto)

    def test_32_dimensions_are_read(self):
        proto = _tensor(types_pb2.DT_STRING, [1] * 32, string_val=[b"a"])
        assert tensors.array(proto, "x").shape == (1,) * 32

    @pytest.mark.parametrize(
        "proto",
        [
            _tensor(types_pb2.DT_STRING, (5_000_000,), string_val=[b"x" * 2400]),
            _tensor(types_pb2.DT_STRING, (100_000,), string_val=[b"x" * 2400]),
            _tensor(types_pb2.DT_STRING, (67_000_000,)),
            _tensor(types_pb2.DT_STRING, (2**62,)),
            _tensor(types_pb2.DT_FLOAT, (2**62,), float_val=[1]),
            _tensor(types_pb2.DT_FLOAT, (2**63 - 1,), tensor_content=b"1234"),
            _tensor(types_pb2.DT_FLOAT, (67_000_000,)),
            _tensor(types_pb2.DT_DOUBLE, (100_000, 100_000), double_val=[1, 2]),
            _tensor(types_pb2.DT_FLOAT, (0, 2**62, 2**62), float_val=[1]),
            _tensor(types_pb2.DT_STRING, (2**62, 2**62), string_val=[b"a"]),
        ],
    )
    def test_a_shape_that_asks_for_more_than_was_sent_takes_no_memory(self, proto):
        tracemalloc.start()
        try:
            _refused(proto)
            assert tracemalloc.get_traced_memory()[1] < 100_000
        finally:
            tracemalloc.stop()

    def test_a_million_zeros_may_be_sent_as_one(self):
        proto = _tensor(types_pb2.DT_FLOAT, (8, 224, 224, 3), float_val=[0])
        assert tensors.array(proto, "x").shape == (8, 224, 224, 3)

    @pytest.mark.parametrize("sizes", [(-1,), (-5, -5), (2, -1), (-(2**63),)])
    def test_negative_sizes_are_refused(self, sizes):
        assert "is not possible" in _refused(_tensor(types_pb2.DT_FLOAT, sizes, float_val=[1]))

    def test_a_shape_of_unknown_rank_has_no_sizes(self):
        proto = _tensor(types_pb2.DT_FLOAT, (1,), float_val=[1])
        proto.tensor_shape.unknown_rank = True
        assert "is not possible" in _refused(proto)
        del proto.tensor_shape.dim[:]
        assert tensors.array(proto, "x").tolist() == _as_tensorflow_reads(proto).tolist() == 1

    @pytest.mark.parametrize("length", [0, 1, 11, 13, 24])
    def test_content_of_another_length_than_the_shape_says_is_refused(self, length):
        proto = _tensor(types_pb2.DT_FLOAT, (3,), tensor_content=bytes(length))
        if length:
            message = _refused(proto)
            assert f"tensor_content has {length} bytes; float32 of shape [3] takes 12" in message
        else:
            assert tensors.array(proto, "x").tolist() == [0, 0, 0]

    @pytest.mark.parametrize(
        "content",
        [
            b"\x01",
            b"\x05a",
            b"\x00\x00a",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
            b"\xff" * 10_000_000,
        ],
    )
    def test_content_that_does_not_hold_its_texts_is_refused(self, content):
        proto = _tensor(types_pb2.DT_STRING, (2,), tensor_content=content)
        assert "tensor_content does not hold 2 texts" in _refused(proto)

    @pytest.mark.parametrize(
        "dtype",
        [types_pb2.DT_INVALID, types_pb2.DT_RESOURCE, types_pb2.DT_VARIANT, types_pb2.DT_FLOAT_REF],
    )
    def test_types_that_no_request_can_have_are_refused_by_name(self, dtype):
        proto = _tensor(dtype, (1,), float_val=[1])
        name = types_pb2.DataType.Name(dtype).removeprefix("DT_").lower()
        assert f"the type {name} cannot be sent" in _refused(proto)

    def test_a_type_that_nobody_knows_is_refused(self):
        assert "type 999 cannot be sent" in _refused(_tensor(999, (1,)))

    def test_values_in_the_wrong_list_are_not_taken_for_zeros(self):
        proto = _tensor(types_pb2.DT_INT64, (1,), int_val=[7])
        assert "int64 goes into int64_val; the request has int_val" in _refused(proto)
        proto = _tensor(types_pb2.DT_STRING, (1,), float_val=[7])
        assert "string goes into string_val; the request has float_val" in _refused(proto)

    @settings(deadline=None, max_examples=300)
    @given(
        st.integers(-2, 140),
        st.lists(st.one_of(st.integers(-3, 5), st.integers(-(2**63), 2**63 - 1)), max_size=70),
        st.binary(max_size=64),
        st.lists(st.binary(max_size=5), max_size=5),
        st.lists(st.floats(width=32), max_size=5),
        st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5),
    )
    def test_whatever_is_claimed_gives_an_array_of_that_shape_or_a_refusal(
        self, dtype, sizes, content, texts, floats, numbers
    ):
        proto = _tensor(
            dtype, sizes, tensor_content=content, string_val=texts, float_val=floats,
            int_val=numbers, half_val=numbers,
        )  # fmt: skip
        try:
            read = tensors.array(proto, "x")
        except RequestError as refusal:
            assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
        else:
            assert read.shape == tuple(sizes)
            assert read.nbytes <= max(tensors.MOST_REPEATED_BYTES, proto.ByteSize())


def test_an_output_of_a_type_that_has_no_message_is_an_internal_error():
    with pytest.raises(RequestError, match="cannot be sent") as refusal:
        tensors.proto(np.array(["2026-01-01"], "datetime64[D]"))
    assert refusal.value.code == grpc.StatusCode.INTERNAL


@pytest.mark.parametrize("length", [64, 65, 127, 128, 16_384])
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64, tf.bool, tf.complex64, tf.complex128])
def test_numbers_that_lie_in_a_row_on_the_wire_are_read_there(dtype, length):
    values = (np.arange(length) % 251).astype(dtype.as_numpy_dtype)
    written = tensors.proto(values)
    # Between other fields, and after what a newer sender may have put there.
    whole = tensor_pb2.TensorProto.FromString(b"\x9a\x06\x03abc" + written.SerializeToString())
    for proto in (written, whole, tf.make_tensor_proto(values[:1])):
        read = tensors.array(proto, "x")
        assert _same(read, np.asarray(_as_tensorflow_reads(proto)))


def test_the_names_of_types_are_those_of_tensorflows_cpp():
    assert tensors.type_name(types_pb2.DT_FLOAT) == "float"
    assert tensors.type_name(types_pb2.DT_STRING_REF) == "string_ref"
    assert tensors.type_name(4321) == "4321"


def test_the_number_of_an_arrays_type_is_the_one_it_is_sent_with():
    for dtype in NUMBERS:
        assert tensors.type_number(np.zeros(1, dtype.as_numpy_dtype)) == dtype.as_datatype_enum
    assert tensors.type_number(np.array([b"a"], object)) == types_pb2.DT_STRING
    assert tensors.type_number(np.array([], "datetime64[D]")) == types_pb2.DT_INVALID


@pytest.mark.parametrize(
    "dtype", [tf.qint8, tf.quint8, tf.qint16, tf.quint16, tf.qint32], ids=lambda dtype: dtype.name
)
def test_quantized_numbers_are_their_whole_numbers(dtype):
    proto = _tensor(dtype.as_datatype_enum, (3,), int_val=[1, 7, 100])
    read = tensors.array(proto, "x")
    assert read.dtype == dtype.as_numpy_dtype
    assert read.view(np.dtype(dtype.as_numpy_dtype)[0]).tolist() == [1, 7, 100]
    assert [*tensors.proto(read).int_val] == [1, 7, 100]


@pytest.mark.parametrize("dtype", [types_pb2.DT_INT32, types_pb2.DT_UINT8, types_pb2.DT_INT16])
def test_whole_numbers_wrap_whatever_their_sign(dtype):
    proto = _tensor(dtype, (4,), int_val=[-1, -(2**31), 2**31 - 1, 65_535])
    assert _same(tensors.array(proto, "x"), _as_tensorflow_reads(proto))


class TestBounds:
    """Each is what may just be sent; a little more is refused."""

    def test_a_million_texts(self):
        content = bytes(1_000_001)
        for count, refused in ((1_000_000, False), (1_000_001, True)):
            proto = _tensor(types_pb2.DT_STRING, (count,), tensor_content=content[:count])
            if refused:
                assert "it has 1000001 texts; at most 1000000" in _refused(proto)
            else:
                assert tensors.array(proto, "x").shape == (count,)

    def test_16_mebibytes_of_repeated_numbers(self):
        proto = _tensor(types_pb2.DT_DOUBLE, (1 << 21,), double_val=[0.5])
        assert (tensors.array(proto, "x") == 0.5).all()
        message = _refused(_tensor(types_pb2.DT_DOUBLE, ((1 << 21) + 1,), double_val=[1, 2]))
        assert "takes 16777224 bytes, and the request has 2 values for it" in message
        assert "up to 16777216 bytes" in message

    def test_a_mebibyte_of_repeated_texts(self):
        # Each takes 24 bytes beside its own 8: 32,768 of them are a mebibyte.
        proto = _tensor(types_pb2.DT_STRING, (32_770,), string_val=[b"a", b"12345678"])
        assert tensors.array(proto, "x").tolist()[1:] == [b"12345678"] * 32_769
        message = _refused(_tensor(types_pb2.DT_STRING, (32_771,), string_val=[b"a", b"12345678"]))
        assert "takes 1048608 bytes, and the request has 2 values for it" in message
        # 43,690 empty ones.
        empty = _tensor(types_pb2.DT_STRING, (43_690,))
        assert set(tensors.array(empty, "x")) == {b""}
        assert "takes 1048584 bytes" in _refused(_tensor(types_pb2.DT_STRING, (43_691,)))

    def test_a_sixteenth_of_what_64_bits_count(self):
        for last, refused in (((2**59 - 1) // 9, False), (2**59 // 9 + 1, True)):
            proto = _tensor(types_pb2.DT_FLOAT, (0, 9, last))
            if refused:
                assert "is not possible" in _refused(proto)
            else:
                assert tensors.array(proto, "x").shape == (0, 9, last)

    @pytest.mark.parametrize("size", [2**61 - 1, 2**61])
    def test_a_row_as_long_as_64_bits_count_its_bytes(self, size):
        proto = _tensor(types_pb2.DT_FLOAT, (size,), tensor_content=b"1234")
        said = "is not possible" if size == 2**61 else f"of shape [{size}] takes {4 * size}"
        assert said in _refused(proto)

    @pytest.mark.parametrize("length", [0, 1, 127, 128, 16_383, 16_384, 2_097_152])
    def test_texts_of_any_length_in_content(self, length):
        texts = np.array([b"x" * length, b"", b"end"], object)
        proto = tensors.proto(texts, as_content=True)
        assert _same(tensors.array(proto, "x"), texts)
        assert _as_tensorflow_reads(proto).tolist() == texts.tolist()

    def test_a_number_of_ten_bytes_on_the_wire_is_the_longest(self):
        assert tensors._read_varint(b"\xff" * 9 + b"\x01", 0) == (2**64 - 1, 10)
        assert tensors._read_varint(b"..\x80\x80\x01.", 2) == (1 << 14, 5)
        with pytest.raises(IndexError):
            tensors._read_varint(b"\x80" * 10 + b"\x01", 0)


def test_an_empty_scalar_shape_is_not_one_of_a_row():
    for values, shape in (([3], ()), ([3], (1,)), ([3], (1, 1))):
        proto = _tensor(types_pb2.DT_INT32, shape, int_val=values)
        assert tensors.array(proto, "x").shape == shape


def test_content_beside_a_list_comes_first_and_is_held_against_the_shape():
    proto = _tensor(types_pb2.DT_FLOAT, (1,), float_val=[5], tensor_content=np.float32(7).tobytes())
    assert tensors.array(proto, "x").tolist() == _as_tensorflow_reads(proto).tolist() == [7]
    none = _tensor(types_pb2.DT_FLOAT, (0,), tensor_content=b"1234")
    assert tensors.array(none, "x").shape == (0,)
    texts = _tensor(types_pb2.DT_STRING, (0,), tensor_content=b"1234")
    assert tensors.array(texts, "x").shape == (0,)
