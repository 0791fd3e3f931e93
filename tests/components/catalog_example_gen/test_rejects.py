"""What is written down about rejected rows can be shown anywhere, and how many there would be."""

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.catalog_example_gen.rejects import (
    IN_WORDS,
    Reason,
    Reject,
    asked,
    expected_rejects,
    printable,
    write_rejects,
)


@given(st.text(st.characters(), max_size=300))
def test_whatever_was_read_is_shown_without_moving_a_terminal(text):
    shown = printable(text)
    assert shown.isprintable()
    assert shown.encode().decode() == shown
    assert text.isprintable() <= (shown == text or len(text) > 200)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("a\x00b\r\nc\td", r"a\x00b\r\nc\td"),
        ("category\u200b", r"category\u200b"),
        ("caf\udce9", r"caf\udce9"),
        ("a\u202eb\xa0c\xad", r"a\u202eb\xa0c\xad"),
        ("\u2028", r"\u2028"),
        ("Größe 京", "Größe 京"),
        ("\U000e0001", r"\U000e0001"),
    ],
)
def test_what_cannot_be_seen_is_written_as_python_does(text, shown):
    assert printable(text) == shown


def test_a_long_text_is_cut():
    assert printable("x" * 201) == "x" * 197 + "..."


def test_a_reject_is_one_line_of_a_csv_and_counted_by_its_reason():
    rejects = [
        Reject(2, "a", "kind", Reason.EMPTY_LABEL, ""),
        Reject(3, "b", "", Reason.STRAY_QUOTE, printable('a quote: "two\nlines"')),
        Reject(4, "c", "kind", Reason.EMPTY_LABEL, ""),
    ]
    file = io.BytesIO()
    assert write_rejects(rejects, file) == {"empty_label": 2, "stray_quote": 1}
    lines = file.getvalue().decode().splitlines()
    assert len(lines) == 4
    assert next(csv.reader([lines[2]])) == ["3", "b", "", "stray_quote", r'a quote: "two\nlines"']


def test_every_reason_has_its_words():
    assert IN_WORDS.keys() == set(Reason)


def summary(rejected: int, **ends: tuple[int, int, int]) -> dict[str, Any]:
    """Of each category the pictures opened, those of them that are bad, and those left out."""
    names = ("opened", "unusable", "left_out")
    return {
        "rejected": rejected,
        "looked_into_by_category": {
            category: dict(zip(names, of, strict=True)) for category, of in ends.items()
        },
    }


def test_without_a_sample_they_are_those_that_were() -> None:
    assert expected_rejects(summary(7, Top=(90, 5, 0), Bag=(10, 0, 0))) == 7
    assert expected_rejects(summary(7)) == 7


def test_of_each_category_as_many_are_bad_as_of_those_opened() -> None:
    # The cap cut the one category whose pictures are bad: 100 of 1,000 opened, 50 of them bad.
    found = summary(52, Top=(100, 50, 900), Bag=(300, 0, 0))
    assert expected_rejects(found) == 52 + 450
    # Of bags none was opened: they are taken to be like all together, one in eight bad.
    found = summary(52, Top=(400, 50, 0), Bag=(0, 0, 80))
    assert expected_rejects(found) == 52 + 10


@given(
    st.lists(
        st.tuples(st.integers(1, 9), st.integers(0, 9), st.integers(0, 20)), min_size=1, max_size=5
    ),
    st.integers(0, 5),
)
def test_a_sample_that_is_like_the_rest_tells_the_truth(categories, unopened) -> None:
    # Each category has 10 times `size` pictures, `bad` tenths of them bad; `left` parts are opened.
    ends, truth, rejected = {}, unopened, unopened
    for number, (size, bad, left) in enumerate(categories):
        ends[f"c{number}"] = (10 * size, bad * size, 10 * size * left)
        truth += bad * size * (1 + left)
        rejected += bad * size
    assert expected_rejects(summary(rejected, **ends)) == pytest.approx(truth)


def test_the_rows_ask_for_one_picture_each_but_for_those_that_name_several_or_belong() -> None:
    assert asked({"rows": 90}) == 90
    assert asked({"rows": 90, "further_pictures": 30, "belonging_rows": 60}) == 60
