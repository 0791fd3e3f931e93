"""An index as a folder: plain files, and a manifest that names them.

`manifest.json` names the files, and taking its place is the one moment at which a new version is
there: every version's files have names of their own. `vectors-*.npy` and `products-*.parquet` are
the truth; whatever else lies there is made from them.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schema.errors import UserError
from serving.search.columns import Column
from serving.search.errors import DamagedIndex
from serving.search.products import Products, Vectors, View
from serving.search.space import Space

MANIFEST = "manifest.json"

_FORMAT = "seamline product index"
_VERSION = 1
_ID = "id"
_GROUP = "group"
_FIELD = "field."
_OURS = re.compile(r"(vectors|products|faiss)-[0-9a-f]{16}\.(npy|parquet|index|json)(\.partial)?")
_BYTES_AT_ONCE = 4 << 20
_TRIES = 20


@dataclass(frozen=True)
class File:
    """A file of the folder's: its name, its size, and its bytes' CRC-32C in hexadecimal."""

    name: str
    bytes: int
    crc32c: str

    @property
    def token(self) -> str:
        """What no other version's files have in their names."""
        return self.name.partition("-")[2].partition(".")[0]


@dataclass(frozen=True)
class Content:
    """What is written: see `Opened` and `Products`.

    Attributes:
        view: the products, none of them dead.
        cache: writes into the folder what is made from the vectors' file.
    """

    space: Space
    dtype: str
    threshold: float | None
    made_by: Mapping[str, Any]
    ids: list[str]
    view: View
    fields: Mapping[str, Column]
    groups: Column
    approximate: Mapping[str, Any] | None
    cache: Callable[[Path, File], None]


@dataclass(frozen=True)
class Opened:
    """What a folder holds.

    Attributes:
        path: the folder.
        space: of the vectors.
        dtype: of the vectors.
        threshold: of closeness.
        made_by: what the caller said when it was saved.
        approximate: what was measured of an approximate index when it was saved.
        vectors_file: the vectors' file.
        vectors: as stored, mapped into memory, read only (N, D).
        table: ids, groups and fields.
    """

    path: Path
    space: Space
    dtype: str
    threshold: float | None
    made_by: Mapping[str, Any]
    approximate: Mapping[str, Any] | None
    vectors_file: File
    vectors: Vectors
    table: pa.Table

    def products(self) -> Products:
        """The products, over the mapped vectors."""
        return Products(
            self.space,
            self.dtype,
            self.table[_ID].to_pylist(),
            self.vectors,
            {
                name.removeprefix(_FIELD): Column.of_arrow(self.table[name])
                for name in self.table.column_names
                if name.startswith(_FIELD)
            },
            Column.of_arrow(self.table[_GROUP]),
        )


def write(path: Path, content: Content) -> Opened:
    """Writes a version, makes it the folder's, removes the earlier one, and opens it.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
        UserError: the folder holds something else.
    """
    path.mkdir(parents=True, exist_ok=True)
    strange = [entry.name for entry in path.iterdir() if not _may_be_there(entry.name)]
    if strange and not (path / MANIFEST).exists():
        raise UserError(
            f"{path} is no folder of an index: it holds {min(strange)}; name an empty folder."
        )
    token = secrets.token_hex(8)
    with only_writer(path):
        try:
            _write(path, token, content)
        except BaseException:
            # The manifest may have taken its place already.
            if token not in _manifest_or_nothing(path):
                _remove(path, lambda name: token in name)
            raise
        _remove(path, lambda name: token not in name)
    return read(path, verify=False)


def _write(path: Path, token: str, content: Content) -> None:
    vectors = _write_vectors(path / f"vectors-{token}.npy", content)
    products = _write_products(path / f"products-{token}.parquet", content)
    content.cache(path, vectors)
    manifest = {
        "format": _FORMAT,
        "version": _VERSION,
        "products": content.view.count,
        "blocks": content.space.sizes,
        "weights": content.space.weights,
        "distance": content.space.distance,
        "dtype": content.dtype,
        "threshold": content.threshold,
        "approximate": content.approximate,
        "made_by": content.made_by,
        "files": {"vectors": vars(vectors), "products": vars(products)},
    }
    replace(path / MANIFEST, json.dumps(manifest, indent=1).encode())


def read(path: Path, *, verify: bool) -> Opened:
    """Opens the folder's version.

    Args:
        path: the folder.
        verify: hold the files' bytes against their checksums.

    Raises:
        DamagedIndex: there is none, or its files are not what was saved.
    """
    for _ in range(_TRIES):
        text = _manifest(path)
        try:
            return _read(path, text, verify)
        except FileNotFoundError as error:
            # A new version was saved in between, whose manifest names other files.
            if _manifest(path) == text:
                raise DamagedIndex(
                    f"The index in {path} lacks {Path(str(error.filename)).name}, which its "
                    "manifest names; build it anew."
                ) from error
    raise DamagedIndex(f"The index in {path} is saved anew faster than it can be opened.")


def checksum(path: Path) -> str:
    """A file's CRC-32C, in hexadecimal."""
    crc = google_crc32c.Checksum()
    with path.open("rb") as file:
        while some := file.read(_BYTES_AT_ONCE):
            crc.update(some)
    return crc.hexdigest().decode()


