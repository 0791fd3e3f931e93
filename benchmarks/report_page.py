"""How heavy a report's page is, opened from a disk in headless Chromium, against its budget.

    python benchmarks/report_page.py WORKSPACE/report

Wanted of a catalog of 4,000 test products, 141 classes and 40 slices: at most 400 KB of page, ready
within half a second, the first pictures within 2 s of the way to them, fewer than 5,000 elements
before a click, nothing asked of the net and nothing said on the console.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

BUDGET = {
    "page, KB": 400,
    "ready, ms": 500,
    "first pictures, ms": 2000,
    "elements": 5000,
    "asked of the net": 0,
    "said on the console": 0,
}


def opened(browser: Browser, page_file: Path) -> dict[str, float]:
    """What one opening costs; a new profile, so that nothing is there already."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None if request.url.startswith(("file:", "data:")) else asked.append(request.url)
        ),
    )
    page.goto(page_file.absolute().as_uri())
    ready = page.evaluate(
        "performance.timing.domContentLoadedEventEnd - performance.timing.navigationStart"
    )
    elements = page.evaluate("document.querySelectorAll('*').length")
    started = time.perf_counter()
    page.evaluate("document.getElementById('mistakes').scrollIntoView({behavior: 'instant'})")
    first = page.locator("#mistakes .picture[style]").first
    first.wait_for()
    address = first.evaluate("of => of.style.backgroundImage.slice(5, -2)")
    # Until the sheet is read and decoded.
    page.evaluate(
        "async (src) => { const image = new Image(); image.src = src; await image.decode(); }",
        address,
    )
    pictures = 1000 * (time.perf_counter() - started)
    context.close()
    return {
        "page, KB": page_file.stat().st_size / 1000,
        "ready, ms": ready,
        "first pictures, ms": pictures,
        "elements": elements,
        "asked of the net": len(asked),
        "said on the console": len(said),
    }


def main() -> None:
    """Prints the medians of several openings beside the budget."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report", type=Path, help="folder of a report")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    chromium = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None
    )
    if chromium is None:
        raise SystemExit("no chromium on the PATH to open the report with")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        rounds = [opened(browser, arguments.report / "index.html") for _ in range(arguments.rounds)]
        browser.close()
    for name, budget in BUDGET.items():
        value = statistics.median(of[name] for of in rounds)
        share = f"{value / budget:.2f} of the budget" if budget else ""
        print(f"{name:22} {value:8,.0f}  wanted at most {budget:5,}  {share}")


if __name__ == "__main__":
    main()
