"""What a run shows on a terminal and in a log."""

import io
import logging
import subprocess
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from pipeline.console import PROGRESS_LOGGER, StepsView

STEPS = ["Ingest", "Train"]


def result(state: str = "done", seconds: float = 1.25, summary: str = "7 products"):
    return SimpleNamespace(state=state, seconds=seconds, summary=summary)


@pytest.fixture
def screen():
    """A plain, wide console and what was printed on it."""
    return Console(file=io.StringIO(), width=100)


def drawn(view: StepsView) -> list[str]:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    console.print(view)
    return console.file.getvalue().splitlines()


def test_without_a_terminal_each_finished_step_is_a_line(screen):
    with StepsView(screen) as view:
        view.planned(STEPS)
        view.started("Ingest")
        view.finished("Ingest", result())
        view.started("Train")
        view.finished("Train", result("cached", summary="3 epochs"))
    first, second = screen.file.getvalue().splitlines()
    assert first.split() == ["✓", "Ingest", "1.2", "s", "7", "products"]
    assert second.endswith("3 epochs (cached)")


def test_a_failed_step_is_marked(screen):
    with StepsView(screen) as view:
        view.planned(STEPS)
        view.started("Ingest")
        view.failed("Ingest", 61.0)
    assert screen.file.getvalue().startswith("✗ Ingest")
    assert "1:01 min" in drawn(view)[0]


def test_waiting_steps_are_shown_from_the_start(screen):
    view = StepsView(screen)
    view.planned(STEPS)
    assert [line.split()[1] for line in drawn(view)] == STEPS


def test_progress_of_the_running_step_is_shown_as_a_bar_and_words(screen):
    with StepsView(screen) as view:
        view.planned(STEPS)
        view.started("Train")
        progress = logging.getLogger(PROGRESS_LOGGER)
        progress.info("epoch %d of %d", 3, 4, extra={"completed": 3, "total": 4})
        line = drawn(view)[1]
        assert "epoch 3 of 4" in line
        assert line.count("━") == 24 * 3 // 4
    progress.info("after the end")
    assert "after the end" not in "".join(drawn(view))


def test_library_output_goes_to_the_log_and_ours_to_the_terminal(tmp_path):
    """In a process of its own, because pytest holds this one's file descriptors."""
    script = f"""
import os, sys
from pathlib import Path
from pipeline.console import library_output_in
with library_output_in(Path({str(tmp_path / "run.log")!r})) as terminal:
    print("from python")
    os.system("echo from a child")
    os.write(2, b"from native code\\n")
    terminal.write("for people\\n")
print("after")
"""
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert process.stdout.split("\n") == ["for people", "after", ""]
    assert process.stderr == ""
    log = (tmp_path / "run.log").read_text()
    assert {"from python", "from a child", "from native code"} <= set(log.splitlines())
