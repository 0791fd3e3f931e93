"""Google Cloud Storage as one of Beam's file systems.

Beam's own makes a client for every call, and gives its client's errors, which are no `OSError`, or
one of its own that says nothing. This one has a client a process, gives the errors that a folder's
files would give, can tell beforehand what may be read and written, and writes an object only where
nobody else has written it since. Credentials are those of every tool of Google's:
`GOOGLE_APPLICATION_CREDENTIALS`, `gcloud auth application-default login`, or the machine's or pod's
service account; without any, what everybody may see is seen.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import IO

import google.auth
import requests
from apache_beam.io.filesystem import CompressionTypes, FileMetadata
from apache_beam.io.gcp import gcsio
from apache_beam.io.gcp.gcsfilesystem import GCSFileSystem
from google.api_core import exceptions
from google.auth import exceptions as auth_exceptions
from google.cloud import storage
from google.cloud.storage.exceptions import InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY

from components.buckets import failure, require_as_it_is, sentence
from schema.errors import UserError

_SETTINGS = ("GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG", "STORAGE_EMULATOR_HOST")
_SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)
_SECONDS = (5, 20)
"""To connect, and to answer, where it is only looked whether somebody does."""

_AWAY = (
    requests.ConnectionError,
    requests.Timeout,
    auth_exceptions.TransportError,
    exceptions.RetryError,
)
_FAILURES = (
    exceptions.GoogleAPIError,
    InvalidResponse,
    requests.RequestException,
    auth_exceptions.GoogleAuthError,
)
"""All that the client raises."""


class GCS(GCSFileSystem):
    """What lies behind `gs://`.

    Raises, as all of its methods do:
        FileNotFoundError: There is no such object, or no such bucket.
        PermissionError: The credentials do not suffice.
        UserError: The store cannot be reached, or fails.
    """

    def __init__(self) -> None:
        super().__init__(None)

    @classmethod
    def scheme(cls) -> str:
        """The scheme that Beam knows it by; `gs` is that of Beam's own."""
        return "seamline+gs"

    def exists(self, path: str) -> bool:
        """Whether there is an object."""
        with _told(path):
            return _blob(path).exists()

    def metadata(self, path: str) -> FileMetadata:
        """Size in bytes and time of modification, in seconds since 1970, of an object."""
        with _told(path):
            blob = _blob(path)
            blob.reload()
        return FileMetadata(path, blob.size, blob.updated.timestamp())

    def delete(self, paths: list[str]) -> None:
        """Deletes objects; they need not be there."""
        for path in paths:
            with _told(path), suppress(exceptions.NotFound):
                _blob(path).delete(retry=DEFAULT_RETRY)

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        bucket, prefix = _parts(dir_or_prefix)
        with _told(dir_or_prefix):
            for blob in _client().list_blobs(bucket, prefix=prefix):
                url = f"gs://{bucket}/{blob.name}"
                yield FileMetadata(url, blob.size, blob.updated.timestamp())

    def _path_open(
        self,
        path: str,
        mode: str,
        mime_type: str = "application/octet-stream",
        compression_type: str = CompressionTypes.AUTO,
    ) -> IO[bytes]:
        require_as_it_is(compression_type)
        with _told(path):
            return _Writer(path, mime_type) if "w" in mode else _Reader(path)


class _Reader(gcsio.BeamBlobReader):
    """An object that is read in pieces."""

    def __init__(self, url: str) -> None:
        self._url = url
        super().__init__(_blob(url))

    def read(self, size: int = -1) -> bytes:
        with _told(self._url):
            return super().read(size)


class _Writer(gcsio.BeamBlobWriter):
    """An object that is there once it is closed, and not where an exception comes before."""

    def __init__(self, url: str, mime_type: str) -> None:
        self._url = url
        super().__init__(_blob(url), mime_type)

    def write(self, content: bytes) -> int:
        with _told(self._url):
            return super().write(content)

    def close(self) -> None:
        with _told(self._url):
            super().close()


def check_readable(url: str) -> None:
    """Looks whether a folder of a bucket can be listed.

    Raises:
        UserError: It cannot.
    """
    bucket, prefix = _parts(f"{url.rstrip('/')}/")
    with _refusals(url, "read", "storage.objects.list and storage.objects.get"):
        found = _client().list_blobs(
            bucket, prefix=prefix, max_results=1, retry=None, timeout=_SECONDS
        )
        next(iter(found), None)


