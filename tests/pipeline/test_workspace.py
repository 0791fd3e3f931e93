"""The folder that holds everything of one catalog's runs."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.workspace import Workspace
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
from pipeline.workspace import Workspace
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


@pytest.mark.parametrize("url", ["gs://bucket/shop", "s3://bucket"])
def test_a_workspace_that_is_a_url_is_refused(tmp_path, monkeypatch, url):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"{url[:2]}:// is in no file system. Name a folder"):
        Workspace(Path(url).absolute()).create()
    assert list(tmp_path.iterdir()) == []


def test_a_workspace_may_have_any_other_name(tmp_path):
    from tfx.utils import io_utils

    place = Workspace(tmp_path / "Größe {a,b} ]#%&~!$'\"` 京" / "work")
    place.create()
    (place.root / "part").mkdir()
    (place.root / "part" / "data.gz").write_bytes(b"")
    found = io_utils.fileio.glob(io_utils.all_files_pattern(str(place.root / "part")))
    assert found == [str(place.root / "part" / "data.gz")]
