"""What a row of the table of answers holds, and reading it.

Columns, of which every file of a table has all:

| column | type | |
| --- | --- | --- |
| `id`, `product`, `group` | string | of the picture; of the product that it shows; of those that belong together (`features.GROUP`) |
| `split` | string | |
| `slice/<column>` | string | `features.UNKNOWN` where the catalog says nothing |
| `image_height` ... `image_sharpness` | int64, double | `features.PICTURE_STATISTICS` |
| `<level>/true` | string | null where nobody knows; a list of strings for the attributes |
| `<level>/labels`, `<level>/scores` | list of string, list of float | the `LIKELIEST` of a class level, likeliest first |
| `<level>/all_scores` | fixed list of float | of all labels of a class level, in the order of their indices; only where products may have several pictures, for whose mean they are needed |
| `<level>/independent` | string | the likeliest without joint decoding, where the model decodes jointly |
| `<level>/uncalibrated`, `<level>/uncalibrated_score` | string, float | the likeliest without calibration, where the model is calibrated |
| `<level>/true_score` | float | the probability of the true label; 0 where the model does not know it |
| `<level>/true_rank` | int32 | 1 where it is the likeliest; 0 where the model does not know it |
| `<level>/brier` | float | the sum over all classes of (probability - [true])²; 0 to 2 |
| `attributes/scores` | fixed list of float | of all attributes that the model knows |
| `attributes/uncalibrated_scores` | fixed list of float | without calibration, where the model is calibrated |
| `embedding` | fixed list of float16 | of unit length |

The file's metadata have the model's labels of every level, in the order of their indices, as JSON
under `seamline.labels`. Equal scores are in the order of these indices.
"""  # noqa: E501 A table's row is a line.

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components import storage
from schema import features
from schema.errors import UserError

LIKELIEST = 10
"""How many labels of a class level a row has."""

_LABELS = b"seamline.labels"


def slice_name(column: str) -> str:
    """The column with the values of a slice column."""
    return f"slice/{column}"


def file_schema(
    labels: Mapping[str, Sequence[str]],
    slices: Sequence[str],
    size: int,
    *,
    several_pictures: bool = False,
    outputs: Collection[str] = (),
) -> pa.Schema:
    """The columns of a table.

    Args:
        labels: The model's labels by level: `features.LEVELS`, then its extra labels.
        slices: The catalog's slice columns.
        size: The embedding's.
        several_pictures: Whether products may have several pictures.
        outputs: The names of what the model's `evaluate` gives.
    """
    fields = [pa.field(name, pa.string()) for name in (features.ID, features.PRODUCT)]
    fields += [pa.field(name, pa.string()) for name in (features.GROUP, "split")]
    fields += [pa.field(slice_name(column), pa.string()) for column in slices]
    for name in features.PICTURE_STATISTICS:
        whole = name in (features.IMAGE_HEIGHT, features.IMAGE_WIDTH)
        fields.append(pa.field(name, pa.int64() if whole else pa.float64()))
    for level, of in labels.items():
        if level == features.ATTRIBUTES:
            fields += [
                pa.field(f"{level}/true", pa.list_(pa.string())),
                pa.field(f"{level}/scores", _vector(pa.float32(), len(of))),
            ]
            if features.uncalibrated(level) in outputs:
                name = f"{level}/uncalibrated_scores"
                fields.append(pa.field(name, _vector(pa.float32(), len(of))))
            continue
        fields += [
            pa.field(f"{level}/true", pa.string()),
            pa.field(f"{level}/labels", pa.list_(pa.string())),
            pa.field(f"{level}/scores", pa.list_(pa.float32())),
            pa.field(f"{level}/true_score", pa.float32()),
            pa.field(f"{level}/true_rank", pa.int32()),
            pa.field(f"{level}/brier", pa.float32()),
        ]
        if features.independent(level) in outputs:
            fields.append(pa.field(f"{level}/independent", pa.string()))
        if features.uncalibrated(level) in outputs:
            fields += [
                pa.field(f"{level}/uncalibrated", pa.string()),
                pa.field(f"{level}/uncalibrated_score", pa.float32()),
            ]
        if several_pictures:
            fields.append(pa.field(f"{level}/all_scores", _vector(pa.float32(), len(of))))
    fields.append(pa.field(features.EMBEDDING, _vector(pa.float16(), size)))
    named = {level: list(of) for level, of in labels.items()}
    return pa.schema(fields, {_LABELS: json.dumps(named, ensure_ascii=False).encode()})


def rows(
    schema: pa.Schema,
    told: Mapping[str, Sequence[object]],
    truths: Mapping[str, Sequence[object]],
    answers: Mapping[str, np.ndarray],
) -> pa.RecordBatch:
    """Rows of N products.

    Args:
        schema: From `file_schema`.
        told: What the Examples say, by the column's name: everything that is no answer and no true
            label.
        truths: The true labels by level: a text or None, and a list of texts for the attributes.
        answers: The model's outputs: for every level float32 (N, C), and the embedding (N, E).

    Raises:
        ValueError: the model's outputs have other widths than its labels.
    """
    labels = labels_of(schema)
    columns: dict[str, pa.Array] = {}
    for name, values in told.items():
        columns[name] = pa.array(values, schema.field(name).type)
    for level, of in labels.items():
        scores = np.asarray(answers[level], np.float32)
        if scores.shape[1] != len(of):
            raise ValueError(f"{level}: {scores.shape[1]} scores of {len(of)} labels")
        truth = truths[level]
        columns[f"{level}/true"] = pa.array(truth, schema.field(f"{level}/true").type)
        if level == features.ATTRIBUTES:
            columns[f"{level}/scores"] = _fixed(scores, pa.float32())
            if (other := answers.get(features.uncalibrated(level))) is not None:
                columns[f"{level}/uncalibrated_scores"] = _fixed(other, pa.float32())
            continue
        code_of: dict[object, int] = {label: code for code, label in enumerate(of)}
        codes = np.array([code_of.get(label, features.NOT_IN_TRAIN) for label in truth], np.int64)
        columns |= {f"{level}/{name}": array for name, array in _class_answers(scores, codes, of)}
        columns[f"{level}/all_scores"] = _fixed(scores, pa.float32())
        if (other := answers.get(features.independent(level))) is not None:
            columns[f"{level}/independent"] = pa.array([of[code] for code in other.argmax(1)])
        if (other := answers.get(features.uncalibrated(level))) is not None:
            columns[f"{level}/uncalibrated"] = pa.array([of[code] for code in other.argmax(1)])
            columns[f"{level}/uncalibrated_score"] = pa.array(other.max(1).astype(np.float32))
    columns[features.EMBEDDING] = _fixed(
        np.asarray(answers[features.EMBEDDING], np.float16), pa.float16()
    )
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def labels_of(schema: pa.Schema) -> dict[str, list[str]]:
    """The model's labels of every level, in the order of their indices."""
    return json.loads(schema.metadata[_LABELS])


