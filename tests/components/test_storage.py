"""Files behind a URL: found, read and written like those on disk."""

import csv
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.io.filesystem import BeamIOError, FileMetadata
from apache_beam.io.localfilesystem import LocalFileSystem
from apache_beam.options.pipeline_options import PipelineOptions
from PIL import Image

from components import storage
from components.catalog_example_gen.catalog import ingest_catalog
from components.catalog_example_gen.folder import files_below, fingerprint
from components.catalog_example_gen.preflight import check_catalog
from pipeline.config import Catalog, Split
from schema.errors import UserError


class Bucket(LocalFileSystem):
    """An object store: flat, and out of reach of everything that opens local paths."""

    root: ClassVar[Path]

    @classmethod
    def scheme(cls) -> str:
        return "bucket"

    def _local(self, url: str) -> str:
        return str(self.root / url.removeprefix("bucket://"))

    def has_dirs(self) -> bool:
        return False

    def _list(self, prefix: str) -> Iterator[FileMetadata]:
        for path in sorted(self.root.rglob("*")):
            url = f"bucket://{path.relative_to(self.root)}"
            if path.is_file() and url.startswith(prefix):
                yield self.metadata(url)

    def metadata(self, url: str) -> FileMetadata:
        stat = Path(self._local(url)).stat()
        return FileMetadata(url, stat.st_size, stat.st_mtime)

    def exists(self, url: str) -> bool:
        return Path(self._local(url)).is_file()

    def open(self, url: str, *rest: Any, **options: Any) -> io.BufferedIOBase:
        return super().open(self._local(url), *rest, **options)

    def create(self, url: str, *rest: Any, **options: Any) -> io.BufferedIOBase:
        return super().create(self._local(url), *rest, **options)

    def delete(self, urls: list[str]) -> None:
        super().delete([self._local(url) for url in urls])


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that holds what lies behind `bucket://`."""
    monkeypatch.setattr(Bucket, "root", tmp_path / "bucket", raising=False)
    return Bucket.root


def write_shop(folder: Path) -> Path:
    """A catalog of 40 sound rows, and two that are not."""
    images = folder / "images"
    (images / "deep [1]").mkdir(parents=True)
    rows = [("id", "file", "category")]
    for number in range(40):
        name = f"{number}.png" if number % 2 else f"deep [1]/{number}.png"
        pixels = np.random.default_rng(number).integers(0, 256, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / name)
        rows.append((f"p{number}", name, "ab"[number % 3 > 0]))
    (folder / "secret.png").write_bytes((images / "1.png").read_bytes())
    (images / "notes.txt").write_text("no picture")
    rows += [("out", "../secret.png", "a"), ("none", "none.png", "a"), ("text", "notes.txt", "a")]
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def options(folder: str) -> dict[str, Any]:
    return Catalog(
        folder=folder, picture="file", category="category", subcategory="category"
    ).model_dump()


def ingest(folder: str, out: str) -> dict[str, Any]:
    return ingest_catalog(
        options(folder),
        Split(eval=0.25, test=0.25).model_dump(),
        {},
        f"{out}/examples",
        f"{out}/rejects",
        f"{out}/conflicts",
        lambda: beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])),
    )


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "summary.json"
    }


def test_a_catalog_behind_a_url_gives_what_it_gives_on_disk(bucket: Path, tmp_path: Path) -> None:
    folder = write_shop(bucket / "shop")
    on_disk = ingest(str(folder), str(tmp_path / "out"))
    behind_url = ingest("bucket://shop", "bucket://out")
    assert on_disk["rejected_by_reason"] == {
        "missing_picture": 1,
        "outside_images": 1,
        "wrong_suffix": 1,
    }
    assert on_disk["accepted"] == 40
    assert behind_url | {"seconds": 0} == on_disk | {"seconds": 0}
    # Equal also means that no scratch file is left behind.
    assert digests(bucket / "out") == digests(tmp_path / "out")


def test_what_is_missing_behind_a_url_is_told(bucket: Path) -> None:
    split = Split().model_dump()
    (bucket / "other" / "images").mkdir(parents=True)
    (bucket / "other" / "rows.csv").write_text("id,file,category\n")
    (bucket / "other" / "images" / "sizes.csv").write_text("x")
    with pytest.raises(UserError, match="no file bucket://other/labels.csv; .* has rows.csv. Ch"):
        check_catalog(options("bucket://other"), split)
    folder = write_shop(bucket / "shop")
    check_catalog(options("bucket://shop"), split)
    for picture in folder.glob("images/**/*.png"):
        picture.unlink()
    with pytest.raises(UserError, match="no picture below bucket://shop/images"):
        check_catalog(options("bucket://shop"), split)


def test_a_file_system_that_is_not_installed_is_told() -> None:
    with pytest.raises(UserError, match="Nothing that is installed can read lake://shop/labels"):
        check_catalog(options("lake://shop"), Split().model_dump())


def test_the_fingerprint_changes_with_what_lies_behind_the_url(bucket: Path) -> None:
    folder = write_shop(bucket / "shop")

    def now() -> str:
        return fingerprint(["bucket://shop/labels.csv"], "bucket://shop/images")

    seen = [now()]
    assert now() == seen[0]
    (folder / "images" / "1.png").write_bytes(b"other")
    seen.append(now())
    (folder / "images" / "3.png").unlink()
    seen.append(now())
    with (folder / "labels.csv").open("a") as file:
        file.write("more")
    seen.append(now())
    assert len(set(seen)) == len(seen)


def test_a_folder_whose_name_holds_wildcards_is_listed_alone(bucket: Path) -> None:
    for name in ("a*[1]/x.png", "a*[1]/deep/y.png", "ab1/z.png"):
        (bucket / name).parent.mkdir(parents=True, exist_ok=True)
        (bucket / name).touch()
    assert [found.path for found in files_below("bucket://a*[1]/")] == ["deep/y.png", "x.png"]


def test_a_folder_is_removed_on_disk_and_behind_a_url(bucket: Path, tmp_path: Path) -> None:
    for folder in (str(tmp_path / "scratch"), "bucket://scratch"):
        for name in ("one", "two"):
            with storage.created(f"{folder}/{name}") as file:
                file.write(b"x")
        storage.remove_folder(folder)
        assert not storage.is_file(f"{folder}/one")
        storage.remove_folder(folder)
    with pytest.raises((FileNotFoundError, BeamIOError)):
        storage.opened("bucket://scratch/one")


def test_a_file_has_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "split" / "data.gz"
    with storage.created_whole(str(path)) as file:
        file.write(b"half")
        assert not path.exists()
        file.write(b" and half")
    assert path.read_bytes() == b"half and half"
    assert list(path.parent.iterdir()) == [path]


def test_what_fails_leaves_nothing(tmp_path):
    path = tmp_path / "data.gz"
    with pytest.raises(ZeroDivisionError), storage.created_whole(str(path)) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_two_workers_that_write_the_same_leave_a_whole_file_whichever_is_last(tmp_path):
    """A runner has a second one write what the first is only slow with."""
    path = tmp_path / "data.gz"
    with storage.created_whole(str(path)) as slow:
        slow.write(b"of the ")
        slow.flush()
        with storage.created_whole(str(path)) as second:
            second.write(b"of the second")
        assert path.read_bytes() == b"of the second"
        slow.write(b"first")
    assert path.read_bytes() == b"of the first"


def test_what_a_killed_worker_leaves_is_seen_by_nobody(tmp_path):
    path = tmp_path / "split" / "data.gz"
    unfinished = storage.created_whole(str(path), str(tmp_path / "scratch"))
    unfinished.__enter__().write(b"half")
    assert list(path.parent.iterdir()) == []
    beside = storage.created_whole(str(path))
    beside.__enter__().write(b"half")
    [left] = path.parent.iterdir()
    assert left.name.endswith(storage.UNFINISHED)


def test_behind_a_url_a_file_is_as_its_file_system_makes_it(bucket):
    with storage.created_whole("bucket://shop/data.gz") as file:
        file.write(b"whole")
    assert (bucket / "shop" / "data.gz").read_bytes() == b"whole"
