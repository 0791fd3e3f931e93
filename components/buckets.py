"""What `s3` and `gcs` share as file systems of Beam's: how files are opened, and what failures are.

What only one store's client knows stays in its own module.
"""

from __future__ import annotations

import errno
import os

from apache_beam.io.filesystem import CompressionTypes

from schema.errors import UserError

MISSING = (404,)
"""HTTP statuses of what is not there."""

FORBIDDEN = (401, 403)
"""HTTP statuses of what the credentials do not suffice for."""


def require_as_it_is(compression_type: str) -> None:
    """Refuses to pack or unpack a file.

    Raises:
        ValueError: It is to be.
    """
    if compression_type != CompressionTypes.UNCOMPRESSED:
        raise ValueError(f"Only files as they are. Received: {compression_type=}")


def failure(url: str, status: int | None, error: BaseException) -> OSError | UserError:
    """What a folder's files would give in place of what a store's client has raised.

    Args:
        url: What was read or written.
        status: The HTTP status that the store answered, if it did.
        error: The client's.
    """
    if status in MISSING:
        number = errno.ENOENT
    elif status in FORBIDDEN:
        number = errno.EACCES
    else:
        return UserError(
            f"{url} cannot be read or written: {sentence(error)} See that the store is there, and "
            "run the same command again."
        )
    return OSError(number, os.strerror(number), url)


def sentence(error: BaseException) -> str:
    """What an exception says, in one line that ends with a full stop."""
    return f"{' '.join(str(error).split()).rstrip('.')}."
