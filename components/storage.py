"""Files on the local disk and, by a URL, on any of Beam's file systems.

Local files are read without Beam, which takes seconds to load and a part of each small file's time.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING
from uuid import uuid4

from schema.errors import UserError

if TYPE_CHECKING:
    from apache_beam.io.filesystem import FileMetadata, FileSystem

# `CompressionTypes.UNCOMPRESSED`. Beam would guess from the suffix otherwise, and unpack.
_AS_IT_IS = "uncompressed"

UNFINISHED = ".unfinished"
"""How the names of files end that are not whole yet."""

_S3 = ("s3", "minio")
_GS = "gs"
_BLOCK_BYTES = 1 << 20


def is_url(path: str) -> bool:
    """Whether the path begins with a scheme, as in `gs://bucket/catalog`."""
    return re.match(r"[a-zA-Z][-a-zA-Z0-9+.]*://", path) is not None


def opened(path: str) -> IO[bytes]:
    """Opens a file for reading.

    Raises:
        OSError: It cannot be opened.
        UserError: No file system is installed for the URL.
    """
    if is_url(path):
        return _file_system(path).open(path, compression_type=_AS_IT_IS)
    return open(path, "rb")


def created(path: str) -> IO[bytes]:
    """Opens a new file for writing; its folder is made."""
    if is_url(path):
        return _file_system(path).create(path, compression_type=_AS_IT_IS)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return open(path, "wb")


@contextmanager
def created_whole(path: str, scratch: str | None = None) -> Iterator[IO[bytes]]:
    """Opens a new file for writing that gets its name when the context ends well, and else is gone.

    So there is no half of it where a worker is killed, or where a runner takes a worker for dead
    and has another write the same: each writes a file of its own, and either's is whole.

    Args:
        path: The file; its folder is made. By a URL it is as its file system does.
        scratch: The folder, on the same disk, where it is unfinished; else beside it, by a name
            with the suffix `UNFINISHED`, which a killed worker leaves.
    """
    if is_url(path):
        with created(path) as file:
            yield file
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    unfinished = os.path.join(scratch or os.path.dirname(path), f"{uuid4().hex}{UNFINISHED}")
    try:
        with created(unfinished) as file:
            yield file
        os.replace(unfinished, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(unfinished)
        raise


def write_whole(path: str, content: bytes) -> None:
    """Writes a file that is there whole or not at all, even after the machine goes down.

    Raises:
        OSError: It cannot be written.
    """
    with created_whole(path) as file:
        file.write(content)
        if not is_url(path):
            file.flush()
            os.fsync(file.fileno())


def is_file(path: str) -> bool:
    """Whether a file is there.

    Raises:
        UserError: No file system is installed for the URL.
    """
    if is_url(path):
        return _file_system(path).exists(path)
    return os.path.isfile(path)


def is_folder(path: str) -> bool:
    """Whether a folder is there: behind a URL, whether any file lies below it."""
    return bool(files(path)) if is_url(path) else os.path.isdir(path)


def stamp(path: str) -> str:
    """Size in bytes and time of modification, which change when the file does."""
    if is_url(path):
        return listed_stamp(_file_system(path).metadata(path))
    return local_stamp(os.stat(path))


def local_stamp(stat: os.stat_result) -> str:
    """As `stamp`."""
    return f"{stat.st_size}\0{stat.st_mtime_ns}"


def listed_stamp(file: FileMetadata) -> str:
    """As `stamp`."""
    return f"{file.size_in_bytes}\0{file.last_updated_in_seconds}"


def listed(folder: str) -> list[FileMetadata]:
    """The files at any depth below the folder of a URL; none where it is not there."""
    # Brackets around a sign are the only way to quote it.
    quoted = re.sub(r"([\[*?])", r"[\1]", folder.rstrip("/"))
    return _matching(folder, f"{quoted}/**")


def names(folder: str, suffix: str) -> list[str]:
    """The names of the files in a folder that end with `suffix`, sorted."""
    if is_url(folder):
        return [path for path in files(folder) if path.endswith(suffix) and "/" not in path]
    return sorted(path.name for path in Path(folder).glob(f"*{suffix}"))


def files(folder: str) -> list[str]:
    """The paths, relative to it, of the files at any depth below a folder, sorted."""
    if is_url(folder):
        paths = (file.path.removeprefix(folder.rstrip("/") + "/") for file in listed(folder))
        # An empty object may stand for a folder: one below, or this one.
        return sorted(path for path in paths if path and not path.endswith("/"))
    root = Path(folder)
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def copy(source: str, target: str) -> None:
    """Copies a file to a path or URL; where that fails, what is at a URL may be a part of it.

    Raises:
        OSError: One of them cannot be opened, read or written.
    """
    with opened(source) as content, created(target) as file:
        shutil.copyfileobj(content, file, _BLOCK_BYTES)


def move(source: str, target: str) -> None:
    """Gives a file another path, or another URL in the same store; its folder is made.

    Raises:
        OSError: One of them cannot be read or written.
    """
    if is_url(target):
        copy(source, target)
        remove_files([source])
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.move(source, target)


def remove_files(urls: list[str]) -> None:
    """Deletes files by their URLs, all of one store; they need not be there."""
    if urls:
        _file_system(urls[0]).delete(urls)


def remove_folder(path: str) -> None:
    """Deletes a folder and what is in it; it need not be there."""
    if not is_url(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        remove_files([file.path for file in listed(path)])


def check_readable(url: str) -> None:
    """Looks whether a folder in a bucket can be read, as far as that can be known beforehand.

    Raises:
        UserError: It cannot: no such bucket, no rights, no store at that address.
    """
    if (store := _store(url)) is not None:
        store.check_readable(url)


def check_writable(url: str) -> None:
    """Looks whether a folder in a bucket can be written, and writes nothing; else as above.

    Raises:
        UserError: It cannot.
    """
    if (store := _store(url)) is not None:
        store.check_writable(url)


def _matching(url: str, pattern: str) -> list[FileMetadata]:
    from apache_beam.io.filesystem import BeamIOError

    try:
        (found,) = _file_system(url).match([pattern])
    except BeamIOError as error:
        # Beam's own says nothing but that something failed.
        for cause in (error.exception_details or {}).values():
            if isinstance(cause, OSError | UserError):
                raise cause from error
        raise
    return found.metadata_list


def _file_system(url: str) -> FileSystem:
    scheme = _scheme(url)
    if scheme in _S3:
        return _s3().S3()
    if scheme == _GS:
        return _gcs().GCS()
    from apache_beam.io.filesystems import FileSystems

    try:
        return FileSystems.get_filesystem(url)
    except ValueError as error:
        raise UserError(
            f"Nothing that is installed can read {url}. Install Apache Beam with what its scheme "
            "needs, for example apache-beam[azure] for azfs://."
        ) from error


def _scheme(url: str) -> str:
    return url.partition("://")[0].lower()


def _store(url: str) -> ModuleType | None:
    """What can tell beforehand whether a URL may be read and written."""
    scheme = _scheme(url)
    if scheme in _S3:
        return _s3()
    return _gcs() if scheme == _GS else None


def _gcs() -> ModuleType:
    from components import gcs

    return gcs


def _s3() -> ModuleType:
    if find_spec("boto3") is None:
        raise UserError(
            "boto3, which reads and writes s3://, is not installed. Install it: "
            "pip install 'seamline[s3]'."
        )
    from components import s3

    return s3
