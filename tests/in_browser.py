"""Pages in a real browser: which one, and what keeps people out of a page."""

import shutil

import pytest
from axe_playwright_python.sync_playwright import Axe

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on the PATH to open the page with"
)

_WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}


def problems(page):
    """What axe-core finds against WCAG 2.2 AA: the rule, what it asks for, and where."""
    found = Axe().run(page, options=_WCAG).response["violations"]
    return [
        (of["id"], of["help"], [node["html"][:120] for node in of["nodes"][:3]]) for of in found
    ]
