"""Copies on this machine of what lies in a bucket: what is fetched again, and what is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from components import storage
from pipeline.copies import Copies
from schema.errors import UserError


@pytest.fixture
def copies(tmp_path: Path) -> Copies:
    return Copies(str(tmp_path / "copies"))


def contents(folder: str) -> dict[str, bytes]:
    return {name: Path(folder, name).read_bytes() for name in storage.files(folder)}


def test_what_was_fetched_is_fetched_again_only_where_the_bucket_has_changed(bucket, copies):
    url = f"{bucket}/artifacts/model/7"
    for name in ("a", "below/b"):
        storage.write_whole(f"{url}/{name}", name.encode())
    path = copies.fetch(url)
    assert path == copies.of(url)
    assert contents(path) == {"a": b"a", "below/b": b"below/b"}
    # Whoever fetched again would have taken this away.
    Path(path, "a").write_bytes(b"of this machine")
    assert contents(copies.fetch(url))["a"] == b"of this machine"
    storage.write_whole(f"{url}/c", b"c")
    assert contents(copies.fetch(url)) == {"a": b"a", "below/b": b"below/b", "c": b"c"}


def test_a_copy_that_was_only_begun_is_made_anew(bucket, copies):
    url = f"{bucket}/model"
    storage.write_whole(f"{url}/a", b"a")
    path = Path(copies.of(url))
    path.mkdir(parents=True)
    (path / "half").write_text("of a killed process")
    assert contents(copies.fetch(url)) == {"a": b"a"}


def test_what_was_sent_is_known_to_be_a_copy_and_what_was_removed_is_gone_on_both_sides(
    bucket, copies
):
    url = f"{bucket}/model"
    path = Path(copies.of(url))
    (path / "below").mkdir(parents=True)
    (path / "below" / "a").write_bytes(b"a")
    copies.send(url)
    assert storage.files(url) == ["below/a"]
    inode = os.stat(path / "below" / "a").st_ino
    copies.fetch(url)
    assert os.stat(path / "below" / "a").st_ino == inode
    copies.remove(url)
    assert storage.files(url) == [] and not path.exists()
    assert contents(copies.fetch(url)) == {}


def test_a_name_that_leads_out_of_the_folder_is_refused(bucket, copies):
    storage.write_whole(f"{bucket}/model/a", b"a")
    storage.write_whole(f"{bucket}/model/../../b", b"b")
    with pytest.raises(UserError, match=r"/model/\.\./\.\./b has `\.\.` in its name"):
        copies.fetch(f"{bucket}/model")
    assert not Path(copies.folder).exists()


def test_what_is_empty_is_there_on_every_machine(bucket, copies, tmp_path):
    url = f"{bucket}/corrections/1"
    Path(copies.of(url)).mkdir(parents=True)
    Path(copies.of(f"{url}/full/empty")).mkdir(parents=True)
    Path(copies.of(f"{url}/full/a")).write_bytes(b"a")
    copies.send(url)
    other = Copies(str(tmp_path / "other"))
    found = Path(other.fetch(url))
    assert {str(path.relative_to(found)) for path in found.rglob("*")} == {
        "full",
        "full/a",
        "full/empty",
    }
    if url.startswith("gs://"):
        import tensorflow as tf

        nothing = f"{bucket}/corrections/2"
        Path(copies.of(nothing)).mkdir(parents=True)
        copies.send(nothing)
        assert tf.io.gfile.exists(nothing), "or TFX would compute it again"
