"""The page in a real browser, with the network off: charts drawn, tables sorted, nothing logged."""

import re
import shutil
import subprocess

import pytest

from components.report.page import render_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on the PATH to open the report with"
)

SORT_BY_SECOND_COLUMN = """
<script>document.querySelectorAll("#slices thead button")[%d].click()</script>
"""


@pytest.fixture
def opened(tmp_path):
    """Opens HTML in a browser; returns the document it became and what the console said."""

    def run(html):
        file = tmp_path / "index.html"
        file.write_text(html, "utf-8")
        done = subprocess.run(
            [
                CHROMIUM,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--host-resolver-rules=MAP * ~NOTFOUND",
                "--enable-logging=stderr",
                f"--user-data-dir={tmp_path / 'profile'}",
                "--virtual-time-budget=10000",
                "--dump-dom",
                file.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return run


@pytest.mark.parametrize("which", ["contents", "bare_contents"])
def test_every_chart_is_drawn_and_nothing_is_logged(which, opened, request):
    html = render_page(request.getfixturevalue(which))
    document, console = opened(html)
    charts = len(re.findall(r'<div class="chart"', html))
    assert charts > 0
    assert len(re.findall(r'class="chart js-plotly-plot"', document)) == charts
    assert len(re.findall(r'<svg class="main-svg"[^>]*>\s*<defs', document)) >= charts
    assert console == []


def test_a_click_on_a_heading_sorts_numbers_from_the_largest_down(opened, contents):
    html = render_page(contents)

    def order(clicked_heading):
        click = SORT_BY_SECOND_COLUMN % clicked_heading
        document, _ = opened(html.replace("</body>", f"{click}</body>"))
        slices = document[document.index('<section id="slices"') :]
        return re.findall(r"(Women|Men|Kids)</th>", slices)

    assert order(1) == ["Women", "Men", "Kids"]
    assert order(0) == ["Kids", "Men", "Women"]
