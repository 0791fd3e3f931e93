"""The client's own messages are TensorFlow Serving's on the wire."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import get_model_status_pb2, predict_pb2

from serving.client import tf_serving_pb2


def _assert_part_of(ours: Descriptor, theirs: Descriptor) -> None:
    for field in ours.fields:
        other = theirs.fields_by_number[field.number]
        assert (field.name, field.is_repeated) == (other.name, other.is_repeated)
        if field.message_type:
            _assert_part_of(field.message_type, other.message_type)
        elif {field.type, other.type} == {FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_ENUM}:
            # An enum is a 32-bit number on the wire.
            continue
        else:
            assert field.type == other.type
        if field.enum_type:
            names = {value.name: value.number for value in other.enum_type.values}
            assert {v.name: v.number for v in field.enum_type.values}.items() <= names.items()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (tf_serving_pb2.Tensor, tensor_pb2.TensorProto),
        (tf_serving_pb2.PredictRequest, predict_pb2.PredictRequest),
        (tf_serving_pb2.PredictResponse, predict_pb2.PredictResponse),
        (tf_serving_pb2.GetModelStatusRequest, get_model_status_pb2.GetModelStatusRequest),
        (tf_serving_pb2.GetModelStatusResponse, get_model_status_pb2.GetModelStatusResponse),
    ],
)
def test_every_field_has_the_number_and_type_of_the_published_one(ours, theirs):
    _assert_part_of(ours.DESCRIPTOR, theirs.DESCRIPTOR)
