"""Adds a version to a serving folder so that no reader ever sees half of it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import filecmp
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from schema.errors import UserError

# Model servers take every folder that is named by a number for a version, and no other.
_UNFINISHED = ".pushing-"


def push(model: Path, serving_root: Path) -> Path:
    """Copies a SavedModel into the serving folder as its newest version.

    The copy grows in a hidden folder, is written through to the disk, and gets its number by a
    rename, which happens or does not. What a killed push left behind is removed by the next.

    Args:
        model: the SavedModel's folder.
        serving_root: holds one folder a version; made if it is not there.

    Returns:
        The new version's folder. Its number is the time in seconds since 1970, or the number after
        the largest one there if that is larger.

    Raises:
        UserError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    with naming_disk_errors(model, serving_root):
        serving_root.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(serving_root):
            for leftover in serving_root.glob(f"{_UNFINISHED}*"):
                shutil.rmtree(leftover)
            version = _next_version(serving_root)
            unfinished = serving_root / f"{_UNFINISHED}{version}"
            try:
                shutil.copytree(model, unfinished, copy_function=_copy_to_disk)
                for folder, _, _ in os.walk(unfinished):
                    _write_through(folder)
                unfinished.rename(serving_root / version)
            except BaseException:
                shutil.rmtree(unfinished, ignore_errors=True)
                raise
            _write_through(serving_root)
    return serving_root / version


@contextlib.contextmanager
def naming_disk_errors(model: Path, target: Path) -> Iterator[None]:
    """Turns what the system says when a model cannot be copied to a folder into a UserError."""
    try:
        yield
    # copytree gathers what went wrong with each file into one shutil.Error, itself an OSError.
    except OSError as error:
        full = (errno.ENOSPC, errno.EDQUOT)
        if error.errno in full or any(os.strerror(number) in str(error) for number in full):
            size = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
            raise UserError(
                f"The disk of {target} is full: the new version takes {size / 1e6:.1f} MB. Make "
                "room, for example by deleting old versions, and run again."
            ) from error
        raise UserError(
            f"Cannot copy the model to {target}: {error}. "
            "See that the folder can be written, and run again."
        ) from error


def is_newest(model: Path, serving_root: Path) -> bool:
    """Whether the newest version of a serving folder has all files of a SavedModel, as they are."""
    files = [str(path.relative_to(model)) for path in model.rglob("*") if path.is_file()]
    version = serving_root / str(_newest(serving_root))
    return filecmp.cmpfiles(model, version, files, shallow=False)[0] == files


def _newest(serving_root: Path) -> int:
    # glob, not iterdir: a folder that is not there has no version either.
    numbers = (int(path.name) for path in serving_root.glob("*") if path.name.isdecimal())
    return max(numbers, default=0)


def _next_version(serving_root: Path) -> str:
    return str(max(int(time.time()), _newest(serving_root) + 1))


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Waits for another push to this folder; a killed process lets go by itself."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _copy_to_disk(source: str, target: str) -> None:
    shutil.copy(source, target)
    _write_through(target)


def _write_through(path: str | Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
