"""Any Python from 3.9 on starts the environment, and uv brings 3.11 where it is not there."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from environment import create, interpreter
from environment.commands import SetupFailure

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "environment").glob("*.py"))
UV = ROOT / ".venv" / ".tools" / "bin" / "uv"
RELEASES = "https://github.com/astral-sh/python-build-standalone/releases/download"
ARCHIVE = "20240107/cpython-3.11.7+20240107-x86_64-unknown-linux-gnu-install_only.tar.gz"
SYSCONFIG_HEADER = "# system configuration generated and used by the sysconfig module"

needs_uv = pytest.mark.skipif(not UV.is_file(), reason=f"there is no {UV}, which `make` puts there")


def other_pythons() -> list[str]:
    """Every Python on this machine that is not 3.11 and not older than 3.9."""
    asked = "import sys; sys.exit(sys.version_info < (3, 9) or sys.version_info[:2] == (3, 11))"
    named = [shutil.which(f"python3.{minor}") for minor in range(9, 16)]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [*filter(None, named), *map(str, sorted(pyenv.glob("versions/3.*/bin/python3")))]
    answers = {
        os.path.realpath(python)
        for python in found
        if subprocess.run([python, "-c", asked], capture_output=True, check=False).returncode == 0
    }
    return sorted(answers)


@pytest.fixture
def mirror(tmp_path: Path) -> dict[str, str]:
    """Variables that let uv take 3.11 from a folder with an archive as its makers publish it.

    What is in the archive is small, and starts this test's own Python.
    """
    python = tmp_path / "packed" / "python"
    (python / "bin").mkdir(parents=True)
    program = python / "bin" / "python3.11"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    program.chmod(0o755)
    library = python / "lib" / "python3.11"
    library.mkdir(parents=True)
    name = "_sysconfigdata__linux_x86_64-linux-gnu.py"
    (library / name).write_text(f"{SYSCONFIG_HEADER}\nbuild_time_vars = {{}}\n")
    archive = tmp_path / "mirror" / ARCHIVE
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(python, "python")
    download = {
        **{"name": "cpython", "arch": {"family": "x86_64", "variant": None}, "os": "linux"},
        **{"libc": "gnu", "major": 3, "minor": 11, "patch": 7, "prerelease": "", "sha256": None},
        **{
            "url": f"{RELEASES}/{ARCHIVE.replace('+', '%2B')}",
            "variant": None,
            "build": "20240107",
        },
    }
    listed = tmp_path / "downloads.json"
    listed.write_text(json.dumps({"cpython-3.11.7-linux-x86_64-gnu": download}))
    return {
        "UV_PYTHON_DOWNLOADS_JSON_URL": listed.as_uri(),
        "UV_PYTHON_INSTALL_MIRROR": (tmp_path / "mirror").as_uri(),
    }


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_every_script_keeps_to_the_oldest_starters_syntax(script: Path):
    tree = ast.parse(script.read_text(encoding="utf-8"), feature_version=(3, 9))

    # Annotations as of 3.10 are for readers, and 3.9 must not evaluate them.
    code = [node for node in tree.body if not isinstance(node, ast.Expr)]
    first = ast.unparse(code[0]) if code else "from __future__ import annotations"
    assert first == "from __future__ import annotations"


@pytest.mark.parametrize("python", other_pythons() or [None], ids=str)
def test_another_python_starts_and_has_no_more_than_a_sentence_to_say(python: str | None):
    if python is None:
        pytest.skip("there is no other Python than 3.11 on this machine")
    script = (
        "from environment import create, interpreter\n"
        "create.check_platform()\n"
        "print(interpreter.shortcoming())\n"
    )
    done = subprocess.run([python, "-c", script], cwd=ROOT, capture_output=True, text=True)

    assert done.stderr == ""
    assert done.stdout.startswith("Python 3.11 is needed and this is 3.")


@needs_uv
def test_uv_brings_python_from_a_mirror_into_the_checkout_and_it_is_found_again(tmp_path, mirror):
    assert interpreter.brought(tmp_path / "brought") is None

    python = interpreter.bring(UV, tmp_path / "brought", mirror)

    assert python == interpreter.brought(tmp_path / "brought")
    assert tmp_path / "brought" in python.parents
    version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith("Python 3.")


@needs_uv
@pytest.mark.parametrize(
    ("changed", "seen"),
    [
        ({"UV_PYTHON_INSTALL_MIRROR": "http://127.0.0.1:9"}, ["refused"]),
        # uv tells either the address or what the system says of it.
        ({"UV_PYTHON_INSTALL_MIRROR": "file:///nowhere"}, ["nowhere", "No such file"]),
        ({"UV_PYTHON_DOWNLOADS": "never"}, ["not allowed"]),
    ],
    ids=["no network", "empty mirror", "forbidden"],
)
def test_where_uv_cannot_bring_it_one_sentence_says_what_else_helps(
    tmp_path, mirror, monkeypatch, changed, seen
):
    monkeypatch.setattr(interpreter, "shortcoming", lambda: "3.11 is needed and this is 3.12")

    with pytest.raises(SetupFailure) as raised:
        interpreter.bring(UV, tmp_path / "brought", {**mirror, **changed, "UV_HTTP_RETRIES": "0"})

    sentence = str(raised.value)
    assert sentence.startswith("3.11 is needed and this is 3.12, and uv could not bring one: ")
    assert "install python3.11, python3.11-venv and python3.11-dev, or name a mirror" in sentence
    assert any(words in sentence for words in seen) and "\n" not in sentence
    assert interpreter.brought(tmp_path / "brought") is None


@pytest.mark.parametrize(
    ("system", "machine", "help_there"),
    [
        ("Windows", "AMD64", "WSL 2"),
        ("Windows", "ARM64", "linux/amd64"),
        ("Darwin", "x86_64", "linux/amd64"),
        ("Linux", "aarch64", "linux/amd64"),
    ],
)
def test_a_system_without_wheels_is_told_where_to_work(monkeypatch, system, machine, help_there):
    monkeypatch.setattr(create.platform, "system", lambda: system)
    monkeypatch.setattr(create.platform, "machine", lambda: machine)

    with pytest.raises(SetupFailure, match=f"none for {system} {machine}; .*{help_there}"):
        create.check_platform()


def test_the_sentence_is_said_where_there_is_no_fcntl_as_on_windows():
    script = (
        "import platform, sys\n"
        "sys.modules['fcntl'] = None\n"
        "platform.system, platform.machine = lambda: 'Windows', lambda: 'AMD64'\n"
        "from environment import create\n"
        "create.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stderr.startswith("environment: TFX 1.21 has wheels for")
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def bringing(tmp_path, monkeypatch) -> list[Path]:
    """What uv was asked to bring, without asking it; this Python lacks something."""
    brought: list[Path] = []

    def bring_python() -> Path:
        python = tmp_path / ".python" / "cpython-3.11.7" / "bin" / "python3.11"
        python.parent.mkdir(parents=True)
        python.touch()
        brought.append(python)
        return python

    monkeypatch.setattr(create, "BROUGHT", tmp_path / ".python")
    monkeypatch.setattr(create, "GUARD", tmp_path / ".venv.guard")
    monkeypatch.setattr(create, "bring_python", bring_python)
    monkeypatch.setattr(interpreter, "shortcoming", lambda: "Python 3.11 is needed")
    monkeypatch.setattr(create.sys, "prefix", sys.base_prefix)
    return brought


def test_a_python_is_brought_once(bringing):
    first, second = create.other_python(), create.other_python()

    assert first == second
    assert bringing == [first]


def test_a_python_that_will_do_is_kept(bringing, monkeypatch):
    monkeypatch.setattr(interpreter, "shortcoming", lambda: "")

    assert create.other_python() is None
    assert bringing == []


def test_a_brought_python_that_will_not_do_is_no_endless_loop(bringing, monkeypatch):
    monkeypatch.setattr(create.sys, "executable", str(create.other_python()))

    with pytest.raises(SetupFailure, match=r"remove .*\.python"):
        create.other_python()


def test_a_virtual_environments_python_is_left_for_its_origin(bringing, monkeypatch):
    monkeypatch.setattr(create.sys, "prefix", "/some/venv")

    assert create.other_python() == interpreter.base_python()
    assert bringing == []