def replace(path: Path, content: bytes) -> None:
    """Puts a file in the place of another, so that no moment has neither or half of one."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content)
        _to_disk(file.fileno())
    os.replace(partial, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        _to_disk(folder)
    finally:
        os.close(folder)


def _to_disk(descriptor: int) -> None:
    os.fsync(descriptor)


def _manifest_or_nothing(path: Path) -> str:
    try:
        return _manifest(path)
    except DamagedIndex:
        return ""


def _manifest(path: Path) -> str:
    try:
        return (path / MANIFEST).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedIndex(
            f"There is no index in {path}: it has no {MANIFEST}. Name the folder of "
            "one, or build it."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, MANIFEST, error) from error


def _read(path: Path, text: str, verify: bool) -> Opened:
    try:
        manifest = json.loads(text)
        if manifest["format"] != _FORMAT:
            raise ValueError(f'its format is "{manifest["format"]}"')
        if manifest["version"] > _VERSION:
            raise DamagedIndex(
                f"The index in {path} was written by a newer Seamline; update this one, or build "
                "the index with it."
            )
        space = Space(manifest["blocks"], manifest["weights"], manifest["distance"])
        vectors_file = File(**manifest["files"]["vectors"])
        products_file = File(**manifest["files"]["products"])
        threshold, dtype = manifest["threshold"], np.dtype(manifest["dtype"])
        count = manifest["products"]
        if not all(_OURS.fullmatch(file.name) for file in (vectors_file, products_file)):
            raise ValueError("it names files that are none of an index's")
        if not (threshold is None or isinstance(threshold, (int, float))):
            raise ValueError(f"its threshold is {threshold!r}")
        made_by, approximate = dict(manifest["made_by"]), manifest["approximate"]
    except (ValueError, KeyError, TypeError, AttributeError, UserError) as error:
        if isinstance(error, DamagedIndex):
            raise
        raise _damaged(path, MANIFEST, error) from error
    for file in (vectors_file, products_file):
        if (path / file.name).stat().st_size != file.bytes or (
            verify and checksum(path / file.name) != file.crc32c
        ):
            raise DamagedIndex(
                f"{path / file.name} is not what was saved: its size or checksum differs; build "
                "the index anew, or bring the file back from a copy."
            )
    try:
        vectors = np.asarray(np.load(path / vectors_file.name, mmap_mode="r", allow_pickle=False))
        if vectors.shape != (count, space.dimensions) or vectors.dtype != dtype:
            raise ValueError(f"it holds {vectors.dtype} {vectors.shape}")
    except (ValueError, EOFError) as error:
        raise _damaged(path, vectors_file.name, error) from error
    try:
        # A copy in memory: a file that is mapped and cut would take the process with it.
        table = pq.read_table(path / products_file.name, memory_map=False)
        if len(table) != count or {_ID, _GROUP} - set(table.column_names):
            raise ValueError(f"it has {len(table)} rows of {', '.join(table.column_names)}")
    except (ValueError, KeyError, pa.ArrowException) as error:
        raise _damaged(path, products_file.name, error) from error
    return Opened(
        path,
        space,
        dtype.name,
        threshold,
        made_by,
        approximate,
        vectors_file,
        vectors,
        table,
    )


def _damaged(path: Path, name: str, error: Exception) -> DamagedIndex:
    said = " ".join(str(error).split())[:200]
    return DamagedIndex(
        f"{path / name} cannot be read ({said}); build the index anew, or bring the file back from "
        "a copy."
    )


def _write_vectors(path: Path, content: Content) -> File:
    crc = google_crc32c.Checksum()
    dtype = np.dtype(content.dtype)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file,
            {
                "shape": (content.view.count, content.space.dimensions),
                "fortran_order": False,
                "descr": np.lib.format.dtype_to_descr(dtype),
            },
        )
        file.flush()
        crc.update(path.read_bytes())
        for _, vectors in content.view.blocks():
            data = np.ascontiguousarray(vectors, dtype).tobytes()
            file.write(data)
            crc.update(data)
        file.flush()
        _to_disk(file.fileno())
        return File(path.name, file.tell(), crc.hexdigest().decode())


def _write_products(path: Path, content: Content) -> File:
    rows = np.arange(content.view.count)
    arrays = {
        _ID: pa.array(content.ids[: content.view.count], pa.string()),
        _GROUP: content.groups.to_arrow(rows),
        **{_FIELD + name: column.to_arrow(rows) for name, column in content.fields.items()},
    }
    pq.write_table(pa.table(arrays), path, compression="zstd")
    with path.open("rb") as file:
        _to_disk(file.fileno())
    return File(path.name, path.stat().st_size, checksum(path))


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Waits until no other process writes into the folder, and keeps others out."""
    # The system lets go of it when the process ends, however it does.
    with (path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove(path: Path, chosen: Callable[[str], bool]) -> None:
    for entry in path.iterdir():
        if _OURS.fullmatch(entry.name) and chosen(entry.name):
            entry.unlink(missing_ok=True)


def _may_be_there(name: str) -> bool:
    return name in (".lock", MANIFEST, f"{MANIFEST}.partial") or bool(_OURS.fullmatch(name))
