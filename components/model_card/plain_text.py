"""Anybody's text inside Markdown, where it must stay text."""

from __future__ import annotations

import re
import unicodedata

# Backslashes where every dialect of Markdown knows them, entities where some do not.
_ESCAPED = {ord(letter): f"\\{letter}" for letter in "\\`*_[]"} | {
    ord(letter): f"&#{ord(letter)};" for letter in "<>&|~$@:#"
}

_LINK_WITHOUT_SCHEME = re.compile(r"(?i)\bwww\.")

_RIGHT_TO_LEFT = ("R", "AL", "AN")
_ISOLATE, _END_OF_ISOLATE = "\u2068", "\u2069"


def plain(text: object) -> str:
    r"""Text as a part of a line or of a table's cell, shown letter by letter.

    Nothing in it is markup, HTML, a link, the end of a cell or of a line; what nobody sees, such as
    a line break or what turns the direction of writing, is shown as Python writes it (`\n`,
    `\u202e`). Text that is written from right to left keeps to itself, and does not turn around
    what stands beside it. It must not begin a line of its own.
    """
    shown = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in str(text)
    )
    escaped = _LINK_WITHOUT_SCHEME.sub(lambda www: f"{www[0][:-1]}&#46;", shown.translate(_ESCAPED))
    if any(unicodedata.bidirectional(letter) in _RIGHT_TO_LEFT for letter in shown):
        return f"{_ISOLATE}{escaped}{_END_OF_ISOLATE}"
    return escaped
