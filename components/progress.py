"""How far the workers are, seen from the process that waits for them.

Beam tells nothing before a pipeline has ended, and its workers may be processes of their own. They
add one byte to a file for each picture that they are done with; whoever waits looks at its size.
Workers on other machines, or of other users, cannot reach it: no progress is seen then, and no harm
done.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType

_LOGGER = logging.getLogger("seamline.progress")
_SECONDS_BETWEEN_LOOKS = 0.5
_MARKS_AT_ONCE = 50


class ProgressFile:
    """A worker's end: counts, and writes seldom."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._marks = 0

    def mark(self) -> None:
        """Notes that one more picture is done."""
        self._marks += 1
        if self._marks >= _MARKS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Makes all marks visible to whoever waits, where that is within reach."""
        if self._marks:
            # Opened for appending, so that several processes never overwrite each other's marks.
            with suppress(OSError), open(self._path, "ab", buffering=0) as file:
                file.write(b"." * self._marks)
            self._marks = 0


class ProgressWatch:
    """Reports the marks in a file to the logger `seamline.progress` while its context lasts.

    Args:
        path: The file of `ProgressFile`; need not be there yet.
        products: How many are expected; None where nobody knows.
        readings: How many marks each product gets.
    """

    def __init__(self, path: str, products: int | None, readings: int = 1) -> None:
        self._path = Path(path)
        self._products = products
        self._readings = readings
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._report, daemon=True)

    def __enter__(self) -> ProgressWatch:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _report(self) -> None:
        reported = -1
        while not self._done.wait(_SECONDS_BETWEEN_LOOKS):
            try:
                marks = os.stat(self._path).st_size
            except FileNotFoundError:
                marks = 0
            if marks != reported:
                reported = marks
                completed = marks / self._readings
                told = f"{int(completed):,} products"
                if self._products is not None:
                    completed = min(completed, self._products)
                    told = f"{int(completed):,} of {self._products:,} products"
                extra = {"completed": completed, "total": self._products}
                _LOGGER.info(told, extra=extra)
