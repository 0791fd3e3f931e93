"""Where the server is, how it is reached, and who asks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc

from serving.client.errors import UserError

API_KEY = "authorization"
"""Metadata that carries the API key, as `Bearer KEY`."""

REQUEST_ID = "x-request-id"
"""Metadata that names a request; the server logs it and gives it back."""


@dataclass(frozen=True)
class Tls:
    """How to make sure of the server, and the server of us. Paths of PEM files, or their content.

    Attributes:
        ca: the certificates that vouch for the server's; by default those that gRPC brings.
        certificate: the client's own certificate, for servers that ask for one (mutual TLS).
        key: the private key of `certificate`.
        server_name: the name that the server's certificate must hold, where it is not the name in
            the address.
    """

    ca: bytes | str | Path | None = None
    certificate: bytes | str | Path | None = None
    key: bytes | str | Path | None = None
    server_name: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """What gRPC makes of it.

        Raises:
            UserError: a file cannot be read or is no PEM, or one of certificate and key is missing.
        """
        if (self.certificate is None) != (self.key is None):
            raise UserError(
                "Of the client's certificate and its private key only one was given. The server "
                "wants both, or give neither."
            )
        return grpc.ssl_channel_credentials(
            root_certificates=_pem(self.ca, "CERTIFICATE"),
            private_key=_pem(self.key, "PRIVATE KEY"),
            certificate_chain=_pem(self.certificate, "CERTIFICATE"),
        )


def _pem(given: bytes | str | Path | None, what: str) -> bytes | None:
    if given is None:
        return None
    if isinstance(given, bytes):
        name, content = "What was given", given
    else:
        name = str(given)
        try:
            content = Path(given).read_bytes()
        except OSError as error:
            raise UserError(f"{given} cannot be read: {error.strerror}. Check the path.") from error
    if f"{what}-----".encode() not in content:
        raise UserError(f"{name} holds no {what.lower()} in PEM form. Name the right file.")
    return content


@dataclass(frozen=True)
class Connection:
    """An address and what every call to it carries.

    Attributes:
        server: "host:port".
        tls: None speaks in the clear.
        api_key: sent with every call; None sends none.
        max_message_bytes: the largest message either way.
    """

    server: str
    tls: Tls | None
    api_key: str | None
    max_message_bytes: int

    @property
    def options(self) -> list[tuple[str, Any]]:
        """Options of a gRPC channel."""
        options: list[tuple[str, Any]] = [
            ("grpc.max_send_message_length", self.max_message_bytes),
            ("grpc.max_receive_message_length", self.max_message_bytes),
            # Where the name stands for several replicas, they take turns.
            ("grpc.lb_policy_name", "round_robin"),
            # gRPC would wait 1 s, then up to 120 s, before it looks again for a server that is
            # being restarted.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            # A model server stands in one's own network. Without this an http_proxy in the
            # environment catches even calls to localhost.
            ("grpc.enable_http_proxy", 0),
            # Retries are this package's own, which keep to a budget.
            ("grpc.enable_retries", 0),
        ]
        if self.tls and self.tls.server_name:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return options

    def metadata(self, request_id: str) -> tuple[tuple[str, str], ...]:
        """What goes with a call besides the message."""
        pairs = [(REQUEST_ID, request_id)]
        if self.api_key is not None:
            pairs.append((API_KEY, f"Bearer {self.api_key}"))
        return tuple(pairs)


def read_api_key(file: Path | None, variable: str = "SEAMLINE_API_KEY") -> str | None:
    """The API key in a file of nothing else; without one, the environment variable's if it is set.

    Never on a command line, where all see it.

    Raises:
        UserError: the file cannot be read.
    """
    if file is None:
        return os.environ.get(variable) or None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"The API key cannot be read from {file}: {error}. Check the path."
        ) from error


def checked_header(value: str, what: str) -> str:
    """The value, if it can be sent beside a message. It is not shown, for it may be a secret.

    Raises:
        UserError: it is empty or holds other than printable ASCII.
    """
    if not value or not value.isascii() or not value.isprintable() or value != value.strip():
        raise UserError(f"The {what} must be one line of printable ASCII without blanks around it.")
    return value


def new_request_id() -> str:
    """An id that no other request has."""
    return uuid4().hex
