"""An index as a folder: whole or not at all, and one sentence where it is damaged."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from schema.errors import UserError
from serving.search import DamagedIndex, ExactIndex, Space
from serving.search import folder as folder_module

ROOT = Path(__file__).parents[3]
ELSEWHERE = {"name": "../../x", "bytes": 1, "crc32c": ""}
SPACE = Space({"kind": 2, "colour": 2}, {"colour": 0.5})


def catalog(count, dtype="float32"):
    index = ExactIndex(SPACE, dtype, made_by={"model": "articles", "version": 7})
    vectors = np.random.default_rng(count).standard_normal((count, 4))
    seasons = [("Summer", "Fall") if at % 2 else None for at in range(count)]
    index.upsert(
        [f"p{at}" for at in range(count)], vectors, {"season": seasons, "id": ["x"] * count}
    )
    return index


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_plain_files_are_what_they_are_called(tmp_path, dtype):
    index = catalog(30, dtype)
    index.save(tmp_path)

    manifest = json.loads((tmp_path / "manifest.json").read_text())
    vectors = np.load(tmp_path / manifest["files"]["vectors"]["name"])
    products = pq.read_table(tmp_path / manifest["files"]["products"]["name"])
    assert manifest["blocks"] == {"kind": 2, "colour": 2}
    assert manifest["weights"] == {"kind": 1.0, "colour": 0.5}
    assert manifest["made_by"] == {"model": "articles", "version": 7}
    assert vectors.shape == (30, 4) and vectors.dtype == dtype
    assert np.linalg.norm(vectors[:, :2].astype(float), axis=1) == pytest.approx(1, abs=1e-3)
    assert products["id"].to_pylist()[:2] == ["p0", "p1"]
    assert products["field.season"].to_pylist()[:2] == [None, ["Summer", "Fall"]]
    assert products["group"].to_pylist()[:2] == ["p0", "p1"]


def test_nothing_is_lost_on_the_way(tmp_path):
    index = catalog(30)
    index.delete(["p3"])
    before = index.search(np.ones(4), 40, where={"season": "Fall"})
    index.save(tmp_path)
    opened = ExactIndex.open(tmp_path)

    # The one that was saved maps the files now, and may be changed all the same.
    assert index.search(np.ones(4), 40, where={"season": "Fall"}) == before
    assert opened.search(np.ones(4), 40, where={"season": "Fall"}) == before
    assert opened.made_by == {"model": "articles", "version": 7}
    opened.upsert(["new"], np.ones(4), {"season": ["Winter"]})
    assert opened.count() == index.count() + 1
    assert opened.search(np.ones(4), 1)[0].hits[0].id == "new"
    opened.save(tmp_path)
    assert ExactIndex.open(tmp_path).count() == 30


def test_an_empty_one_is_saved_as_well(tmp_path):
    ExactIndex(SPACE).save(tmp_path)

    opened = ExactIndex.open(tmp_path)
    assert opened.count() == 0
    opened.upsert(["a"], np.ones(4))
    assert opened.search(np.ones(4), 1)[0].hits[0].id == "a"


def test_who_has_it_open_keeps_the_old_version_while_a_new_one_is_saved(tmp_path):
    catalog(30).save(tmp_path)
    reader = ExactIndex.open(tmp_path)
    before = reader.search(np.ones(4), 30)
    catalog(50).save(tmp_path)

    assert reader.search(np.ones(4), 30) == before
    assert ExactIndex.open(tmp_path).count() == 50
    names = sorted(path.name.partition("-")[0] for path in tmp_path.iterdir())
    assert names == [".lock", "manifest.json", "products", "vectors"]


def test_while_it_is_saved_searches_are_answered_and_writers_wait(tmp_path, monkeypatch):
    index, whole = catalog(30), folder_module.write
    begun, may_end = threading.Event(), threading.Event()

    def slow(*arguments):
        begun.set()
        assert may_end.wait(60)
        return whole(*arguments)

    monkeypatch.setattr(folder_module, "write", slow)
    saving = threading.Thread(target=index.save, args=(tmp_path,))
    saving.start()
    assert begun.wait(60)
    writing = threading.Thread(target=index.upsert, args=(["new"], np.ones(4)))
    writing.start()

    # Answered while the save stands still.
    assert len(index.search(np.ones(4), 40)[0].hits) == 30
    assert index.product("p1")[1] == "p1"
    assert index.count({"season": "Fall"}) == 15
    may_end.set()
    for thread in (saving, writing):
        thread.join()
    assert ExactIndex.open(tmp_path).count() == 30
    assert index.search(np.ones(4), 1)[0].hits[0].id == "new"


def test_another_process_always_opens_a_whole_version(tmp_path):
    folder = tmp_path / "index"
    catalog(30).save(folder)
    code = f"""
        from serving.search import ExactIndex
        import numpy as np
        print("ready", flush=True)
        for _ in range(150):
            index = ExactIndex.open({str(folder)!r})
            count = index.count()
            assert count in (30, 31, 32), count
            assert len(index.search(np.ones(4), 100)[0].hits) == count
        print("done")
    """
    reader = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert reader.stdout.readline() == "ready\n"
    saves = 0
    while reader.poll() is None and saves < 10_000:
        catalog(30 + saves % 3).save(folder)
        saves += 1
    assert reader.communicate()[0] == "done\n"
    assert saves > 5


@pytest.mark.parametrize("moment", range(1, 8))
def test_killed_while_saving_the_old_version_is_there_and_a_new_one_can_be_saved(tmp_path, moment):
    folder = tmp_path / "index"
    catalog(30).save(folder)
    # A file is brought to the disk, or put in its place, at every step.
    code = f"""
        import os, signal
        from serving.search import folder
        from tests.serving.search.test_folder import catalog
        left = [{moment}]

        def step(real):
            def counted(*arguments):
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments)
            return counted

        folder._to_disk = step(folder._to_disk)
        os.replace = step(os.replace)
        catalog(40).save({str(folder)!r})
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, timeout=120)

    # Two files, the manifest, its taking its place, and the folder: then it is there.
    assert done.returncode == (-9 if moment <= 5 else 0)
    assert ExactIndex.open(folder).count() == (30 if moment <= 4 else 40)
    catalog(50).save(folder)
    assert ExactIndex.open(folder).count() == 50
    assert len(list(folder.iterdir())) == 4


