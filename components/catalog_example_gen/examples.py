"""Writes Examples into TFRecord files without importing TensorFlow.

Every Beam worker process would pay for that import, seconds each, before its first picture. The
messages are tensorflow/core/example/{example,feature}.proto, rebuilt from their field numbers in a
descriptor pool of their own so that they never meet TensorFlow's.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping, Sequence
from typing import IO

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from schema.records import framed

Value = bytes | int | float | Sequence[bytes]


def _example_class() -> type:
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="seamline/example.proto", package="seamline", syntax="proto3"
    )
    for name, kind in (
        ("BytesList", field.TYPE_BYTES),
        ("FloatList", field.TYPE_FLOAT),
        ("Int64List", field.TYPE_INT64),
    ):
        file.message_type.add(name=name).field.add(
            name="value", number=1, type=kind, label=field.LABEL_REPEATED
        )
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, prefix in enumerate(("Bytes", "Float", "Int64"), start=1):
        feature.field.add(
            name=f"{prefix.lower()}_list",
            number=number,
            type=field.TYPE_MESSAGE,
            type_name=f".seamline.{prefix}List",
            label=field.LABEL_OPTIONAL,
            oneof_index=0,
        )
    group = file.message_type.add(name="Features")
    entry = group.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    message = {"type": field.TYPE_MESSAGE, "label": field.LABEL_OPTIONAL}
    entry.field.add(name="value", number=2, type_name=".seamline.Feature", **message)
    group.field.add(
        name="feature",
        number=1,
        type=field.TYPE_MESSAGE,
        type_name=".seamline.Features.FeatureEntry",
        label=field.LABEL_REPEATED,
    )
    example = file.message_type.add(name="Example")
    example.field.add(name="features", number=1, type_name=".seamline.Features", **message)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("seamline.Example"))


_Example = _example_class()


def serialized_example(values: Mapping[str, Value]) -> bytes:
    """A serialized `tf.train.Example`, the same bytes for the same values.

    bytes and sequences of bytes become a BytesList, int an Int64List, float a FloatList.
    """
    example = _Example()
    for name, value in values.items():
        feature = example.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        elif isinstance(value, int):
            feature.int64_list.value.append(value)
        elif isinstance(value, float):
            feature.float_list.value.append(value)
        else:
            # Also with no value at all: the feature is there, and empty.
            feature.bytes_list.SetInParent()
            feature.bytes_list.value.extend(value)
    return example.SerializeToString(deterministic=True)


def write_records(records: Iterable[bytes], file: IO[bytes]) -> None:
    """Writes a gzip-compressed TFRecord file; the same records give the same bytes."""
    # Stored, not deflated: pictures are compressed already, and TFX's readers want gzip's frame. No
    # time stamp, which would differ.
    with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=0, mtime=0) as packed:
        for record in records:
            packed.write(framed(record))
