"""Memory that is freed goes back to the system, which the C library does not see to by itself."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

# glibc's numbers of the two options.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE_BLOCK_BYTES = 2 * 1024 * 1024


def give_large_blocks_back() -> None:
    """Has large blocks given back whenever they are freed, from now on, in the whole process.

    Left alone, glibc learns from the first large messages to keep up to 32 MB of each thread's.
    """
    if mallopt := _function("mallopt"):
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)
        mallopt(_M_TRIM_THRESHOLD, 4 * _LARGE_BLOCK_BYTES)


def give_back() -> None:
    """Gives back now whatever is free; takes some 50 ms."""
    if trim := _function("malloc_trim"):
        trim(0)


def _function(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None)
