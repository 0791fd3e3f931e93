"""One rule for the text of labels, ids and column names."""

import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.labels import alike, has_control, is_list, items, normalized, without_invisible

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
BLANKS = [chr(code) for code in range(0x3001) if chr(code).isspace() and not 0x1C <= code <= 0x1F]
WORD = st.text("abcé ß京", min_size=1, max_size=6).map(str.strip).filter(bool)


@given(TEXT)
def test_what_is_normalized_stays_as_it_is(text):
    once = normalized(text)
    assert normalized(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert once == once.strip(" ")
    assert not re.search("  |[\n\r\t\xa0]", once)


@given(st.lists(WORD, min_size=1, max_size=3), st.sampled_from(BLANKS), st.sampled_from(BLANKS))
def test_any_blanks_are_one(words, first, second):
    plain = " ".join(" ".join(words).split(" "))
    plain = re.sub(" +", " ", plain)
    odd = plain.replace(" ", first + second)
    assert normalized(second + odd + first) == normalized(plain)


@pytest.mark.parametrize(
    "text",
    [
        "De\u0301collete\u0301",
        "D\u00e9colle\u00adt\u00e9",
        "\ufeffD\u00e9collet\u00e9\u200b",
        "\u2060D\u00e9col\u200elet\u00e9 \n",
    ],
)
def test_one_label_in_other_bytes_is_one_label(text):
    assert normalized(text) == "D\u00e9collet\u00e9"


def test_letters_that_words_are_spelled_with_stay():
    persian = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert normalized(persian) == persian
    assert normalized(family) == family


@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0)])
def test_a_control_character_is_told_from_a_blank(code):
    is_blank = chr(code) in "\t\n\v\f\r\x85"
    assert has_control(f"a{chr(code)}b") is not is_blank
    assert normalized(f"a{chr(code)}b") == ("a b" if is_blank else f"a{chr(code)}b")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Bags", "\uff22ags"),
        ("Bags", "BAGS"),
        ("Sports Shoes", "SportsShoes"),
        ("T-Shirt", "t\u2010shirt"),
        ("T-Shirt", "T\u2013Shirt"),
        ("Strasse", "Stra\u00dfe"),
        ("1 000", "1\u202f000"),
        ("\u30ab\u30d0\u30f3", "\uff76\uff8a\uff9e\uff9d"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u062e"),
    ],
)
def test_spellings_that_a_person_takes_for_one_are_alike(one, other):
    assert one != other
    assert alike(one) == alike(other)


@pytest.mark.parametrize(("one", "other"), [("Bag", "Bags"), ("T-Shirt", "TShirt"), ("1-2", "12")])
def test_other_labels_are_not_alike(one, other):
    assert alike(one) != alike(other)


@given(st.lists(TEXT, max_size=4))
def test_a_list_as_json_and_python_write_it_gives_its_items(texts):
    for written in (json.dumps(texts), json.dumps(texts, ensure_ascii=False)):
        assert is_list(written)
        assert list(items(written, "|")) == texts


@given(st.lists(WORD, max_size=4))
def test_a_python_list_of_words_gives_its_items(words):
    assert list(items(repr(words), "|")) == words


@pytest.mark.parametrize(
    "cell", ["[a, b]", "['a' 'b']", "{'a', 'b'}", "['a'", "'a', 'b'", "[['a']]", "(1, 2)", "[a]"]
)
def test_what_is_no_list_is_what_is_separated(cell):
    assert list(items(cell, "|")) == [cell]


def test_numbers_are_items_too():
    assert list(items("[1, 2.5, -3]", "|")) == ["1", "2.5", "-3"]


def test_a_file_name_keeps_its_blanks():
    assert without_invisible(" \ufeffa  b\u00a0c.jpg\u200b ") == "a  b\u00a0c.jpg"


def test_blanks_between_plain_letters_are_one_too():
    assert normalized("  a  b ") == "a b"


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        (r'["a\/b", "\ud83d\ude00", "\u00e9"]', ["a/b", "\U0001f600", "é"]),
        (r"['it\'s', '\x41', 'a\/b']", ["it's", "A", r"a\/b"]),
        ('["tab\there"]', ["tab\there"]),
        (r"""["it's", 'say "hi"', 7, -1.5]""", ["it's", 'say "hi"', "7", "-1.5"]),
        (r"""['\N{no such}']""", [r"\N{no such}"]),
    ],
)
def test_each_kind_of_quotes_has_the_escapes_of_its_language(cell, found):
    assert items(cell, "|") == found
