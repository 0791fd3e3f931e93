"""Where ML Metadata notes what was done: a file of the workspace, or a database of its own.

A database belongs to one workspace, which it is told of first. Else two catalogs' runs would be
taken for one another's, and each would take the other's running steps for killed.

Passwords are libpq's business, which takes them from `PGPASSWORD` or `~/.pgpass`; neither a config
nor what TFX hands from step to step, and logs, has one.
"""

from __future__ import annotations

import json
import secrets
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from components import storage
from pipeline.workspace import Workspace
from schema.errors import UserError

if TYPE_CHECKING:
    from ml_metadata.metadata_store import metadata_store
    from ml_metadata.proto import metadata_store_pb2

_CONNECT_S = 5.0
_OWNER = "seamline.Workspace"


def check_reachable(postgresql: str) -> None:
    """Looks whether somebody listens where the database should be.

    Raises:
        UserError: Nobody does.
    """
    parts = urlsplit(postgresql)
    try:
        socket.create_connection((str(parts.hostname), parts.port or 5432), _CONNECT_S).close()
    except OSError as error:
        raise UserError(
            f"PostgreSQL does not answer at {parts.hostname}:{parts.port} "
            f"({error.strerror or error}). Start it, or correct metadata.postgresql."
        ) from error


def claimed(workspace: Workspace, postgresql: str | None) -> metadata_store_pb2.ConnectionConfig:
    """The connection for runs in a workspace, whose database is the workspace's from then on.

    Args:
        workspace: Where the runs are. The caller holds its lock.
        postgresql: `metadata.postgresql`.

    Raises:
        UserError: The database cannot be reached, or is another workspace's.
    """
    from ml_metadata.proto import metadata_store_pb2

    told = _told(workspace)
    if postgresql is None:
        if told:
            _tell(workspace, told | {"postgresql": None})
        workspace.root.mkdir(parents=True, exist_ok=True)
        connection = metadata_store_pb2.ConnectionConfig()
        connection.sqlite.filename_uri = str(workspace.metadata)
        connection.sqlite.connection_mode = (
            metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        )
        return connection
    check_reachable(postgresql)
    connection = _connection(postgresql)
    # The workspace knows its name before the database does: a run that is killed in between must
    # not leave a database that is nobody's.
    identity = told.get("id") or secrets.token_hex(16)
    _tell(workspace, {"id": identity, "postgresql": told.get("postgresql")})
    owner = _owner(_opened(connection, postgresql), identity, workspace)
    if owner is None:
        raise UserError(
            f"The database {_named(postgresql)} has what others than Seamline noted in it. Name "
            "an empty one in metadata.postgresql: `createdb NAME` makes it."
        )
    if owner["id"].string_value != identity:
        raise UserError(
            f"The database {_named(postgresql)} belongs to the workspace "
            f"{owner['root'].string_value} (of {owner['host'].string_value}). Name another one in "
            "metadata.postgresql: each workspace has its own."
        )
    _tell(workspace, {"id": identity, "postgresql": postgresql})
    return connection


def known(workspace: Workspace) -> metadata_store.MetadataStore | None:
    """The database that the last run noted in; None where that was the workspace's file, or none.

    Raises:
        UserError: The database cannot be reached.
    """
    postgresql = _told(workspace).get("postgresql")
    if not postgresql:
        return None
    check_reachable(postgresql)
    return _opened(_connection(postgresql), postgresql)


def opened(connection: metadata_store_pb2.ConnectionConfig) -> metadata_store.MetadataStore:
    """A client of a connection.

    Raises:
        RuntimeError: There is none.
    """
    from ml_metadata.metadata_store import metadata_store

    from pipeline.postgresql_store import PostgresqlStore

    if connection.HasField("postgresql"):
        return PostgresqlStore(connection)
    return metadata_store.MetadataStore(connection)


def _connection(postgresql: str) -> metadata_store_pb2.ConnectionConfig:
    from ml_metadata.proto import metadata_store_pb2

    parts = urlsplit(postgresql)
    connection = metadata_store_pb2.ConnectionConfig()
    connection.postgresql.host = str(parts.hostname)
    connection.postgresql.port = str(parts.port)
    connection.postgresql.user = unquote(str(parts.username))
    connection.postgresql.dbname = unquote(parts.path[1:])
    return connection


def _opened(
    connection: metadata_store_pb2.ConnectionConfig, postgresql: str
) -> metadata_store.MetadataStore:
    from ml_metadata import errors

    try:
        return opened(connection)
    # What it says is that a pointer is NULL; why is in the log alone.
    except (RuntimeError, errors.StatusError) as error:
        raise UserError(
            f"PostgreSQL does not let {connection.postgresql.user} into {_named(postgresql)}; the "
            "log says why. Set PGPASSWORD, and see that the user and the database are there and "
            "that the user may create tables in it."
        ) from error


def _owner(
    store: metadata_store.MetadataStore, identity: str, workspace: Workspace
) -> dict[str, Any] | None:
    """Which workspace the database belongs to, now at the latest; None where it is none's."""
    from ml_metadata import errors
    from ml_metadata.proto import metadata_store_pb2

    # The type alone is what a claim that was killed has left.
    if {kind.name for kind in store.get_context_types()} <= {_OWNER}:
        kind = store.put_context_type(metadata_store_pb2.ContextType(name=_OWNER))
        mark = metadata_store_pb2.Context(type_id=kind, name="owner")
        for name, value in (
            ("id", identity),
            ("root", workspace.place),
            ("host", socket.gethostname()),
        ):
            mark.custom_properties[name].string_value = value
        # Unless another workspace was first.
        with suppress(errors.AlreadyExistsError):
            store.put_contexts([mark])
    found = store.get_context_by_type_and_name(_OWNER, "owner")
    return dict(found.custom_properties) if found else None


def _named(postgresql: str) -> str:
    parts = urlsplit(postgresql)
    return f"{parts.path[1:]} at {parts.hostname}:{parts.port}"


def _told(workspace: Workspace) -> dict[str, Any]:
    try:
        with storage.opened(workspace.identity) as file:
            return json.load(file)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(
            f"{workspace.identity} cannot be understood ({error}). Put it back as it was: it says "
            "which database is this workspace's."
        ) from error


def _tell(workspace: Workspace, told: dict[str, Any]) -> None:
    if told != _told(workspace):
        storage.write_whole(workspace.identity, (json.dumps(told, indent=1) + "\n").encode())
