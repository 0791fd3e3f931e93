"""`seamline tune-worker` and `train-worker`: work for a run on another machine."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from pipeline.console import PROGRESS_LOGGER
from pipeline.session import quiet_terminal
from pipeline.source_fingerprint import source_fingerprint


class _Lines(logging.Handler):
    """Prints each report that says something else than the one before it, on a line of its own."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._last = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints it."""
        sentence = record.getMessage()
        if sentence != self._last:
            self._last = sentence
            self._console.print(sentence, highlight=False, markup=False, soft_wrap=True)


def tune_in_console(chief: str, patience_s: float, verbose: bool = False) -> None:
    """Runs trials of the search at `chief`, HOST:PORT, until it is over, and shows them.

    Raises:
        UserError: see `trainer.tuning_worker.work`.
    """
    with _shown(verbose) as console:
        from trainer import tuning_worker

        done = tuning_worker.work(chief, source_fingerprint("trainer"), patience_s=patience_s)
        console.print(f"the search is over; {done} trials were run here", highlight=False)


def train_in_console(chief: str, patience_s: float, verbose: bool = False) -> None:
    """Does this machine's part of the training at `chief`, HOST:PORT, and shows it.

    Raises:
        UserError: see `trainer.training_worker.work`.
    """
    with _shown(verbose) as console:
        from trainer import training_worker

        training_worker.work(chief, source_fingerprint("trainer"), patience_s=patience_s)
        console.print("the training is over", highlight=False)


@contextmanager
def _shown(verbose: bool) -> Iterator[Console]:
    """The console, with a line for each report of progress, and without the libraries' noise."""
    # As a cluster ends it; what was taken is given back on the way out.
    signal.signal(signal.SIGTERM, _leave)
    with quiet_terminal(Path(os.devnull), verbose) as terminal:
        console = Console(file=terminal)
        logger = logging.getLogger(PROGRESS_LOGGER)
        logger.setLevel(logging.INFO)
        lines = _Lines(console)
        logger.addHandler(lines)
        try:
            yield console
        finally:
            logger.removeHandler(lines)


def _leave(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)
