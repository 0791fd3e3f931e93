"""Amazon S3, and stores that speak as it does, as one of Beam's file systems.

Beam's own makes a client for every file that it opens, which takes longer than a picture does; it
fails at empty files; and it knows no bucket from an empty one. This one has a client a process, and
can tell beforehand what may be read and written. Address and credentials are those of every tool
of Amazon's: `AWS_ENDPOINT_URL_S3`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_PROFILE`, ...

Needs boto3, which `seamline[s3]` brings.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import IO, Any

from apache_beam.io.aws import s3io
from apache_beam.io.aws.clients.s3 import boto3_client, messages
from apache_beam.io.aws.s3filesystem import S3FileSystem
from apache_beam.io.filesystem import CompressionTypes, FileMetadata
from apache_beam.utils import retry
from botocore import exceptions

from components.buckets import FORBIDDEN, MISSING, failure, require_as_it_is, sentence
from schema.errors import UserError

_SETTINGS = (
    *("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_DEFAULT_REGION"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
)
_TRIES = 3
_CONNECT_S = 5


class S3(S3FileSystem):
    """What lies behind `s3://`; and, for stores with an address of their own, behind `minio://`.

    Raises, as all of its methods do:
        FileNotFoundError: There is no such object, or no such bucket.
        PermissionError: The credentials do not suffice.
        UserError: The store cannot be reached, or fails.
    """

    def __init__(self) -> None:
        super().__init__(None)

    @classmethod
    def scheme(cls) -> str:
        """The scheme that Beam knows it by; `s3` is that of Beam's own."""
        return "minio"

    def exists(self, path: str) -> bool:
        """Whether there is an object."""
        try:
            self.metadata(path)
        except FileNotFoundError:
            return False
        return True

    def metadata(self, path: str) -> FileMetadata:
        """Size in bytes and time of modification, in seconds since 1970, of an object."""
        with _told(path):
            status = _io()._status(_s3(path))  # noqa: SLF001 As Beam's own file system.
        return FileMetadata(path, status["size"], status["last_updated"])

    def delete(self, paths: list[str]) -> None:
        """Deletes objects; they need not be there."""
        for path in paths:
            with _told(path):
                _io().delete(_s3(path))

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        scheme = dir_or_prefix.partition("://")[0]
        with _told(dir_or_prefix):
            for url, (size, updated) in _io().list_files(_s3(dir_or_prefix), with_metadata=True):
                yield FileMetadata(f"{scheme}{url.removeprefix('s3')}", size, updated)

    def _path_open(
        self,
        path: str,
        mode: str,
        mime_type: str = "application/octet-stream",
        compression_type: str = CompressionTypes.AUTO,
    ) -> IO[bytes]:
        require_as_it_is(compression_type)
        with _told(path):
            return _io().open(_s3(path), mode, mime_type=mime_type)


def check_readable(url: str) -> None:
    """Looks whether a folder of a bucket can be listed.

    Raises:
        UserError: It cannot.
    """
    bucket, prefix = s3io.parse_s3_path(_s3(f"{url.rstrip('/')}/"), object_optional=True)
    with _refusals(url, "read", "s3:ListBucket and s3:GetObject"):
        _client().list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)


def check_writable(url: str) -> None:
    """Looks whether objects can be put into a folder of a bucket; none is.

    Raises:
        UserError: They cannot.
    """
    check_readable(url)
    bucket, key = s3io.parse_s3_path(_s3(f"{url.rstrip('/')}/.seamline"))
    with _refusals(url, "written", "s3:PutObject and s3:AbortMultipartUpload"):
        # An upload that is never completed leaves nothing, and needs the right to put an object.
        upload = _client().create_multipart_upload(Bucket=bucket, Key=key)
        _client().abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload["UploadId"])


class _Away(retry.PermanentException):
    """The store cannot be reached, and Beam need not try for ten minutes."""


class _SharedClient(boto3_client.Client):
    """Beam's state of one file's transfer, around the process's one client."""

    def __init__(self) -> None:
        self.client = _client()
        self._download_request = None
        self._download_stream = None
        self._download_pos = 0

    def list(self, request: Any) -> Any:
        """With no more tries than the client's own, for a listing is what everything begins with.

        What is read and written after it waits for a store that is away for a while.
        """
        try:
            return super().list(request)
        except messages.S3ClientError as error:
            if error.code is None:
                raise _Away(*error.args[:1]) from error
            raise

    def complete_multipart_upload(self, request: Any) -> None:
        """Also where nothing was written, which S3 takes for no upload."""
        if request.parts:
            super().complete_multipart_upload(request)
            return
        place = {"Bucket": request.bucket, "Key": request.object}
        try:
            self.client.abort_multipart_upload(**place, UploadId=request.upload_id)
            self.client.put_object(**place, Body=b"")
        except exceptions.ClientError as error:
            raise messages.S3ClientError(
                str(error), boto3_client.get_http_error_code(error)
            ) from error


def _io() -> s3io.S3IO:
    return s3io.S3IO(client=_SharedClient())


def _client() -> Any:
    return _client_of(tuple(os.environ.get(name) for name in _SETTINGS))


@cache
def _client_of(settings: tuple[str | None, ...]) -> Any:
    """The client of the settings that boto3 itself takes from the environment."""
    del settings
    from boto3.session import Session
    from botocore.config import Config

    try:
        return Session().client(
            "s3",
            config=Config(
                connect_timeout=_CONNECT_S,
                retries={"mode": "standard", "total_max_attempts": _TRIES},
            ),
        )
    except (exceptions.BotoCoreError, ValueError) as error:
        raise UserError(
            f"There is no client of S3 with these settings: {sentence(error)} See "
            f"{', '.join(_SETTINGS[:4])}."
        ) from error


def _s3(url: str) -> str:
    """A URL with the scheme that Beam's client takes."""
    scheme, _, rest = url.partition("://")
    if scheme.lower() == "minio" and not (_endpoint()):
        raise UserError(
            f"{url}: minio:// is an S3 store with an address of its own. Say which in "
            "AWS_ENDPOINT_URL_S3, for example http://minio:9000."
        )
    return f"s3://{rest}"


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Makes of Beam's exception the one that a folder's files would give."""
    try:
        yield
    except (messages.S3ClientError, _Away) as error:
        raise failure(url, getattr(error, "code", None), error) from error


@contextmanager
def _refusals(url: str, done: str, rights: str) -> Iterator[None]:
    """Makes a sentence of what a store refuses."""
    bucket = _s3(url).removeprefix("s3://").partition("/")[0]
    where = f" at {_endpoint()}" if _endpoint() else ""
    try:
        yield
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise UserError(
            f"{url} needs credentials. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE."
        ) from error
    except exceptions.ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status in MISSING:
            raise UserError(
                f"There is no bucket {bucket}{where}, which {url} names. Make it, or name another."
            ) from error
        if status in FORBIDDEN:
            raise UserError(
                f"{url} may not be {done}{where} with these credentials ({code}). Grant them "
                f"{rights}, or use others."
            ) from error
        raise UserError(f"{url} cannot be {done}{where}: {sentence(error)}") from error
    except exceptions.BotoCoreError as error:
        raise UserError(
            f"{url} cannot be reached{where}: {sentence(error)} See the network and "
            "AWS_ENDPOINT_URL_S3."
        ) from error
