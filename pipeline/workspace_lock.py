"""A lock on a workspace that holds across machines: one holder at a time, however it ends.

The folder has a lease, a file that is named by a number and says who holds it. Its holder writes a
new beat into it every few seconds. Who wants the lock watches the lease: a new beat, and somebody
holds it; none for a minute by the watcher's own clock, and the holder is taken for dead. No time is
compared with another machine's, so clocks may differ as they like.

To take over is to create the lease of the next number, which the file system grants to one alone.
The largest number holds. A holder that was only asleep, and has been taken over, sees a larger
number at its next beat, and ends.

In a bucket the lease is one object, whose generation is the number: every writing changes it, and
the store grants a writing that names the last one to one writer alone.

On one machine nobody has to wait: there, the system's own lock is let go of with its process.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from schema.errors import UserError

BEAT_S = 5.0
DEAD_AFTER_S = 60.0

_DIGITS = 12
_SIGNAL = signal.SIGUSR1


def this_machine() -> str:
    """Tells machines apart, and containers of one machine, in which process numbers differ."""
    told = [socket.gethostname()]
    with contextlib.suppress(OSError):
        told.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        told.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(told)


@contextlib.contextmanager
def held(
    folder: Path,
    run: str,
    *,
    url: str | None = None,
    tell: Callable[[str], None] = lambda sentence: None,
    machine: str | None = None,
    beat_s: float = BEAT_S,
    dead_after_s: float = DEAD_AFTER_S,
) -> Iterator[None]:
    """Holds the lock of a folder, which is made; for the main thread.

    Args:
        folder: Where the leases lie; on any file system that all who want the lock share.
        url: Of the folder in Cloud Storage where the lease lies instead. The other folder then is
            this machine's own, and whoever names it is alone there.
        run: What it is held for, as others are told.
        tell: Is told once why this takes time, where it does.
        machine: Who is asking; by default `this_machine`.
        beat_s: Seconds between two beats.
        dead_after_s: Seconds without a beat after which a holder is dead. At least ten beats, for
            a busy machine is late.

    Raises:
        UserError: Another process holds it; or, while it was held, this process was asleep so long
            that another one took over, which ends what its main thread is at, as Ctrl-C does.
        OSError: The folder cannot be written.
    """
    machine = machine or this_machine()
    folder.mkdir(parents=True, exist_ok=True)
    # Others on this machine may have another folder for their copies.
    lease = _Object(url, f"{machine} {folder}", run) if url else _Leases(folder, machine, run)
    with _alone_on(machine, folder, lease) as alone:
        lease.take(alone, tell, beat_s, dead_after_s)
        beats = _Beats(lease, beat_s)
        try:
            with _interruptible():
                beats.start()
                try:
                    yield
                finally:
                    beats.end()
        except _TakenOver:
            raise UserError(
                f"{lease.holder()} took over while this run was asleep for more than "
                f"{dead_after_s:.0f} s. Wait for it, and run the same command again: what was "
                "finished is kept."
            ) from None
        finally:
            lease.release()


class _TakenOver(BaseException):
    """Another process holds the lock now."""


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Has `_SIGNAL` raise `_TakenOver` in the main thread, whatever that is waiting for."""

    def taken_over(*_: object) -> None:
        raise _TakenOver

    before = signal.signal(_SIGNAL, taken_over)
    try:
        yield
    finally:
        signal.signal(_SIGNAL, before)


