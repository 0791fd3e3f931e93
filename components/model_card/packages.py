"""The Python packages that run, as far as the environment tells."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

NOTICE_FILE = "NOTICE"

_LONGEST_LICENSE = 80


class Package(NamedTuple):
    """An installed package.

    Attributes:
        name: As the package index has it.
        version: Which is installed.
        license: What its own metadata say, one line; empty where they say none.
    """

    name: str
    version: str
    license: str = ""

    @property
    def purl(self) -> str:
        """Package URL (https://github.com/package-url/purl-spec)."""
        return f"pkg:pypi/{normalized(self.name)}@{self.version.replace('+', '%2B')}"


def normalized(name: str) -> str:
    """A package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def package(name: str) -> Package | None:
    """An installed package; None where it is not."""
    try:
        return _package(metadata.distribution(name))
    except metadata.PackageNotFoundError:
        return None


def needed_packages(root: str = "seamline", extras: Iterable[str] = ()) -> list[Package]:
    """What a package needs, directly or not, as it is installed, by name.

    What tests or documentation need is no part of it. Where the package itself is not installed,
    for somebody runs it from its sources, everything that is installed is listed.

    Args:
        root: The package.
        extras: Extras of it that are used.
    """
    installed: dict[str, metadata.Distribution] = {}
    for distribution in metadata.distributions():
        # Of two of one name the first is what is imported.
        installed.setdefault(normalized(distribution.metadata["Name"] or ""), distribution)
    installed.pop("", None)
    if normalized(root) not in installed:
        wanted = set(installed)
    else:
        wanted = _closure(normalized(root), frozenset(extras), installed)
    return [_package(installed[name]) for name in sorted(wanted - {normalized(root)})]


def notice(root: str = "seamline") -> str:
    """What NOTICE says of others' work that is handed on; empty where it cannot be found."""
    beside = Path(__file__).parents[2] / NOTICE_FILE
    if beside.is_file():
        return beside.read_text(encoding="utf-8")
    try:
        files = metadata.files(root) or ()
    except metadata.PackageNotFoundError:
        return ""
    return next((file.read_text("utf-8") for file in files if file.name == NOTICE_FILE), "")


def _closure(
    root: str, extras: frozenset[str], installed: dict[str, metadata.Distribution]
) -> set[str]:
    seen: dict[str, frozenset[str]] = {}
    waiting = [(root, extras)]
    while waiting:
        name, wanted = waiting.pop()
        if name not in installed or (name in seen and wanted <= seen[name]):
            continue
        seen[name] = seen.get(name, frozenset()) | wanted
        for text in installed[name].requires or ():
            need = Requirement(text)
            chosen = [{"extra": extra} for extra in ("", *seen[name])]
            if need.marker is None or any(need.marker.evaluate(of) for of in chosen):
                waiting.append((normalized(need.name), frozenset(need.extras)))
    return set(seen)


def _package(distribution: metadata.Distribution) -> Package:
    told = distribution.metadata
    named = (told.get_all(name) or [""] for name in ("License-Expression", "License"))
    license_ = next((of[0] for of in named if of[0]), "")
    # Some have put the whole text there, others that they do not know.
    if "\n" in license_ or len(license_) > _LONGEST_LICENSE or license_ == "UNKNOWN":
        license_ = ""
    return Package(told["Name"], distribution.version, license_.strip())
