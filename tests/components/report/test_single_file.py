"""A report for mail has inside it what else lies beside the page."""

import dataclasses
import json
import re

import pytest

from components.report import single_file
from schema.errors import UserError
from tests.components.report.written import write_report


def inside(html):
    return {
        name: json.loads(text)
        for name, text in re.findall(
            r'<script type="application/json" id="([\w-]+)">(.*?)</script>', html, re.DOTALL
        )
    }


def test_data_and_the_worst_pictures_are_put_into_the_page(contents, tmp_path, monkeypatch):
    monkeypatch.setattr(single_file, "MOST_PICTURES", 40)
    contents.products["ids"][0] = "</script><b>"
    contents = dataclasses.replace(contents, label_review="12 labels are probably wrong")
    write_report(contents, tmp_path)
    html = single_file.single_file(tmp_path)
    found = inside(html)
    assert (found["page-data"]["inside"], found["page-data"]["pictures"]) == (True, 40)
    assert found["data-products"] == json.loads(json.dumps(contents.products))
    assert set(found) == {
        "page-data",
        "data-attributes",
        "data-map",
        "data-products",
        "data-sheets",
        "data-slices",
    }
    [sheet] = found["data-sheets"]
    assert sheet.startswith("data:image/webp;base64,UklGR")
    # The page's script comes after all of it.
    assert html.rindex('data-slices">') < html.index("(() => {")
    for other in ("tfma.html", "label_review.html"):
        assert other in (tmp_path / "index.html").read_text("utf-8")
        assert other not in html


def test_a_report_without_pictures_has_none(bare_contents, tmp_path):
    write_report(bare_contents, tmp_path)
    found = inside(single_file.single_file(tmp_path))
    assert found["data-sheets"] == []
    assert found["page-data"]["pictures"] == 0


def test_what_is_damaged_is_named(contents, tmp_path):
    write_report(contents, tmp_path)
    [file] = tmp_path.glob("files-*/slices.js")
    file.write_text("seamline.deliver(", "utf-8")
    with pytest.raises(UserError, match=r"slices\.js is damaged"):
        single_file.single_file(tmp_path)
