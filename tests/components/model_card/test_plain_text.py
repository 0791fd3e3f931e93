"""Any text stays text: what a Markdown parser shows is what stood there, letter by letter."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from components.model_card.plain_text import plain
from tests.components.model_card.conftest import HOSTILE

ISOLATES = str.maketrans("", "", "\u2068\u2069")


def cells(markdown: str) -> list[list[str]]:
    """The cells of a document's tables as a GFM parser shows them, the inner HTML of each."""
    page = MarkdownIt("gfm-like", {"linkify": False}).render(markdown)
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]


def shown(text: str) -> str:
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def holds(text: str) -> None:
    head, row = cells(f"| a | b |\n| --- | --- |\n| x {plain(text)} | {plain(text)} |")
    assert len(head) == len(row) == 2
    assert "<" not in row[0]
    told = html.unescape(row[0]).translate(ISOLATES)
    assert told == f"x {shown(text)}".translate(ISOLATES).strip()


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_as_it_is(text):
    holds(text)


@given(st.text())
def test_any_text_is_shown_as_it_is(text):
    holds(text)


@given(st.lists(st.sampled_from("|`*_[]()<>&\\~$@:#!-+.='\"w \n"), max_size=30).map("".join))
def test_any_punctuation_is_shown_as_it_is(text):
    holds(text)


def test_no_address_becomes_a_link():
    for text in (
        "http://evil.example",
        "https://a.b",
        "www.evil.example",
        "WWW.x.y",
        "a@b.example",
    ):
        assert not re.search(r"://|www\.|@", plain(text), re.IGNORECASE)


def test_what_turns_the_direction_of_writing_is_shown_and_right_to_left_text_keeps_to_itself():
    assert plain("\u202eabc") == r"\\u202eabc"
    assert plain("חולצה") == "\u2068חולצה\u2069"
    assert plain("靴") == "靴"
