"""Records written without TensorFlow, read by TensorFlow."""

import io
from pathlib import Path

import tensorflow as tf

from components.catalog_example_gen.examples import serialized_example, write_records


def test_tensorflow_reads_every_kind_of_value() -> None:
    example = tf.train.Example.FromString(
        serialized_example(
            {"id": b"7", "attributes": [b"a", b"b"], "none": [], "height": -3, "aspect": 0.5}
        )
    )
    kinds = {name: one.WhichOneof("kind") for name, one in example.features.feature.items()}
    assert kinds == {
        "id": "bytes_list",
        "attributes": "bytes_list",
        "none": "bytes_list",
        "height": "int64_list",
        "aspect": "float_list",
    }
    values = example.features.feature
    assert list(values["attributes"].bytes_list.value) == [b"a", b"b"]
    assert list(values["height"].int64_list.value) == [-3]
    assert list(values["aspect"].float_list.value) == [0.5]
    assert list(values["none"].bytes_list.value) == []


def test_the_order_of_the_values_does_not_matter() -> None:
    values = {"b": b"1", "a": 2, "c": 0.25}
    assert serialized_example(values) == serialized_example(dict(sorted(values.items())))


def test_tensorflow_reads_the_records_and_checks_their_checksums(tmp_path: Path) -> None:
    records = [b"", b"one", bytes(range(256)) * 500]
    path = tmp_path / "data.gz"
    with path.open("wb") as file:
        write_records(records, file)
    read = tf.data.TFRecordDataset(str(path), compression_type="GZIP")
    assert list(read.as_numpy_iterator()) == records


def test_the_same_records_give_the_same_bytes() -> None:
    first, second = io.BytesIO(), io.BytesIO()
    write_records([b"x"] * 10, first)
    write_records([b"x"] * 10, second)
    assert first.getvalue() == second.getvalue()
