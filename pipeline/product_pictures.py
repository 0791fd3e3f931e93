"""Which file is a product's picture, as the ingest chooses it, without Beam.

The ingest joins rows with files by sorting both, part by part. Whoever walks a catalog row by row
asks here instead. That both choose the same file is what the tests of this module are about.
"""

from __future__ import annotations

import os
import posixpath
from array import array
from bisect import bisect_left, bisect_right
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np

from components.catalog_example_gen import folder, near_misses
from components.catalog_example_gen.near_misses import Names
from components.catalog_example_gen.rejects import IN_WORDS, Reason, printable
from components.storage import is_url
from schema.errors import UserError

_PICTURE, _INSIDE = 1, 2


class NoPicture(Exception):
    """A row without a usable file; the message says why."""

    def __init__(self, reason: Reason, found: str):
        super().__init__(f"{IN_WORDS[reason]}: {printable(found)}")


class _File(NamedTuple):
    path: str
    is_picture: bool
    is_inside: bool


class ProductPictures:
    """The files below a folder, by the names under which rows look them up.

    Some 80 bytes a file are held, whatever is asked.

    Args:
        images: the folder of pictures.
        by_path: whether rows name the path below the folder; else they name the file without its
            suffix, wherever it is.
        links: whether links may lead out of the folder.

    Raises:
        UserError: the folder is not there, or is behind a URL.
    """

    def __init__(self, images: Path | str, by_path: bool, links: bool = False):
        if is_url(str(images)):
            raise UserError(
                f"{images} is a URL, and pictures to ask about must be on this machine. Copy or "
                "mount the folder, and name it with --images."
            )
        if not os.path.isdir(images):
            state = "is a file, not a folder" if os.path.exists(images) else "is not there"
            raise UserError(f"The folder of pictures {images} {state}. Check --images.")
        self._images = str(images)
        self._by_path, self._links = by_path, links
        self._names = Names(by_path, os.path.basename(os.path.normpath(self._images)))
        hashes, loose, starts = array("Q"), array("Q"), array("Q")
        paths = bytearray()
        for found in folder.files_below(self._images, links):
            hashes.append(_hash(self._key_of(found.path)))
            loose.append(_hash(near_misses.loose_ends(found.path)[0 if by_path else -1]))
            starts.append(len(paths))
            paths.append(_PICTURE * found.is_picture + _INSIDE * found.inside)
            paths += os.fsencode(found.path) + b"\0"
        self._exact, self._loose = _Index(hashes, starts), _Index(loose, starts)
        self._paths = bytes(paths)

    def find(self, named: str) -> str:
        """The path below the folder of the picture that a row names.

        Args:
            named: the row's cell, without blanks around it.

        Raises:
            NoPicture: there is none, it is outside the folder, or is no picture by its suffix.
        """
        if not named:
            raise NoPicture(Reason.MISSING_PICTURE, "the cell is empty")
        path = named if is_url(named) else posixpath.normpath(named)
        if posixpath.isabs(path) or path.split("/")[0] == "..":
            raise NoPicture(Reason.OUTSIDE_IMAGES, named)
        name = path if self._by_path else named
        files = self._files(folder.key(name))
        if not files:
            if meant := self._nearly(name):
                return meant
            if self._by_path and not self._links and folder.leads_outside(name, self._images):
                raise NoPicture(Reason.OUTSIDE_IMAGES, name)
            expected = name if self._by_path else f"{name}.jpg or another suffix"
            raise NoPicture(Reason.MISSING_PICTURE, f"no file {expected}")
        file = min(files, key=lambda file: folder.preference(file.path))
        if not file.is_inside:
            raise NoPicture(Reason.OUTSIDE_IMAGES, f"a link: {file.path}")
        if not file.is_picture:
            raise NoPicture(Reason.WRONG_SUFFIX, file.path)
        return file.path

    def _files(self, key: bytes) -> list[_File]:
        files = (self._file(start) for start in self._exact.starts(key))
        return [file for file in files if self._key_of(file.path) == key]

    def _nearly(self, name: str) -> str | None:
        """The picture that the name without doubt means, though it is not called so."""
        ends = near_misses.loose_ends(name)
        for end in ends if self._by_path else ends[-1:]:
            files = [self._file(start) for start in self._loose.starts(end)]
            paths = [file.path for file in files if file.is_picture and file.is_inside]
            differences, fit = near_misses.fitting(name, paths, self._names)
            if near_misses.is_certain(differences, fit):
                return fit[0]
        return None

    def _file(self, start: int) -> _File:
        flags = self._paths[start]
        path = os.fsdecode(self._paths[start + 1 : self._paths.index(b"\0", start + 1)])
        return _File(path, bool(flags & _PICTURE), bool(flags & _INSIDE))

    def _key_of(self, path: str) -> bytes:
        return folder.key(path if self._by_path else folder.stem(path))


class _Index:
    """Where the files are whose keys have a hash."""

    def __init__(self, hashes: array[int], starts: array[int]) -> None:
        unordered = np.frombuffer(hashes, dtype=np.uint64)
        order = np.argsort(unordered, kind="stable")
        # Arrays of Python's own, in which single numbers are found faster than in NumPy's.
        self._hashes = array("Q", unordered[order].tobytes())
        self._starts = array("Q", np.frombuffer(starts, dtype=np.uint64)[order].tobytes())

    def starts(self, key: bytes) -> array[int]:
        sought = _hash(key)
        first = bisect_left(self._hashes, sought)
        return self._starts[first : bisect_right(self._hashes, sought, lo=first)]


def _hash(key: bytes) -> int:
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little")
