"""A serving folder's versions: pushed, rolled back and removed so that no reader sees half of one.

Model servers serve the largest number. So nothing that goes live ever takes the place of a folder:
a push is a new, larger number, and so is a rollback, a copy of the older version by hard links,
which costs no room. TensorFlow Serving follows both like any push: it loads the new number beside
the old one, changes over, and not a request is lost.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import filecmp
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from components.atomic_pusher.records import (
    NEEDED_FILES,
    PAPERS_FOLDER,
    RECORD_FILE,
    FileMark,
    Origin,
    Record,
    RolledBack,
    fingerprint,
    mark_files,
    now,
    read_record,
    write_record,
)
from schema.errors import UserError

# Model servers take every folder that is named by a number for a version, and no other. Larger
# numbers do not fit the 64 bits that a version has in their messages.
_NUMBER = re.compile(r"[0-9]{1,19}")
_LARGEST = 2**63 - 1
_UNFINISHED = ".pushing-"
_REMOVED = ".removing-"

# Hard links that the file system, its limits or its owner's rights do not allow.
_NO_LINKS = (
    *(errno.EPERM, errno.EACCES, errno.EXDEV, errno.EMLINK),
    *(errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP),
)


@dataclass(frozen=True)
class Version:
    """A version of a model in a serving folder.

    Attributes:
        number: What servers call it.
        folder: Where it lies.
        record: What it says of itself; None for one that was put there by hand or by a Seamline
            that kept no records.
        fault: Why no server can load it, as far as its files tell; empty where they are all there.
        note: What else is wrong with it; empty where nothing is.
    """

    number: int
    folder: Path
    record: Record | None = None
    fault: str = ""
    note: str = ""

    @property
    def first(self) -> int:
        """The number under which this version's model was first pushed."""
        copied = self.record is not None and self.record.copy_of is not None
        return self.record.copy_of if copied else self.number

    def fingerprint(self) -> str:
        """Which model this is; reads all files where no record tells.

        Raises:
            OSError: a file cannot be read.
        """
        return fingerprint(self.record.files if self.record else mark_files(self.folder))

    def size(self) -> int:
        """Bytes of its model's files, shared with other versions by hard links or not."""
        total = 0
        for path in self.folder.rglob("*"):
            # It may be on its way out at this moment.
            with contextlib.suppress(OSError):
                if path.is_file() and path != self.folder / RECORD_FILE:
                    total += path.stat().st_size
        return total


@dataclass(frozen=True)
class Outcome:
    """What becomes of a model that is to be pushed.

    Attributes:
        state: "new": it is a version of its own now, or would be one. "live": servers answer with
            it already. "rolled back": somebody took it back, so it does not go live.
        version: The version that it is; None where there is none of it, or not yet.
        rolled_back: When that was and what took its place, in the last case.
        removed: Numbers of older versions that were removed.
        left: Number of each version that should have been removed, and why it could not be.
    """

    state: Literal["new", "live", "rolled back"]
    version: Version | None = None
    rolled_back: RolledBack | None = None
    removed: tuple[int, ...] = ()
    left: Mapping[int, str] | None = None

    @property
    def summary(self) -> str:
        """One sentence for the console."""
        if self.state == "rolled back":
            said = told_of_rolled_back(self.rolled_back)
            if self.version:
                command = f"seamline rollback WORKSPACE --to {self.rolled_back.version}"
                said += f", and `{command}` makes this one live again"
            return said
        said = told_of_live(self.state, self.version.number, self.version.folder.parent)
        if self.removed:
            said += f"; {_named(self.removed)} removed"
        for old, reason in (self.left or {}).items():
            said += f"; version {old} could not be removed ({reason})"
        return said


def told_of_live(state: Literal["new", "live"], number: int, serving_root: Path | str) -> str:
    """The sentence for a model that is live."""
    told = f"pushed to {serving_root}" if state == "new" else f"is live already in {serving_root}"
    return f"version {number} {told}"


