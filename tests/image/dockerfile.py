"""Reads the Dockerfile and .dockerignore, as far as ours go; what is not known here is refused."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

INSTRUCTIONS = frozenset(
    {
        *("CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN"),
        *("USER", "WORKDIR"),
    }
)
EXEC_FORM = frozenset({"CMD", "ENTRYPOINT"})
"""What must be a list of words, so that signals reach the program and no shell."""


@dataclass(frozen=True)
class Copy:
    """A COPY instruction: what, to where, and from which stage; from the context where it is ""."""

    sources: tuple[str, ...]
    target: str
    stage: str = ""


@dataclass(frozen=True)
class HealthCheck:
    """A HEALTHCHECK instruction: its command, and its options such as `interval`."""

    command: tuple[str, ...]
    options: dict[str, str]


@dataclass
class Stage:
    """What is between two FROMs.

    Attributes:
        name: Its own, or "" where it has none.
        base: The stage or image that it begins with.
        instructions: Instructions and their arguments, in order: `str` of RUN, USER, WORKDIR and
            EXPOSE, `dict[str, str]` of ENV and LABEL, `list[str]` of CMD and ENTRYPOINT, `Copy`,
            `HealthCheck`.
    """

    name: str
    base: str
    instructions: list[tuple[str, object]] = field(default_factory=list)

    def all(self, instruction: str) -> list:
        """The arguments of an instruction, wherever it stands in the stage."""
        return [argument for name, argument in self.instructions if name == instruction]


def read(text: str) -> list[Stage]:
    """The stages of a Dockerfile.

    Raises:
        ValueError: An instruction, or a form of one, that this does not know.
    """
    stages: list[Stage] = []
    for name, argument in _instructions(text):
        if name == "FROM":
            found = re.fullmatch(r"(\S+)(?: AS (\S+))?", argument)
            if not found:
                raise ValueError(f"FROM {argument} is not understood")
            stages.append(Stage(found[2] or "", found[1]))
        else:
            if not stages:
                raise ValueError(f"{name} stands before the first FROM")
            stages[-1].instructions.append((name, _argument(name, argument)))
    return stages


def chain(stages: list[Stage], target: str = "") -> list[Stage]:
    """A stage and those that it begins with, the first of them first; the last one by default."""
    named = {stage.name: stage for stage in stages if stage.name}
    found = [named[target] if target else stages[-1]]
    while found[0].base in named:
        found.insert(0, named[found[0].base])
    return found


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    # Comments may stand between the lines of an instruction, too.
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if line.strip():
            name, _, argument = line.strip().partition(" ")
            if name not in INSTRUCTIONS:
                raise ValueError(f"the instruction {name} is not known here")
            yield name, argument.strip()


def _argument(name: str, argument: str) -> object:
    if name in EXEC_FORM:
        return _words(argument)
    if name in ("ENV", "LABEL"):
        pairs = [word.partition("=") for word in shlex.split(argument)]
        if not all(equals for _, equals, _ in pairs):
            raise ValueError(f"{name} {argument} is not NAME=VALUE")
        return {key: value for key, _, value in pairs}
    if name == "COPY":
        flags, words = _flags(argument)
        *sources, target = words.split()
        if not sources or flags.keys() - {"from"}:
            raise ValueError(f"COPY {argument} is not understood")
        return Copy(tuple(sources), target, flags.get("from", ""))
    if name == "HEALTHCHECK":
        flags, command = _flags(argument)
        if not command.startswith("CMD "):
            raise ValueError(f"HEALTHCHECK {argument} is not understood")
        return HealthCheck(tuple(_words(command.removeprefix("CMD "))), flags)
    if argument.startswith(("[", "<<", "--")):
        raise ValueError(f"{name} {argument} has a form that is not known here")
    return argument


def _words(argument: str) -> list[str]:
    try:
        words = json.loads(argument)
    except json.JSONDecodeError:
        words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{argument} is no list of words")
    return words


def _flags(argument: str) -> tuple[dict[str, str], str]:
    flags = {}
    while found := re.match(r"--([\w-]+)=(\S+)\s+", argument):
        flags[found[1]] = found[2]
        argument = argument[found.end() :]
    return flags, argument


def context(checkout: Path, ignore: str) -> Iterator[str]:
    """The files of a checkout that .dockerignore lets in, by their paths in it."""
    for folder, _, names in os.walk(checkout):
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), checkout)
            if let_in(path, ignore):
                yield path


def let_in(path: str, ignore: str) -> bool:
    """Whether .dockerignore lets a file into the context; its last pattern that fits says.

    Args:
        path: The file's, from the context's root.
        ignore: The text of .dockerignore, of patterns `NAME`, `FOLDER/NAME` and `**/NAME`.
    """
    parts = Path(path).parts
    inside = True
    for line in ignore.splitlines():
        pattern = line.removeprefix("!")
        if not line or line.startswith("#"):
            continue
        if pattern.startswith("**/"):
            fits = any(fnmatch.fnmatchcase(part, pattern.removeprefix("**/")) for part in parts)
        else:
            # A pattern for a folder is one for all that is in it.
            depth = pattern.count("/") + 1
            fits = len(parts) >= depth and all(
                fnmatch.fnmatchcase(part, of)
                for part, of in zip(parts, pattern.split("/"), strict=False)
            )
        if fits:
            inside = line.startswith("!")
    return inside
