"""Progress that crosses the border between processes."""

import logging
import time
from pathlib import Path

import pytest

from components.progress import ProgressFile, ProgressWatch


def test_the_marks_of_all_workers_are_added_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(tmp_path / "progress")
    with caplog.at_level(logging.INFO, "seamline.progress"), ProgressWatch(path, 1_500, 2):
        for worker in (ProgressFile(path), ProgressFile(path)):
            for _ in range(1_234):
                worker.mark()
            worker.flush()
        deadline = time.monotonic() + 5
        while not any("1,234" in one.message for one in caplog.records):
            assert time.monotonic() < deadline, caplog.messages
            time.sleep(0.05)
    last = caplog.records[-1]
    assert last.message == "1,234 of 1,500 products"
    assert (last.completed, last.total) == (1_234, 1_500)


def test_a_worker_that_cannot_reach_the_file_works_on(tmp_path: Path) -> None:
    """On another machine there is no such folder, and another user may not write into it."""
    worker = ProgressFile(str(tmp_path / "of another machine" / "progress"))
    for _ in range(123):
        worker.mark()
    worker.flush()
    assert list(tmp_path.iterdir()) == []
