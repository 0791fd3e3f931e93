"""What a version says of itself: which model it is, where that came from, what it stands in for.

The record is one of the version's files, in `assets.extra`, which model servers leave to others. So
it comes with the version by the same rename and goes with it by the same removal: there is no
moment, whoever is killed, at which the one tells of what the other does not hold. Each record
carries on the list of the models that were rolled back, so that the newest one has them all.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from components import storage
from schema import features

RECORD_FILE = Path(features.VERSION_FILE)

PAPERS_FOLDER = RECORD_FILE.parent
"""Of what a version has beside its model, and no server reads."""

NEEDED_FILES = ("saved_model.pb", "variables/", "assets/")
"""What a server loads of a model; the rest, such as warm-up requests, is others' to change."""

_BLOCK_BYTES = 1 << 20


class FileMark(NamedTuple):
    """A file's size in bytes and the SHA-256 of its content, in hexadecimal digits."""

    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class RolledBack:
    """A model that somebody took back, and that no run pushes again by itself.

    Attributes:
        fingerprint: Which model; see `fingerprint`.
        version: The version that it was when it was taken back.
        replaced_by: The version that went live in its place.
        copy_of: The earlier version that `replaced_by` is a copy of.
        when: ISO 8601, in UTC.
    """

    fingerprint: str
    version: int
    replaced_by: int
    copy_of: int
    when: str


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a model came from, as far as its pusher knows.

    Attributes:
        model: URI of the trained model's artifact.
        run: Id of the pipeline run that pushed it.
        metrics: `level/metric` to its value on the test part.
        automatic: From which scores on answers need no person: `wanted`, and by level and by
            attribute, `levels` and `attributes`; `serving.client.Automatic` reads it.
        serving_state: Of the step that pushed it; see `AtomicPusher`.
    """

    model: str = ""
    run: str = ""
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    automatic: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    serving_state: str = ""


@dataclasses.dataclass(frozen=True)
class Record:
    """What is written beside a version's model.

    Attributes:
        files: The model's files as they were pushed, by their path in the version's folder.
        pushed: When the version went live; ISO 8601, in UTC.
        origin: Where the model came from.
        copy_of: For a version that a rollback made, the one under which its model was first
            pushed; else None.
        in_place_of: For such a version, the one that was live before; else None.
        rolled_back: Every model that was rolled back and not made live again since.
        companion: The files of what is asked together with the model, likewise, where they lie in
            an object store, which is slow to be compared with; else none.
    """

    files: Mapping[str, FileMark]
    pushed: str
    origin: Origin = dataclasses.field(default_factory=Origin)
    copy_of: int | None = None
    in_place_of: int | None = None
    rolled_back: tuple[RolledBack, ...] = ()
    companion: Mapping[str, FileMark] = dataclasses.field(default_factory=dict)


def mark_files(folder: Path | str) -> dict[str, FileMark]:
    """Reads every file of a model, or of a version without its record, behind a path or a URL.

    Raises:
        OSError: a file cannot be read.
    """
    marks = {}
    for name in storage.files(str(folder)):
        if name == RECORD_FILE.as_posix():
            continue
        digest = hashlib.sha256()
        size = 0
        with storage.opened(f"{folder}/{name}") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                size += len(block)
        marks[name] = FileMark(size, digest.hexdigest())
    return marks


def fingerprint(files: Mapping[str, FileMark]) -> str:
    """Tells a model from every other, wherever it lies: a hash of what a server loads of it."""
    needed = sorted(name for name in files if name.startswith(NEEDED_FILES))
    named = json.dumps([(name, files[name].sha256) for name in needed])
    return hashlib.sha256(named.encode()).hexdigest()


def now() -> str:
    """This second, in UTC, as ISO 8601 has it."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_record(record: Record, version: Path) -> Path:
    """Writes a record into the folder of a version that nobody sees yet; returns the file."""
    path = version / RECORD_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(written(record))
    return path


def written(record: Record) -> bytes:
    """A record's file."""
    told = dataclasses.asdict(record)
    if not record.companion:
        # An earlier Seamline reads records with no more than it knows.
        del told["companion"]
    return (json.dumps(told, indent=1) + "\n").encode()


def read_record(version: Path | str) -> Record | None:
    """The record of a version; None where it has none, as one that was put there by hand.

    Args:
        version: Path or URL of its folder.

    Raises:
        ValueError: there is one, and it cannot be understood.
        OSError: it cannot be read.
    """
    try:
        with storage.opened(f"{version}/{RECORD_FILE.as_posix()}") as file:
            text = file.read().decode()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        found: dict[str, Any] = json.loads(text)
        return Record(
            files={name: FileMark(*mark) for name, mark in found.pop("files").items()},
            origin=Origin(**found.pop("origin")),
            rolled_back=tuple(RolledBack(**entry) for entry in found.pop("rolled_back")),
            companion={name: FileMark(*mark) for name, mark in found.pop("companion", {}).items()},
            **found,
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
