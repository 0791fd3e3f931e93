"""Finds Python 3.11 on a machine that may have another one only.

TFX 1.21 needs 3.11, and systems come with others. Any Python from 3.9 on can start uv, and uv
brings 3.11 from where its makers publish it, or from the mirror in UV_PYTHON_INSTALL_MIRROR. It
goes to a folder of the checkout, so that nothing is installed on the machine. This file and what it
imports keep to the syntax of 3.9.
"""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from environment.commands import REMEDIES, UNREACHABLE, SetupFailure, run

PYTHON_VERSION = (3, 11)
VERSION = ".".join(map(str, PYTHON_VERSION))
OLDEST_STARTER = (3, 9)
PACKAGES = f"python{VERSION}, python{VERSION}-venv and python{VERSION}-dev"

# Of `uv python install`; the last is for all else, a network that does not allow it above all.
BRING_REMEDIES = (
    *(remedy for remedy in REMEDIES if remedy[0] != UNREACHABLE),
    (
        r"\S",
        f"install {PACKAGES}, or name a mirror of python-build-standalone in "
        "UV_PYTHON_INSTALL_MIRROR, and run it again",
    ),
)


def base_python() -> Path:
    """Returns the Python that this one comes from: itself, or a virtual environment's origin."""
    if sys.prefix == sys.base_prefix:
        return Path(sys.executable)
    major, minor = sys.version_info[:2]
    return Path(sys.base_prefix, "bin", f"python{major}.{minor}")


def shortcoming() -> str:
    """Says why this Python cannot be the environment's; empty where it can."""
    if sys.version_info[:2] != PYTHON_VERSION:
        return f"Python {VERSION} is needed and this is {platform.python_version()}"
    if importlib.util.find_spec("ensurepip") is None:
        return f"this Python {VERSION} cannot make virtual environments (it has no ensurepip)"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return f"this Python {VERSION} has no Python.h, which pyfarmhash is compiled with"
    return ""


def brought(folder: Path) -> Path | None:
    """Returns the Python that uv has put below `folder`, if there is one."""
    return next(iter(sorted(folder.glob(f"cpython-*/bin/python{VERSION}"))), None)


def start_uv(tools: Path, bootstrap: Path) -> Path:
    """Makes the virtual environment `tools` with what `bootstrap` pins, and returns its uv.

    Raises:
        SetupFailure: This Python cannot, or the package index fails.
    """
    major, minor = sys.version_info[:2]
    if (major, minor) < OLDEST_STARTER:
        raise SetupFailure(
            f"this is Python {platform.python_version()}, and uv is started by 3.9 or newer; "
            f"install {PACKAGES}, and run it again"
        )
    if importlib.util.find_spec("ensurepip") is None:
        raise SetupFailure(
            f"Python {platform.python_version()} cannot make virtual environments here (it has no "
            f"ensurepip); install python{major}.{minor}-venv and run it again"
        )
    if tools.exists():
        shutil.rmtree(tools)
    run([base_python(), "-m", "venv", tools])
    run([tools / "bin" / "pip", "install", "--require-hashes", "-r", bootstrap])
    return tools / "bin" / "uv"


def bring(uv: Path, folder: Path, variables: Mapping[str, str]) -> Path:
    """Lets uv put Python 3.11 below `folder` and returns it.

    Args:
        uv: The program.
        folder: Where uv keeps it; made if it is not there.
        variables: What uv runs under on top of this process's own variables.

    Raises:
        SetupFailure: uv cannot, and what else would help.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        run(
            [uv, "python", "install", "--no-bin", "--install-dir", folder, VERSION],
            env={"UV_HTTP_RETRIES": "1", **variables},
            remedies=BRING_REMEDIES,
        )
    except SetupFailure as failure:
        # Half of one would be taken for a whole one the next time.
        shutil.rmtree(folder, ignore_errors=True)
        raise SetupFailure(f"{shortcoming()}, and uv could not bring one: {failure}") from failure
    python = brought(folder)
    if python is None:
        raise SetupFailure(f"uv put no Python {VERSION} into {folder}; install {PACKAGES}")
    return python
