"""TFMA's own element lies beside the report, with the figures that TFMA gives it."""

import json
import re
from pathlib import Path

import pytest

from components.report import tfma_page
from tests.in_browser import needs_chromium

ROOT = Path(__file__).parents[3]


@pytest.fixture
def page_file(tfma_result, tmp_path):
    tfma_page.write(tmp_path, str(tfma_result[0]))
    return tmp_path / tfma_page.PAGE_FILE


def test_every_column_has_its_slices_as_tfma_gives_them(page_file, tfma_result):
    frame = tfma_result[1]
    html = page_file.read_text("utf-8")
    told = json.loads(re.search(r'id="tfma-data">(.*?)</script>', html)[1])
    assert [view["title"] for view in told["views"]] == ["all products", "color", "color x size"]
    assert told["config"] == {"weightedExamplesColumn": "example_count"}
    counts = {
        of["slice"]: of["metrics"][""][""]["example_count"]["doubleValue"]
        for of in told["views"][1]["data"]
    }
    assert counts == {f"color:{color}": (frame.color == color).sum() for color in ("red", "blue")}


@needs_chromium
def test_the_element_is_loaded_when_it_is_asked_for_and_says_what_the_net_lacks(page_file, browser):
    page = browser.new_page()
    asked = []
    page.route(
        re.compile("^https?://"), lambda route: (asked.append(route.request.url), route.abort())
    )
    page.clock.install()
    page.goto(page_file.as_uri())
    assert asked == []
    page.get_by_label("Slices by").select_option("color")
    page.get_by_role("button", name="Load the element").click()
    page.locator("tfma-nb-slicing-metrics").get_by_text("Visualization").first.wait_for()
    page.clock.fast_forward(10_000)
    page.get_by_text("does not answer: the charts and the table stay empty").wait_for()
    assert {url.split("/")[2] for url in asked} == {"www.gstatic.com", "fonts.googleapis.com"}
    page.close()


def test_the_element_is_tfmas_own(page_file, tmp_path):
    element = tmp_path / tfma_page.ELEMENT_FILE
    assert element.stat().st_size > 500_000
    assert "tfma-nb-slicing-metrics" in element.read_text("utf-8")


@pytest.mark.parametrize("page", ["README.md", "docs/metrics.md"])
def test_the_lines_for_a_notebook_do_what_they_say(page, tfma_result):
    text = (ROOT / page).read_text("utf-8")
    [lines] = [
        code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "tfma" in code
    ]
    folder, frame = tfma_result
    lines = re.sub('"workspace/.*?"', repr(str(folder)), lines).replace('"gender"', '"color"')
    *first, last = lines.strip().splitlines()
    names = {}
    exec("\n".join(first), names)
    widget = eval(last, names)
    assert {of["slice"] for of in widget.data} == {"color:red", "color:blue"}
