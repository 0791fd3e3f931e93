"""Makes README's two pictures: console.svg and report.png.

    tmux new-session -d -s demo -x 100 -y 40 make demo
    tmux capture-pane -p -e -t demo > demo.ansi        (while the Trainer runs, or at the end)
    python docs/make_pictures.py demo.ansi workspace/demo/report/index.html

Needs Debian's chromium for the report.
"""

import subprocess
import sys
import tempfile
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

FOLDER = Path(__file__).parent
WIDTH, HEIGHT = 1280, 1150
"""Of the report's picture in pixels: what a laptop shows first."""


def console_picture(capture: Path) -> None:
    """Draws what a terminal showed, colors and all."""
    text = capture.read_text(encoding="utf-8").rstrip()
    lines = [Text.from_ansi(line) for line in text.splitlines()]
    console = Console(record=True, file=StringIO(), width=max(len(line) for line in lines) + 1)
    for line in lines:
        console.print(line, highlight=False)
    console.save_svg(str(FOLDER / "console.svg"), title="make demo")


def report_picture(page: Path) -> None:
    """Lets Chromium draw the top of a report."""
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                "chromium",
                *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *("--no-first-run", "--disable-background-networking", "--disable-sync"),
                *("--disable-component-update", f"--user-data-dir={profile}"),
                f"--window-size={WIDTH},{HEIGHT}",
                f"--screenshot={FOLDER / 'report.png'}",
                page.resolve().as_uri(),
            ],
            check=True,
            capture_output=True,
        )


if __name__ == "__main__":
    console_picture(Path(sys.argv[1]))
    report_picture(Path(sys.argv[2]))
