"""What every server here does as a process: where it listens, its loop, its end."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import sys
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, NoReturn

_loops: Any
try:
    import uvloop

    _loops = uvloop
except ImportError:
    _loops = asyncio

LOOPBACK = "127.0.0.1"
"""Where a server listens that asks nobody who they are."""

EVERY_ADDRESS = "0.0.0.0"
"""Every IPv4 address of the machine, which is where TensorFlow Serving listens."""

_UNSPECIFIED = ("", EVERY_ADDRESS, "::")


def cores() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def address(host: str, port: int) -> str:
    """`host:port`, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reachable(host: str) -> str:
    """By which name this machine reaches what listens on a host."""
    return "localhost" if host in _UNSPECIFIED else host


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on a host."""
    try:
        found = {str(one[4][0]).partition("%")[0] for one in socket.getaddrinfo(host or "::", None)}
        return all(ipaddress.ip_address(one).is_loopback for one in found)
    except (OSError, UnicodeError, ValueError):
        return False


def new_loop() -> asyncio.AbstractEventLoop:
    """An event loop, the faster one where there is one."""
    loop: asyncio.AbstractEventLoop = _loops.new_event_loop()
    return loop


def run(main: Coroutine[Any, Any, None]) -> None:
    """As `asyncio.run`, in the faster loop where there is one."""
    _loops.run(main)


def exit_at_once(status: int) -> NoReturn:
    """Ends the process without a word to anybody who is being answered."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
