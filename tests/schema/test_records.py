"""TFRecord files against TensorFlow's own."""

import io
import struct

import google_crc32c
import pytest
import tensorflow as tf

from schema.records import DamagedRecord, framed, records

RECORDS = [b"", b"one", bytes(range(256)) * 500]


def test_tensorflow_reads_what_is_written(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"".join(map(framed, RECORDS)))
    assert list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()) == RECORDS


def test_what_tensorflow_writes_is_read(tmp_path):
    path = tmp_path / "data"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in RECORDS:
            writer.write(record)
    with path.open("rb") as file:
        assert list(records(file)) == RECORDS


def test_a_file_that_is_cut_anywhere_gives_the_whole_records_before_the_cut():
    content = b"".join(map(framed, [b"one", b"two", b"three"]))
    ends = [0]
    for record in (b"one", b"two", b"three"):
        ends.append(ends[-1] + 16 + len(record))
    for cut in range(len(content)):
        found = []
        if cut in ends:
            found = list(records(io.BytesIO(content[:cut])))
        else:
            with pytest.raises(DamagedRecord) as refused:
                for record in records(io.BytesIO(content[:cut])):
                    found.append(record)
            assert refused.value.offset == max(end for end in ends if end <= cut)
        assert found == [b"one", b"two", b"three"][: sum(end <= cut for end in ends) - 1]


@pytest.mark.parametrize(
    ("place", "said"),
    [(0, "there is no record"), (9, "there is no record"), (13, "differs from its checksum")],
)
def test_a_changed_byte_is_noticed(place, said):
    content = bytearray(framed(b"one") + framed(b"two"))
    content[19 + place] ^= 1
    reading = records(io.BytesIO(bytes(content)))
    assert next(reading) == b"one"
    with pytest.raises(DamagedRecord, match=said) as refused:
        next(reading)
    assert refused.value.offset == 19


def test_a_length_beyond_all_records_is_none():
    def head(length):
        return framed_length(length) + b"rest"

    with pytest.raises(DamagedRecord, match="a record is cut short at byte 0"):
        list(records(io.BytesIO(head(1 << 30))))
    with pytest.raises(DamagedRecord, match="there is no record at byte 0"):
        list(records(io.BytesIO(head((1 << 30) + 1))))


def framed_length(length: int) -> bytes:
    """A record's first 12 bytes, as the format's own text has them (masked CRC-32C)."""
    field = struct.pack("<Q", length)
    checksum = google_crc32c.value(field)
    masked = ((checksum >> 15) | (checksum << 17)) + 0xA282EAD8 & 0xFFFFFFFF
    return field + struct.pack("<I", masked)