class _Lease(ABC):
    """A lease, as one process sees it.

    Attributes:
        place: The workspace that it is of, as people know it.
        number: Of this process's own; 0 before it has one.
    """

    def __init__(self, place: str, machine: str, run: str) -> None:
        self.place = place
        self.number = 0
        self._beats = 0
        self._machine = machine
        self._about = {
            "machine": machine,
            "host": socket.gethostname(),
            "process": os.getpid(),
            "run": run,
            "since": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    @abstractmethod
    def latest(self) -> tuple[int, bytes]:
        """The number and content of what holds; 0 where nothing does."""

    @abstractmethod
    def _create(self, seen: int) -> bool:
        """Takes over from what has this number; False where another one was first."""

    @abstractmethod
    def _write(self, content: dict[str, Any]) -> bool:
        """Writes into this process's own; False where another one has taken over."""

    def take(
        self, alone: bool, tell: Callable[[str], None], beat_s: float, dead_after_s: float
    ) -> None:
        """Takes over as soon as the latest one is given back or its holder is dead.

        Raises:
            UserError: The holder lives.
        """
        watched: tuple[int, bytes] | None = None
        since = 0.0
        while True:
            seen = number, content = self.latest()
            said = _read(content)
            # Whoever lives on this machine would have kept this process from being alone.
            died_here = alone and said.get("machine") == self._machine
            if not number or said.get("released") or died_here:
                free = True
            elif watched is None:
                watched, since, free = seen, time.monotonic(), False
                tell(
                    f"{self.holder()} may still be at work; this waits up to "
                    f"{dead_after_s:.0f} s for a sign of life."
                )
            elif watched != seen:
                raise self.busy()
            else:
                free = time.monotonic() - since > dead_after_s
            if free and self._create(number):
                return
            time.sleep(beat_s / 5)

    def beat(self) -> bool:
        """Shows that the holder lives; False where another one has taken over."""
        self._beats += 1
        return self._write(self._about | {"beat": self._beats})

    def release(self) -> None:
        """Lets the next one in at once."""
        # What cannot be written to is taken over a minute later.
        with contextlib.suppress(OSError, UserError):
            self._write(self._about | {"released": True})

    def holder(self) -> str:
        """Who holds, for people."""
        said = _read(self.latest()[1])
        if "process" not in said or said.get("released"):
            return "Another run"
        return (
            f"Another run (process {said['process']} on {said['host']}, {said['run']}, since "
            f"{said['since']})"
        )

    def busy(self) -> UserError:
        """What is to be raised where it is held."""
        return UserError(
            f"{self.holder()} is at work in {self.place}. Wait for it, or name another folder "
            "with --workspace."
        )


class _Leases(_Lease):
    """The leases of a folder."""

    def __init__(self, folder: Path, machine: str, run: str) -> None:
        super().__init__(str(folder.parent), machine, run)
        self._folder = folder

    def latest(self) -> tuple[int, bytes]:
        return latest(self._folder)

    def _create(self, seen: int) -> bool:
        number = seen + 1
        path = self._path(number)
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            return False
        # Who has slept since it saw the latest lease creates one whose time has passed.
        if latest(self._folder)[0] != number:
            path.unlink(missing_ok=True)
            return False
        self.number = number
        self._write(self._about)
        for old in _numbers(self._folder):
            if old < number:
                self._path(old).unlink(missing_ok=True)
        return True

    def _write(self, content: dict[str, Any]) -> bool:
        if latest(self._folder)[0] != self.number:
            return False
        # Never creates it: one that is gone was taken over, and needs no room where it is there.
        try:
            handle = os.open(self._path(self.number), os.O_WRONLY)
        except FileNotFoundError:
            return False
        try:
            text = json.dumps(content).encode()
            os.pwrite(handle, text, 0)
            os.ftruncate(handle, len(text))
            os.fsync(handle)
        finally:
            os.close(handle)
        return True

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:0{_DIGITS}d}"


class _Object(_Lease):
    """The lease of a folder in Cloud Storage."""

    def __init__(self, url: str, machine: str, run: str) -> None:
        super().__init__(url.rpartition("/")[0], machine, run)
        self._url = f"{url}/lease.json"

    def latest(self) -> tuple[int, bytes]:
        from components import gcs

        return gcs.read_generation(self._url)

    def _create(self, seen: int) -> bool:
        self.number = seen
        return self._write(self._about)

    def _write(self, content: dict[str, Any]) -> bool:
        from components import gcs

        number = gcs.write_generation(self._url, json.dumps(content).encode(), self.number)
        self.number = number or self.number
        return number is not None


class _Beats:
    """The holder's heart: a thread."""

    def __init__(self, lease: _Lease, beat_s: float) -> None:
        self._lease, self._beat_s = lease, beat_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self) -> None:
        """Begins to beat."""
        self._thread.start()

    def end(self) -> None:
        """Beats no more once this returns."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._beat_s):
            try:
                lives = self._lease.beat()
            except (OSError, UserError):
                # A network file system, or a store, may be back at the next beat.
                continue
            if not lives:
                # Which also ends a call into the system that the main thread waits for.
                signal.pthread_kill(threading.main_thread().ident, _SIGNAL)
                return


def latest(folder: Path) -> tuple[int, bytes]:
    """The largest lease's number and content; 0 where there is none.

    Raises:
        OSError: The folder cannot be read.
    """
    while True:
        numbers = _numbers(folder)
        if not numbers:
            return 0, b""
        try:
            return numbers[-1], (folder / f"{numbers[-1]:0{_DIGITS}d}").read_bytes()
        except FileNotFoundError:
            # Taken over between the two looks.
            continue


def _numbers(folder: Path) -> list[int]:
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return sorted(int(name) for name in names if len(name) == _DIGITS and name.isdigit())


def _read(content: bytes) -> dict[str, Any]:
    """What a lease says; nothing where it is just being written."""
    try:
        said = json.loads(content)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


@contextlib.contextmanager
def _alone_on(machine: str, folder: Path, lease: _Lease) -> Iterator[bool]:
    """Keeps other processes of this machine out; False where the file system has no such locks.

    Raises:
        UserError: One of them holds the lock.
    """
    name = hashlib.sha256(machine.encode()).hexdigest()[:16]
    with open(folder / f"machine-{name}", "a", encoding="utf-8") as file:
        alone = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise lease.busy() from None
        except OSError:
            alone = False
        yield alone
