"""Which files lie below the folder of pictures, and a fingerprint of all that is read."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from hashlib import blake2b
from typing import NamedTuple

from components.catalog_example_gen import storage
from components.catalog_example_gen.pictures import SUFFIXES
from schema.errors import UserError


class Found(NamedTuple):
    """A file below the folder.

    Attributes:
        path: Relative to the folder.
        inside: False for a symbolic link that leads out of the folder.
        stamp: Gives what changes when the file does, as `storage.stamp`.
    """

    path: str
    inside: bool
    stamp: Callable[[], str]

    @property
    def is_picture(self) -> bool:
        """Whether the suffix is a picture's."""
        return self.path.lower().endswith(SUFFIXES)


def files_below(folder: str) -> Iterator[Found]:
    """All files below `folder`, a path or a URL, in an order that depends on their names alone.

    Links to folders are not followed, because they can lead out of the folder or around in it.
    Pipes, sockets and dangling links are no files. Behind a URL are no links.

    Raises:
        UserError: A folder cannot be listed.
    """
    return _behind_url(folder) if storage.is_url(folder) else _on_disk(folder)


def _behind_url(folder: str) -> Iterator[Found]:
    root = folder.rstrip("/") + "/"
    for file in sorted(storage.listed(folder), key=lambda file: file.path):
        # Object stores show a folder as a file of that name.
        if not file.path.endswith("/"):
            path = file.path.removeprefix(root)
            yield Found(path, True, partial(storage.listed_stamp, file))


def _on_disk(folder: str) -> Iterator[Found]:
    root = os.path.realpath(folder)
    pending = [""]
    while pending:
        below = pending.pop()
        listed = os.path.join(folder, below) if below else folder
        try:
            with os.scandir(listed) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            raise UserError(
                f"The folder {listed} cannot be listed: {error.strerror}. "
                "Check that it is there and that you may read it."
            ) from error
        for entry in entries:
            path = os.path.join(below, entry.name)
            if entry.is_dir(follow_symlinks=False):
                pending.append(path)
            elif entry.is_file():
                inside = not entry.is_symlink() or is_inside(entry.path, root)
                yield Found(path, inside, partial(_stamp, entry))


def _stamp(entry: os.DirEntry[str]) -> str:
    return storage.local_stamp(entry.stat())


def is_inside(path: str, root: str) -> bool:
    """Whether `path`, all links followed, lies below the real path `root`."""
    return os.path.realpath(path).startswith(root.rstrip(os.sep) + os.sep)


def leads_outside(name: str, images: str) -> bool:
    """Whether the path `name` below the folder `images` exists, and is not inside it."""
    root = os.path.realpath(images)
    path = os.path.join(root, name)
    return os.path.lexists(path) and not is_inside(path, root)


def key(name: str) -> bytes:
    """Makes names equal that look equal: macOS stores decomposed letters."""
    if not name.isascii():
        name = unicodedata.normalize("NFC", name)
    return name.encode("utf-8", "surrogateescape")


def preference(path: str) -> tuple[int, bytes]:
    """Of several files for one product, the one with the least of these is its picture."""
    suffix = os.path.splitext(path)[1].lower()
    rank = SUFFIXES.index(suffix) if suffix in SUFFIXES else len(SUFFIXES)
    return rank, os.fsencode(path)


def fingerprint(labels: Iterable[str], images: str) -> str:
    """Changes when a file of labels or a picture changes, comes or goes; looks into none.

    Made of each file's relative path, size and time of modification. A file or folder that is
    missing counts as empty: saying so is the ingest's business.

    Args:
        labels: Paths or URLs of the CSV, or of the annotation files.
        images: Path or URL of the folder of pictures.
    """
    digest = blake2b(digest_size=16)

    def add(path: str, stamp: str) -> None:
        digest.update(f"{path}\0{stamp}\n".encode("utf-8", "surrogateescape"))

    for path in labels:
        if storage.is_file(path):
            add(os.path.basename(path), storage.stamp(path))
    if storage.is_url(images) or os.path.isdir(images):
        for found in files_below(images):
            if found.is_picture:
                add(found.path, found.stamp())
    return digest.hexdigest()
