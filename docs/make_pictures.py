"""Makes the documentation's pictures: console.svg, catalog.png, report.png and report_*.png.

    tmux new-session -d -s demo -x 100 -y 40 make demo
    tmux capture-pane -p -e -t demo > demo.ansi        (while the Trainer runs, or at the end)
    .venv/bin/python docs/make_pictures.py workspace/demo demo.ansi

Without the second file the console's picture stays. Needs Debian's chromium for the report.
"""

import csv
import subprocess
import sys
import tempfile
from io import StringIO
from pathlib import Path

from PIL import Image, ImageChops
from rich.console import Console
from rich.text import Text

from components.report.single_file import single_file
from pipeline.demo_catalog import SUBCATEGORIES

FOLDER = Path(__file__).parent
WIDTH, HEIGHT = 1280, 1150
"""Of the report's picture in pixels: what a laptop shows first."""

SECTIONS = {"slices": 600, "calibration": 640, "confusions": 455, "answers": 470}
"""The report's sections that have a picture of their own, by id, and its most pixels in height."""

COLORS = 64
MARGIN = 16


def console_picture(capture: Path) -> None:
    """Draws what a terminal showed, colors and all."""
    text = capture.read_text(encoding="utf-8").rstrip()
    lines = [Text.from_ansi(line) for line in text.splitlines()]
    console = Console(record=True, file=StringIO(), width=max(len(line) for line in lines) + 1)
    for line in lines:
        console.print(line, highlight=False)
    console.save_svg(str(FOLDER / "console.svg"), title="make demo")


def drawn(page: Path, height: int) -> Image.Image:
    """What Chromium shows of the first `height` pixels of a page."""
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder, "page.png")
        subprocess.run(
            [
                "chromium",
                *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *("--no-first-run", "--disable-background-networking", "--disable-sync"),
                # What the page's script draws, it draws when it comes into view.
                "--virtual-time-budget=4000",
                *("--disable-component-update", f"--user-data-dir={folder}/profile"),
                f"--window-size={WIDTH},{height}",
                f"--screenshot={picture}",
                page.resolve().as_uri(),
            ],
            check=True,
            capture_output=True,
        )
        with Image.open(picture) as image:
            return image.convert("RGB")


def save(image: Image.Image, name: str) -> None:
    """Writes a picture with few colors, which it has anyway, and few bytes."""
    few = image.quantize(COLORS, dither=Image.Dither.NONE)
    few.save(FOLDER / name, optimize=True)


def catalog_picture(catalog: Path) -> Image.Image:
    """Lays out some products of the demo's catalog, one of each sub-category."""
    with open(catalog / "labels.csv", encoding="utf-8", newline="") as labels_csv:
        rows = list(csv.DictReader(labels_csv))
    first = {row["subcategory"]: row["id"] for row in reversed(rows)}
    names = [name for kinds in SUBCATEGORIES.values() for name in kinds]
    pictures = [Image.open(catalog / "images" / f"{first[name]}.jpg") for name in names]
    side = max(picture.width for picture in pictures)
    columns = (len(pictures) + 1) // 2
    sheet = Image.new("RGB", (columns * side, 2 * side), "white")
    for place, picture in enumerate(pictures):
        sheet.paste(picture, (place % columns * side, place // columns * side))
    return sheet


def report_picture(page: str) -> Image.Image:
    """Draws the beginning of a report."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "index.html")
        copy.write_text(page, encoding="utf-8")
        return drawn(copy, HEIGHT)


def section_picture(page: str, section: str, height: int) -> Image.Image:
    """Draws one section of a report alone, without the page's contents and empty margins."""
    others = f"nav, header, .cards, main > p, section:not(#{section})"
    alone = page.replace(
        "</style>",
        f"{others} {{ display: none !important }} body {{ display: block !important }}</style>",
        1,
    )
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "index.html")
        copy.write_text(alone, encoding="utf-8")
        image = drawn(copy, 2000)
    ground = Image.new("RGB", image.size, image.getpixel((0, 0)))
    left, top, right, bottom = ImageChops.difference(image, ground).getbbox()
    return image.crop(
        (
            max(left - MARGIN, 0),
            max(top - MARGIN, 0),
            min(right + MARGIN, image.width),
            min(bottom + MARGIN, top + height),
        )
    )


if __name__ == "__main__":
    workspace = Path(sys.argv[1])
    # Where this machine has the repository is nobody's business.
    report = single_file(workspace / "report").replace(f"{Path.cwd()}/", "")
    save(catalog_picture(workspace / "catalog"), "catalog.png")
    save(report_picture(report), "report.png")
    for section, height in SECTIONS.items():
        save(section_picture(report, section, height), f"report_{section}.png")
    for capture in sys.argv[2:]:
        console_picture(Path(capture))
