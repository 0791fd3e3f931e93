"""Which Python `make` starts the environment with."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKE = shutil.which("make")

pytestmark = pytest.mark.skipif(MAKE is None, reason="make is not installed")


def make_on_a_machine_with(tmp_path: Path, pythons: dict[str, str]) -> subprocess.CompletedProcess:
    """What `make environment` would run where only these are on the path.

    Args:
        tmp_path: Where their stand-ins are written.
        pythons: By name, "new" for one from 3.9 on, "old", or "broken" for a shim to nowhere.
    """
    for name, kind in pythons.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\nexit {dict(new=0, old=1, broken=127)[kind]}\n")
        program.chmod(0o755)
    return subprocess.run(
        [MAKE, "--just-print", "environment"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.parametrize(
    ("pythons", "chosen"),
    [
        ({"python3": "new"}, "python3"),
        ({"python3": "new", "python3.11": "new"}, "python3.11"),
        ({"python3": "new", "python3.11": "broken"}, "python3"),
        ({"python3": "old", "python3.12": "new"}, "python3.12"),
        ({"python": "new"}, "python"),
        ({"python": "old", "python3": "broken", "python3.9": "new"}, "python3.9"),
    ],
)
def test_it_takes_3_11_or_else_any_that_can_start_uv(tmp_path, pythons, chosen):
    printed = make_on_a_machine_with(tmp_path, pythons).stdout

    assert printed.splitlines()[-1] == f"{chosen} -m environment.create"


def test_without_any_a_sentence_says_what_to_install(tmp_path):
    printed = make_on_a_machine_with(tmp_path, {"python": "old"}).stdout
    said = subprocess.run(["sh", "-c", printed], cwd=tmp_path, capture_output=True, text=True)

    assert said.returncode == 1 and said.stdout == ""
    assert said.stderr == (
        "environment: no Python from 3.9 on was found; install python3 and python3-venv, or name "
        "one: make environment PYTHON=/path\n"
    )
