"""Which files lie below the folder of pictures, and which of them is a product's picture.

What programs leave behind is passed over, and counts as not there: files and folders whose names
begin with a dot (`.git`, `.Trash`, `.ipynb_checkpoints`, the `._1000.jpg` of macOS) or `~$`, or end
with `~`, and those of `LITTER`. Of several files by a product's name its picture is the one of the
earliest suffix in `pictures.SUFFIXES`, of those the one below the fewest folders, of those the
first by its path: `1000.jpg` before `back/1000.jpg`, and both before `1000.png`.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import NamedTuple

from components import storage
from components.catalog_example_gen.pictures import SUFFIXES
from schema.errors import UserError

LITTER = frozenset(
    {
        *("__macosx", "__pycache__", "@eadir", "#recycle", "$recycle.bin"),
        *("system volume information", "lost+found", "thumbs.db", "ehthumbs.db", "desktop.ini"),
    }
)
"""Names, in lower case, of what archivers, network drives and file managers leave in folders."""


_MOST_NAMED = 5


class Found(NamedTuple):
    """A file below the folder.

    Attributes:
        path: Relative to the folder.
        inside: False for a symbolic link that leads out of the folder and must not.
        stamp: Gives what changes when the file does, as `storage.stamp`.
    """

    path: str
    inside: bool
    stamp: Callable[[], str]

    @property
    def is_picture(self) -> bool:
        """Whether the suffix is a picture's."""
        return self.path.lower().endswith(SUFFIXES)


@dataclass
class Few:
    """Paths of which there may be many: how many, and the first five."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, path: str) -> None:
        """Counts one more."""
        self.count += 1
        if len(self.first) < _MOST_NAMED:
            self.first.append(path)


@dataclass
class SkippedLinks:
    """Links below the folder that are none of its files.

    Attributes:
        folders: Those to folders that are not followed.
        dangling: Those with a picture's suffix that lead nowhere.
    """

    folders: Few = field(default_factory=Few)
    dangling: Few = field(default_factory=Few)


def is_litter(name: str) -> bool:
    """Whether a program has left the file or folder of this name, which is no part of a catalog."""
    return name.startswith((".", "~$")) or name.endswith("~") or name.lower() in LITTER


def files_below(
    folder: str, links: bool = False, skipped: SkippedLinks | None = None
) -> Iterator[Found]:
    """All files below `folder`, a path or a URL, in an order that depends on their names alone.

    Litter is passed over. Pipes, sockets and dangling links are no files. Behind a URL are no
    links.

    Args:
        folder: The folder of pictures.
        links: Whether links may lead out of it. If so, links to folders are followed too, except
            into a folder that they lie in; otherwise they are not, because they can lead anywhere.
        skipped: Gets the links that are none of its files.

    Raises:
        UserError: A folder cannot be listed.
    """
    if storage.is_url(folder):
        return _behind_url(folder)
    return _on_disk(folder, links, skipped or SkippedLinks())


def _behind_url(folder: str) -> Iterator[Found]:
    root = folder.rstrip("/") + "/"
    for file in sorted(storage.listed(folder), key=lambda file: file.path):
        path = file.path.removeprefix(root)
        # Object stores show a folder as a file of that name.
        if not path.endswith("/") and not any(map(is_litter, path.split("/"))):
            yield Found(path, True, partial(storage.listed_stamp, file))


def _on_disk(folder: str, links: bool, skipped: SkippedLinks) -> Iterator[Found]:
    root = os.path.realpath(folder)
    pending: list[tuple[str, tuple[str, ...]]] = [("", (root,))]
    while pending:
        below, above = pending.pop()
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
            if is_litter(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                pending.append((path, above))
            elif entry.is_dir():
                here, real = os.path.realpath(listed), os.path.realpath(entry.path)
                if not links:
                    skipped.folders.add(path)
                elif not any(one == real or is_inside(one, real) for one in (*above, here)):
                    pending.append((path, (*above, here, real)))
            elif entry.is_file():
                inside = links or not entry.is_symlink() or is_inside(entry.path, root)
                yield Found(path, inside, partial(_stamp, entry))
            elif entry.is_symlink() and path.lower().endswith(SUFFIXES):
                skipped.dangling.add(path)


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


def stem(path: str) -> str:
    """The file's name without its suffix, by which a product without a path names it."""
    return os.path.splitext(os.path.basename(path))[0]


def preference(path: str) -> tuple[int, int, bytes]:
    """Of several files for one product, the one with the least of these is its picture."""
    suffix = os.path.splitext(path)[1].lower()
    rank = SUFFIXES.index(suffix) if suffix in SUFFIXES else len(SUFFIXES)
    return rank, path.count("/"), os.fsencode(path)


def passed_over(path: str) -> str | None:
    """The part of a path below the folder that is litter; None where none is."""
    return next((part for part in path.split("/") if is_litter(part)), None)


def fingerprint(labels: Iterable[str], images: str, links: bool = False) -> str:
    """Changes when a file of labels or a picture changes, comes or goes; looks into none.

    Made of each file's relative path, size and time of modification. A file or folder that is
    missing counts as empty: saying so is the ingest's business.

    Args:
        labels: Paths or URLs of the CSV, or of the annotation files.
        images: Path or URL of the folder of pictures.
        links: As in `files_below`.
    """
    digest = blake2b(digest_size=16)

    def add(path: str, stamp: str) -> None:
        digest.update(f"{path}\0{stamp}\n".encode("utf-8", "surrogateescape"))

    for path in labels:
        if storage.is_file(path):
            add(os.path.basename(path), storage.stamp(path))
    if storage.is_url(images) or os.path.isdir(images):
        for found in files_below(images, links):
            if found.is_picture:
                add(found.path, found.stamp())
    return digest.hexdigest()
