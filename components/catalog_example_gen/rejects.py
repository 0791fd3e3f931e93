"""Why a row did not become an Example, and how that is written down."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import IO, Any, NamedTuple

from schema.labels import MOST_LETTERS

REJECTS_FILE = "rejects.csv"
SUMMARY_FILE = "summary.json"

_LONGEST_FOUND = 200


class Reason(str, Enum):
    """Reason codes, as they stand in the CSV."""

    __str__ = str.__str__

    WRONG_FIELDS = "wrong_fields"
    STRAY_QUOTE = "stray_quote"
    BAD_ENCODING = "bad_encoding"
    CONTROL_CHARACTER = "control_character"
    TOO_LONG = "too_long"
    EMPTY_ID = "empty_id"
    DOUBLED_ID = "doubled_id"
    EMPTY_LABEL = "empty_label"
    UNKNOWN_LABEL = "unknown_label"
    NOT_A_FLAG = "not_a_flag"
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
    Reason.STRAY_QUOTE: "quote that swallows the lines below it",
    Reason.BAD_ENCODING: "text in another encoding",
    Reason.CONTROL_CHARACTER: "text with control characters",
    Reason.TOO_LONG: f"text of more than {MOST_LETTERS} letters",
    Reason.EMPTY_ID: "no id",
    Reason.DOUBLED_ID: "id already taken by an earlier row",
    Reason.EMPTY_LABEL: "no label",
    Reason.UNKNOWN_LABEL: "label that the schema does not list",
    Reason.NOT_A_FLAG: "flag that is neither 0 nor 1",
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
    r"""The text, shortened, with what nobody sees or what moves a terminal as Python writes it.

    Bytes that could not be decoded become `\udcXX`, a line break `\n`, a zero width space `\u200b`.
    """
    if len(text) > _LONGEST_FOUND:
        text = text[: _LONGEST_FOUND - 3] + "..."
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


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


def asked(summary: Mapping[str, Any]) -> int:
    """How many pictures the rows ask for: one a row, but for rows that name several or belong."""
    further, belonging = (summary.get(name, 0) for name in ("further_pictures", "belonging_rows"))
    return summary["rows"] + further - belonging


def expected_rejects(summary: Mapping[str, Any]) -> float:
    """How many of `asked` would be rejected if every picture had been looked into.

    Where the class cap or the sample leaves products out, all rows are read and all pictures looked
    for, but only those of the other products are opened. Of each category as large a part of those
    left out is taken to be bad as of those opened: the cap leaves out some categories only. One of
    which none was opened is taken to be like all together.

    Args:
        summary: What stands in summary.json.
    """
    ends = summary["looked_into_by_category"].values()
    opened, unusable = (sum(end[name] for end in ends) for name in ("opened", "unusable"))
    if not opened:
        return summary["rejected"]
    expected = float(summary["rejected"])
    for end in ends:
        of = end if end["opened"] else {"opened": opened, "unusable": unusable}
        expected += end["left_out"] * of["unusable"] / of["opened"]
    return expected


def top_reasons(by_reason: Mapping[str, int], most: int = 3) -> str:
    """`"no picture (12), empty picture file (1)"`: the most frequent first."""
    ranked = sorted(by_reason.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{IN_WORDS[Reason(code)]} ({count:,})" for code, count in ranked[:most])
