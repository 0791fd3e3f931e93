"""Records on their way from stage to stage, in files because they are too many for memory.

A runner may keep whatever flows between stages, and Beam's in-memory runner does. So records are
written to files in a scratch folder, and only `Chunk`s flow, which say where they are. Every file
is written once, under a name of its own: a stage that is run again, or twice at once, writes
others, and what flows on names those of one of them. Who runs the pipeline deletes the folder.
"""

from __future__ import annotations

import heapq
import pickle
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from uuid import uuid4

from components.storage import created, opened

_MOST_BYTES = 8 * 1024 * 1024
_MOST_FILES = 64


class Chunk(NamedTuple):
    """Where records are: in a file, from one byte on, so many bytes."""

    path: str
    start: int
    length: int


class Spill:
    """Sorts records by a key on their way to files; holds at most 8 MiB of them.

    Args:
        folder: The scratch folder.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._packed: dict[Any, bytearray] = {}
        self._bytes = 0

    def add(self, key: Any, record: Any) -> Iterable[tuple[Any, Chunk]]:
        """Takes a record; gives what has been written, as a rule nothing."""
        packed = pickle.dumps(record, pickle.HIGHEST_PROTOCOL)
        self._packed.setdefault(key, bytearray()).extend(packed)
        self._bytes += len(packed)
        return self.flush() if self._bytes >= _MOST_BYTES else ()

    def flush(self) -> list[tuple[Any, Chunk]]:
        """Writes what is held, all into one file; gives each key with its chunk."""
        path = _new_path(self._folder)
        chunks = []
        if self._packed:
            with created(path) as file:
                start = 0
                for key, packed in self._packed.items():
                    file.write(packed)
                    chunks.append((key, Chunk(path, start, len(packed))))
                    start += len(packed)
        self._packed.clear()
        self._bytes = 0
        return chunks


def write_chunk(records: Iterable[Any], folder: str) -> Chunk:
    """Writes records to a file of their own."""
    path = _new_path(folder)
    length = 0
    with created(path) as file:
        for record in records:
            packed = pickle.dumps(record, pickle.HIGHEST_PROTOCOL)
            file.write(packed)
            length += len(packed)
    return Chunk(path, 0, length)


def read_chunk(chunk: Chunk) -> Iterator[Any]:
    """The records of a chunk, one by one."""
    with opened(chunk.path) as file:
        file.seek(chunk.start)
        end = chunk.start + chunk.length
        while file.tell() < end:
            yield pickle.load(file)


def read_sorted(chunks: Iterable[Chunk], folder: str) -> Iterator[Any]:
    """The records of chunks that are sorted each, in order; few at a time are in memory."""
    pending = list(chunks)
    while len(pending) > _MOST_FILES:
        merged = heapq.merge(*map(read_chunk, pending[:_MOST_FILES]))
        pending = [*pending[_MOST_FILES:], write_chunk(merged, folder)]
    return heapq.merge(*map(read_chunk, pending))


def _new_path(folder: str) -> str:
    return f"{folder}/{uuid4().hex}"
