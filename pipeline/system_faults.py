"""What the system refuses, a full disk above all, in one sentence, from however deep it comes.

Libraries wrap what the system says: Beam's workers into a RuntimeError's text, TensorFlow into a
status of its own, SQLite into another. All of it is recognized here, and nowhere else.
"""

from __future__ import annotations

import errno
import os
import re
import select
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

_FULL_BELOW_BYTES = 1 << 20
_FULL_BELOW_SHARE = 0.001


class _Fault(NamedTuple):
    """A kind of refusal.

    Attributes:
        numbers: what `errno` it has.
        told: how a text tells of it that holds no number.
        what: what is wrong, to be followed by where.
        remedy: what to do.
    """

    numbers: tuple[int, ...]
    told: str
    what: str
    remedy: str


_FAULTS = (
    _Fault(
        (errno.ENOSPC,),
        r"no space left on device|(?:database or )?disk is full",
        "The disk is full",
        "Make room and run the same command again: what was finished is kept.",
    ),
    _Fault(
        (errno.EDQUOT,),
        r"disk quota exceeded",
        "The disk quota is used up",
        "Make room, or have the quota raised, and run the same command again: what was finished "
        "is kept.",
    ),
    _Fault(
        (errno.EFBIG,),
        r"file too large",
        "A file would grow larger than this system allows",
        "See `ulimit -f` and what the file system can hold, and run the same command again.",
    ),
    _Fault(
        (errno.EROFS,),
        r"read-only file system|attempt to write a readonly database",
        "What is to be written to can only be read",
        "Name another folder, or have this one made writable.",
    ),
    _Fault(
        (errno.EACCES, errno.EPERM),
        r"permission denied|operation not permitted",
        "Permission is denied",
        "See who owns it and whether you may read it, and write to its folder; or name another.",
    ),
    _Fault(
        (errno.EMFILE, errno.ENFILE),
        r"too many open files",
        "Too many files are open at a time",
        "Raise the limit, e.g. by `ulimit -n 4096`, and run the same command again.",
    ),
    _Fault(
        (errno.ENOMEM,),
        r"cannot allocate memory|std::bad_alloc|OOM when allocating",
        "There is not enough memory",
        "End other programs, or ask for less at a time (training.batch_size, beam.workers), and "
        "run the same command again.",
    ),
    _Fault(
        (errno.EIO,),
        r"input/output error|disk i/o error",
        "A disk cannot be read or written",
        "See the system's log whether it fails or has been unplugged; save what is on it first.",
    ),
    _Fault(
        (errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN),
        r"stale file handle|transport endpoint is not connected",
        "A network file system is gone",
        "Mount it again and run the same command again.",
    ),
    _Fault(
        (errno.ENAMETOOLONG,),
        r"file name too long",
        "A file's name is longer than this file system allows",
        "Name a folder whose path is shorter.",
    ),
)
_LACKS_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})

_TOLD = [(re.compile(fault.told, re.IGNORECASE), fault) for fault in _FAULTS]
# As Python's own exceptions are printed, in a worker's traceback for example.
_PRINTED = re.compile(r"\[Errno (\d+)\][^\n:]*(?:: '([^'\n]+)')?")
# As TensorFlow names a file: `/a/b.tfrecord; No space left on device`.
_NAMED = re.compile(r"(/[^\s;:'\"]+)[;:]\s*$")


def output_is_closed() -> bool:
    """Whether whoever read what this process prints has gone, as `head` does."""
    poll = select.poll()
    for number in (1, 2):
        poll.register(number, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def system_fault(error: BaseException, folders: Iterable[Path] = ()) -> str | None:
    """The sentence for a failure that the system is to blame for; None for any other.

    Args:
        error: what was raised; causes, contexts and texts are looked through as well.
        folders: where the command writes: where the error names no file, those of them are named
            whose file system has no room left.
    """
    for each in causes(error):
        if found := _recognized(each):
            fault, path = found
            # Which file it was that memory lacked for is by chance.
            where = f": {path}" if path and errno.ENOMEM not in fault.numbers else ""
            if _LACKS_ROOM.intersection(fault.numbers):
                where = _where_room_lacks(path, folders)
            return f"{fault.what}{where}. {fault.remedy}"
    return None


def folder_is_gone() -> bool:
    """Whether the current folder was deleted or moved away under this process."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


FOLDER_IS_GONE = (
    "The current folder is gone: it was deleted or put anew since you entered it. Go to one that "
    "exists, e.g. by `cd`, and run the command again."
)


def open_standard_streams() -> None:
    """Makes the standard streams fit to be written to, whatever the caller has made of them.

    A stream that was closed leads nowhere, before a file gets its number and everything that is
    printed. What a terminal's encoding lacks is shown by other characters.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A stand-in, as a test's, writes to nothing that lacks a character.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what led to it, and what it gathers, each once."""
    waiting, seen = [error], set()
    while waiting:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        gathered = getattr(each, "exceptions", ())
        waiting += [one for one in (each.__cause__, each.__context__, *gathered) if one is not None]


def _recognized(error: BaseException) -> tuple[_Fault, str] | None:
    """Which fault the error is, and the path that it names, if it names one."""
    if isinstance(error, OSError) and error.errno is not None:
        return _of_number(error.errno, os.fsdecode(error.filename or ""))
    text = str(error)
    for match in _PRINTED.finditer(text):
        if found := _of_number(int(match[1]), match[2] or ""):
            return found
    if isinstance(error, MemoryError):
        return _of_number(errno.ENOMEM, "")
    for pattern, fault in _TOLD:
        if match := pattern.search(text):
            named = _NAMED.search(text[: match.start()])
            return fault, named[1] if named else ""
    return None


def _of_number(number: int, path: str) -> tuple[_Fault, str] | None:
    fault = next((fault for fault in _FAULTS if number in fault.numbers), None)
    return (fault, path) if fault else None


def _where_room_lacks(path: str, folders: Iterable[Path]) -> str:
    """The file or, where the error names none, the folders without room, with what is left."""
    if path:
        return f": {path} ({_left(Path(path))})"
    named = [*folders, Path(tempfile.gettempdir()), Path("/proc/self/fd/1").resolve()]
    lacking = [f"{folder} ({_left(folder)})" for folder in dict.fromkeys(named) if _is_full(folder)]
    return f": {', '.join(lacking)}" if lacking else ""


def _is_full(path: Path) -> bool:
    found = _file_system_of(path)
    free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    # What has no size, as /proc has none, is never full.
    lacks_bytes = free < max(_FULL_BELOW_BYTES, _FULL_BELOW_SHARE * total)
    return total > 0 and (lacks_bytes or _lacks_inodes(found))


def _left(path: Path) -> str:
    found = _file_system_of(path)
    if _lacks_inodes(found):
        return f"all {found.f_files:,} inodes of its file system are taken"
    free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    return f"{free / 1e6:,.1f} of {total / 1e6:,.1f} MB of its file system are free now"


def _lacks_inodes(found: os.statvfs_result) -> bool:
    return found.f_files > 0 and found.f_favail == 0


def _file_system_of(path: Path) -> os.statvfs_result:
    return os.statvfs(next(each for each in (path, *path.absolute().parents) if each.exists()))
