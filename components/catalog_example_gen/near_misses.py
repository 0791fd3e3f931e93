r"""What a name that no picture has would fit but for a trifle, and what to do about it.

A row names `1000.0` or `Topwear\1000.jpg`, and there is a picture `1000.jpg` or `Topwear/1000.jpg`.
Names are brought together by a `loose_key`, in which all such trifles are gone; what sets two names
with one key apart is their `differences`. Where these are harmless and a single picture fits, it is
the one that was meant (`is_certain`); otherwise the row is rejected in words that name the picture.
"""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple
from urllib.parse import unquote

from components.catalog_example_gen import folder
from components.catalog_example_gen.pictures import SUFFIXES

_MOST_COMPARED = 16
_SEPARATOR = re.compile(r"\s*[,;|\n]\s*|\s+(?=https?://)")
_LIST_MARKS = " \t\r\n[]\"'"
_URL = re.compile(r"[a-zA-Z][-a-zA-Z0-9+.]*://")
_DRIVE = re.compile(r"[a-zA-Z]:[/\\]")
_FLOAT = re.compile(r"(\d+)\.0+", re.ASCII)


class Difference(IntEnum):
    """A trifle that sets a row's name apart from a picture's, the most harmless first."""

    MARKS = 0
    BACKSLASHES = 1
    FOLDER_NAMED_TWICE = 2
    FILE_NAME_AS_ID = 3
    CASE = 4
    DECIMAL = 5
    LEADING_ZEROS = 6
    NO_SUFFIX = 7
    OTHER_SUFFIX = 8
    OTHER_FOLDER = 9
    ABSOLUTE = 10
    SEVERAL = 11
    URL = 12


_HARMLESS = frozenset(
    {
        Difference.MARKS,
        Difference.BACKSLASHES,
        Difference.FOLDER_NAMED_TWICE,
        Difference.FILE_NAME_AS_ID,
        Difference.CASE,
    }
)
"""With these alone the picture is the one that was meant."""

_WHAT = {
    Difference.MARKS: "there are quotes or brackets around the name",
    Difference.BACKSLASHES: "the path has backslashes",
    Difference.FOLDER_NAMED_TWICE: "the path begins with the images folder's own name",
    Difference.FILE_NAME_AS_ID: "the id is a file's name",
    Difference.CASE: "the names differ in case only",
    Difference.DECIMAL: "the id is written as a decimal number",
    Difference.LEADING_ZEROS: "the names differ in leading zeros",
    Difference.NO_SUFFIX: "the path lacks the suffix",
    Difference.OTHER_SUFFIX: "the suffix is another one",
    Difference.OTHER_FOLDER: "the folder is another one",
    Difference.ABSOLUTE: "the path does not start at the images folder",
    Difference.SEVERAL: "the cell names several",
    Difference.URL: "the cell is a URL",
}

_WHAT_TO_DO = {
    Difference.FILE_NAME_AS_ID: "Set `catalog.picture` to the column of the id.",
    Difference.CASE: "Rename the files or mend the cells.",
    Difference.DECIMAL: "Write the column as whole numbers or text.",
    Difference.LEADING_ZEROS: "Write the column as text, with its zeros; a spreadsheet takes them.",
    Difference.NO_SUFFIX: (
        "Write the suffix, or, where the column names files and no paths, set `catalog.id` to it "
        "and leave `catalog.picture` out."
    ),
    Difference.OTHER_SUFFIX: "Write the files' own suffixes.",
    Difference.OTHER_FOLDER: (
        "Write paths that start at `catalog.images`, or leave `catalog.picture` out if pictures "
        "are named by the id."
    ),
    Difference.ABSOLUTE: (
        "Set `catalog.images` to the folder that the paths start at, or take their beginning away."
    ),
    Difference.SEVERAL: (
        "Set `catalog.picture_separator` to the sign between them, or keep the first only."
    ),
    Difference.URL: (
        "Pictures are not fetched: write the files' paths below `catalog.images`, or leave "
        "`catalog.picture` out if files are named by the id."
    ),
}


