"""One run at a time in a folder that several machines share, however a run ends.

Processes stand for machines: each is given the name of one, and what the system knows of another
machine's processes is not asked.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.workspace_lock import _Leases, held, latest
from schema.errors import UserError

BEAT_S = 0.1
DEAD_AFTER_S = 3.0

_HOLDER = """
import sys
from pathlib import Path
from pipeline.workspace_lock import held
from schema.errors import UserError
folder, machine, dead_after_s = sys.argv[1:]
try:
    times = {"beat_s": 0.1, "dead_after_s": float(dead_after_s)}
    with held(Path(folder), "`shop`", machine=machine, **times):
        print("held", flush=True)
        sys.stdin.readline()
except UserError as error:
    print(error, flush=True)
"""

_VISITOR = """
import os, random, sys, time
from pathlib import Path
from pipeline.workspace_lock import held
from schema.errors import UserError
folder, machine, seed, dead_after_s = sys.argv[1:]
folder, chance = Path(folder), random.Random(int(seed))
inside, visits = folder.parent / "inside", folder.parent / "visits"
while True:
    try:
        with held(folder, "visit", machine=machine, beat_s=0.1, dead_after_s=float(dead_after_s)):
            while True:
                try:
                    handle = os.open(inside, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
                    break
                except FileExistsError:
                    other = inside.read_text()
                    # Who is dead and not yet waited for has no command line any more.
                    command = Path(f"/proc/{other}/cmdline")
                    if command.exists() and command.read_text():
                        (folder.parent / "violated").write_text(f"{other} and {os.getpid()}")
                        sys.exit(3)
                    inside.unlink()
            os.write(handle, str(os.getpid()).encode())
            os.close(handle)
            time.sleep(chance.random() * 0.05)
            with visits.open("a") as file:
                file.write(f"{machine} {seed}\\n")
            if chance.random() < 0.15:
                os.kill(os.getpid(), 9)
            inside.unlink()
    except UserError:
        pass
    time.sleep(chance.random() * 0.1)
"""


def start(script: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


@contextlib.contextmanager
def holding(folder: Path, machine: str, dead_after_s: float = DEAD_AFTER_S):
    process = start(_HOLDER, folder, machine, dead_after_s)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def entered(folder: Path, machine: str, **options):
    return held(folder, "`other`", machine=machine, beat_s=BEAT_S, **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the leases lie."""
    return tmp_path / "work" / "lock"


@pytest.mark.parametrize("machine", ["here", "elsewhere"])
def test_who_holds_it_is_told_at_once_wherever_that_is(folder: Path, machine: str) -> None:
    with holding(folder, "here") as process:
        started = time.monotonic()
        told = (
            rf"process {process.pid} on \S+, `shop`, since 20.*\) is at work in {folder.parent}\."
        )
        with (
            pytest.raises(UserError, match=told),
            entered(folder, machine, dead_after_s=60),
        ):
            pass
        assert time.monotonic() - started < 20


def test_it_is_given_back_at_once(folder: Path) -> None:
    for machine in ("a", "b", "a"):
        with entered(folder, machine, dead_after_s=60, tell=pytest.fail):
            pass
    assert len([name for name in os.listdir(folder) if name.isdigit()]) == 1


def test_a_run_that_fails_gives_it_back(folder: Path) -> None:
    for machine in ("a", "b"):
        with pytest.raises(ZeroDivisionError), entered(folder, machine, tell=pytest.fail):
            raise ZeroDivisionError


def test_what_a_killed_one_held_is_free_at_once_on_its_machine(folder: Path) -> None:
    with holding(folder, "here") as process:
        process.kill()
        process.wait()
        with entered(folder, "here", dead_after_s=600, tell=pytest.fail):
            pass


def test_what_a_killed_one_held_is_free_elsewhere_when_it_has_shown_no_life(folder: Path) -> None:
    with holding(folder, "here") as process:
        process.kill()
        process.wait()
        told: list[str] = []
        started = time.monotonic()
        with entered(folder, "elsewhere", dead_after_s=1.5, tell=told.append):
            assert time.monotonic() - started >= 1.5
        assert len(told) == 1 and "waits up to 2 s" in told[0]


def test_a_clock_that_is_wrong_changes_nothing(folder: Path) -> None:
    with holding(folder, "here"):
        lease = folder / f"{latest(folder)[0]:012d}"
        for when in (0, time.time() + 1e6):
            os.utime(lease, (when, when))
            with pytest.raises(UserError), entered(folder, "elsewhere", dead_after_s=60):
                pass


def test_one_that_was_asleep_ends_when_another_has_taken_over(folder: Path) -> None:
    with holding(folder, "here", 1.0) as process:
        process.send_signal(signal.SIGSTOP)
        with entered(folder, "elsewhere", dead_after_s=1.0):
            mine = latest(folder)[0]
            process.send_signal(signal.SIGCONT)
            assert re.search(
                rf"process {os.getpid()} .* took over while this run was asleep",
                process.stdout.readline(),
            )
            assert process.wait() == 0
            assert latest(folder)[0] == mine
            with pytest.raises(UserError), entered(folder, "third", dead_after_s=60):
                pass


def test_a_lease_that_was_only_begun_is_taken_over_as_well(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / f"{7:012d}").touch()
    with entered(folder, "a", dead_after_s=1.0):
        assert latest(folder)[0] == 8


def test_of_those_who_take_over_at_the_same_moment_one_does(folder: Path) -> None:
    folder.mkdir(parents=True)
    takers, rounds = 6, 60
    together = threading.Barrier(takers)

    def take_over(taker: int) -> list[bool]:
        lease = _Leases(folder, f"machine {taker}", "`shop`")
        took = []
        for number in range(1, rounds + 1):
            together.wait(60)
            took.append(lease._create(number - 1))
        return took

    with ThreadPoolExecutor(takers) as threads:
        took = list(threads.map(take_over, range(takers)))
    assert [sum(of_round) for of_round in zip(*took, strict=True)] == [1] * rounds


def test_who_slept_since_it_saw_the_latest_lease_takes_nothing_over(folder: Path) -> None:
    """Any number that is not the next one is one that a sleeper has in mind."""
    folder.mkdir(parents=True)
    chance = random.Random(11)
    current = 0
    for step in range(300):
        number = current + chance.choice([1, 0, -1, -2, -5])
        if number < 1:
            continue
        assert _Leases(folder, f"machine {step}", "`shop`")._create(number - 1) is (
            number == current + 1
        )
        current = max(current, number)
        assert latest(folder)[0] == current
        assert len([name for name in os.listdir(folder) if name.isdigit()]) == 1
    assert current > 30


def test_never_two_hold_it_though_holders_are_killed(folder: Path) -> None:
    """Six processes of three machines, each of which is killed at some of its visits."""
    folder.parent.mkdir(parents=True)
    visits, violated = folder.parent / "visits", folder.parent / "violated"
    visits.touch()
    seeds = iter(range(10_000))
    machines = random.Random(5)

    def another() -> subprocess.Popen:
        return start(_VISITOR, folder, machines.choice("abc"), next(seeds), DEAD_AFTER_S)

    processes = [another() for _ in range(6)]
    killed = 0
    give_up = time.monotonic() + 120
    try:
        while time.monotonic() < give_up and not violated.exists():
            for place, process in enumerate(processes):
                if process.poll() is not None:
                    process.communicate()
                    killed += process.returncode == -signal.SIGKILL
                    processes[place] = another()
            seen = visits.read_text().splitlines()
            if killed >= 6 and len(seen) >= 40 and {line[0] for line in seen} == set("abc"):
                break
            time.sleep(0.05)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert not violated.exists(), violated.read_text()
    seen = visits.read_text().splitlines()
    assert killed >= 6 and len(seen) >= 40
    assert {line[0] for line in seen} == set("abc")
