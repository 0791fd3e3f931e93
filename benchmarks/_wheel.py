"""Seamline as it is installed elsewhere: its wheel, and that unpacked."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pipeline", "components", "trainer", "schema", "serving")

_WITHOUT_CHECKOUT = """import sys

sys.meta_path[:] = [
    finder for finder in sys.meta_path if getattr(finder, "__name__", "") != "_EditableFinder"
]
"""


def built(folder: Path) -> Path:
    """Makes the wheel in a folder, from a copy, so that nothing is left in the checkout."""
    checkout = folder / "checkout"
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "node_modules")
        shutil.copytree(ROOT / name, checkout / name, ignore=ignored)
    for name in ("setup.py", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, checkout)
    # In this environment, whose setuptools is there, so that no index is asked.
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", build, str(folder)],
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=240,
    )
    if done.returncode:
        raise RuntimeError(f"The wheel could not be built: {done.stderr}")
    shutil.rmtree(checkout)
    (made,) = folder.glob("*.whl")
    return made


def unpacked(wheel: Path, folder: Path) -> Path:
    """A folder for PYTHONPATH that has the wheel alone, and keeps Python from the checkout."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    (folder / "sitecustomize.py").write_text(_WITHOUT_CHECKOUT)
    return folder
