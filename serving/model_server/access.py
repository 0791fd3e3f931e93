"""Who may ask: TLS and mutual TLS, API keys, and where a server listens that has neither."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import hmac
import logging
import re
import secrets
import ssl
import stat
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from schema.errors import UserError
from serving.model_server import server_config_pb2
from serving.model_server.errors import RequestError

AUTHORIZATION = "authorization"
API_KEY = "x-api-key"
"""The headers, or gRPC metadata, that a key comes in: as `Bearer KEY`, or as it is."""

_log = logging.getLogger("seamline.serving")

_SHORTEST_KEY = 16
"""What is shorter can be guessed."""

_KEY = re.compile(r"[!-~]+")

_BETWEEN_LOOKS_S = 1.0

_SOON = datetime.timedelta(days=14)


@dataclass(frozen=True)
class Tls:
    """A certificate with its key, and perhaps the authority that callers must have theirs from.

    Attributes:
        certificate: PEM text, the server's own certificate first, then those above it.
        key: PEM text of its private key, without a password.
        client_ca: PEM text of the authorities whose certificates callers may show.
        client_verify: A caller must show a certificate (mutual TLS).
    """

    certificate: bytes
    key: bytes
    client_ca: bytes = b""
    client_verify: bool = False

    @classmethod
    def of(cls, config: server_config_pb2.SSLConfig) -> Tls:
        """Makes one of TensorFlow Serving's `SSLConfig`, and checks it.

        Raises:
            UserError: a part is missing or no PEM text, the certificate has run out or is not valid
                yet, or the key is another certificate's.
        """
        tls = cls(
            config.server_cert.encode(),
            config.server_key.encode(),
            config.custom_ca.encode(),
            config.client_verify,
        )
        tls._check()
        return tls

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """What a gRPC port is opened with."""
        return grpc.ssl_server_credentials(
            [(self.key, self.certificate)],
            root_certificates=self.client_ca if self.client_verify else None,
            require_client_auth=self.client_verify,
        )

    def http_context(self) -> ssl.SSLContext:
        """What an HTTP port is opened with.

        Raises:
            UserError: OpenSSL takes certificate or key not; the reason is its own.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # OpenSSL takes them from files only. Temporary ones are for this user alone.
        with contextlib.ExitStack() as files:
            names = []
            for part in (self.certificate, self.key):
                file = files.enter_context(tempfile.NamedTemporaryFile(suffix=".pem"))
                file.write(part)
                file.flush()
                names.append(file.name)
            try:
                context.load_cert_chain(*names)
            except ssl.SSLError as error:
                raise UserError(
                    f"The TLS certificate and its private key are of no use: {error.reason}."
                ) from error
        if self.client_verify:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=self.client_ca.decode())
        return context

    def _check(self) -> None:
        certificate = _certificates(self.certificate, "server_cert")[0]
        _check_dates(certificate, "The TLS certificate")
        if not self.key.strip():
            raise UserError(_missing("server_key", "the private key that fits the certificate"))
        try:
            key = serialization.load_pem_private_key(self.key, None)
        except TypeError as error:
            raise UserError(
                "The TLS private key has a password, and a server has nobody to type it. Take it "
                "off: `openssl pkey -in KEY -out KEY_WITHOUT_PASSWORD`."
            ) from error
        except ValueError as error:
            raise UserError(
                "The TLS private key (server_key) is no PEM text of a private key, which begins "
                "with `-----BEGIN PRIVATE KEY-----`."
            ) from error
        if key.public_key() != certificate.public_key():
            raise UserError(
                "The TLS private key does not fit the certificate of "
                f"{certificate.subject.rfc4514_string() or 'no name'}: it is another one's. "
                "Name the two that were made together."
            )
        if self.client_verify:
            if not self.client_ca.strip():
                raise UserError(
                    "The TLS configuration has client_verify without custom_ca, so that a "
                    "certificate of any public authority would open the server. Put the PEM text "
                    "of the authority that your callers have theirs from into custom_ca."
                )
            for authority in _certificates(self.client_ca, "custom_ca"):
                _check_dates(authority, "The client authority's certificate")
        self.http_context()


def ssl_config(
    certificate: Path, key: Path, client_ca: Path | None = None
) -> server_config_pb2.SSLConfig:
    """TensorFlow Serving's `SSLConfig` of PEM files.

    Args:
        certificate: the server's own certificate first, then those above it.
        key: the private key of the first.
        client_ca: authorities that callers must have a certificate of (mutual TLS).

    Raises:
        UserError: a file cannot be read.
    """
    return server_config_pb2.SSLConfig(
        server_cert=_text(certificate, "certificate"),
        server_key=_text(key, "private key"),
        custom_ca=_text(client_ca, "client authority") if client_ca else "",
        client_verify=client_ca is not None,
    )


def _certificates(pem: bytes, field: str) -> list[x509.Certificate]:
    if not pem.strip():
        raise UserError(_missing(field, "a certificate"))
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise UserError(
            f"{field} of the TLS configuration is no PEM text of a certificate, which begins with "
            "`-----BEGIN CERTIFICATE-----`. Its text belongs there, not its path."
        ) from error


