"""One run at a time in a workspace in a bucket, whichever machine it is on.

Processes stand for machines, as in `test_workspace_lock`; each has a folder of its own.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components import gcs
from pipeline.workspace_lock import _Object, held
from schema.errors import UserError

_HOLDER = """
import sys
from pathlib import Path
from pipeline.workspace_lock import held
from schema.errors import UserError
folder, url, dead_after_s = sys.argv[1:]
try:
    with held(Path(folder), "`shop`", url=url, beat_s=0.3, dead_after_s=float(dead_after_s)):
        print("held", flush=True)
        sys.stdin.readline()
except UserError as error:
    print(error, flush=True)
"""


@pytest.fixture
def url(gs_url: str) -> str:
    """The folder of the lease."""
    return f"{gs_url}/shop/lock"


@contextlib.contextmanager
def holding(folder: Path, url: str, dead_after_s: float = 60):
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(folder), url, str(dead_after_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def entered(folder: Path, url: str, **options):
    return held(folder, "`other`", url=url, beat_s=0.3, **options)


def test_who_holds_it_is_told_whichever_folder_is_this_machines_own(url, tmp_path):
    with holding(tmp_path / "a", url) as process:
        for folder in ("a", "b"):
            told = (
                rf"process {process.pid} on \S+, `shop`, since 20.*\) is at work in gs://\S+/shop\."
            )
            with pytest.raises(UserError, match=told), entered(tmp_path / folder, url):
                pass


def test_it_is_given_back_at_once_and_leaves_one_object(url, tmp_path):
    for folder in "aba":
        with entered(tmp_path / folder, url, tell=pytest.fail):
            pass
    assert json.loads(gcs.read_generation(f"{url}/lease.json")[1])["released"]


def test_what_a_killed_one_held_is_free_at_once_there_and_elsewhere_when_it_shows_no_life(
    url, tmp_path
):
    with holding(tmp_path / "a", url) as process:
        process.kill()
        process.wait()
        with entered(tmp_path / "a", url, dead_after_s=600, tell=pytest.fail):
            pass
    with holding(tmp_path / "a", url) as process:
        process.kill()
        process.wait()
        told: list[str] = []
        started = time.monotonic()
        with entered(tmp_path / "b", url, dead_after_s=3.0, tell=told.append):
            assert time.monotonic() - started >= 3
        assert len(told) == 1 and "waits up to 3 s" in told[0]


def test_one_that_was_asleep_ends_when_another_has_taken_over(url, tmp_path):
    with holding(tmp_path / "a", url, 3.0) as process:
        process.send_signal(signal.SIGSTOP)
        with entered(tmp_path / "b", url, dead_after_s=3.0):
            process.send_signal(signal.SIGCONT)
            assert re.search("took over while this run was asleep", process.stdout.readline())
            assert process.wait() == 0
            with pytest.raises(UserError), entered(tmp_path / "c", url):
                pass


def test_of_those_who_take_over_at_the_same_moment_one_does(url):
    takers = [_Object(url, f"machine {number}", "`shop`") for number in range(6)]
    for _ in range(5):
        seen, _ = takers[0].latest()
        with ThreadPoolExecutor(len(takers)) as threads:
            took = list(threads.map(lambda one, seen=seen: one._create(seen), takers))
        assert sum(took) == 1
        [holder] = [one for one, won in zip(takers, took, strict=True) if won]
        assert [one.beat() for one in takers if one is not holder] == [False] * 5
        assert holder.beat()
