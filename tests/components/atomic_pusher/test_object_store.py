"""Pushes into a bucket: in which order, what again, what not, what remains.

Of a real S3 server, and of Cloud Storage as its own client sees it.
"""

from __future__ import annotations

from pathlib import Path

import boto3
import pytest

from components import storage
from components.atomic_pusher import object_store
from components.atomic_pusher.records import PAPERS_FOLDER, RECORD_FILE, Origin, read_record
from schema.errors import UserError


@pytest.fixture
def root(bucket: str) -> str:
    """URL of a serving folder in a bucket; not there yet."""
    return f"{bucket}/serving/catalog"


@pytest.fixture
def card(tmp_path: Path) -> str:
    """A paper."""
    path = tmp_path / "model_card.md"
    path.write_text("card")
    return str(path)


@pytest.fixture
def make_index(tmp_path: Path):
    """Writes a companion with a content of one's own; returns its folder."""

    def make(content: str) -> str:
        folder = tmp_path / content / "index"
        folder.mkdir(parents=True)
        (folder / "vectors.npy").write_text(content)
        (folder / "empty").touch()
        return str(folder)

    return make


def numbers(root: str) -> list[int]:
    return sorted({int(name.partition("/")[0]) for name in storage.files(root)})


def copied(root: str, source: int, target: int) -> None:
    """As a person goes back: an older version's files at a larger number."""
    for name in sorted(storage.files(f"{root}/{source}"), key=lambda name: name[:5] == "saved"):
        storage.copy(f"{root}/{source}/{name}", f"{root}/{target}/{name}")


def test_the_graph_comes_last_after_record_papers_index_and_variables(
    root: str, make_model, make_index, card: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    created = storage.created
    monkeypatch.setattr(storage, "created", lambda path: written.append(path) or created(path))
    model, index = str(make_model("a")), make_index("i")
    outcome = object_store.push(model, root, Origin(model="m", run="r"), [card], index)
    folder = outcome.version.folder
    assert [path.removeprefix(f"{folder}/") for path in written] == [
        RECORD_FILE.as_posix(),
        f"{PAPERS_FOLDER}/model_card.md",
        f"{PAPERS_FOLDER}/index/empty",
        f"{PAPERS_FOLDER}/index/vectors.npy",
        "assets/category",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
        "saved_model.pb",
    ]
    for name in storage.files(model):
        with storage.opened(f"{folder}/{name}") as file:
            assert file.read() == Path(model, name).read_bytes()
    record = read_record(folder)
    assert (record.origin.model, record.origin.run) == ("m", "r")
    assert set(record.companion) == {"vectors.npy", "empty"}
    assert outcome.summary == f"version {outcome.version.number} pushed to {root}"


def test_what_is_live_with_the_same_companion_is_not_pushed_again(
    root: str, make_model, make_index
) -> None:
    model, index = str(make_model("a")), make_index("i")
    first = object_store.push(model, root, companion=index)
    again = object_store.push(model, root, companion=index)
    assert (again.state, again.version.number) == ("live", first.version.number)
    assert again.summary == f"version {first.version.number} is live already in {root}"
    assert object_store.push(model, root).state == "live", "nobody asks for another companion"
    other = object_store.push(model, root, companion=make_index("j"))
    assert other.state == "new"
    assert other.version.number > first.version.number
    assert other.version.record.copy_of == first.version.number
    assert numbers(root) == [first.version.number, other.version.number]


def test_another_model_replaces_it_and_may_be_replaced_in_turn(root: str, make_model) -> None:
    one, other = str(make_model("a")), str(make_model("b"))
    for model in (one, other, one):
        assert object_store.push(model, root).state == "new"
    assert len(numbers(root)) == 3


def test_a_push_that_was_cut_off_is_no_version_and_the_next_one_is_above_it(
    root: str, make_model
) -> None:
    model = str(make_model("a"))
    first = object_store.push(model, root).version.number
    cut_off = first + 1_000_000
    copied(root, first, cut_off)
    storage.remove_folder(f"{root}/{cut_off}/variables")
    there = object_store.find_versions(root)
    assert [(one.number, one.is_whole) for one in there] == [(cut_off, False), (first, True)]
    # A server that starts anew would not find the one below.
    assert object_store.push(model, root).version.number == cut_off + 1


def test_a_push_that_fails_leaves_nothing(
    root: str, make_model, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = storage.copy

    def denied(source: str, target: str) -> None:
        if target.endswith("variables.index"):
            raise PermissionError(13, "Permission denied", target)
        copy(source, target)

    monkeypatch.setattr(storage, "copy", denied)
    with pytest.raises(UserError, match="Cannot push to .*Nothing went live. See that the bucket"):
        object_store.push(str(make_model("a")), root)
    assert storage.files(root) == []


def test_who_went_back_by_copying_an_older_version_is_understood(root: str, make_model) -> None:
    good, bad, better = (str(make_model(content)) for content in ("good", "bad", "better"))
    first = object_store.push(good, root).version.number
    second = object_store.push(bad, root).version.number
    copied(root, first, second + 1)
    assert object_store.push(good, root).state == "live"
    outcome = object_store.push(bad, root)
    assert outcome.state == "rolled back"
    assert outcome.summary.startswith(
        f"not pushed: this model was version {second} and was rolled back to {first} on 20"
    )
    third = object_store.push(better, root)
    assert third.state == "new"
    assert object_store.push(bad, root).state == "rolled back", "a new model changes nothing of it"
    assert numbers(root) == [first, second, second + 1, third.version.number]


def test_versions_that_others_put_there_are_kept_and_counted(root: str, make_model) -> None:
    largest = 9_000_000_000
    storage.write_whole(f"{root}/{largest}/saved_model.pb", b"graph")
    storage.write_whole(f"{root}/notes.txt", b"x")
    assert object_store.push(str(make_model("a")), root).version.number == largest + 1


def test_a_model_in_a_bucket_is_pushed_as_one_on_disk(root: str, bucket: str, make_model) -> None:
    model = str(make_model("a"))
    for name in storage.files(model):
        storage.copy(f"{model}/{name}", f"{bucket}/artifacts/{name}")
    first = object_store.push(f"{bucket}/artifacts", root)
    assert object_store.push(model, root).version.number == first.version.number


def test_an_upload_that_was_given_up_leaves_no_file(bucket_url: str) -> None:
    storage.check_writable(f"{bucket_url}/serving")
    name = bucket_url.removeprefix("s3://")
    assert "Contents" not in boto3.client("s3").list_objects_v2(Bucket=name)
    assert not boto3.client("s3").list_multipart_uploads(Bucket=name).get("Uploads")