class Names(NamedTuple):
    """How rows name pictures.

    Attributes:
        by_path: Whether by the path below the folder of pictures; otherwise by the file's name
            without its suffix.
        images: The folder of pictures as the config writes it.
    """

    by_path: bool
    images: str

    def of_file(self, path: str) -> str:
        """The name under which rows look the file at `path` up."""
        return path if self.by_path else folder.stem(path)


def loose_key(name: str) -> bytes:
    """The same for names that differ in nothing but what `Difference` lists."""
    return loose_ends(name)[-1]


def loose_ends(name: str) -> list[bytes]:
    """The name without trifles, but with its folders; then without the first of them, and so on."""
    *folders, base = _components(_first_of_several(name) or name)
    stem, _ = _split_suffix(base.casefold())
    if decimal := _FLOAT.fullmatch(stem):
        stem = decimal[1]
    if stem.isascii() and stem.isdecimal():
        stem = stem.lstrip("0") or "0"
    parts = [*(part.casefold() for part in folders), stem]
    return [folder.key("/".join(parts[start:])) for start in range(len(parts))]


class Alike:
    """Pictures of one loose key. There may be many: one `front.jpg` for each product.

    Args:
        paths: Theirs, below the folder of pictures.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = sorted(paths)
        self._by_end: dict[bytes, list[str]] = {}
        if len(self._paths) > _MOST_COMPARED:
            for path in self._paths:
                self._by_end.setdefault(loose_ends(path)[0], []).append(path)

    def near(self, name: str) -> list[str]:
        """Those that a row's name is compared with: of many, the few that end as it does."""
        if self._by_end:
            for end in loose_ends(name):
                if end in self._by_end:
                    return self._by_end[end][:_MOST_COMPARED]
        return self._paths[:_MOST_COMPARED]


def differences(name: str, path: str, names: Names) -> tuple[Difference, ...] | None:
    """What sets a row's name apart from the picture at `path`; None where they are unlike.

    Args:
        name: What a row says that no picture is called.
        path: Of a picture, below the folder of pictures.
        names: How rows name pictures.
    """
    if loose_key(path) != loose_key(name):
        return None
    found = set()
    if first := _first_of_several(name):
        found.add(Difference.SEVERAL)
        name = first
    if _URL.match(name):
        return tuple(sorted({*found, Difference.URL}))
    if name != name.strip(_LIST_MARKS):
        found.add(Difference.MARKS)
        name = name.strip(_LIST_MARKS)
    if "\\" in name:
        found.add(Difference.BACKSLASHES)
    if posixpath.isabs(name) or _DRIVE.match(name):
        return tuple(sorted({*found, Difference.ABSOLUTE}))
    *folders, base = _components(name)
    *file_folders, file_base = _components(path)
    stem, suffix = _split_suffix(base)
    file_stem, file_suffix = _split_suffix(file_base)
    found |= _between_stems(stem, file_stem)
    if names.by_path:
        found |= _between_folders(folders, file_folders, names.images)
        if not suffix:
            found.add(Difference.NO_SUFFIX)
        elif suffix.lower() != file_suffix.lower():
            found.add(Difference.OTHER_SUFFIX)
        elif suffix != file_suffix:
            found.add(Difference.CASE)
    else:
        if suffix:
            found.add(Difference.FILE_NAME_AS_ID)
            if suffix.lower() != file_suffix.lower():
                found.add(Difference.OTHER_SUFFIX)
        if folders and not _ends_with(folders, file_folders):
            found |= _between_folders(folders, file_folders, names.images)
    return tuple(sorted(found))


def differences_alone(name: str) -> tuple[Difference, ...]:
    """What is odd about a row's name that is like no picture's; empty where nothing is."""
    if first := _first_of_several(name):
        return tuple(sorted({Difference.SEVERAL, *differences_alone(first)}))
    if _URL.match(name):
        return (Difference.URL,)
    if posixpath.isabs(name) or _DRIVE.match(name):
        return (Difference.ABSOLUTE,)
    return ()


def fitting(
    name: str, paths: Iterable[str], names: Names
) -> tuple[tuple[Difference, ...], list[str]]:
    """The pictures that a name fits best, in order, and what sets it apart from them.

    Args:
        name: What a row says that no picture is called.
        paths: Of pictures, below the folder of pictures.
        names: How rows name pictures.
    """
    best: tuple[Difference, ...] = ()
    fit: list[str] = []
    for path in paths:
        found = differences(name, path, names)
        if found is None:
            continue
        if not fit or _cost(found) < _cost(best):
            best, fit = found, [path]
        elif found == best:
            fit.append(path)
    if not fit:
        return differences_alone(name), []
    return best, sorted(fit, key=folder.preference)


