"""Small pictures in sheets: each at its place, centred, and nothing lost by a damaged one."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from components import sprites


def picture(color: tuple[int, int, int], size: tuple[int, int] = (30, 40), kind: str = "PNG"):
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, kind)
    return file.getvalue()


def tile(folder: Path, index: int) -> np.ndarray:
    sheet, place = divmod(index, sprites.PER_SHEET)
    row, column = divmod(place, sprites.COLUMNS)
    whole = np.asarray(Image.open(folder / sprites.sheet_name(sheet)))
    side = sprites.SIDE
    return whole[row * side : (row + 1) * side, column * side : (column + 1) * side]


def test_each_picture_lies_at_its_place(tmp_path: Path):
    colors = [(index, 255 - index, 100) for index in range(103)]
    assert sprites.write_sheets(tmp_path, map(picture, colors)) == 2
    middle = sprites.SIDE // 2
    for index in (0, 9, 10, 57, 99, 100, 102):
        # WebP loses a little.
        np.testing.assert_allclose(tile(tmp_path, index)[middle, middle], colors[index], atol=8)
    assert {file.name for file in tmp_path.iterdir()} == {"0000.webp", "0001.webp"}


def test_the_last_sheet_has_only_the_rows_it_needs(tmp_path: Path):
    sprites.write_sheets(tmp_path, [picture((0, 0, 0))] * 11)
    with Image.open(tmp_path / sprites.sheet_name(0)) as sheet:
        assert sheet.size == (sprites.COLUMNS * sprites.SIDE, 2 * sprites.SIDE)


def test_pictures_may_be_larger(tmp_path: Path):
    sprites.write_sheets(tmp_path, [picture((200, 0, 0), (400, 400))] * 2, 160)
    with Image.open(tmp_path / sprites.sheet_name(0)) as sheet:
        assert sheet.size == (sprites.COLUMNS * 160, 160)
    assert sprites.thumbnail(picture((0, 0, 200), (400, 100)), 160).size == (160, 160)


def test_a_picture_that_is_not_square_is_centred_on_white():
    small = np.asarray(sprites.thumbnail(picture((0, 0, 200), (400, 100))))
    black = np.flatnonzero((small == (0, 0, 200)).all(axis=2).any(axis=1))
    assert black.tolist() == list(range(36, 60))
    assert (small[:36] == 255).all() and (small[60:] == 255).all()


def test_a_small_picture_is_not_blown_up():
    small = np.asarray(sprites.thumbnail(picture((9, 9, 9), (10, 20), "JPEG")))
    assert (small < 128).all(axis=2).sum() == 200


def test_what_cannot_be_decoded_leaves_its_place_white(tmp_path: Path):
    whole = picture((0, 0, 0))
    sprites.write_sheets(tmp_path, [whole, b"", whole[:40], b"GIF89a", whole])
    assert [tile(tmp_path, index).min() > 240 for index in range(5)] == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_no_picture_makes_no_sheet(tmp_path: Path):
    assert sprites.write_sheets(tmp_path / "new", []) == 0
    assert list((tmp_path / "new").iterdir()) == []