def told_of_rolled_back(taken: RolledBack) -> str:
    """The sentence for a model that is not pushed because somebody took it back."""
    return (
        f"not pushed: this model was version {taken.version} and was rolled back to "
        f"{taken.copy_of} on {taken.when[:10]}; a new model is pushed as ever"
    )


@dataclass(frozen=True)
class Rollback:
    """What a rollback did.

    Attributes:
        live: The version that is live now.
        replaced: The one that was live before; None if nothing had to be done.
    """

    live: Version
    replaced: Version | None


def find_versions(serving_root: Path) -> list[Version]:
    """The versions in a serving folder, the largest number first; other entries are none.

    Takes no lock and writes nothing: what is pushed or removed meanwhile is there or is not.

    Raises:
        UserError: the folder cannot be read, or is not on this machine.
    """
    require_local(serving_root)
    try:
        names = [
            name
            for name in os.listdir(serving_root)
            if _NUMBER.fullmatch(name) and int(name) <= _LARGEST
        ]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"Cannot look for versions in {serving_root}: {error.strerror}.") from error
    found = (_version(serving_root / name) for name in names)
    return sorted((version for version in found if version), key=lambda v: v.number, reverse=True)


def live_version(found: Sequence[Version]) -> Version | None:
    """The version that servers answer with: the largest number that can be loaded."""
    return next((version for version in found if not version.fault), None)


def rolled_back_versions(found: Sequence[Version]) -> dict[int, RolledBack]:
    """The versions whose model was taken back and not made live again, by their number."""
    firsts = {version.number: version.first for version in found}
    marked = {}
    for entry in _rolled_back(found):
        first = firsts.get(entry.version, entry.version)
        for version in found:
            # Without a record, all files would have to be read.
            recorded = version.record and version.fingerprint() == entry.fingerprint
            if recorded or version.first == first:
                marked[version.number] = entry
    return marked


def require_local(serving_root: Path) -> None:
    """Refuses the URL of an object store.

    Raises:
        UserError: it is one.
    """
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(serving_root)):
        raise UserError(
            f"{serving_root} is in an object store, where no folder can be renamed or linked, so "
            "versions are neither listed nor rolled back there. To go back, copy the older "
            "version's files to a folder with a larger number, saved_model.pb last."
        )


def expected_outcome(model: Path, serving_root: Path) -> Outcome:
    """What `push` would do now, without doing it.

    Raises:
        UserError: the model or the folder cannot be read.
    """
    with naming_disk_errors(model, serving_root):
        return _expected_outcome(mark_files(model), find_versions(serving_root))


