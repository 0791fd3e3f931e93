"""Why a row did not become an Example, and how that is written down."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import IO, Any, NamedTuple

REJECTS_FILE = "rejects.csv"
SUMMARY_FILE = "summary.json"

_LONGEST_FOUND = 200


class Reason(str, Enum):
    """Reason codes, as they stand in the CSV."""

    __str__ = str.__str__

    WRONG_FIELDS = "wrong_fields"
    BAD_ENCODING = "bad_encoding"
    EMPTY_ID = "empty_id"
    DOUBLED_ID = "doubled_id"
    EMPTY_LABEL = "empty_label"
    UNKNOWN_LABEL = "unknown_label"
    UNKNOWN_SPLIT = "unknown_split"
    OUTSIDE_IMAGES = "outside_images"
    MISSING_PICTURE = "missing_picture"
    WRONG_SUFFIX = "wrong_suffix"
    UNREADABLE_FILE = "unreadable_file"
    EMPTY_FILE = "empty_file"
    NOT_A_PICTURE = "not_a_picture"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    TOO_SMALL = "too_small"
    EMPTY_BOX = "empty_box"
    UNREAD_FORM = "unread_form"
    CHANGED_DURING_RUN = "changed_during_run"
    BAD_VALUE = "bad_value"
    MISSING_ANNOTATION = "missing_annotation"
    NOT_ONE_LABEL = "not_one_label"
    ITEM_ON_TWO_SIDES = "item_on_two_sides"


IN_WORDS: Mapping[Reason, str] = {
    Reason.WRONG_FIELDS: "wrong number of fields",
    Reason.BAD_ENCODING: "text in another encoding",
    Reason.EMPTY_ID: "no id",
    Reason.DOUBLED_ID: "id already taken by an earlier row",
    Reason.EMPTY_LABEL: "no label",
    Reason.UNKNOWN_LABEL: "label that the schema does not list",
    Reason.UNKNOWN_SPLIT: "split that is none of train, eval and test",
    Reason.OUTSIDE_IMAGES: "picture outside the images folder",
    Reason.MISSING_PICTURE: "no picture",
    Reason.WRONG_SUFFIX: "file that is no picture by its suffix",
    Reason.UNREADABLE_FILE: "file that cannot be read",
    Reason.EMPTY_FILE: "empty picture file",
    Reason.NOT_A_PICTURE: "file that is not a picture",
    Reason.TRUNCATED: "truncated or damaged picture",
    Reason.TOO_LARGE: "picture too large",
    Reason.TOO_SMALL: "picture too small",
    Reason.EMPTY_BOX: "bounding box outside the picture",
    Reason.UNREAD_FORM: "picture file of a form that is not read",
    Reason.CHANGED_DURING_RUN: "picture changed while it was read",
    Reason.BAD_VALUE: "value that the format does not have",
    Reason.MISSING_ANNOTATION: "picture that one annotation file names and another does not",
    Reason.NOT_ONE_LABEL: "not exactly one label of an attribute type",
    Reason.ITEM_ON_TWO_SIDES: "item that is on both sides of the given split",
}
"""What each code means, to finish the sentence "12 rows: ..."."""


_LOOKED_INTO = frozenset(
    {
        Reason.UNREADABLE_FILE,
        Reason.EMPTY_FILE,
        Reason.NOT_A_PICTURE,
        Reason.TRUNCATED,
        Reason.TOO_LARGE,
        Reason.TOO_SMALL,
        Reason.EMPTY_BOX,
        Reason.UNREAD_FORM,
        Reason.CHANGED_DURING_RUN,
    }
)
"""Reasons that only show when a picture is opened."""


class Reject(NamedTuple):
    """One rejected row.

    Attributes:
        row: Number of the row as a spreadsheet shows it: the header is row 1. Of a text file that
            lists pictures, the line.
        id: The product's id; empty where the row has none.
        column: The column at fault; empty where it is the whole row.
        reason: A `Reason`.
        found: What was found, for a person.
    """

    row: int
    id: str
    column: str
    reason: str
    found: str


def printable(text: str) -> str:
    r"""The text, shortened, with bytes that could not be decoded shown as `\udcXX`."""
    if len(text) > _LONGEST_FOUND:
        text = text[: _LONGEST_FOUND - 3] + "..."
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def write_rejects(rejects: Iterable[Reject], file: IO[bytes]) -> Counter[str]:
    """Writes a UTF-8 CSV with a header, in the order given; returns how many have each reason."""
    counts: Counter[str] = Counter()
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(Reject._fields)
    for reject in rejects:
        counts[str(reject.reason)] += 1
        writer.writerow(reject)
    text.detach()
    return counts


def expected_rejects(summary: Mapping[str, Any]) -> float:
    """How many rows would be rejected if every picture had been looked into.

    Where the class cap or the sample leaves products out, all rows are read and all pictures looked
    for, but only those of the other products are opened: as many of the rest are taken to be bad.

    Args:
        summary: What stands in summary.json.
    """
    opened = sum(summary["rejected_by_reason"].get(reason, 0) for reason in _LOOKED_INTO)
    unopened = summary["rejected"] - opened
    if not opened:
        return unopened
    return unopened + (summary["rows"] - unopened) * opened / (opened + summary["accepted"])


def top_reasons(by_reason: Mapping[str, int], most: int = 3) -> str:
    """`"no picture (12), empty picture file (1)"`: the most frequent first."""
    ranked = sorted(by_reason.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{IN_WORDS[Reason(code)]} ({count:,})" for code, count in ranked[:most])
