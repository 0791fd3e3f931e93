"""A report as one file for mail: what lies beside the page is put into it."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

from components import sprites
from components.report.page import FILES, PAGE_FILE, script_json
from components.report.tfma_page import ELEMENT_FILE
from schema.errors import UserError

MOST_PICTURES = 2 * sprites.PER_SHEET
"""Products whose picture goes with it: those that are most surely wrong, which come first."""

_PAGE_DATA = re.compile(
    r'<script type="application/json" id="page-data">(?P<json>.*?)</script>\n', re.DOTALL
)
_DELIVERED = re.compile(r'seamline\.deliver\("[^"]*",(?P<text>".*")\);\s*')


def single_file(report: Path) -> str:
    """The page with everything that it reads inside it.

    Args:
        report: The folder of a report.

    Raises:
        UserError: the folder beside the page is missing, or the page is of an older version.
    """
    html = (report / PAGE_FILE).read_text(encoding="utf-8")
    page = page_data(report, html)
    beside = report / page["files"]
    page |= {"inside": True, "pictures": min(page["pictures"], MOST_PICTURES)}
    scripts = [_inside("page-data", page)]
    for file in sorted(beside.glob("*.js")):
        if file.name != ELEMENT_FILE:
            scripts.append(_inside(f"data-{file.stem}", delivered(file)))
    sheets = sorted(beside.glob("*.webp"))[: -(-page["pictures"] // sprites.PER_SHEET)]
    scripts.append(_inside("data-sheets", [_data_url(file) for file in sheets]))
    found = _PAGE_DATA.search(html)
    assert found is not None
    # Other pages are no part of what is mailed.
    start = re.sub(r'<(li|span) class="beside">.*?</\1>', "", html[: found.start()])
    return start + "".join(scripts) + html[found.end() :]


def page_data(report: Path, html: str) -> dict[str, Any]:
    """What the page tells its script.

    Args:
        report: The folder of the report.
        html: Its page.

    Raises:
        UserError: the page is of another version, or the folder beside it is missing.
    """
    found = _PAGE_DATA.search(html)
    if found is None:
        raise UserError(
            f"{report / PAGE_FILE} was written by another version of Seamline. Run the pipeline "
            "again; it writes the report anew."
        )
    page = json.loads(found["json"])
    beside = report / page["files"]
    if not page["files"].startswith(FILES) or not beside.is_dir():
        raise UserError(
            f"{beside} is missing, which holds what the page shows. Run the pipeline again; it "
            "writes the report anew."
        )
    return page


def delivered(file: Path) -> Any:
    """What a file beside the page hands to its script."""
    found = _DELIVERED.fullmatch(file.read_text(encoding="utf-8"))
    if found is None:
        raise UserError(f"{file} is damaged. Run the pipeline again; it writes the report anew.")
    return json.loads(json.loads(found["text"]))


def _inside(name: str, data: Any) -> str:
    return f'<script type="application/json" id="{name}">{script_json(data)}</script>\n'


def _data_url(file: Path) -> str:
    return f"data:image/webp;base64,{base64.b64encode(file.read_bytes()).decode()}"