def push(
    model: Path,
    serving_root: Path,
    origin: Origin | None = None,
    keep: int | None = None,
    papers: Sequence[Path] = (),
    companion: Path | None = None,
) -> Outcome:
    """Copies a SavedModel into the serving folder as its newest version.

    Not if it is live already with the same companion, nor if it was rolled back. The copy grows in
    a hidden folder, is written through to the disk, and gets its number by a rename, which happens
    or does not. What a killed push or removal left behind is removed by the next.

    Args:
        model: the SavedModel's folder.
        serving_root: holds one folder a version; made if it is not there.
        origin: where the model comes from, to be told by `seamline versions`.
        keep: how many of the newest versions to keep; all by default. Counted are those that can be
            loaded. The live one is the first of them, and the one that was live before it, which
            a server may still be loading or draining, the second, so 2 is the least.
        papers: files about the model, such as its card, for the new version's `PAPERS_FOLDER`. They
            are no part of the model: one that is live already does not get others, and a rollback
            takes them along.
        companion: a folder of what is asked together with the model, such as an index of what it
            answered, for `PAPERS_FOLDER` too. A model that is live with another one or none gets a
            new version, so that whoever asks both changes both at once.

    Returns:
        What became of the model. A new version's number is the time in seconds since 1970, or the
        number after the largest one there if that is larger.

    Raises:
        UserError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    if keep is not None and keep < 2:
        raise ValueError(f"keep must be at least 2. Received: keep={keep}")
    with naming_disk_errors(model, serving_root):
        files = mark_files(model)
        serving_root.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(serving_root):
            _tidy(serving_root)
            found = find_versions(serving_root)
            outcome = _expected_outcome(files, found)
            copy_of = None
            if outcome.state == "live" and companion and not _is_beside(outcome.version, companion):
                copy_of = outcome.version.first
                outcome = replace(outcome, state="new")
            if outcome.state == "new":
                record = Record(
                    files,
                    now(),
                    origin or Origin(),
                    copy_of=copy_of,
                    rolled_back=_rolled_back(found),
                )
                place = serving_root / str(_next_number(found))
                beside = [*papers, *([companion] if companion else [])]
                version = _add(model, place, record, _copy_to_disk, beside)
                outcome = replace(outcome, version=version)
            if keep is not None and outcome.state != "rolled back":
                removed, left = _remove_all_but(keep, serving_root)
                outcome = replace(outcome, removed=removed, left=left)
    return outcome


def roll_back(serving_root: Path, to: int | None = None) -> Rollback:
    """Makes an earlier version live again, as a new version that is a copy of it.

    The model that was live is not pushed again by itself, unless it is gone back to in turn.

    Args:
        serving_root: holds one folder a version.
        to: which version; by default the one that was live before the live one's model was first
            pushed.

    Returns:
        What is live now. Nothing is done if that is the version asked for.

    Raises:
        UserError: there is no such version, it is not as it was pushed, something else went live
            while this waited for its turn, or the folder cannot be written.
    """
    seen = live_version(find_versions(serving_root))
    if seen is None:
        raise UserError(
            f"There is no version in {serving_root} that could be live, so nothing to go back "
            "from. `seamline run` pushes one."
        )
    with _naming_rollback_errors(serving_root), _one_at_a_time(serving_root):
        _tidy(serving_root)
        found = find_versions(serving_root)
        current = live_version(found)
        if to is None and (current is None or current.number != seen.number):
            raise UserError(
                f"Version {seen.number} is no longer live: "
                f"{f'{current.number} is, since just now' if current else 'it was removed'}. "
                "Nothing was rolled back; look at `seamline versions` and decide anew."
            )
        target = _earlier(found, current) if to is None else _numbered(found, to, serving_root)
        _check_whole(target)
        model, replaced = target.fingerprint(), current.fingerprint()
        if model == replaced and current is found[0]:
            return Rollback(current, None)
        taken_back = [each for each in _rolled_back(found) if each.fingerprint != model]
        number = _next_number(found)
        # Who goes on to a later version again takes nothing back.
        if model != replaced and target.first < current.first:
            taken_back.append(RolledBack(replaced, current.number, number, target.first, now()))
        record = Record(
            files=target.record.files if target.record else mark_files(target.folder),
            pushed=now(),
            origin=replace(target.record.origin if target.record else Origin(), serving_state=""),
            copy_of=target.first,
            in_place_of=current.number,
            rolled_back=tuple(taken_back),
        )
        place = serving_root / str(number)
        return Rollback(_add(target.folder, place, record, _link_to_disk), current)


@contextlib.contextmanager
def naming_disk_errors(model: Path, target: Path) -> Iterator[None]:
    """Turns what the system says when a model cannot be copied to a folder into a UserError."""
    try:
        yield
    # copytree gathers what went wrong with each file into one shutil.Error, itself an OSError.
    except OSError as error:
        if _is_full(error):
            size = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
            raise UserError(
                f"The disk of {target} is full: the new version takes {size / 1e6:.1f} MB. Make "
                "room, for example by a lower serving.keep_versions, and run again."
            ) from error
        raise UserError(
            f"Cannot copy the model to {target}: {error}. "
            "See that the folder can be written, and run again."
        ) from error


@contextlib.contextmanager
def _naming_rollback_errors(serving_root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        remedy = "Make room" if _is_full(error) else "See that the folder can be written"
        raise UserError(
            f"Cannot roll back in {serving_root}: {error}. What was live still is. {remedy}, and "
            "try again."
        ) from error


def _is_full(error: OSError) -> bool:
    full = (errno.ENOSPC, errno.EDQUOT)
    return error.errno in full or any(os.strerror(number) in str(error) for number in full)


def _version(folder: Path) -> Version | None:
    """Looks at a version's folder; None if it is gone by now."""
    number = int(folder.name)
    if not os.path.lexists(folder):
        return None
    if not folder.is_dir():
        fault = "a link that leads nowhere" if not folder.exists() else "a file, not a folder"
        return Version(number, folder, fault=fault)
    record, note = None, ""
    try:
        try:
            record = read_record(folder)
        except ValueError as error:
            note = f"its {RECORD_FILE.name} cannot be understood ({error})"
        return Version(number, folder, record, _fault(folder, record), note)
    except OSError as error:
        return Version(number, folder, record, f"cannot be read ({error.strerror})", note)


