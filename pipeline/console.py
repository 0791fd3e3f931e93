"""What a run shows: each step with its state, its time and what came out of it."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pipeline.local_runner import StepResult

PROGRESS_LOGGER = "seamline.progress"
"""Steps report long work here, as `info("epoch 3 of 25", extra={"completed": 3, "total": 25})`."""

_MARKS = {
    "waiting": ("·", "dim"),
    "done": ("✓", "green"),
    "cached": ("✓", "cyan"),
    "off": ("-", "dim"),
    "failed": ("✗", "bold red"),
}
"""The sign and the style of each state but `running`."""

_IN_ASCII = str.maketrans("·✓✗", ".+x")
"""What stands for the signs on terminals without UTF-8."""

_STYLES = {"running": "bold", "waiting": "dim", "off": "dim"}


@dataclass
class _Row:
    state: Literal["waiting", "running", "done", "cached", "off", "failed"] = "waiting"
    start: float = 0.0
    seconds: float | None = None
    text: str = ""
    completed: float | None = None
    total: float | None = None


class StepsView(logging.Handler):
    """A `StepObserver` that draws the steps: live on a terminal, else a line per finished step."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self._console = console
        self._rows: dict[str, _Row] = {}
        self._running: _Row | None = None
        self._spinner = _spinner(console)
        signs = _IN_ASCII if console.options.ascii_only else {}
        self._marks = {
            state: Text(sign.translate(signs), style) for state, (sign, style) in _MARKS.items()
        }
        self._live = _live(self, console)

    def __enter__(self) -> StepsView:
        """Starts drawing and listening for progress."""
        logger = logging.getLogger(PROGRESS_LOGGER)
        logger.addHandler(self)
        logger.setLevel(logging.INFO)
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops both."""
        logging.getLogger(PROGRESS_LOGGER).removeHandler(self)
        self._live.stop()

    def planned(self, steps: Sequence[str]) -> None:
        """Shows all steps as waiting."""
        self._rows = {step: _Row() for step in steps}

    def left_out(self, step: str, reason: str) -> None:
        """Shows that `step` is off."""
        self._end(step, _Row("off", text=reason))

    def started(self, step: str) -> None:
        """Shows `step` as running."""
        self._running = self._rows[step] = _Row("running", time.monotonic())

    def finished(self, step: str, result: StepResult) -> None:
        """Shows what came out of `step`."""
        self._end(step, _Row(result.state, seconds=result.seconds, text=result.summary))

    def failed(self, step: str, seconds: float) -> None:
        """Shows that `step` failed."""
        self._end(step, _Row("failed", seconds=seconds, text="failed"))

    def emit(self, record: logging.LogRecord) -> None:
        """Shows a progress report of the running step."""
        if row := self._running:
            row.text = record.getMessage()
            row.completed = getattr(record, "completed", None)
            row.total = getattr(record, "total", None)

    def _end(self, step: str, row: _Row) -> None:
        self._running = None
        self._rows[step] = row
        if not self._console.is_terminal:
            seconds = f"{row.seconds:7.1f} s" if row.seconds is not None else f"{'':9}"
            state = " (cached)" if row.state == "cached" else ""
            self._console.print(
                f"{self._marks[row.state]} {step:<18}{seconds}  {row.text}{state}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table of steps, drawn anew at each refresh."""
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True, style="dim")
        table.add_column(ratio=1, overflow="fold")
        for step, row in self._rows.items():
            running = row.state == "running"
            seconds = time.monotonic() - row.start if running else row.seconds
            table.add_row(
                self._spinner if running else self._marks[row.state],
                Text(step, style=_STYLES.get(row.state, "")),
                "cached" if row.state == "cached" else "" if seconds is None else _clock(seconds),
                self._progress(row) if running and row.total else Text(row.text),
            )
        yield table

    @staticmethod
    def _progress(row: _Row) -> Table:
        line = Table.grid(padding=(0, 1))
        line.add_row(ProgressBar(row.total, row.completed or 0, width=24), Text(row.text))
        return line


def waiting_for(what: str, console: Console) -> Live:
    """A context manager that shows a spinner beside `what`; nothing where there is no terminal."""
    return _live(_spinner(console, what) if console.is_terminal else "", console, transient=True)


def _spinner(console: Console, text: str = "") -> Spinner:
    return Spinner("line" if console.options.ascii_only else "dots", text, style="yellow")


def _live(shown: RenderableType, console: Console, transient: bool = False) -> Live:
    # Rich would bring what libraries print back from the log to the terminal, and loggers that are
    # made in between keep its stream for good.
    return Live(
        shown,
        console=console,
        refresh_per_second=8,
        transient=transient,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d} min"


@contextlib.contextmanager
def library_output_in(log_file: Path) -> Iterator[TextIO]:
    """Sends what libraries and child processes write to both standard streams to `log_file`.

    Works on the file descriptors, because TensorFlow's C++ code writes there. Yields a stream that
    still reaches the terminal.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    encoding = sys.stdout.encoding
    with (
        open(log_file, "a", encoding="utf-8") as log,
        os.fdopen(os.dup(1), "w", encoding=encoding, errors="backslashreplace") as terminal,
    ):
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            yield terminal
        finally:
            for stream in (sys.stdout, sys.stderr):
                # The log's disk may be full; the terminal must get its streams back all the same.
                with contextlib.suppress(OSError):
                    stream.flush()
            for descriptor, original in zip((1, 2), saved, strict=True):
                os.dup2(original, descriptor)
                os.close(original)
