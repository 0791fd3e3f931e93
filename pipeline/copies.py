"""Copies on this machine of what lies in object stores, by paths that follow their URLs.

Steps read and write them, so that no library needs to know the store.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from components import storage
from schema.errors import UserError

_FOLDERS = {"s3": "s3", "gs": "gcs", "minio": "minio"}
"""Where Kubeflow's launcher copies what an object store has, by the scheme of its URLs."""

_AT_ONCE = 8
_NOTE = ".copied"


@dataclass(frozen=True)
class Copies:
    """The copies of what lies in object stores.

    A copy that was fetched or sent has a note beside it of what the store had then, by which it is
    known later whether it still is one: whatever a killed process or another machine has done.

    Args:
        folder: The folder that those of all stores lie below.
    """

    folder: str

    def of(self, uri: str) -> str:
        """The path of the copy of a URL; anything else as it is."""
        scheme, separator, rest = uri.partition("://")
        if not separator or scheme not in _FOLDERS:
            return uri
        return os.path.join(self.folder, _FOLDERS[scheme], rest)

    def origin(self, path: str) -> str:
        """The URL that a path is a copy of; anything else as it is."""
        for scheme, name in _FOLDERS.items():
            below = os.path.join(self.folder, name) + "/"
            if path.startswith(below):
                return f"{scheme}://{path.removeprefix(below)}"
        return path

    def in_words(self, sentence: str) -> str:
        """A sentence with the URLs in place of the paths of their copies."""
        for scheme, name in _FOLDERS.items():
            sentence = sentence.replace(os.path.join(self.folder, name) + "/", f"{scheme}://")
        return sentence

    def fetch(self, url: str) -> str:
        """The path of a copy of a folder that is what the store has now, which it is made first.

        Raises:
            OSError: It cannot be read, or the copy not be written.
            UserError: The store cannot be reached, or a name there leads out of the folder.
        """
        path, there = self.of(url), _listing(url)
        for name in there:
            if ".." in name.split("/"):
                raise UserError(
                    f"{url}/{name} has `..` in its name, which no step wrote: a copy of it would "
                    "lie elsewhere. Delete it."
                )
        if there != _noted(path):
            shutil.rmtree(path, ignore_errors=True)
            os.makedirs(path)
            for name in filter(_is_folder, there):
                os.makedirs(f"{path}/{name}", exist_ok=True)
            files = [name for name in there if not _is_folder(name)]
            _each(lambda name: storage.copy(f"{url}/{name}", f"{path}/{name}"), files)
            _note(path, there)
        return path

    def send(self, url: str) -> None:
        """Writes the copy of a folder to the store, where none is yet.

        Raises:
            OSError: It cannot be written.
            UserError: The store cannot be reached.
        """
        path = self.of(url)
        _each(lambda name: storage.copy(f"{path}/{name}", f"{url}/{name}"), storage.files(path))
        # What is empty is there as well, for TFX takes no result from its cache that is not.
        for folder, folders, files in os.walk(path):
            if not folders and not files:
                storage.created(f"{url}{folder.removeprefix(path)}/").close()
        self.note(url)

    def note(self, url: str) -> None:
        """Notes that the copy of a folder is what the store has now."""
        _note(self.of(url), _listing(url))

    def is_as_noted(self, url: str) -> bool:
        """Whether the copy of a folder has the files, by name and size, that the store had."""
        path = self.of(url)
        sizes = {name: os.path.getsize(f"{path}/{name}") for name in storage.files(path)}
        noted = _noted(path) or {}
        return sizes == {
            name: int(stamp.partition("\0")[0])
            for name, stamp in noted.items()
            if not _is_folder(name)
        }

    def remove(self, url: str) -> None:
        """Deletes a folder in the store and its copy; neither need be there."""
        path = self.of(url)
        with suppress(FileNotFoundError):
            os.unlink(path + _NOTE)
        shutil.rmtree(path, ignore_errors=True)
        storage.remove_folder(url)


def _each(work: Callable[[str], None], names: Iterable[str]) -> None:
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for _ in threads.map(work, names):
            pass


def _listing(url: str) -> dict[str, str]:
    """The files of a folder in a store, and its empty folders, each with what changes when it does.

    Names are relative to it; those of folders end with a slash.
    """
    found = {
        file.path.removeprefix(f"{url}/"): storage.listed_stamp(file)
        for file in storage.listed(url)
    }
    found.pop("", None)
    return found


def _is_folder(name: str) -> bool:
    return name.endswith("/")


def _noted(path: str) -> dict[str, str] | None:
    try:
        with open(path + _NOTE, encoding="utf-8") as file:
            return json.load(file) if os.path.isdir(path) else None
    except (FileNotFoundError, ValueError):
        return None


def _note(path: str, there: Mapping[str, str]) -> None:
    storage.write_whole(path + _NOTE, json.dumps(there).encode())