def is_certain(found: Sequence[Difference], paths: Sequence[str]) -> bool:
    """Whether the one picture among `paths` is without doubt the one that a row means."""
    return len(paths) == 1 and bool(found) and _HARMLESS.issuperset(found)


def in_words(found: Sequence[Difference]) -> str:
    """A clause: "the path has backslashes, and the suffix is another one"."""
    return ", and ".join(_WHAT[difference] for difference in found)


def sentence(rows: int, name: str, path: str | None, found: Sequence[Difference]) -> str:
    """What was found in so many rows and what to do.

    Args:
        rows: How many have these differences.
        name: What one of them says.
        path: The picture that it fits; None where there is none.
        found: What sets them apart.
    """
    subject = "1 row names" if rows == 1 else f"{rows:,} rows name"
    example = f"{subject} pictures like `{name}`"
    if path is not None:
        example += f" where there is `{path}`"
    advice = " ".join(_WHAT_TO_DO[one] for one in found if one in _WHAT_TO_DO)
    return f"{example}: {in_words(found)}. {advice}"


def taken_sentence(rows: int, name: str, path: str, found: Sequence[Difference]) -> str:
    """What was made of names in so many rows, of which one is `name`."""
    subject = "1 row names a picture" if rows == 1 else f"{rows:,} rows name pictures"
    return f"{subject} like `{name}`, for which `{path}` was taken: {in_words(found)}."


def _first_of_several(name: str) -> str | None:
    """The first of several files that a name lists; None where it is not such a list."""
    parts = [part.strip(_LIST_MARKS) for part in _SEPARATOR.split(name)]
    parts = [part for part in parts if part]
    if len(parts) > 1 and all(_split_suffix(_components(part)[-1])[1] for part in parts):
        return parts[0]
    return None


def _components(name: str) -> list[str]:
    name = name.strip(_LIST_MARKS)
    if _URL.match(name):
        name = unquote(re.split(r"[?#]", name)[0])
    name = name.replace("\\", "/")
    return [part for part in posixpath.normpath(name).split("/") if part] or [""]


def _split_suffix(base: str) -> tuple[str, str]:
    stem, suffix = os.path.splitext(base)
    return (stem, suffix) if suffix.lower() in SUFFIXES else (base, "")


def _between_stems(stem: str, of_file: str) -> set[Difference]:
    found: set[Difference] = set()
    if _nfc(stem) == _nfc(of_file):
        return found
    if decimal := _FLOAT.fullmatch(stem):
        found.add(Difference.DECIMAL)
        stem = decimal[1]
    if decimal := _FLOAT.fullmatch(of_file):
        found.add(Difference.DECIMAL)
        of_file = decimal[1]
    if stem.isdecimal() and of_file.isdecimal():
        if stem != of_file:
            found.add(Difference.LEADING_ZEROS)
    elif _nfc(stem) != _nfc(of_file):
        found.add(Difference.CASE)
    return found


def _between_folders(folders: list[str], of_file: list[str], images: str) -> set[Difference]:
    if _plain(folders) == _plain(of_file):
        return set()
    if _ends_with(folders, of_file):
        before = folders[: len(folders) - len(of_file)]
        own = _components(images)
        same = _plain(before) in (_plain(own), _plain(own[-1:]))
        return {Difference.FOLDER_NAMED_TWICE if same else Difference.ABSOLUTE}
    if [part.casefold() for part in _plain(folders)] == [
        part.casefold() for part in _plain(of_file)
    ]:
        return {Difference.CASE}
    return {Difference.OTHER_FOLDER}


def _ends_with(folders: list[str], of_file: list[str]) -> bool:
    return not of_file or _plain(folders[-len(of_file) :]) == _plain(of_file)


def _plain(parts: Sequence[str]) -> list[str]:
    return [_nfc(part) for part in parts if part != "."]


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _cost(found: Sequence[Difference]) -> tuple[int, list[Difference]]:
    return len(found), sorted(found)
