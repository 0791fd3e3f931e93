"""The Dockerfile agrees with the checkout that it makes images of, and lets nothing else in."""

from __future__ import annotations

import ast
import importlib.metadata
import re
from pathlib import Path

import pytest

from benchmarks._wheel import PACKAGES
from environment import interpreter
from schema.version import VERSION
from tests.image import dockerfile

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text()
STAGES = dockerfile.read(TEXT)
IGNORE = (ROOT / ".dockerignore").read_text()

TARGETS = ("", "app", "dataflow")
"""What people build; the last stage has no name."""


def test_the_context_is_what_the_images_are_made_of_and_nothing_else():
    of_packages = {
        path.relative_to(ROOT).as_posix()
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.is_file() and not {"__pycache__", "node_modules"} & set(path.parts)
    }
    beside = {"LICENSE", "NOTICE", "README.md", "setup.py"}
    locks = {"requirements.lock", "environment/bootstrap.lock"}

    assert set(dockerfile.context(ROOT, IGNORE)) == of_packages | beside | locks


@pytest.mark.parametrize(
    "path",
    [
        *(".git/config", ".env", ".venv/bin/python", "build/site/index.html", "id_rsa"),
        *("shop.yaml", "workspace/metadata.sqlite", "workspaces/shop/ledger/passed/1.json"),
        *("tests/image/engine.py", "docs/index.md", "environment/create.py", "data/labels.csv"),
        *("schema/__pycache__/version.cpython-311.pyc", "components/x/node_modules/a/LICENSE"),
    ],
)
def test_what_is_not_ours_or_not_needed_stays_out(path):
    assert not dockerfile.let_in(path, IGNORE)


def test_every_file_that_is_copied_is_let_in():
    for stage in STAGES:
        for copy in stage.all("COPY"):
            if not copy.stage:
                assert all((ROOT / source).exists() for source in copy.sources)
                files = [source for source in copy.sources if (ROOT / source).is_file()]
                assert all(dockerfile.let_in(file, IGNORE) for file in files), copy


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_is_made_of_copies_so_that_nothing_of_the_build_is_left(target):
    for stage in dockerfile.chain(STAGES, target):
        assert not stage.all("RUN")
        # Of others' work it takes whole results, not what they were made in.
        assert all(copy.stage and copy.target.startswith("/opt/") for copy in stage.all("COPY"))


@pytest.mark.parametrize("target", TARGETS)
def test_processes_have_a_user_that_is_not_root_and_can_be_told_so(target):
    users = [user for stage in dockerfile.chain(STAGES, target) for user in stage.all("USER")]

    # By number, for Kubernetes' runAsNonRoot does not look names up.
    assert users
    assert all(re.fullmatch(r"[1-9]\d*:[1-9]\d*", user) for user in users)


def test_the_image_is_of_the_python_and_the_version_that_are_tested():
    bases = {stage.base for stage in STAGES} - {stage.name for stage in STAGES}
    labels = {
        key: value for stage in STAGES for of in stage.all("LABEL") for key, value in of.items()
    }
    beam = importlib.metadata.version("apache-beam")
    boots = re.findall(r"beam/sdks/v2/\S+@v(\S+)", TEXT)

    assert {base for base in bases if base.startswith("python:")} == {
        f"python:{interpreter.VERSION}-slim-trixie"
    }
    assert all(re.fullmatch(r"[\w/.-]+:\d[\w.-]*", base) for base in bases)
    assert labels["org.opencontainers.image.version"] == VERSION
    assert boots == [beam]
    assert set(re.findall(r"--tag \S+:(\S+)", TEXT)) == {VERSION}


def test_the_image_has_every_extra_but_those_for_work_on_seamline():
    [extras] = (
        ast.literal_eval(ast.Tuple([key for key in of.value.keys], ast.Load()))
        for of in ast.walk(ast.parse((ROOT / "setup.py").read_text()))
        if isinstance(of, ast.keyword) and of.arg == "extras_require"
    )

    assert set(re.findall(r"--extra (\S+)", TEXT)) == set(extras) - {"docs", "test"}


def test_every_package_is_held_to_its_hash():
    installs = [
        command
        for stage in STAGES
        for run in stage.all("RUN")
        for command in run.split(" && ")
        if re.match(r"(pip install|uv pip (sync|install)|uv build) ", command)
    ]

    assert len(installs) == 5
    for command in installs:
        # What was just built is no download.
        ours = "--no-deps" in command and command.endswith("dist/*.whl")
        assert "--require-hashes" in command or ours, command


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("ADD a b", "ADD is not known"),
        ("run true", "run is not known"),
        ("CMD seamline --help", "no list of words"),
        ("ENTRYPOINT [1]", "no list of words"),
        ("RUN --mount=type=cache,target=/x true", "form"),
        ("COPY --chown=1:1 a b", "COPY"),
        ("COPY a", "COPY"),
        ("ENV NAME value", "NAME=VALUE"),
        ("HEALTHCHECK NONE", "HEALTHCHECK"),
        ("FROM --platform=linux/amd64 debian", "FROM"),
    ],
)
def test_what_is_not_known_is_refused(line, problem):
    with pytest.raises(ValueError, match=problem):
        dockerfile.read(f"FROM debian\n{line}\n")


def test_an_instruction_before_the_first_stage_is_refused():
    with pytest.raises(ValueError, match="before the first FROM"):
        dockerfile.read("USER 1:1\n")


def test_lines_that_go_on_are_one_instruction_though_comments_stand_between():
    [stage] = dockerfile.read("FROM a AS b\nRUN one \\\n    # why\n    && two\n\nUSER 1:1\n")

    assert (stage.name, stage.base) == ("b", "a")
    assert stage.instructions == [("RUN", "one && two"), ("USER", "1:1")]


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("a", True),
        ("b", False),
        ("kept/x/y", True),
        ("kept/__pycache__/y", False),
        ("part/one", True),
        ("part/two", False),
    ],
)
def test_the_last_pattern_that_fits_says_whether_a_file_is_let_in(path, inside):
    ignore = "# Comment.\n*\n!a\n!kept\n!part/one\n**/__pycache__\n"

    assert dockerfile.let_in(path, ignore) == inside
