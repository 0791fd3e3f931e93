"""The charts become pictures with what they show, in the colors of a light page."""

import re

import numpy as np
import pytest
from PIL import Image

from components.report import pictures
from schema.errors import UserError
from tests.components.report.written import write_report


def test_every_chart_of_the_page_is_written(contents, tmp_path):
    html = write_report(contents, tmp_path / "report").read_text("utf-8")
    files = pictures.write_pictures(tmp_path / "report", tmp_path / "new" / "png")
    names = [file.stem for file in files]
    charts = len(re.findall('<svg class="chart"', html))
    # Beside them three matrices, the slices of four levels, and the map.
    assert len(set(names)) == len(names) == charts + 3 + 4 + 1
    assert {"loss-by-epoch", "confusion-subcategory", "slices-attributes"} <= set(names)
    assert {"figures-of-the-search", "search-map"} <= set(names)
    for file in files:
        with Image.open(file) as image:
            colors = image.convert("RGB").getcolors(image.width * image.height)
            assert image.width >= 400 or "confusion" in file.stem
        assert len(colors) > 10


def test_a_matrix_has_a_square_of_its_color_for_every_pair(contents, tmp_path):
    write_report(contents, tmp_path / "report")
    files = pictures.write_pictures(tmp_path / "report", tmp_path)
    [file] = [of for of in files if of.stem == "confusion-category"]
    pixels = np.asarray(Image.open(file).convert("RGB")).astype(int)
    blue = (pixels[..., 2] - pixels[..., 0] > 60).sum()
    orange = (pixels[..., 0] - pixels[..., 2] > 60).sum()
    # Two classes recognized, and of a class that training never saw all is wrong.
    assert blue > 2 * 45**2 and orange > 45**2


def test_a_machine_without_fonts_is_told_so(contents, tmp_path, monkeypatch):
    write_report(contents, tmp_path / "report")
    monkeypatch.setattr(pictures, "_png", lambda svg: b"blank")
    with pytest.raises(UserError, match="no font to write with"):
        pictures.write_pictures(tmp_path / "report", tmp_path / "png")
    assert not (tmp_path / "png").exists()


def test_a_report_without_its_folder_is_named(contents, tmp_path):
    page = write_report(contents, tmp_path / "report")
    for beside in (tmp_path / "report").glob("files-*"):
        beside.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="files-.* is missing"):
        pictures.write_pictures(tmp_path / "report", tmp_path / "png")
    page.write_text("<html>", "utf-8")
    with pytest.raises(UserError, match="another version"):
        pictures.write_pictures(tmp_path / "report", tmp_path / "png")
