"""Pushes, rollbacks and removals beside a server that answers: it follows, and fails no request."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config import model_server_config_pb2

from components.atomic_pusher import versions
from serving.model_server.options import ServerOptions
from serving.model_server.servables import Servables

WEIGHTS = "variables/variables.data-00000-of-00001"


class Letter:
    """Stands in for a SavedModel: reads its files when it is loaded, and never again."""

    signature_defs = {}

    def __init__(self, folder: Path):
        files = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
        assert len(files) == 5
        self.letter: str | None = (folder / WEIGHTS).read_bytes()[100_000:].decode()

    def run(self, *arguments, **options):
        raise NotImplementedError

    def close(self) -> None:
        self.letter = None


class Caller(threading.Thread):
    """Asks all the time; remembers who answered in turn, and every failure."""

    def __init__(self, servables: Servables):
        super().__init__()
        self._servables = servables
        self._ended = threading.Event()
        self.answers: list[tuple[int, str]] = []
        self.failures: list[Exception] = []

    def run(self) -> None:
        while not self._ended.wait(0.001):
            try:
                with self._servables.find(model_pb2.ModelSpec(name="catalog")) as servable:
                    answer = servable.version, servable.model.letter
            except Exception as error:
                self.failures.append(error)
                continue
            if self.answers[-1:] != [answer]:
                self.answers.append(answer)

    def wait_for(self, version: int) -> None:
        deadline = time.monotonic() + 60
        while not self.answers or self.answers[-1][0] != version:
            assert time.monotonic() < deadline, f"{version} never answered: {self.answers}"
            time.sleep(0.01)

    def end(self) -> None:
        self._ended.set()
        self.join()


@pytest.fixture
def serve():
    """Serves a folder until the test ends."""
    running: list[Servables] = []

    def start(folder: Path) -> Servables:
        config = model_server_config_pb2.ModelServerConfig()
        config.model_config_list.config.add(
            name="catalog", base_path=str(folder), model_platform="tensorflow"
        )
        options = ServerOptions(models=config, file_system_poll_wait_seconds=0.05)
        servables = Servables(options, load=Letter, settle_s=0.05)
        running.append(servables)
        servables.start()
        deadline = time.monotonic() + 60
        while not servables.is_ready():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return servables

    yield start
    for servables in running:
        servables.close()


def test_a_server_follows_pushes_and_rollbacks_and_fails_no_request(
    make_model, serving_root, serve
):
    expected = [versions.push(make_model("a"), serving_root).version.number]
    caller = Caller(serve(serving_root))
    caller.start()
    try:
        caller.wait_for(expected[-1])
        for letter in "bcd":
            expected.append(versions.push(make_model(letter), serving_root, keep=2).version.number)
            caller.wait_for(expected[-1])
            expected.append(versions.roll_back(serving_root).live.number)
            caller.wait_for(expected[-1])
    finally:
        caller.end()

    assert caller.failures == []
    assert [version for version, _ in caller.answers] == expected
    assert "".join(letter for _, letter in caller.answers) == "abacada"
    found = versions.find_versions(serving_root)
    assert versions.live_version(found).number == expected[-1], "told as the server has it"
