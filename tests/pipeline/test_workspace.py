"""The folder that holds everything of one catalog's runs."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.workspace import Workspace, url_of
from schema.errors import UserError


@pytest.fixture
def workspace(tmp_path):
    place = Workspace(tmp_path / "work")
    place.create()
    return place


def test_a_second_run_in_the_same_workspace_is_told_which_process_is_first(workspace):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"""
from pathlib import Path
from pipeline.workspace import Workspace, url_of
with Workspace(Path({str(workspace.root)!r})).locked():
    print("locked", flush=True)
    input()
""",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(UserError, match=f"process {holder.pid}"), workspace.locked():
            pass
    finally:
        holder.kill()
        holder.communicate()
    with workspace.locked():
        pass


def test_a_workspace_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--workspace"):
        Workspace(tmp_path / "file" / "work").create()


@pytest.mark.parametrize("name", ["ws[1]", "ws*", "ws?", "a\\b"])
def test_a_workspace_whose_path_would_be_a_pattern_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="Name one without"):
        Workspace(tmp_path / name / "work").create()
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("url", ["s3://bucket/shop", "minio://bucket"])
def test_a_workspace_at_any_other_url_than_of_cloud_storage_is_refused(tmp_path, monkeypatch, url):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"which \S+ is not: .* Name a folder or gs://BUCKET"):
        Workspace.named(Path(url))
    assert list(tmp_path.iterdir()) == []


def test_a_workspace_in_a_bucket_has_its_copy_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = Workspace.named(Path("gs://bucket/shop"))
    assert (place.url, place.place) == ("gs://bucket/shop", "gs://bucket/shop")
    assert place.root == tmp_path / "cache" / "seamline" / "gcs" / "bucket" / "shop"
    assert place.places.serving == "gs://bucket/shop/serving"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    here = Workspace.named(Path("gs://bucket")).root
    assert here == tmp_path / "home" / ".cache" / "seamline" / "gcs" / "bucket"


def test_a_bucket_that_is_not_there_is_told_before_anything_is_written(
    gs_url, monkeypatch, tmp_path
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(UserError, match="There is no bucket nowhere-at-all"):
        Workspace.named(Path("gs://nowhere-at-all/shop")).create()
    assert list(tmp_path.iterdir()) == []
    Workspace.named(Path(f"{gs_url}/shop")).create()
    assert (tmp_path / "cache").exists()


def test_what_looks_like_a_url_and_is_none_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("C:/shop", "a b:/c", "work", "gs:"):
        assert url_of(Path(name)) is None
        assert Workspace.named(Path(name)).root == tmp_path / name


def test_a_workspace_may_have_any_other_name(tmp_path):
    from tfx.utils import io_utils

    place = Workspace(tmp_path / "Größe {a,b} ]#%&~!$'\"` 京" / "work")
    place.create()
    (place.root / "part").mkdir()
    (place.root / "part" / "data.gz").write_bytes(b"")
    found = io_utils.fileio.glob(io_utils.all_files_pattern(str(place.root / "part")))
    assert found == [str(place.root / "part" / "data.gz")]
