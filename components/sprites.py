"""Small pictures of products, a hundred to a file, for pages that show thousands of them.

A page asks for a sheet when one of its pictures comes into view; files of their own would be
thousands of requests, and pictures inside the page would be read before anybody wants them.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

SIDE = 96
"""Pixels of a small picture's sides; one that is not square is centred on white."""

COLUMNS = 10
"""Small pictures beside each other in a sheet."""

PER_SHEET = COLUMNS * COLUMNS
"""Small pictures in a sheet: picture i is in sheet i // PER_SHEET, at place i % PER_SHEET there,
row by row."""

LAYOUT = {"columns": COLUMNS, "perSheet": PER_SHEET}
"""Of the sheets, for a page's script."""

_QUALITY = 75


def sheet_name(sheet: int) -> str:
    """The file's name of a sheet: "0000.webp"."""
    return f"{sheet:04}.webp"


def write_sheets(folder: str | Path, pictures: Iterable[bytes], side: int = SIDE) -> int:
    """Writes the pictures, in their order, into sheets.

    Args:
        folder: Where to put the sheets; it is made.
        pictures: Encoded pictures as Examples hold them; read a sheet at a time. What cannot be
            decoded leaves its place white.
        side: Pixels of each small picture's sides.

    Returns:
        How many sheets there are.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sheets = 0
    with ThreadPoolExecutor() as threads:
        for of_sheet in _batches(pictures):
            rows = -(-len(of_sheet) // COLUMNS)
            sheet = Image.new("RGB", (COLUMNS * side, rows * side), "white")
            for place, small in enumerate(threads.map(lambda one: thumbnail(one, side), of_sheet)):
                row, column = divmod(place, COLUMNS)
                sheet.paste(small, (column * side, row * side))
            sheet.save(folder / sheet_name(sheets), quality=_QUALITY, method=4)
            sheets += 1
    return sheets


def thumbnail(picture: bytes, side: int = SIDE) -> Image.Image:
    """The picture, RGB, `side` pixels square, centred on white; white if it cannot be decoded."""
    small = Image.new("RGB", (side, side), "white")
    try:
        with Image.open(io.BytesIO(picture)) as image:
            image.draft("RGB", (side, side))
            whole = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return small
    whole.thumbnail((side, side))
    small.paste(whole, ((side - whole.width) // 2, (side - whole.height) // 2))
    return small


def _batches(pictures: Iterable[bytes]) -> Iterator[list[bytes]]:
    iterator = iter(pictures)
    while of_sheet := list(itertools.islice(iterator, PER_SHEET)):
        yield of_sheet