def check_writable(url: str) -> None:
    """Looks whether objects can be put into a folder of a bucket; none is.

    Raises:
        UserError: They cannot.
    """
    check_readable(url)
    with _refusals(url, "written", "storage.objects.create and storage.objects.delete"):
        # An upload that is never completed leaves nothing, and needs the right to make an object.
        upload = _blob(f"{url.rstrip('/')}/.seamline").create_resumable_upload_session(
            size=0, timeout=_SECONDS, retry=None
        )
    with suppress(*_FAILURES):
        _client()._http.delete(upload, timeout=_SECONDS)  # noqa: SLF001 Else it ends in a week.


def read_generation(url: str) -> tuple[int, bytes]:
    """An object's generation, which every writing changes, and its content; 0 where there is none.

    Raises:
        OSError: It cannot be read.
        UserError: The store cannot be reached, or fails.
    """
    while True:
        with _told(url):
            blob = _blob(url)
            try:
                blob.reload()
                generation = blob.generation
                return generation, blob.download_as_bytes(if_generation_match=generation)
            except exceptions.PreconditionFailed:
                continue  # Written between the two.
            except exceptions.NotFound:
                return 0, b""


def write_generation(url: str, content: bytes, generation: int) -> int | None:
    """Writes an object if nobody has written it since.

    Args:
        url: The object.
        content: What it gets, which tells this writer from all others.
        generation: What it is known to be; 0 for none.

    Returns:
        Its generation now; None where somebody else was first.

    Raises:
        OSError: It cannot be written.
        UserError: The store cannot be reached, or fails.
    """
    with _told(url):
        blob = _blob(url)
        try:
            blob.upload_from_string(content, if_generation_match=generation)
        except exceptions.PreconditionFailed:
            # Also where a first try arrived, and its answer was lost.
            now, found = read_generation(url)
            return now if found == content else None
        return blob.generation


def _parts(url: str) -> tuple[str, str]:
    return gcsio.parse_gcs_path(f"gs://{url.partition('://')[2]}", object_optional=True)


def _blob(url: str) -> storage.Blob:
    bucket, name = _parts(url)
    return _client().bucket(bucket).blob(name)


def _client() -> storage.Client:
    return _client_of(os.getpid(), tuple(os.environ.get(name) for name in _SETTINGS))


@cache
def _client_of(process: int, settings: tuple[str | None, ...]) -> storage.Client:
    """The client of the settings that Google's libraries take from the environment."""
    del process, settings
    try:
        credentials, project = google.auth.default(scopes=_SCOPES)
    except auth_exceptions.DefaultCredentialsError as error:
        if named := os.environ.get(_SETTINGS[0]):
            raise UserError(
                f"{named}, which {_SETTINGS[0]} names, holds no credentials: {sentence(error)}"
            ) from error
        return storage.Client.create_anonymous_client()
    # What is asked for needs no project, which the client insists on.
    return storage.Client(project=project or "none", credentials=credentials)


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Makes of the client's exception the one that a folder's files would give."""
    try:
        yield
    except _FAILURES as error:
        raise failure(url, _status(error), error) from error


@contextmanager
def _refusals(url: str, done: str, rights: str) -> Iterator[None]:
    """Makes a sentence of what a store refuses."""
    try:
        yield
    except _FAILURES as error:
        code = _status(error)
        if isinstance(error, _AWAY):
            raise UserError(
                f"{url} cannot be reached: {sentence(error)} See the network and its proxies."
            ) from error
        if code == 401:
            raise UserError(
                f"{url} needs credentials that are valid. Run `gcloud auth application-default "
                "login`, or name a key file in GOOGLE_APPLICATION_CREDENTIALS."
            ) from error
        if code == 404:
            raise UserError(
                f"There is no bucket {_parts(url)[0]}, which {url} names. Make it, or name another."
            ) from error
        if code == 403:
            raise UserError(
                f"{url} may not be {done} with these credentials. Grant them {rights}, or use "
                "others."
            ) from error
        raise UserError(f"{url} cannot be {done}: {sentence(error)}") from error


def _status(error: BaseException) -> int | None:
    """The HTTP status of what the client raised, where it has one."""
    if isinstance(error, InvalidResponse):
        return error.response.status_code
    # What is no credentials, or has run out, never comes to be asked for.
    if isinstance(error, auth_exceptions.GoogleAuthError) and not isinstance(error, _AWAY):
        return 401
    return getattr(error, "code", None)
