"""A serving folder in an object store: pushed so that no reader takes half a version for one.

No object store can rename a folder. So a version's files come in an order: what it says of itself,
its papers and what goes with it first, the model's variables then, and `saved_model.pb` at last,
without which no server loads anything. Versions are neither removed nor rolled back here; who goes
back copies an older version's files to a larger number, record and all, and the next push knows.

Records are read, never models. Of two pushes to one folder at a time both may be lost: each
workspace pushes to a folder of its own.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cached_property
from pathlib import PurePosixPath
from typing import Literal

from components import storage
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
    written,
)
from components.atomic_pusher.versions import told_of_live, told_of_rolled_back
from schema.errors import UserError

_GRAPH = "saved_model.pb"
_RECORD = RECORD_FILE.as_posix()
_FILE_OF_VERSION = re.compile(r"(0|[1-9][0-9]{0,17})/(.+)")


@dataclass(frozen=True)
class Version:
    """A folder of a bucket that is named by a number.

    Attributes:
        number: What servers call it.
        folder: Its URL.
        sizes: Bytes of each of its files, by their path in it.
        since: When its graph was written, in seconds since 1970; 0 without one.
    """

    number: int
    folder: str
    sizes: Mapping[str, int]
    since: float

    @cached_property
    def record(self) -> Record | None:
        """What it says of itself; None for one that others put there."""
        if _RECORD in self.sizes:
            # One that cannot be understood is as good as none.
            with contextlib.suppress(ValueError):
                return read_record(self.folder)
        return None

    @property
    def is_whole(self) -> bool:
        """Whether a server can load it, as far as sizes tell."""
        needed = self.record.files if self.sizes.get(_GRAPH) and self.record else {}
        return bool(self.sizes.get(_GRAPH)) and all(
            self.sizes.get(name) == mark.size
            for name, mark in needed.items()
            if name.startswith(NEEDED_FILES)
        )

    def fingerprint(self) -> str | None:
        """Which model this is, where the record tells."""
        return fingerprint(self.record.files) if self.record else None


@dataclass(frozen=True)
class Outcome:
    """What becomes of a model that is to be pushed; as `versions.Outcome`."""

    state: Literal["new", "live", "rolled back"]
    root: str
    version: Version | None = None
    rolled_back: RolledBack | None = None

    @property
    def summary(self) -> str:
        """One sentence for the console."""
        if self.state == "rolled back":
            return told_of_rolled_back(self.rolled_back)
        return told_of_live(self.state, self.version.number, self.root)


def expected_outcome(model: str, root: str, companion: str | None = None) -> Outcome:
    """What `push` would do now, without doing it.

    Raises:
        UserError: The store cannot be reached or read.
        OSError: The model cannot be read.
    """
    return _Push(model, root, companion).outcome()


def push(
    model: str,
    root: str,
    origin: Origin | None = None,
    papers: Sequence[str] = (),
    companion: str | None = None,
) -> Outcome:
    """Copies a SavedModel into a bucket's folder as its newest version.

    Not if the newest version is this model with the same companion, nor if it was rolled back.

    Args:
        model: Path or URL of the SavedModel's folder.
        root: URL of the folder that holds one folder a version.
        origin: Where the model comes from.
        papers: Paths or URLs of files about the model, for the version's `PAPERS_FOLDER`.
        companion: Path or URL of a folder of what is asked together with the model, likewise.

    Returns:
        What became of the model. A new version's number is the time in seconds since 1970, or the
        number after the largest one there, whole or not, if that is larger.

    Raises:
        UserError: The store cannot be reached, read or written. What was written of the version
            holds no `saved_model.pb`, and is removed as far as the store allows.
    """
    pushed = _Push(model, root, companion)
    outcome = pushed.outcome()
    if outcome.state != "new":
        return outcome
    number = max(int(time.time()), pushed.largest + 1)
    folder = f"{root}/{number}"
    record = replace(pushed.record(), pushed=now(), origin=origin or Origin())
    files = {f"{PAPERS_FOLDER}/{PurePosixPath(paper).name}": paper for paper in papers}
    if companion:
        beside = f"{PAPERS_FOLDER}/{PurePosixPath(companion).name}"
        files |= {f"{beside}/{name}": f"{companion}/{name}" for name in pushed.companion}
    files |= {name: f"{model}/{name}" for name in sorted(pushed.files, key=_last)}
    told = written(record)
    with _whole_or_gone(folder):
        storage.write_whole(f"{folder}/{_RECORD}", told)
        for name, source in files.items():
            if name == _GRAPH:
                with storage.opened(source) as graph:
                    storage.write_whole(f"{folder}/{name}", graph.read())
            else:
                storage.copy(source, f"{folder}/{name}")
    sizes = {name: mark.size for name, mark in pushed.files.items()} | {_RECORD: len(told)}
    return replace(outcome, version=Version(number, folder, sizes, time.time()))


def find_versions(root: str) -> list[Version]:
    """The versions in a bucket's folder, whole or not, the largest number first.

    Raises:
        UserError: The store cannot be reached or read.
    """
    sizes: dict[int, dict[str, int]] = defaultdict(dict)
    since: dict[int, float] = {}
    for file in storage.listed(root):
        if of := _FILE_OF_VERSION.fullmatch(file.path.removeprefix(f"{root}/")):
            number, name = int(of[1]), of[2]
            sizes[number][name] = file.size_in_bytes
            if name == _GRAPH:
                since[number] = file.last_updated_in_seconds
    return [
        Version(number, f"{root}/{number}", sizes[number], since.get(number, 0.0))
        for number in sorted(sizes, reverse=True)
    ]


class _Push:
    """A model that is to be pushed, and what is there.

    Attributes:
        files: The model's.
        companion: Those of what goes with it.
        largest: The largest number of a version, whole or not.
    """

    def __init__(self, model: str, root: str, companion: str | None) -> None:
        self._root = root
        self.files: Mapping[str, FileMark] = mark_files(model)
        self.companion: Mapping[str, FileMark] = mark_files(companion) if companion else {}
        there = find_versions(root)
        self.largest = there[0].number if there else 0
        # Looked into no further than is asked for: each record is a request or two.
        self._live = next((version for version in there if version.is_whole), None)
        self._earlier = [one for one in there if self._live and one.number < self._live.number]

    def outcome(self) -> Outcome:
        live = self._live
        if live and live.number == self.largest and (there := live.record):
            same = all(there.files.get(name) == mark for name, mark in self.files.items())
            if same and (not self.companion or self.companion == there.companion):
                return Outcome("live", self._root, live)
            if same:
                return Outcome("new", self._root)
        model = fingerprint(self.files)
        for entry in self._rolled_back():
            if entry.fingerprint == model:
                return Outcome("rolled back", self._root, rolled_back=entry)
        return Outcome("new", self._root)

    def record(self) -> Record:
        """What the new version says of itself, but for where it comes from and when."""
        live, model = self._live, fingerprint(self.files)
        again = live and live.fingerprint() == model
        return Record(
            self.files,
            pushed="",
            copy_of=(live.record.copy_of or live.number) if again else None,
            rolled_back=tuple(one for one in self._rolled_back() if one.fingerprint != model),
            companion=self.companion,
        )

    def _rolled_back(self) -> tuple[RolledBack, ...]:
        """What was taken back: told by records, or by an older version's copy at a new number."""
        live = self._live
        if not live or not live.record:
            return ()
        earlier = iter(self._earlier)
        replaced = next((version for version in earlier if version.is_whole), None)
        for copied in earlier:
            # Equal records are equally long, which needs no look into them.
            alike = copied.sizes.get(_RECORD) == live.sizes.get(_RECORD)
            if not alike or copied.record != live.record:
                continue
            if replaced.fingerprint() != live.fingerprint():
                when = datetime.fromtimestamp(live.since, timezone.utc)
                taken = RolledBack(
                    fingerprint=replaced.fingerprint() or "",
                    version=replaced.number,
                    replaced_by=live.number,
                    copy_of=copied.number,
                    when=when.strftime("%Y-%m-%dT%H:%M:%SZ"),
                )
                return (*(replaced.record.rolled_back if replaced.record else ()), taken)
        return live.record.rolled_back


def _last(name: str) -> tuple[bool, str]:
    return name == _GRAPH, name


@contextlib.contextmanager
def _whole_or_gone(folder: str) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(Exception):
            storage.remove_folder(folder)
        if isinstance(error, OSError):
            raise UserError(
                f"Cannot push to {folder}: {error}. Nothing went live. See that the bucket can be "
                "written, and run again."
            ) from error
        raise