def test_a_full_disk_leaves_the_old_version_and_nothing_else(tmp_path, monkeypatch):
    catalog(30).save(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OSError, match="No space left"):
        catalog(40).save(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert ExactIndex.open(tmp_path).count() == 30


def _cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


def _manifest(**changes):
    def change(path):
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


@pytest.mark.parametrize(
    "name, damage, said",
    [
        ("vectors-*", _cut, "is not what was saved"),
        ("vectors-*", _flip, "is not what was saved"),
        ("vectors-*", Path.unlink, "lacks vectors-"),
        ("products-*", _cut, "is not what was saved"),
        ("products-*", _flip, "is not what was saved"),
        ("products-*", Path.unlink, "lacks products-"),
        ("manifest.json", Path.unlink, "There is no index in"),
        ("manifest.json", _cut, "manifest.json cannot be read"),
        ("manifest.json", lambda path: path.write_bytes(b"\xff\xfe"), "cannot be read"),
        ("manifest.json", lambda path: path.write_text("[]"), "cannot be read"),
        ("manifest.json", _manifest(format="recipe"), 'its format is "recipe"'),
        ("manifest.json", _manifest(version=2), "was written by a newer Seamline"),
        ("manifest.json", _manifest(blocks={"kind": 9}), "cannot be read"),
        ("manifest.json", _manifest(blocks={"kind": 9}, weights={}), "it holds float32 (30, 4)"),
        ("manifest.json", _manifest(products=31), "it holds float32 (30, 4)"),
        ("manifest.json", _manifest(dtype="float64"), "it holds float32"),
        ("manifest.json", _manifest(threshold="high"), "its threshold is 'high'"),
        ("manifest.json", _manifest(files={}), "cannot be read"),
        (
            "manifest.json",
            _manifest(files=dict.fromkeys(("vectors", "products"), ELSEWHERE)),
            "it names files that are none of an index's",
        ),
    ],
)  # fmt: skip
def test_what_is_damaged_is_one_sentence(tmp_path, name, damage, said):
    catalog(30).save(tmp_path)
    (path,) = tmp_path.glob(name)
    damage(path)

    with pytest.raises(DamagedIndex) as error:
        ExactIndex.open(tmp_path)
    assert said in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")

    with pytest.raises(UserError, match="no folder of an index: it holds thesis.txt"):
        catalog(30).save(tmp_path)
    with pytest.raises(DamagedIndex, match="There is no index in"):
        ExactIndex.open(tmp_path)
    with pytest.raises(DamagedIndex, match="There is no index in"):
        ExactIndex.open(tmp_path / "nowhere")


def test_a_copied_folder_is_an_index(tmp_path):
    catalog(30).save(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    shutil.rmtree(tmp_path / "one")

    assert ExactIndex.open(tmp_path / "two").count() == 30
