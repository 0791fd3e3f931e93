"""The table of options in docs/options.md is the one that pipeline/config gives."""

from pathlib import Path

import pytest

from pipeline.options_table import BEGIN, END, options_table, write_into

PAGE = Path(__file__).parents[2] / "docs" / "options.md"


def test_the_page_holds_the_current_table():
    text = PAGE.read_text(encoding="utf-8")
    assert text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip() == options_table()


def test_every_option_has_a_sentence():
    for row in options_table().splitlines()[2:]:
        assert row.rstrip("| ").endswith((".", "default")), row


def test_writing_changes_only_what_is_between_the_markers(tmp_path):
    page = tmp_path / "options.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    write_into(page)
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{BEGIN}\n| option")
    assert text.endswith(f"{END}\nafter\n")
    assert "\nold\n" not in text


def test_a_page_without_a_place_for_the_table_is_named_and_left_alone(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("nothing\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"README\.md has no line"):
        write_into(page)
    assert page.read_text(encoding="utf-8") == "nothing\n"
