"""A serving folder holds whole versions only, whatever happens to a push."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.atomic_pusher import versions
from schema.errors import UserError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(bytes(100_000))
    return folder


@pytest.fixture
def serving_root(tmp_path: Path) -> Path:
    return tmp_path / "serving" / "catalog"


def _contents(folder: Path) -> dict[Path, bytes]:
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_version_is_the_whole_model_under_the_time_of_its_push(model, serving_root):
    before = int(time.time())
    version = versions.push(model, serving_root)

    assert before <= int(version.name) <= time.time()
    assert _contents(version) == _contents(model)
    assert list(serving_root.iterdir()) == [version]


def test_older_versions_stay(model, serving_root):
    first, second = versions.push(model, serving_root), versions.push(model, serving_root)

    assert int(second.name) > int(first.name)
    assert sorted(serving_root.iterdir()) == [first, second]


def test_only_the_newest_version_is_compared_and_to_the_last_byte(model, serving_root):
    weights = model / "variables" / "variables.data-00000-of-00001"
    assert not versions.is_newest(model, serving_root)
    versions.push(model, serving_root)
    assert versions.is_newest(model, serving_root)
    weights.write_bytes(bytes(99_999) + b"1")
    assert not versions.is_newest(model, serving_root)
    versions.push(model, serving_root)
    weights.write_bytes(bytes(100_000))
    assert not versions.is_newest(model, serving_root)


def test_a_version_is_newer_than_one_from_a_clock_that_ran_ahead(model, serving_root):
    (serving_root / "99999999999").mkdir(parents=True)

    assert versions.push(model, serving_root).name == "100000000000"


def test_what_a_killed_push_left_is_removed_by_the_next(model, serving_root):
    leftover = serving_root / ".pushing-123"
    leftover.mkdir(parents=True)
    (leftover / "saved_model.pb").write_bytes(b"gra")

    version = versions.push(model, serving_root)

    assert list(serving_root.iterdir()) == [version]


def test_a_push_that_is_killed_shows_no_version(model, serving_root, tmp_path):
    killed = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time, pathlib\n"
            "from components.atomic_pusher import versions\n"
            "copy = versions._copy_to_disk\n"
            "def slow_copy(source, target):\n"
            "    copy(source, target)\n"
            "    print('copied', flush=True)\n"
            "    time.sleep(60)\n"
            "versions._copy_to_disk = slow_copy\n"
            "versions.push(*map(pathlib.Path, sys.argv[1:]))\n",
            str(model),
            str(serving_root),
        ],
        stdout=subprocess.PIPE,
        cwd=Path(versions.__file__).parents[2],
    )
    assert killed.stdout.readline() == b"copied\n"
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stdout.close()

    assert [path.name.isdecimal() for path in serving_root.iterdir()] == [False]
    assert list(serving_root.iterdir()) != []
    # Neither the killed push's lock nor what it left is in the way.
    version = versions.push(model, serving_root)
    assert list(serving_root.iterdir()) == [version]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_nothing_behind_and_is_named(
    model, serving_root, monkeypatch: pytest.MonkeyPatch, number
):
    def full(path):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(versions, "_write_through", full)

    with pytest.raises(UserError, match=r"disk of .*catalog is full: .* takes 0\.1 MB"):
        versions.push(model, serving_root)
    assert list(serving_root.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(model, tmp_path: Path):
    (tmp_path / "serving").write_text("a file where a folder should be")

    with pytest.raises(UserError, match=r"Cannot copy the model to .*serving/catalog"):
        versions.push(model, tmp_path / "serving" / "catalog")


def test_pushes_at_the_same_time_all_arrive(model, serving_root):
    with ThreadPoolExecutor(4) as pool:
        pushed = list(pool.map(lambda _: versions.push(model, serving_root), range(4)))

    assert sorted(serving_root.iterdir()) == sorted(pushed)
    assert len(set(pushed)) == 4
    assert all(_contents(version) == _contents(model) for version in pushed)
