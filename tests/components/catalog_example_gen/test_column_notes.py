"""What is odd about attribute columns is told, with the option that is meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.catalog_example_gen.column_notes import ColumnNotes


def told(*cells: str, separator: str = "|") -> list[str]:
    notes = ColumnNotes(["color"], separator, ["id", "color"])
    for number, cell in enumerate(cells):
        notes.add([str(number), cell])
    return list(notes.sentences())


@pytest.mark.parametrize(
    ("between", "option"),
    [
        *((", ", "','"), (",", "','"), ("; ", "';'"), (";", "';'"), (" / ", "'/'"), ("/", "'/'")),
        ("\n", "'\\n'"),
    ],
)
def test_another_separator_is_named_with_the_cells_that_hold_it(between, option):
    cells = [f"Red{between}Blue", f"Blue{between}Green", "Green", "Red", ""] * 3
    (note,) = told(*cells)
    assert note.startswith("No cell of `color` holds `|`, and 6 of 12 hold ")
    assert f"did you mean `catalog.separator: {option}`?" in note
    assert note.isprintable()


def test_the_bar_is_named_where_the_option_is_another():
    (note,) = told("Red|Blue", "Blue|Green", "Green", "Red", separator=",")
    assert "did you mean `catalog.separator: '|'`?" in note


@pytest.mark.parametrize(
    "cells",
    [
        ("Red|Blue", "Blue, dark", "Green, dark", "Red"),
        ("Black/White", "Red", "Green", "Blue") * 4,
        ("Smart, casual", "Sports", "Smart, casual", "Party") * 4,
        ("Red, Blue", *("Green", "Yellow", "Red", "Blue") * 20),
        ("Red", "Blue", ""),
    ],
)
def test_names_that_hold_a_sign_are_no_lists(cells):
    assert told(*cells) == []


@pytest.mark.parametrize(
    "pair", [("0", "1"), ("0.0", "1.0"), ("False", "true"), ("no", "YES"), ("-1", "1"), ("N", "y")]
)
def test_flags_are_named_together(pair):
    notes = ColumnNotes(["a", "season", "b"], "|", ["a", "season", "b"])
    for number in range(6):
        notes.add([pair[number % 2], ["Fall", "Summer"][number % 2], pair[number % 3 == 0]])
    (note,) = notes.sentences()
    assert note.startswith("The columns `a` and `b` of `catalog.attributes` hold only flags")
    assert "`flags: {GROUP: [a, b]}`" in note


@pytest.mark.parametrize("cells", [("1", "2", "0"), ("1", "", "1"), ("yes", "maybe", "no")])
def test_what_is_more_or_less_than_a_flag_is_none(cells):
    assert told(*cells) == []


def test_a_column_that_says_the_same_in_every_row_is_named():
    (note,) = told("Red", " Red", "Red")
    assert note.startswith("The attribute column `color` says `Red` in every row")
    (note,) = told("1", "1")
    assert "`1` in every row" in note
    (note,) = told("", " ")
    assert "nothing in every row" in note
    assert told("Red", "", "Red") == []


def test_lists_are_told_and_what_only_looks_like_one_is_too():
    (note,) = told('["Red"]', "['Red', 'Blue']", "[]", "Green")
    assert note.startswith("3 of 4 cells of `color` are lists, such as `['Red', 'Blue']`, and are")
    (note,) = told("{Red,Blue}", "{Red}", "Green")
    assert note.startswith("Cells of `color` look like lists, such as `{Red,Blue}`, but cannot")


@given(st.lists(st.text("ab,;/|[]{}'\"01 \n\x1b", max_size=6)))
def test_any_cells_end_in_sentences_that_can_be_shown(cells):
    for note in told(*cells):
        assert note.isprintable()
        assert note.endswith((".", "?"))


def test_memory_does_not_grow_with_different_cells():
    notes = ColumnNotes(["color"], "|", ["color"])
    for number in range(5000):
        notes.add([str(number)])
    assert len(notes._cells["color"]) == 1000
