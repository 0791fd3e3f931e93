"""Runs the tools that make the environment and says in one sentence why one failed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

TAIL_LINES = 15

UNREACHABLE = (
    r"error sending request|dns error|connection refused|connection reset|timed out"
    r"|failed to establish a new connection|network is unreachable|could not connect"
    r"|temporary failure|could not resolve|name or service not known|failed to fetch"
    r"|unable to locate package"
)

# What the tools print, and what a person can do about it. The first match wins.
REMEDIES = (
    (
        r"No space left on device|Disk quota exceeded|os error 28\b|Errno 28\b",
        "the disk is full; free some 5 GB and run it again",
    ),
    (
        r"NO_PUBKEY|is not signed",
        "the package mirror's release is not signed by a key that this machine trusts; "
        "update debian-archive-keyring or ubuntu-keyring and run it again",
    ),
    (
        r"hash mismatch|do not match the hashes",
        "a download does not have the hash in the lock file; "
        "check that the package index serves the same files as PyPI",
    ),
    (
        UNREACHABLE,
        "the package index or mirror could not be reached; check the network, the proxy and "
        "pip's index-url or apt's sources, and run it again",
    ),
    (
        r"no version of|no matching distribution|no solution found|not found in the package",
        "the package index lacks a pinned package or could not be reached; "
        "check that pip's index-url is PyPI or a complete mirror of it",
    ),
)


class SetupFailure(Exception):
    """The environment cannot be made; the message is for people and names the remedy."""


def explain(
    command: Sequence[str], output: str, remedies: Iterable[tuple[str, str]] = REMEDIES
) -> str:
    """Returns the sentence for a failed command: its remedy where known, else its last lines."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for pattern, remedy in remedies:
        evidence = [line for line in lines if re.search(pattern, line, re.IGNORECASE)]
        if evidence:
            return f"{remedy} (seen: {evidence[-1]})"
    tail = "\n  ".join(lines[-TAIL_LINES:])
    return f"`{shlex.join(command)}` failed:\n  {tail}"


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    remedies: Iterable[tuple[str, str]] = REMEDIES,
) -> str:
    """Runs a command and returns what it printed.

    Args:
        command: The program and its arguments.
        env: Variables to set on top of this process's own.
        cwd: The folder to run in.
        remedies: Patterns of what it may print where it fails, with what to do then.

    Raises:
        SetupFailure: The program is missing or its exit status is not 0.
    """
    words = [str(word) for word in command]
    try:
        # Inheritable descriptors stay open: the lock must outlive us for as long as a child that
        # still writes into the environment does.
        result = subprocess.run(
            words,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            close_fds=False,
        )
    except FileNotFoundError as error:
        raise SetupFailure(f"{words[0]} is not installed; install it and run it again") from error
    if result.returncode:
        raise SetupFailure(explain(words, result.stdout, remedies))
    return result.stdout
