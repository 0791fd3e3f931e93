"""The examples for catalog systems in other languages ask real servers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import grpc
import pytest

import serving.client
from serving.model_server import ModelServer
from tests.serving import color_model
from tests.serving.client.word_server import Refusal, WordServer

EXAMPLES = Path(serving.client.__file__).parent / "examples"

# What package clients say where their registry cannot be reached.
_UNREACHABLE = re.compile(
    "dial tcp|no such host|i/o timeout|ENOTFOUND|ECONNREFUSED|ETIMEDOUT|EAI_AGAIN|network|proxy"
)


def prepared(tool: str, command: list[str], folder: Path, **environment: str) -> None:
    """Gets the modules that an example needs, or skips its tests for want of them."""
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not on the path; install it to run this test")
    process = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if process.returncode and _UNREACHABLE.search(process.stderr):
        pytest.skip(f"{' '.join(command)} needs its registry: {process.stderr[-300:]}")
    assert process.returncode == 0, process.stderr


@pytest.fixture(scope="module", params=["go", "node"])
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs an example, up to its arguments."""
    folder = tmp_path_factory.mktemp("examples")
    shutil.copytree(EXAMPLES, folder, dirs_exist_ok=True)
    if request.param == "go":
        build = ["go", "build", "-o", str(folder / "ask"), "."]
        prepared("go", build, folder / "go", GOFLAGS="-mod=readonly -buildvcs=false")
        return [str(folder / "ask")]
    install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    prepared("npm", install, folder / "node")
    return ["node", str(folder / "node" / "ask.js")]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with two pictures, and what is none."""
    (tmp_path / "red.png").write_bytes(color_model.picture(255, 0, 0))
    (tmp_path / "gray.png").write_bytes(color_model.picture(90, 80, 80))
    (tmp_path / "torn.png").write_bytes(b"torn")
    return tmp_path


def asked(example: list[str], folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*example, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.slow
def test_it_prints_what_the_model_sees_and_names_what_it_cannot_use(
    example: list[str], server: ModelServer, pictures: Path
):
    process = asked(
        example, pictures, "--server", server.endpoint, "red.png", "torn.png", "gray.png"
    )

    score = color_model.expected_scores(255, 0, 0).max()
    red, gray = process.stdout.splitlines()
    assert red.startswith(f"red.png: red {score:.2f}; bright red ")
    assert gray.startswith("gray.png: red 0.37, not sure; dark red ")
    assert "torn.png cannot be used: it is no picture" in process.stderr
    assert process.returncode == 1
    process = asked(example, pictures, "--server", server.endpoint, "red.png")
    assert (process.returncode, process.stderr) == (0, "")


@pytest.mark.slow
def test_it_asks_again_while_the_server_is_busy(example: list[str], tmp_path: Path):
    (tmp_path / "red").write_bytes(b"red")
    words = WordServer()

    def mood(request):
        if len(words.requests) < 3:
            raise Refusal(grpc.StatusCode.UNAVAILABLE, "come again")

    words.mood = mood
    try:
        process = asked(example, tmp_path, "--server", words.endpoint, "red")
    finally:
        words.stop()
    assert process.stdout.startswith("red: red 0.75; red 0.75"), process.stderr
    assert len(words.requests) == 3
    assert all(metadata["x-request-id"] for metadata in words.metadata)


@pytest.mark.slow
def test_it_gives_up_when_its_time_is_over(example: list[str], tmp_path: Path):
    (tmp_path / "red").write_bytes(b"red")
    words = WordServer()
    words.mood = lambda request: time.sleep(5)
    timeout = "1s" if "node" not in example[0] else "1"
    try:
        for endpoint in (words.endpoint, "127.0.0.1:1"):
            process = asked(example, tmp_path, "--server", endpoint, "--timeout", timeout, "red")
            assert process.returncode == 1
            assert re.search("deadline.?exceeded", process.stderr, re.IGNORECASE)
    finally:
        words.stop()


def test_no_lock_file_names_an_address_of_a_registry():
    for name in ("go/go.sum", "go/go.mod", "node/package-lock.json", "node/package.json"):
        text = (EXAMPLES / name).read_text(encoding="utf-8")
        assert '"resolved"' not in text
        assert "proxy" not in text and "registry" not in text
