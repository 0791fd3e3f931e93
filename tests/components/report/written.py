"""Reports as the step writes them, for the tests that read them."""

import io

from PIL import Image

from components import sprites
from components.report.page import data_script, render_page


def write_report(contents, folder):
    """Writes a report, with red pictures; returns its page."""
    page = render_page(contents)
    beside = folder / page.folder
    beside.mkdir(parents=True)
    for name, data in page.data.items():
        (beside / f"{name}.js").write_text(data_script(name, data), "utf-8")
    red = io.BytesIO()
    Image.new("RGB", (96, 96), (200, 0, 0)).save(red, "PNG")
    sprites.write_sheets(beside, [red.getvalue()] * contents.products.get("pictures", 0))
    (folder / "index.html").write_text(page.html, "utf-8")
    return folder / "index.html"