def _fault(folder: Path, record: Record | None) -> str:
    """What is missing in a version's folder without which no server can load it."""
    graphs = [folder / name for name in ("saved_model.pb", "saved_model.pbtxt")]
    if not any(graph.is_file() and graph.stat().st_size for graph in graphs):
        return "saved_model.pb is missing or empty"
    if (folder / "variables").is_dir() and not (folder / "variables/variables.index").is_file():
        return "variables/variables.index is missing"
    for name, mark in record.files.items() if record else ():
        if name.startswith(NEEDED_FILES):
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if (size := path.stat().st_size) != mark.size:
                return f"{name} has {size:,} of {mark.size:,} bytes"
    return ""


def _expected_outcome(files: Mapping[str, FileMark], found: Sequence[Version]) -> Outcome:
    live = live_version(found)
    if live and _holds(live.folder, files):
        # Below a version that cannot be loaded it would not be found by a server that starts anew.
        return Outcome("live", live) if live is found[0] else Outcome("new")
    model = fingerprint(files)
    for entry in _rolled_back(found):
        if entry.fingerprint == model:
            still = (v for v in found if entry.version in (v.number, v.first) and not v.fault)
            return Outcome("rolled back", next(still, None), entry)
    return Outcome("new")


def _holds(folder: Path, files: Mapping[str, FileMark]) -> bool:
    """Whether a folder has all files of a model, as they are; it may have others beside them."""
    for name, mark in files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != mark.size:
            return False
    there = mark_files(folder)
    return all(there.get(name) == mark for name, mark in files.items())


def _rolled_back(found: Sequence[Version]) -> tuple[RolledBack, ...]:
    return next((version.record.rolled_back for version in found if version.record), ())


def _earlier(found: Sequence[Version], current: Version) -> Version:
    """What was live before the model of `current` first was, and was not taken back itself."""
    model = current.fingerprint()
    unwanted = {model} | {entry.fingerprint for entry in _rolled_back(found)}
    for version in found:
        sound = version.number < current.first and not version.fault
        if sound and version.fingerprint() not in unwanted:
            return version
    raise UserError(
        f"There is no version before {_called(current)} to go back to in {current.folder.parent}. "
        "`seamline versions` lists what there is; --to VERSION chooses."
    )


def _numbered(found: Sequence[Version], number: int, serving_root: Path) -> Version:
    """The version of that number, or else a copy of it."""
    for version in found:
        if version.number == number:
            return version
    for version in found:
        if version.first == number:
            return version
    there = ", ".join(str(version.number) for version in found)
    raise UserError(f"There is no version {number} in {serving_root}; there are {there or 'none'}.")


def _check_whole(version: Version) -> None:
    """Refuses a version that a server could not load, or that would answer as another model."""
    fault = version.fault
    if not fault and version.record:
        there = mark_files(version.folder)
        for name, mark in version.record.files.items():
            if name.startswith(NEEDED_FILES) and there.get(name) != mark:
                fault = f"{name} has changed since it was pushed"
                break
    if fault:
        raise UserError(
            f"Version {version.number} in {version.folder.parent} cannot be made live: {fault}. "
            "Choose another with --to VERSION; `seamline versions` lists them."
        )


