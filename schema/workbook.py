"""Cells of CSV files that people open as a workbook, where some texts would be run as formulas.

A cell that begins with `=`, `+`, `-`, `@`, a tab or a line break is written with an apostrophe
before it, which a workbook takes for "this is text" (OWASP, "CSV Injection"). One that has
apostrophes before such a sign gets another, so that what is read back is what was meant.
"""

from __future__ import annotations

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
_WRITTEN = re.compile(r"''*[=+\-@\t\r\n]")


def cell(text: str) -> str:
    """The text as it is written into a CSV."""
    return f"'{text}" if _FORMULA.match(text) else text


def text_of(written: str) -> str:
    """The text that a cell stands for: the inverse of `cell`; other cells are as they are."""
    return written[1:] if _WRITTEN.match(written) else written
