"""Asks a model about the products in a file of Examples."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import tensorflow as tf

from components.predictions import table
from components.storage import created_whole
from schema import features
from schema.errors import UserError
from schema.vocabulary import file_labels

AT_ONCE = 64
"""Products that are asked about at once: as many as go through the network at once."""


class Answerer:
    """A model that is asked through its signature `evaluate`.

    Args:
        directory: The SavedModel's.

    Raises:
        UserError: it is none of Seamline's, or cannot be loaded.
    """

    def __init__(self, directory: str):
        try:
            self._model = tf.saved_model.load(directory)
            self._evaluate = self._model.signatures[features.EVALUATE_SIGNATURE]
        except (OSError, KeyError, ValueError) as error:
            raise UserError(
                f"{directory} holds no model that can be asked about products: {error}."
            ) from error
        self.labels = model_labels(directory)
        self.outputs = frozenset(self._evaluate.structured_outputs)
        self.embedding_size = int(self._evaluate.structured_outputs[features.EMBEDDING].shape[-1])

    def __call__(self, examples: Sequence[bytes]) -> dict[str, np.ndarray]:
        """The outputs of `evaluate` for serialized Examples: float32 (N, ...) by name."""
        answers = self._evaluate(examples=tf.constant(list(examples), tf.string))
        return {name: of.numpy() for name, of in answers.items()}


def model_labels(directory: str | Path) -> dict[str, list[str]]:
    """A SavedModel's labels by level, `features.LEVELS` first, in the order of their indices."""
    # It brings its Transform graph's vocabularies along as assets, a file a level.
    found = {}
    for file in sorted(tf.io.gfile.listdir(os.path.join(str(directory), "assets"))):
        with tf.io.gfile.GFile(os.path.join(str(directory), "assets", file), "rb") as lines:
            found[file] = file_labels(lines.read())
    return {level: found.pop(level, []) for level in features.LEVELS} | found


@functools.lru_cache(maxsize=1)
def answerer(directory: str) -> Answerer:
    """The model of a directory, loaded once a process."""
    return Answerer(directory)


def answer(
    model: Answerer,
    examples: str,
    output: str,
    *,
    split: str,
    slices: Sequence[str],
    several_pictures: bool = False,
    mark: Callable[[], None] = lambda: None,
) -> int:
    """Writes a model's answers about a file of Examples, whole or not at all.

    Args:
        model: Who is asked.
        examples: A gzip-compressed TFRecord file.
        output: The Parquet file.
        split: What the Examples are of.
        slices: The catalog's slice columns.
        several_pictures: Whether products may have several pictures.
        mark: Called for every product that is done with.

    Returns:
        How many products it were.
    """
    schema = table.file_schema(
        model.labels,
        slices,
        model.embedding_size,
        several_pictures=several_pictures,
        outputs=model.outputs,
    )
    count = 0
    with (
        created_whole(output) as file,
        pq.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        for batch in batches(records(examples), AT_ONCE):
            parsed = [tf.train.Example.FromString(record).features.feature for record in batch]
            writer.write_batch(
                table.rows(
                    schema, told(parsed, split, slices), truths(parsed, model.labels), model(batch)
                )
            )
            for _ in batch:
                mark()
            count += len(batch)
    return count


def records(file: str) -> Iterator[bytes]:
    """The serialized Examples of a gzip-compressed TFRecord file."""
    yield from tf.data.TFRecordDataset(file, compression_type="GZIP").as_numpy_iterator()


def batches(examples: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    """They, so many at a time."""
    remaining = iter(examples)
    while batch := list(itertools.islice(remaining, size)):
        yield batch


def told(
    parsed: Sequence[Mapping[str, tf.train.Feature]], split: str, slices: Sequence[str]
) -> dict[str, list]:
    """What the Examples say of products, by the table's column."""
    ids = [_text(of[features.ID]) for of in parsed]
    columns: dict[str, list] = {
        features.ID: ids,
        # Alone in its product, and in its group, where the ingest says nothing else.
        features.PRODUCT: [
            _text(of[features.PRODUCT]) or own for of, own in zip(parsed, ids, strict=True)
        ],
        features.GROUP: [
            _text(of[features.GROUP]) or own for of, own in zip(parsed, ids, strict=True)
        ],
        "split": [split] * len(parsed),
    }
    for column in slices:
        name = features.slice_feature(column)
        columns[table.slice_name(column)] = [_text(of[name]) or features.UNKNOWN for of in parsed]
    for name in features.PICTURE_STATISTICS:
        columns[name] = [_number(of[name]) for of in parsed]
    return columns


def truths(
    parsed: Sequence[Mapping[str, tf.train.Feature]], levels: Iterable[str]
) -> dict[str, list[str | None] | list[list[str]]]:
    """The true labels of products, by level."""
    found: dict[str, list] = {}
    for level in levels:
        if level == features.ATTRIBUTES:
            found[level] = [[one.decode() for one in of[level].bytes_list.value] for of in parsed]
        elif level in features.LEVELS:
            found[level] = [_text(of[level]) for of in parsed]
        else:
            values = [_text(of[features.slice_feature(level)]) for of in parsed]
            found[level] = [None if value in ("", features.UNKNOWN) else value for value in values]
    return found


def _text(feature: tf.train.Feature) -> str:
    return b"".join(feature.bytes_list.value[:1]).decode()


def _number(feature: tf.train.Feature) -> float | int | None:
    values = feature.int64_list.value or feature.float_list.value
    return values[0] if values else None
