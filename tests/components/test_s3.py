"""Files and the rights to them on a real S3 server, on this machine."""

from __future__ import annotations

import socket
import time
import urllib.request
from typing import Any

import boto3
import pytest

from components import s3, storage
from components.catalog_example_gen import sources
from components.catalog_example_gen.preflight import check_catalog
from components.ledger.ledger import Ledger
from pipeline.config import Catalog, Split
from schema.errors import UserError


def catalog_options(folder: str) -> dict[str, Any]:
    return Catalog(
        folder=folder,
        category="category",
        subcategory="subcategory",
        attributes=["colour", "pattern"],
    ).model_dump()


def test_a_catalog_by_either_scheme_is_the_same(bucket_url: str) -> None:
    storage.write_whole(f"{bucket_url}/shop/labels.csv", b"id\n1\n")
    storage.write_whole(f"{bucket_url}/shop/images/1.jpg", b"picture")
    of_url, of_minio = (
        sources.fingerprint(catalog_options(f"{scheme}{bucket_url[2:]}/shop"), Split().model_dump())
        for scheme in ("s3", "minio")
    )
    assert of_url == of_minio


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 30_000])
@pytest.mark.parametrize("scheme", ["s3", "minio"])
def test_a_file_comes_back_as_it_was_written(bucket_url: str, content: bytes, scheme: str) -> None:
    url = f"{bucket_url}/a b/ü.bin".replace("s3", scheme, 1)
    with storage.created(url) as file:
        file.write(content)
    assert storage.is_file(url)
    assert storage.files(url.rpartition("/")[0]) == ["ü.bin"]
    with storage.opened(url) as file:
        assert file.read() == content
        assert file.seek(0, 2) == len(content)
    size = storage.stamp(url).partition("\0")[0]
    assert int(size) == len(content)
    storage.remove_folder(url.rpartition("/")[0])
    assert not storage.is_file(url)
    with pytest.raises(FileNotFoundError):
        storage.opened(url)


def test_all_files_of_a_process_share_a_client(bucket_url: str) -> None:
    storage.write_whole(f"{bucket_url}/one", b"1")
    client = s3._client()
    with storage.opened(f"{bucket_url}/one"):
        assert s3._client() is client


def test_a_bucket_that_is_not_there_is_told(bucket_url: str) -> None:
    for check in (storage.check_readable, storage.check_writable):
        with pytest.raises(UserError, match="There is no bucket nowhere-at-all at http://127.*ke"):
            check("s3://nowhere-at-all/shop")
    with pytest.raises(UserError, match="There is no bucket"):
        check_catalog(catalog_options("s3://nowhere-at-all/shop"), Split().model_dump())


def test_a_store_that_is_away_is_told_soon(
    bucket_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")
    s3._client()
    started = time.monotonic()
    with pytest.raises(UserError, match=f"cannot be reached at http://127.0.0.1:{port}: .* See"):
        storage.check_writable(f"{bucket_url}/serving")
    with pytest.raises(UserError, match="cannot be read or written: Could not connect .* the same"):
        Ledger(f"{bucket_url}/ledger").base_for("a")
    assert time.monotonic() - started < 60


def test_minio_needs_an_address(bucket_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    with pytest.raises(UserError, match="Say which in AWS_ENDPOINT_URL_S3"):
        storage.is_file("minio://shop/labels.csv")


@pytest.fixture
def reader_only(bucket_url: str, s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The bucket's URL, whose server checks rights now; the process may read and not write."""
    iam = boto3.client("iam", endpoint_url=s3_server)
    user = bucket_url.removeprefix("s3://")
    iam.create_user(UserName=user)
    allowed = '{"Effect": "Allow", "Action": ["s3:List*", "s3:Get*"], "Resource": "*"}'
    policy = f'{{"Version": "2012-10-17", "Statement": [{allowed}]}}'
    iam.put_user_policy(UserName=user, PolicyName="reader", PolicyDocument=policy)
    key = iam.create_access_key(UserName=user)["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])

    def check_rights_after(requests: str) -> None:
        url, kind = f"{s3_server}/moto-api/reset-auth", {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(url, requests.encode(), kind)).close()

    check_rights_after("0")
    yield bucket_url
    check_rights_after("inf")


def test_a_bucket_that_may_only_be_read_is_told_before_anything_is_written(
    reader_only: str,
) -> None:
    storage.check_readable(f"{reader_only}/shop")
    with pytest.raises(UserError, match=r"may not be written .*\(AccessDenied\)\. Grant them"):
        storage.check_writable(f"{reader_only}/serving")
    with pytest.raises(PermissionError):
        storage.write_whole(f"{reader_only}/serving/x", b"x")
    assert storage.files(reader_only) == []


def test_credentials_that_are_unknown_are_told(
    reader_only: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAUNKNOWN000000000")
    with pytest.raises(UserError, match=r"may not be read .* with these credentials"):
        storage.check_readable(f"{reader_only}/shop")


def test_missing_credentials_are_told(bucket_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(UserError, match="needs credentials. Set AWS_ACCESS_KEY_ID"):
        storage.check_readable(f"{bucket_url}/shop")
