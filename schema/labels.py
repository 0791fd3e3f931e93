"""One rule by which a catalog's text, as people and tools write it, becomes labels and names."""

from __future__ import annotations

import ast
import json
import re
import unicodedata
import warnings
from collections.abc import Sequence

MOST_LETTERS = 200
"""A label, an id or a slice's value may be so long; what is longer is nearly always a description,
or what a stray quote has swallowed."""

_BLANKS = re.compile(r"[\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")

# Soft hyphen, zero width space, marks of direction, word joiner, byte order mark. The zero width
# joiners stay: Persian, Hindi and others are spelled with them.
_INVISIBLE = re.compile(r"[\xad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]+")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_HYPHENS = re.compile(r"[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]")

_ITEM = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|-?\d+(?:\.\d+)?)"""
_LIST = re.compile(rf"\[\s*(?:{_ITEM}\s*(?:,\s*{_ITEM}\s*)*(?:,\s*)?)?\]")

HAS = frozenset({"1", "1.0", "true", "yes", "t", "y"})
"""What a flag says of a product that has it, in any case."""

HAS_NOT = frozenset({"", "0", "0.0", "-1", "-1.0", "false", "no", "f", "n"})
"""What a flag says of a product that does not have it, in any case."""


def normalized(text: str) -> str:
    """The text as it is compared, learned and shown.

    Letters are composed (Unicode's form NFC). Blanks of every kind, tabs and line breaks among
    them, become one plain blank between words and none around the text; what nobody can see is left
    out. Upper and lower case, and letters of another width, stay: who means what by them is for
    people to say (`alike`).
    """
    if text.isprintable() and text.isascii() and "  " not in text:
        return text.strip(" ")
    if not text.isascii():
        text = unicodedata.normalize("NFC", _INVISIBLE.sub("", text))
    return _BLANKS.sub(" ", text).strip(" ")


def without_invisible(text: str) -> str:
    """The text without blanks around it and without what nobody can see, for names of files."""
    return text.strip() if text.isascii() else _INVISIBLE.sub("", text).strip()


def has_control(text: str) -> bool:
    """Whether a letter is none but a command to a terminal or a printer; blanks are not meant."""
    return not text.isprintable() and _CONTROL.search(_BLANKS.sub(" ", text)) is not None


def alike(text: str) -> str:
    """Equal for texts that a person would take for one label.

    That is without case, blanks, invisible letters, width (Unicode's form NFKC) and the many forms
    of the hyphen.
    """
    folded = unicodedata.normalize("NFKC", _HYPHENS.sub("-", text)).casefold()
    shown = (letter for letter in folded if unicodedata.category(letter) != "Cf")
    return _HYPHENS.sub("-", "".join("".join(shown).split()))


def items(cell: str, separator: str) -> Sequence[str]:
    """The labels of a cell: those of a list as JSON and Python write it, or what is separated.

    Blanks around them are left to `normalized`.
    """
    if is_list(cell):
        return [_text_of(item) for item in re.findall(_ITEM, cell)]
    return cell.split(separator)


def is_list(cell: str) -> bool:
    """Whether the cell is a list of quoted texts or numbers, `["Red", "Blue"]`, `['Red']`, `[]`."""
    return "[" in cell and _LIST.fullmatch(cell.strip()) is not None


def _text_of(item: str) -> str:
    if item[0] not in "\"'":
        return item
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            text = json.loads(item, strict=False) if item[0] == '"' else ast.literal_eval(item)
    except (ValueError, SyntaxError):
        return item[1:-1]
    # Half of a letter beyond 16 bits is none.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