def _missing(field: str, what: str) -> str:
    return f"The TLS configuration has no {field}. It takes the PEM text of {what}."


def _check_dates(certificate: x509.Certificate, name: str) -> None:
    now = datetime.datetime.now(datetime.timezone.utc)
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    subject = certificate.subject.rfc4514_string() or "no name"
    if now >= end:
        raise UserError(
            f"{name} of {subject} ran out on {end:%Y-%m-%d at %H:%M} UTC. Put a new one in its "
            "place."
        )
    if now < begin:
        raise UserError(
            f"{name} of {subject} is valid from {begin:%Y-%m-%d at %H:%M} UTC only, and it is "
            f"{now:%Y-%m-%d %H:%M} by this machine's clock."
        )
    if now >= end - _SOON:
        _log.warning("%s of %s runs out on %s", name, subject, f"{end:%Y-%m-%d at %H:%M} UTC")


def _text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError as error:
        raise UserError(f"The {what} {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"The {what} {path} is no PEM text.") from error


class ApiKeys:
    """The keys that callers may show, from a file that is read again when it changes.

    The file has one key a line, a name before it if the log shall tell callers apart, and comments
    after `#`. While it is missing or wrong the keys that were read last stay good.

    Args:
        path: the file.

    Raises:
        UserError: it cannot be read, holds no key, or has a line that is none; the line is named,
            and the key never is.
    """

    def __init__(self, path: Path):
        self._path = path
        # Keys are looked up by a digest that nobody outside can compute, so that the time it takes
        # to find one tells nothing about how much of a guess was right.
        self._secret = secrets.token_bytes(32)
        self._stamp = self._look()
        self._names = self._read()
        self._next_look = time.monotonic() + _BETWEEN_LOOKS_S

    def name_of(self, headers: Mapping[str, str]) -> str:
        """The name of the caller that a request's headers show a key of.

        Args:
            headers: or gRPC metadata; names in lower case.

        Raises:
            RequestError: there is no key among them, or an unknown one (UNAUTHENTICATED).
        """
        if time.monotonic() >= self._next_look:
            self._reread()
        shown = headers.get(API_KEY)
        if shown is None:
            scheme, _, shown = headers.get(AUTHORIZATION, "").partition(" ")
            if scheme.lower() != "bearer":
                raise RequestError(
                    grpc.StatusCode.UNAUTHENTICATED,
                    "An API key is needed, as `authorization: Bearer KEY` or `x-api-key: KEY`",
                )
        digest = self._digest(shown.strip())
        for known, name in self._names.items():
            if hmac.compare_digest(known, digest):
                return name
        raise RequestError(grpc.StatusCode.UNAUTHENTICATED, "The API key is not known here")

    def _digest(self, key: str) -> bytes:
        return hashlib.blake2b(key.encode("utf-8", "replace"), key=self._secret).digest()

    def _look(self) -> tuple[int, ...]:
        try:
            status = self._path.stat()
        except OSError as error:
            raise self._unreadable(error) from error
        return status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode

    def _reread(self) -> None:
        self._next_look = time.monotonic() + _BETWEEN_LOOKS_S
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return
            # Once a look, not once a request, whatever comes of it.
            self._stamp = stamp
            self._names = self._read()
            _log.info("%d API keys read anew from %s", len(self._names), self._path)
        except UserError as error:
            _log.error("the API keys that were read before stay good: %s", error)

    def _read(self) -> dict[bytes, str]:
        try:
            text = self._path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise self._unreadable(error) from error
        except UnicodeDecodeError as error:
            raise UserError(f"The API key file {self._path} is no text in UTF-8.") from error
        if self._path.stat().st_mode & stat.S_IROTH:
            _log.warning(
                "every user of this machine can read the API keys in %s: `chmod o-r` it",
                self._path,
            )
        names: dict[bytes, str] = {}
        for number, line in enumerate(text.splitlines(), 1):
            *name, key = re.sub(r"(^|\s)#.*", "", line).split() or [""]
            if not key:
                continue
            where = f"Line {number} of the API key file {self._path}"
            if len(name) > 1 or not _KEY.fullmatch(key):
                raise UserError(
                    f"{where} is not `KEY` or `NAME KEY`, the key of printable ASCII characters "
                    "without spaces."
                )
            if len(key) < _SHORTEST_KEY:
                raise UserError(
                    f"The key in line {number} of the API key file {self._path} has "
                    f"{len(key)} characters, and less than {_SHORTEST_KEY} can be guessed. "
                    "`openssl rand -hex 32` makes a good one."
                )
            digest = self._digest(key)
            if digest in names:
                raise UserError(f"{where} has a key that an earlier line has too.")
            names[digest] = name[0] if name else f"line {number}"
        if not names:
            raise UserError(
                f"The API key file {self._path} holds no key, so nobody could ask. Put one on a "
                "line: `openssl rand -hex 32` makes a good one."
            )
        return names

    def _unreadable(self, error: OSError) -> UserError:
        return UserError(f"The API key file {self._path} cannot be read: {error.strerror}.")
