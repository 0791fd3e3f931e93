"""The README's table of options is the one that config.py gives."""

from pathlib import Path

from pipeline.options_table import BEGIN, END, options_table, write_into

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_holds_the_current_table():
    text = README.read_text(encoding="utf-8")
    assert text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip() == options_table()


def test_every_option_has_a_sentence():
    for row in options_table().splitlines()[2:]:
        assert row.rstrip("| ").endswith((".", "default")), row


def test_writing_changes_only_what_is_between_the_markers(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    write_into(readme)
    text = readme.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{BEGIN}\n| option")
    assert text.endswith(f"{END}\nafter\n")
    assert "\nold\n" not in text
