"""Texts that a workbook would run are written so that it does not, and read back as they were."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema import workbook


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=1+2", "'=1+2"),
        ("+49 30", "'+49 30"),
        ("-5", "'-5"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("'=1", "''=1"),
    ],
)
def test_what_begins_as_a_formula_is_written_as_text(text, written):
    assert workbook.cell(text) == written
    assert workbook.text_of(written) == text


@pytest.mark.parametrize("text", ["", "T-shirt", "'s-Hertogenbosch", "a=b", "'", "''", "5"])
def test_other_texts_are_left_as_they_are(text):
    assert workbook.cell(text) == text
    assert workbook.text_of(text) == text


def test_what_a_person_typed_without_the_apostrophe_is_read_too():
    assert workbook.text_of("-5") == "-5"


@given(st.text("'=+-@\tab", max_size=6))
def test_every_text_comes_back_and_none_is_a_formula(text):
    written = workbook.cell(text)
    assert workbook.text_of(written) == text
    assert not written.startswith(("=", "+", "-", "@", "\t"))
