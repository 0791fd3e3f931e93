"""Cloud Storage as all who read it see it: our own client, and TensorFlow's in C++."""

from __future__ import annotations

import socket
import time

import pytest

from components import gcs, storage
from components.catalog_example_gen.preflight import check_catalog
from pipeline.config import Catalog, Split
from schema.errors import UserError
from tests import cloud_proxy


@pytest.mark.parametrize(
    "content", [b"", b"x", bytes(range(256)) * 80_000], ids=["empty", "short", "20 MB"]
)
def test_a_file_comes_back_as_it_was_written(gs_url: str, content: bytes) -> None:
    url = f"{gs_url}/a b/ü [1].bin"
    with storage.created(url) as file:
        file.write(content)
    assert storage.is_file(url)
    assert storage.files(url.rpartition("/")[0]) == ["ü [1].bin"]
    with storage.opened(url) as file:
        assert file.read() == content
        assert file.seek(0, 2) == len(content)
    assert int(storage.stamp(url).partition("\0")[0]) == len(content)
    storage.remove_folder(url.rpartition("/")[0])
    assert not storage.is_file(url)
    with pytest.raises(FileNotFoundError):
        storage.opened(url)


def test_a_file_whose_writing_failed_is_not_there(gs_url: str) -> None:
    with pytest.raises(ZeroDivisionError), storage.created_whole(f"{gs_url}/half") as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert not storage.is_file(f"{gs_url}/half")


def test_what_tensorflow_writes_is_read_and_the_other_way_round(gs_url: str, cloud_storage) -> None:
    """It asks the hosts of Google's that are compiled into it, and nothing here changed that.

    With the same credentials: who brings no token is answered by neither (`tests.cloud_proxy`).
    """
    import tensorflow as tf

    storage.write_whole(f"{gs_url}/ours/a b.txt", b"ours")
    before = len(cloud_storage.asked())
    with tf.io.gfile.GFile(f"{gs_url}/ours/a b.txt", "rb") as file:
        assert file.read() == b"ours"
    place = gs_url.removeprefix("gs:/")
    asked = cloud_storage.asked()[before:]
    assert f"GET {place}/ours%2Fa%20b.txt" in asked
    tf.io.gfile.makedirs(f"{gs_url}/theirs/below")
    with tf.io.TFRecordWriter(f"{gs_url}/theirs/below/x.gz", "GZIP") as records:
        for number in range(1000):
            records.write(b"%d" % number)
    # It leaves empty objects that stand for folders.
    assert {file.path for file in storage.listed(f"{gs_url}/theirs")} > {f"{gs_url}/theirs/"}
    assert storage.files(f"{gs_url}/theirs") == ["below/x.gz"]
    assert storage.names(f"{gs_url}/theirs/below", ".gz") == ["x.gz"]
    storage.copy(f"{gs_url}/theirs/below/x.gz", f"{gs_url}/ours/x.gz")
    read = tf.data.TFRecordDataset(f"{gs_url}/ours/x.gz", "GZIP").as_numpy_iterator()
    assert [int(record) for record in read] == list(range(1000))
    storage.remove_folder(f"{gs_url}/theirs")
    assert not tf.io.gfile.exists(f"{gs_url}/theirs/below/x.gz")
    tf.io.gfile.makedirs(f"{gs_url}/empty")
    assert not storage.is_folder(f"{gs_url}/empty")


def test_all_files_of_a_process_share_a_client(gs_url: str) -> None:
    storage.write_whole(f"{gs_url}/one", b"1")
    client = gcs._client()
    with storage.opened(f"{gs_url}/one"):
        assert gcs._client() is client


def test_of_two_who_write_what_both_have_read_one_does(gs_url: str) -> None:
    url = f"{gs_url}/lease"
    assert gcs.read_generation(url) == (0, b"")
    first = gcs.write_generation(url, b"first", 0)
    assert first
    assert gcs.write_generation(url, b"second", 0) is None
    assert gcs.read_generation(url) == (first, b"first")
    second = gcs.write_generation(url, b"second", first)
    assert second not in (None, first)
    assert gcs.write_generation(url, b"third", first) is None
    assert gcs.read_generation(url) == (second, b"second")
    assert gcs.write_generation(url, b"second", first) == second, "the answer to it was lost"


def test_to_look_whether_a_bucket_can_be_written_writes_nothing(gs_url: str) -> None:
    storage.check_writable(f"{gs_url}/shop")
    assert storage.files(gs_url) == []


def test_a_bucket_that_is_not_there_is_told(gs_url: str) -> None:
    for check in (storage.check_readable, storage.check_writable):
        with pytest.raises(UserError, match=r"There is no bucket nowhere-at-all, which gs://nowhe"):
            check("gs://nowhere-at-all/shop")
    options = Catalog(
        folder="gs://nowhere-at-all/shop", category="category", subcategory="subcategory"
    )
    with pytest.raises(UserError, match="There is no bucket"):
        check_catalog(options.model_dump(), Split().model_dump())


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, "needs credentials that are valid. Run `gcloud auth application-default login`"),
        (403, "may not be read with these credentials. Grant them storage.objects.list"),
        (503, "cannot be read: 503 .* refused"),
    ],
)
def test_what_the_store_refuses_is_told_in_a_sentence(
    gs_url: str, cloud_storage, request, status: int, told: str
) -> None:
    request.addfinalizer(lambda: cloud_storage.refuse(None))
    cloud_storage.refuse(status)
    with pytest.raises(UserError, match=told):
        storage.check_writable(f"{gs_url}/shop")
    if status != 503:
        with pytest.raises(PermissionError):
            storage.opened(f"{gs_url}/shop/labels.csv")


def test_what_everybody_may_see_needs_no_credentials(
    gs_url: str, cloud_storage, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    url = cloud_storage.create_bucket(gs_url.replace("gs://", cloud_proxy.OPEN))
    for of in (url, gs_url):
        storage.write_whole(f"{of}/file", b"open")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    storage.check_readable(url)
    with storage.opened(f"{url}/file") as file:
        assert file.read() == b"open"
    with pytest.raises(PermissionError), storage.opened(f"{gs_url}/file"):
        pass


def test_credentials_that_are_none_are_told(
    gs_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    file = tmp_path / "key.json"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    for content in (None, "{}"):
        if content:
            file.write_text(content)
        with pytest.raises(UserError, match=f"^{file}, which GOOGLE_APPLI.* holds no credentials"):
            storage.check_writable(f"{gs_url}/shop")


def test_a_store_that_is_away_is_told_soon(gs_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    started = time.monotonic()
    with pytest.raises(UserError, match="cannot be reached: .* See the network and its proxies"):
        storage.check_writable(f"{gs_url}/serving")
    assert time.monotonic() - started < 30
