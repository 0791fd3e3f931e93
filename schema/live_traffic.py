"""The log of live traffic: what its files are called and what a record holds.

A record is a `tf.train.Example` of one picture that a model was asked about. It has the model's
answer, an output's row under the output's own name (`features.score(level)`, `features.EMBEDDING`
and so on), what the picture measures under the names in `features.PICTURE_STATISTICS`, the picture
itself as `features.IMAGE` if that was asked for, and what is named here. What is not known is left
out.
"""

from __future__ import annotations

from pathlib import Path

TIME = "request_time_ms"
"""When it was answered, int64: milliseconds since 1970."""

MODEL = "request_model"
VERSION = "request_version"
"""Which version of the model answered, int64."""

SIGNATURE = "request_signature"
"""What the caller asked. The answer in the record may be to a fuller question of the log's own."""

REQUEST_ID = "request_id"
DIGEST = "image_digest"
"""16 bytes that tell a picture from every other."""

REFUSED = "request_refused"
"""int64 1 where the caller's whole request failed, for this picture or another one in it."""

_PREFIX = "traffic-"
_SUFFIX = ".tfrecord"
_UNFINISHED = ".partial"


def file_name(written_from: str, writer: str) -> str:
    """Name of a file that is whole; by name is by time.

    Args:
        written_from: the time of the first record, in a form that sorts.
        writer: tells the processes that write into one folder from each other.
    """
    return f"{_PREFIX}{written_from}-{writer}{_SUFFIX}"


def unfinished(whole: Path) -> Path:
    """What a file is called until it is whole: hidden, so that no reader takes it."""
    return whole.with_name(f".{whole.name}{_UNFINISHED}")


def finished(partial: Path) -> Path:
    """The inverse of `unfinished`."""
    return partial.with_name(partial.name.removeprefix(".").removesuffix(_UNFINISHED))


def whole_files(folder: Path) -> list[Path]:
    """The files that can be read, the oldest first; there may be none."""
    return sorted(folder.glob(f"{_PREFIX}*{_SUFFIX}"))


def unfinished_files(folder: Path) -> list[Path]:
    """Files that are being written, or whose writer was killed; the oldest first."""
    return sorted(folder.glob(f".{_PREFIX}*{_SUFFIX}{_UNFINISHED}"))