def _called(version: Version) -> str:
    if version.first == version.number:
        return str(version.number)
    return f"{version.first} (live as {version.number})"


def _named(numbers: Sequence[int]) -> str:
    return f"version{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _next_number(found: Sequence[Version]) -> int:
    number = max(int(time.time()), (found[0].number if found else 0) + 1)
    if number > _LARGEST:
        raise UserError(
            f"No version can come after {found[0].folder}: larger numbers are not for servers. "
            "Give that folder a smaller one."
        )
    return number


def _add(
    source: Path,
    place: Path,
    record: Record,
    copy_file: Callable[[str, str], None],
    papers: Sequence[Path] = (),
) -> Version:
    """Makes a version out of a model's files, its record and papers; the rename is the push."""
    unfinished = place.with_name(f"{_UNFINISHED}{place.name}")
    try:
        # Not one that is there: what a killed push left must not become part of this version.
        unfinished.mkdir()
        _write_through(write_record(record, unfinished))
        shutil.copytree(
            source,
            unfinished,
            ignore=shutil.ignore_patterns(RECORD_FILE.name),
            copy_function=copy_file,
            dirs_exist_ok=True,
        )
        for paper in papers:
            target = unfinished / PAPERS_FOLDER / paper.name
            if paper.is_dir():
                shutil.copytree(paper, target, copy_function=_copy_to_disk)
            else:
                _copy_to_disk(str(paper), str(target))
        for folder, _, _ in os.walk(unfinished):
            _write_through(folder)
        unfinished.rename(place)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    _write_through(place.parent)
    return Version(int(place.name), place, record)


def _is_beside(version: Version, companion: Path) -> bool:
    """Whether a version has a folder of the same files beside its model."""
    there = version.folder / PAPERS_FOLDER / companion.name

    def files(folder: Path) -> list[Path]:
        return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())

    wanted = files(companion)
    return wanted == files(there) and all(
        filecmp.cmp(companion / name, there / name, shallow=False) for name in wanted
    )


def _remove_all_but(keep: int, serving_root: Path) -> tuple[tuple[int, ...], dict[int, str]]:
    """Removes what is older than the newest `keep` that can be loaded, and what of it would not go.

    A version that cannot be loaded is left alone: somebody may be copying it just now.
    """
    sound = [version for version in find_versions(serving_root) if not version.fault]
    # A link to another version lives by that one's files.
    kept = {os.path.realpath(version.folder) for version in sound[:keep]}
    removed, left = [], {}
    for version in reversed(sound[keep:]):
        folder = version.folder
        if not folder.is_symlink() and os.path.realpath(folder) in kept:
            continue
        hidden = serving_root / f"{_REMOVED}{folder.name}"
        try:
            folder.rename(hidden)
            _delete(hidden)
            removed.append(version.number)
        except OSError as error:
            left[version.number] = error.strerror or str(error)
    return tuple(removed), left


def _tidy(serving_root: Path) -> None:
    """Deletes what a killed push, rollback or removal left behind, as far as that is possible."""
    for prefix in (_UNFINISHED, _REMOVED):
        for leftover in serving_root.glob(f"{prefix}*"):
            with contextlib.suppress(OSError):
                _delete(leftover)


def _delete(path: Path) -> None:
    # Somebody may have linked a version to where there was room; what is there is not ours.
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Waits for another push or rollback in this folder; a killed process lets go by itself."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _copy_to_disk(source: str, target: str) -> None:
    shutil.copy(source, target)
    _write_through(target)


def _link_to_disk(source: str, target: str) -> None:
    try:
        # The file itself: a symbolic link may lead elsewhere from the new folder.
        os.link(os.path.realpath(source), target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copy(source, target)
    _write_through(target)


def _write_through(path: str | Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