def read(folder: str | Path, split: str, columns: Sequence[str] | None = None) -> pa.Table | None:
    """The answers about a split.

    Args:
        folder: A `Predictions` artifact's.
        split: Its name.
        columns: Which to read; all by default. Embeddings are most of a table.

    Returns:
        The table; None where no model was asked about the split.

    Raises:
        UserError: a file is damaged.
    """
    found = files(folder, split)
    if not found:
        return None
    return pa.concat_tables(read_file(file, columns) for file in found)


def read_file(file: str | Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The answers of one file of a table; see `read`."""
    try:
        with storage.opened(str(file)) as opened:
            return pq.read_table(opened, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"The answers in {file} cannot be read: {error}. Delete its folder and run again; the "
            "model is then asked anew."
        ) from error


def column_names(folder: str | Path, split: str) -> list[str]:
    """The columns of the answers about a split; none where no model was asked."""
    found = files(folder, split)
    if not found:
        return []
    with storage.opened(found[0]) as file:
        return pq.read_schema(file).names


def matrix(of: pa.Table, column: str) -> np.ndarray:
    """A column of lists of one length as float32 (N, length)."""
    values = of[column].combine_chunks()
    size = values.type.list_size if pa.types.is_fixed_size_list(values.type) else 0
    return values.flatten().to_numpy().reshape(of.num_rows, size)


def scores(of: pa.Table, level: str) -> np.ndarray:
    """A level's scores by the label's index, float32 (N, C).

    Of a class level those of the `LIKELIEST` alone, and 0 for the others.
    """
    labels = labels_of(of.schema)[level]
    if level == features.ATTRIBUTES:
        return matrix(of, f"{level}/scores") if labels else np.zeros((of.num_rows, 0), np.float32)
    names = of[f"{level}/labels"].combine_chunks()
    codes = pc.index_in(names.flatten(), pa.array(labels, pa.string())).to_numpy()
    rows = np.repeat(np.arange(of.num_rows), pc.list_value_length(names).to_numpy())
    found = np.zeros((of.num_rows, len(labels)), np.float32)
    found[rows, codes] = of[f"{level}/scores"].combine_chunks().flatten().to_numpy()
    return found


def count(file: str | Path) -> int:
    """How many rows a file of a table has."""
    with storage.opened(str(file)) as opened:
        return pq.read_metadata(opened).num_rows


def files(folder: str | Path, split: str) -> list[str]:
    """The files of a split, by paths or URLs as the folder's, in order."""
    place = f"{folder}/Split-{split}"
    return [f"{place}/{name}" for name in storage.names(place, ".parquet")]


def split_folder(folder: str | Path, split: str) -> Path:
    """Where the files of a split are, on this machine."""
    return Path(folder, f"Split-{split}")


def _class_answers(
    scores: np.ndarray, codes: np.ndarray, labels: Sequence[str]
) -> list[tuple[str, pa.Array]]:
    """What a row says of a class level, by column, of (N, C) scores and the true labels' codes."""
    count = len(scores)
    order = np.argsort(-scores, axis=1, kind="stable")
    best = order[:, :LIKELIEST]
    known = codes >= 0
    at = np.where(known, codes, 0)[:, None]
    true_score = np.where(known, np.take_along_axis(scores, at, 1)[:, 0], 0)
    rank = np.where(known, np.argmax(order == at, axis=1) + 1, 0)
    exact = scores.astype(np.float64)
    brier = (exact**2).sum(1) - 2 * true_score.astype(np.float64) + 1
    ends = pa.array(np.arange(count + 1, dtype=np.int32) * best.shape[1])
    named = pa.DictionaryArray.from_arrays(
        pa.array(best.ravel().astype(np.int32)), pa.array(labels, pa.string())
    ).cast(pa.string())
    of_best = np.take_along_axis(scores, best, 1).ravel()
    return [
        ("labels", pa.ListArray.from_arrays(ends, named)),
        ("scores", pa.ListArray.from_arrays(ends, pa.array(of_best))),
        ("true_score", pa.array(true_score.astype(np.float32))),
        ("true_rank", pa.array(rank.astype(np.int32))),
        ("brier", pa.array(brier.astype(np.float32))),
    ]


def _vector(kind: pa.DataType, size: int) -> pa.DataType:
    # Parquet cannot hold lists of fixed length 0.
    return pa.list_(kind, size) if size else pa.list_(kind)


def _fixed(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    if not values.shape[1]:
        return pa.array([[]] * len(values), _vector(kind, 0))
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), kind), values.shape[1])
