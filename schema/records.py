"""TFRecord files, written and read without TensorFlow.

Format: tensorflow/core/lib/io/record_writer.h. A record's length (8 bytes, little endian), the
length's checksum, the record, its checksum.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

import google_crc32c

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_HEAD_BYTES = _LENGTH.size + _CHECKSUM.size

LONGEST_RECORD = 1 << 30
"""Bytes. A longer one is a damaged file's, whose checksum is right by chance."""


class DamagedRecord(ValueError):
    """A file that is no TFRecord from the byte `offset` on."""

    def __init__(self, offset: int, found: str) -> None:
        super().__init__(f"{found} at byte {offset:,}")
        self.offset = offset


def framed(record: bytes) -> bytes:
    """A record as it stands in a file."""
    length = _LENGTH.pack(len(record))
    return length + _checksum(length) + record + _checksum(record)


def records(file: IO[bytes]) -> Iterator[bytes]:
    """The records of a file that is not compressed.

    Raises:
        DamagedRecord: a record is cut short, or is not what its checksum says; those before it have
            been given.
    """
    offset = file.tell()
    while head := file.read(_HEAD_BYTES):
        length = head[: _LENGTH.size]
        if len(head) < _HEAD_BYTES:
            raise DamagedRecord(offset, "a record is cut short")
        (size,) = _LENGTH.unpack(length)
        if head[_LENGTH.size :] != _checksum(length) or size > LONGEST_RECORD:
            raise DamagedRecord(offset, "there is no record")
        body = file.read(size + _CHECKSUM.size)
        if len(body) < size + _CHECKSUM.size:
            raise DamagedRecord(offset, "a record is cut short")
        record, checksum = body[:size], body[size:]
        if checksum != _checksum(record):
            raise DamagedRecord(offset, "a record differs from its checksum")
        yield record
        offset += len(head) + len(body)


def _checksum(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return _CHECKSUM.pack(((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
