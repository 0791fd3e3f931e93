"""Work that is done file by file of the Examples, and goes on where a killed step stopped.

What a step is done with lies in a folder that outlives it, each file whole or not at all, for a
step's own outputs are removed when it is killed.
"""

from __future__ import annotations

import gzip
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import apache_beam as beam
from tensorflow.core.example.example_pb2 import Example
from tfx import types
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from components import storage
from components.progress import ProgressFile, ProgressWatch
from components.storage import UNFINISHED
from schema.records import records

Mark = Callable[[], None]
"""Called for every product that is done with."""


class Part(NamedTuple):
    """A file of Examples, what split it is of, and the file that is made of it."""

    split: str
    examples: str
    output: str


def files_of(examples: list[types.Artifact], splits: Sequence[str]) -> list[tuple[str, str]]:
    """The files of some splits' Examples, each with its split, in order.

    Args:
        examples: The artifact, alone in a list as a step gets it.
        splits: Their names.
    """
    return [
        (split, file)
        for split in splits
        for uri in artifact_utils.get_split_uris(examples, split)
        for file in sorted(fileio.glob(os.path.join(uri, "*.gz")))
    ]


def examples_of(file: str) -> Iterator[Example]:
    """The Examples of a gzip-compressed TFRecord file."""
    with storage.opened(file) as packed, gzip.open(packed) as stream:
        for record in records(io.BufferedReader(stream)):
            yield Example.FromString(record)


def parts_of(
    examples: types.Artifact, splits: Sequence[str], folder: str | Path, suffix: str
) -> list[Part]:
    """The files of some splits' Examples, and what is made of each.

    Args:
        examples: The artifact.
        splits: Their names.
        folder: Path or URL of where what is made of them is kept.
        suffix: How its files' names end.
    """
    return [
        Part(
            split,
            file,
            f"{folder}/Split-{split}/{os.path.basename(file).removesuffix('.gz')}{suffix}",
        )
        for split, file in files_of([examples], splits)
    ]


def work_off(
    make_pipeline: Callable[[], beam.Pipeline],
    parts: Sequence[Part],
    work: Callable[[Part, Mark], None],
) -> None:
    """Works on every part whose output is not there yet.

    Args:
        make_pipeline: Gives an empty Beam pipeline.
        parts: From `parts_of`.
        work: Makes a part's output by `storage.created_whole`; travels to the workers.
    """
    with tempfile.TemporaryDirectory(prefix="parts-") as scratch:
        progress = os.path.join(scratch, "progress")
        with ProgressWatch(progress, None), make_pipeline() as pipeline:
            _ = (
                pipeline
                | beam.Create(parts, reshuffle=False)
                | beam.Reshuffle()
                | beam.ParDo(_Work(work, progress))
            )
    # Of workers that were killed; behind a URL they leave none.
    for folder in {Path(part.output).parent for part in parts if not storage.is_url(part.output)}:
        for left in folder.glob(f"*{UNFINISHED}"):
            left.unlink(missing_ok=True)


class _Work(beam.DoFn):
    """Works on a part, unless that has been done."""

    def __init__(self, work: Callable[[Part, Mark], None], progress: str) -> None:
        self._work = work
        self._progress = ProgressFile(progress)

    def process(self, part: Part) -> Iterator[None]:
        if not storage.is_file(part.output):
            self._work(part, self._progress.mark)
            self._progress.flush()
        yield from ()
