"""Pictures on their way into requests: read one by one, grouped by number and bytes."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from serving.client._schema import picture_text
from serving.client.answers import Refused
from serving.client.errors import UserError

MAX_PICTURES_PER_REQUEST = 64
MAX_BYTES_PER_REQUEST = 8 << 20
"""A request holds at most so many bytes of pictures; one larger picture travels alone."""

PICTURES_PER_REQUEST = 32
CONCURRENCY = 4
"""Of `predict_many`: some requests at a time keep the server busy while others travel."""

MAX_MESSAGE_BYTES = 64 << 20
"""Largest message that either side accepts by default."""

# What a message holds besides the picture: the model's name, the lengths.
_ENVELOPE_BYTES = 1024

_WANTED = "give the bytes of its file, or the file's path as str or Path"
_SHOWN = 60

Given: TypeAlias = bytes | str | os.PathLike[str] | Refused
"""An encoded picture, the path of one, or the refusal that stands in the place of one."""


@dataclass(frozen=True)
class Picture:
    """An encoded picture and how to call it when talking to a person."""

    content: bytes
    name: str


def is_one(images: Any) -> bool:
    """Whether a single picture was given, and not several.

    Raises:
        UserError: neither was.
    """
    if isinstance(images, str | bytes | bytearray | os.PathLike | Refused):
        return True
    # An array of numbers is a picture's pixels, which would be taken for as many pictures.
    is_text = getattr(getattr(images, "dtype", None), "kind", "O") in "OSTU"
    several = isinstance(images, Iterable | AsyncIterable) and not isinstance(images, Mapping)
    if several and is_text:
        return False
    raise UserError(
        f"A {_kind(images)} is neither a picture nor a list of them. Give the bytes or the path of "
        "a picture file, or a list of those."
    )


def read(given: Given, index: int, max_message_bytes: int) -> Picture | Refused:
    """Reads a picture; what cannot be read or sent is refused under its name.

    Args:
        given: the picture.
        index: its place, which names it where it was given as bytes.
        max_message_bytes: the largest message that can be sent.
    """
    if isinstance(given, Refused):
        return given
    if isinstance(given, bytes | bytearray):
        name = f"Picture {index}, given as bytes,"
        content = bytes(given)
        if mistaken := picture_text.in_place_of_picture(content):
            return Refused(f"is {mistaken}, not a picture; {_WANTED}", name)
        return _sendable(Picture(content, name), max_message_bytes)
    if not isinstance(given, str | os.PathLike):
        return Refused(f"is a {_kind(given)}, not a picture; {_WANTED}", f"Picture {index}")
    name = os.fspath(given)
    try:
        found = os.stat(given)
        if not stat.S_ISREG(found.st_mode):
            return Refused("is no file", name)
        if too_large := _too_large(found.st_size, max_message_bytes):
            return Refused(too_large, name)
        return _sendable(Picture(Path(given).read_bytes(), name), max_message_bytes)
    # A path with a NUL in it is a ValueError.
    except (OSError, ValueError) as error:
        mistaken = picture_text.in_place_of_picture(os.fsencode(given))
        if mistaken and mistaken != "a file's name":
            short = f"{name[:_SHOWN]}..." if len(name) > _SHOWN else name
            return Refused(f"is {mistaken}, not the path of a picture; {_WANTED}", short)
        return Refused(f"cannot be read: {getattr(error, 'strerror', error)}", name)


def _kind(given: object) -> str:
    return f"{type(given).__module__}.{type(given).__qualname__}".removeprefix("builtins.")


def _sendable(picture: Picture, max_message_bytes: int) -> Picture | Refused:
    too_large = _too_large(len(picture.content), max_message_bytes)
    return Refused(too_large, picture.name) if too_large else picture


def _too_large(size: int, max_message_bytes: int) -> str:
    if size <= max_message_bytes - _ENVELOPE_BYTES:
        return ""
    return f"has {size:,} bytes, and a message holds at most {max_message_bytes:,}"


def check_bounds(concurrency: int, pictures_per_request: int) -> None:
    """Looks at how `predict_many` is to ask.

    Raises:
        UserError: it cannot be done so.
    """
    if concurrency < 1:
        raise UserError(f"concurrency is {concurrency}; it must be at least 1.")
    if not 1 <= pictures_per_request <= MAX_PICTURES_PER_REQUEST:
        raise UserError(
            f"pictures_per_request is {pictures_per_request}; it must be from 1 to "
            f"{MAX_PICTURES_PER_REQUEST}."
        )


class _Chunk:
    """Groups what is given, unread, with the place of each group's first.

    What is in memory already counts by its bytes, so that groups that wait are bounded as well.
    """

    def __init__(self, most: int):
        self._most = most
        self._start = self._size = 0
        self._held: list[Given] = []

    def add(self, picture: Given) -> Iterator[tuple[int, list[Given]]]:
        """Adds one; gives the group before it if that is full."""
        size = len(picture) if isinstance(picture, bytes | bytearray) else 0
        if len(self._held) == self._most or self._size + size > MAX_BYTES_PER_REQUEST:
            yield from self.rest()
        self._held.append(picture)
        self._size += size

    def rest(self) -> Iterator[tuple[int, list[Given]]]:
        """Gives the group that is there, full or not."""
        if self._held:
            yield self._start, self._held
            self._start += len(self._held)
            self._held, self._size = [], 0


def chunks(pictures: Iterable[Given], most: int) -> Iterator[tuple[int, list[Given]]]:
    """Groups of at most so many pictures, unread, each with the place of its first."""
    chunk = _Chunk(most)
    for picture in pictures:
        yield from chunk.add(picture)
    yield from chunk.rest()


async def achunks(
    pictures: Iterable[Given] | AsyncIterable[Given], most: int
) -> AsyncIterator[tuple[int, list[Given]]]:
    """As `chunks`, of what may come from an async iterator."""
    if not isinstance(pictures, AsyncIterable):
        for full in chunks(pictures, most):
            yield full
        return
    chunk = _Chunk(most)
    async for picture in pictures:
        for full in chunk.add(picture):
            yield full
    for rest in chunk.rest():
        yield rest


def batches(
    pictures: Iterable[Given], start: int, max_message_bytes: int
) -> Iterator[list[Picture | Refused]]:
    """Reads pictures and groups them, in order, into requests of bounded number and bytes.

    Args:
        pictures: as they were given.
        start: the place of the first.
        max_message_bytes: the largest message that can be sent.
    """
    batch: list[Picture | Refused] = []
    size = 0
    for index, given in enumerate(pictures, start):
        picture = read(given, index, max_message_bytes)
        held = len(picture.content) if isinstance(picture, Picture) else 0
        if batch and (
            len(batch) == MAX_PICTURES_PER_REQUEST or size + held > MAX_BYTES_PER_REQUEST
        ):
            yield batch
            batch, size = [], 0
        batch.append(picture)
        size += held
    if batch:
        yield batch
