"""Results as rows of a table: CSV, or a pandas frame."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from serving.client._schema import features
from serving.client.answers import Prediction, Result
from serving.client.errors import UserError

if TYPE_CHECKING:
    import pandas

    from serving.client.automatic import Automatic

PICTURE = "picture"
MODEL_VERSION = "model_version"
REFUSED = "refused"

SEPARATOR = "|"
"""Between several attributes in one cell, and between their scores in the next."""

YES, NO = "yes", "no"
"""Whether an answer reaches the model's own threshold, empty where the model has none; and whether
it needs no person."""

LANE = "lane"
"""The column that says who labels the product; see `Automatic.lane`."""

_SCORE = "{:.4f}"

Named: TypeAlias = str | os.PathLike[str]


def known(level: str) -> str:
    """The column that says whether the answer reaches the model's own threshold."""
    return f"{level}_known"


def automatic(level: str) -> str:
    """The column that says whether the answer can be taken as it is.

    Of the attributes one word each, in their order.
    """
    return f"{level}_automatic"


def columns(extra_labels: Iterable[str], lanes: bool = False) -> list[str]:
    """The columns that `cells` has for a model with these extra labels.

    Args:
        extra_labels: their names.
        lanes: whether it is known which answers need no person.
    """
    levels = (features.CATEGORY, features.SUBCATEGORY, *extra_labels)
    return [
        *(column for level in levels for column in (level, features.score(level), known(level))),
        features.ATTRIBUTES,
        features.ATTRIBUTE_SCORES,
        *(map(automatic, (*levels, features.ATTRIBUTES)) if lanes else ()),
        *([LANE] if lanes else ()),
        MODEL_VERSION,
        REFUSED,
    ]


def cells(result: Result, scores: Automatic | None = None) -> dict[str, Any]:
    """One result as plain values by column; of a refused picture, `refused` alone.

    Attributes are those that reach the model's own threshold, highest first. Labels stay text,
    scores numbers.

    Args:
        result: an answer, or why there is none.
        scores: from which on answers need no person, of the version that answered.
    """
    if not isinstance(result, Prediction):
        return {REFUSED: result.reason}
    answers = [
        (features.CATEGORY, result.category, result.category_score),
        (features.SUBCATEGORY, result.subcategory, result.subcategory_score),
        *((level, extra.label, extra.score) for level, extra in result.extra_labels.items()),
    ]
    row: dict[str, Any] = {}
    for level, label, score in answers:
        row[level] = label
        row[features.score(level)] = score
        row[known(level)] = ""
        if (threshold := result.thresholds.get(level)) is not None:
            row[known(level)] = YES if score >= threshold else NO
    attributes = result.attributes_above()
    row[features.ATTRIBUTES] = SEPARATOR.join(attributes)
    row[features.ATTRIBUTE_SCORES] = SEPARATOR.join(map(_SCORE.format, attributes.values()))
    if scores is not None:
        sure = scores.labels(result)
        for level, *_ in answers:
            row[automatic(level)] = YES if level in sure else NO
        row[automatic(features.ATTRIBUTES)] = SEPARATOR.join(
            YES if label in sure.get(features.ATTRIBUTES, ()) else NO for label in attributes
        )
        row[LANE] = scores.lane(result)
    row[MODEL_VERSION] = "" if result.version is None else result.version
    return row


def written(row: dict[str, Any]) -> dict[str, str]:
    """The cells as they are written into a CSV: scores with four digits."""
    return {
        column: _SCORE.format(value) if isinstance(value, float) else str(value)
        for column, value in row.items()
    }


def write_csv(results: Iterable[Result], file: IO[str], names: Iterable[Named]) -> int:
    """Writes a header and one row a result, as they come; returns how many.

    Refused pictures before the first answer are held back, for only an answer tells which extra
    labels the model has.

    Args:
        results: what `predict` or `predict_many` gave.
        file: open for text, with `newline=""`.
        names: what to call each picture, in their order.

    Raises:
        UserError: there are more names than results, or fewer.
    """
    held: list[Result] = []
    rest = iter(results)
    for result in rest:
        held.append(result)
        if isinstance(result, Prediction):
            break
    first = held[-1] if held else None
    extras = first.extra_labels if isinstance(first, Prediction) else ()
    writer = csv.DictWriter(file, [PICTURE, *columns(extras)], restval="", lineterminator="\n")
    writer.writeheader()
    count = 0
    for name, result in _pairs(names, chain(held, rest)):
        writer.writerow({PICTURE: os.fspath(name), **written(cells(result))})
        count += 1
    return count


def to_frame(results: Sequence[Result], names: Sequence[Named]) -> pandas.DataFrame:
    """A pandas frame with one row a result, indexed by the pictures' names; see `cells`.

    Raises:
        UserError: pandas is not installed, or there are more names than results, or fewer.
    """
    try:
        import pandas
    except ImportError as error:
        raise UserError("A frame needs pandas. Install it: pip install pandas.") from error
    extras = next((r.extra_labels for r in results if isinstance(r, Prediction)), {})
    rows = [(os.fspath(name), cells(result)) for name, result in _pairs(names, results)]
    frame = pandas.DataFrame([row for _, row in rows], columns=columns(extras))
    return frame.set_index(pandas.Index([name for name, _ in rows], name=PICTURE))


def _pairs(names: Iterable[Named], results: Iterable[Result]) -> Iterator[tuple[Named, Result]]:
    try:
        yield from zip(names, results, strict=True)
    except ValueError as error:
        raise UserError("There must be one name for each result, in their order.") from error
