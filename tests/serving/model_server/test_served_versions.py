"""The server follows its folder: new versions take over, broken ones do not, nobody is cut off."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc

from schema.errors import UserError
from serving.client import CatalogClient
from serving.model_server import ModelServer
from serving.model_server.served_model import ServedModel
from tests.serving import color_model

RED = color_model.picture(255, 0, 0)
POLL_S = 0.05


@pytest.fixture(scope="module")
def models(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two sound models whose answers tell them apart, and one that cannot be loaded."""
    folder = tmp_path_factory.mktemp("models")
    color_model.save(color_model.ColorModel(sharpness=1.0), str(folder / "blunt"))
    shutil.copytree(saved_model, folder / "broken")
    (folder / "broken" / "saved_model.pb").write_bytes(b"not a model")
    return {"sharp": saved_model, "blunt": folder / "blunt", "broken": folder / "broken"}


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    """The empty folder of a model's versions."""
    folder = tmp_path / "catalog"
    folder.mkdir()
    return folder


def _serve(versions: Path) -> ModelServer:
    return ModelServer(versions.parent, versions.name, poll_interval_s=POLL_S)


def _push(model: Path, version: Path) -> None:
    shutil.copytree(model, version.with_name(".unfinished"))
    version.with_name(".unfinished").rename(version)


def _wait_for(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def _states(client: CatalogClient) -> dict[int, str]:
    return {status.version: status.state for status in client.model_status()}


def test_the_largest_number_answers_and_other_folders_are_ignored(models, versions):
    for name in ("9", "10", ".pushing-11", "12.old", "best", "9" * 19):
        shutil.copytree(models["sharp"], versions / name)
    (versions / "13").write_text("a file is no version")

    with _serve(versions) as server, CatalogClient(server.endpoint) as client:
        assert server.version == 10
        assert _states(client) == {10: "AVAILABLE"}


def test_a_new_version_takes_over_without_a_failed_request(models, versions):
    _push(models["sharp"], versions / "1")
    scores: list[float] = []
    failures: list[Exception] = []
    enough = threading.Event()

    def ask_without_pause(endpoint: str) -> None:
        with CatalogClient(endpoint) as client:
            while not enough.is_set():
                try:
                    scores.append(client.predict([RED])[0].category_score)
                except Exception as error:
                    failures.append(error)

    with _serve(versions) as server:
        callers = [
            threading.Thread(target=ask_without_pause, args=[server.endpoint]) for _ in range(4)
        ]
        for caller in callers:
            caller.start()
        try:
            _wait_for(lambda: len(scores) > 20)
            _push(models["blunt"], versions / "2")
            _wait_for(lambda: server.version == 2)
            answered = len(scores)
            _wait_for(lambda: len(scores) > answered + 20)
        finally:
            enough.set()
            for caller in callers:
                caller.join()
        with CatalogClient(server.endpoint) as client:
            assert _states(client) == {1: "END", 2: "AVAILABLE"}

    assert failures == []
    sharp, blunt = (max(color_model.expected_scores(255, 0, 0, s)) for s in (4.0, 1.0))
    assert scores[0] == pytest.approx(sharp, abs=1e-6)
    assert scores[-1] == pytest.approx(blunt, abs=1e-6)
    assert all(min(abs(score - sharp), abs(score - blunt)) < 1e-6 for score in scores)


def test_a_broken_new_version_is_reported_and_the_old_one_goes_on(models, versions):
    _push(models["sharp"], versions / "1")
    with _serve(versions) as server, CatalogClient(server.endpoint) as client:
        _push(models["broken"], versions / "2")
        _wait_for(lambda: _states(client).get(2) == "END")

        assert server.version == 1
        assert client.predict([RED])[0].category == "red"
        assert client.model_status()[-1].error != ""

        # Once it is mended, it takes over.
        shutil.copy(models["blunt"] / "saved_model.pb", versions / "2" / "saved_model.pb")
        _wait_for(lambda: server.version == 2)


def test_a_broken_version_is_not_tried_again_while_it_stays_the_same(models, versions, caplog):
    _push(models["sharp"], versions / "1")
    with _serve(versions) as server:
        _push(models["broken"], versions / "2")
        _wait_for(lambda: "version 2 cannot be loaded" in caplog.text)
        time.sleep(5 * POLL_S)

    assert caplog.text.count("version 2 cannot be loaded") == 1
    assert server.version == 1


def test_a_caller_that_comes_while_the_model_is_loaded_waits_for_it(models, versions, monkeypatch):
    _push(models["sharp"], versions / "1")
    may_load = threading.Event()
    load = ServedModel._load
    monkeypatch.setattr(
        ServedModel, "_load", lambda self, *args: may_load.wait(30) and load(self, *args)
    )
    server = _serve(versions).start()
    try:
        told = pytest.raises(UserError, match="No version of catalog is loaded yet")
        with CatalogClient(server.endpoint, timeout_s=0.3) as hasty, told:
            hasty.predict([RED])
        with grpc.insecure_channel(server.endpoint) as channel:
            health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(UserError, match="was loaded within 0.1 s"):
            server.wait_until_ready(0.1)
        threading.Timer(0.3, may_load.set).start()
        with CatalogClient(server.endpoint, timeout_s=20) as patient:
            assert patient.predict([RED])[0].category == "red"
    finally:
        may_load.set()
        server.stop()


def test_waiting_for_termination_ends_when_the_server_is_stopped(models, versions):
    _push(models["sharp"], versions / "1")
    with _serve(versions) as server:
        waiting = threading.Thread(target=server.wait_for_termination)
        waiting.start()
        assert waiting.is_alive()
    waiting.join(10)

    assert not waiting.is_alive()


def test_a_broken_newest_version_at_the_start_gives_way_to_an_older_one(models, versions):
    _push(models["sharp"], versions / "1")
    _push(models["broken"], versions / "2")
    with _serve(versions) as server:
        assert server.version == 1


def test_a_version_that_cannot_answer_a_blank_picture_is_broken(versions):
    class Failing(color_model.ColorModel):
        def answer(self, image_bytes):
            return {"category": tf.io.decode_base64(image_bytes)}

    color_model.save(Failing(), str(versions / "1"))
    with pytest.raises(UserError, match="version 1: "), _serve(versions):
        pass


def test_removing_the_newest_version_rolls_back(models, versions):
    _push(models["sharp"], versions / "1")
    _push(models["blunt"], versions / "2")
    with _serve(versions) as server:
        assert server.version == 2
        shutil.rmtree(versions / "2")
        _wait_for(lambda: server.version == 1)


def test_a_folder_that_goes_away_stops_nothing(models, versions):
    _push(models["sharp"], versions / "1")
    with _serve(versions) as server, CatalogClient(server.endpoint) as client:
        shutil.rmtree(versions)
        time.sleep(4 * POLL_S)
        assert client.predict([RED])[0].category == "red"


def test_no_version_is_an_error_that_names_the_folder_and_the_remedy(versions):
    for folder in (versions, versions / "missing"):
        with pytest.raises(UserError, match=f"{folder}. .*seamline run"):
            _serve(folder).start()


def test_a_folder_of_broken_versions_is_an_error_that_says_why(models, versions):
    _push(models["broken"], versions / "3")
    told = pytest.raises(UserError, match=f"{versions} can be loaded .version 3: .")
    with told, _serve(versions):
        pass


@pytest.mark.parametrize("option", ["--port", "--rest-port"])
def test_a_port_in_use_is_an_error_that_names_it_and_the_remedy(server, models, versions, option):
    _push(models["sharp"], versions / "1")
    endpoint = server.endpoint if option == "--port" else server.rest_endpoint
    port = int(endpoint.rpartition(":")[2])
    second = ModelServer(versions.parent, **{option.strip("-").replace("-", "_"): port})

    with pytest.raises(UserError, match=f":{port}.*Choose another.* {option}, or 0"):
        second.start()


def test_a_caller_that_is_killed_costs_the_others_nothing(server):
    killed = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys\n"
            "from serving.client import CatalogClient\n"
            "client = CatalogClient(sys.argv[1], timeout_s=60)\n"
            "picture = sys.stdin.buffer.read()\n"
            "client.predict([picture])\n"
            "print('asking', flush=True)\n"
            "while True: client.predict([picture] * 640)\n",
            server.endpoint,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": "."},
    )
    killed.stdin.write(RED)
    killed.stdin.close()
    assert killed.stdout.readline() == b"asking\n"
    time.sleep(0.2)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stdout.close()

    with CatalogClient(server.endpoint) as client:
        assert client.predict([RED])[0].category == "red"


def test_what_nobody_awaits_any_more_is_not_computed(server, monkeypatch):
    served = server._served
    computed = []
    predict = type(served._current).predict
    turn_taken, go_on = threading.Event(), threading.Event()

    def slow_predict(model, *args):
        computed.append(args)
        turn_taken.set()
        go_on.wait(10)
        return predict(model, *args)

    monkeypatch.setattr(type(served._current), "predict", slow_predict)
    monkeypatch.setattr(served, "_turns", threading.BoundedSemaphore(1))

    def ask(timeout_s: float) -> None:
        with CatalogClient(server.endpoint, timeout_s=timeout_s) as client:
            client.predict([RED])

    patient = threading.Thread(target=ask, args=[30])
    patient.start()
    turn_taken.wait(10)
    with pytest.raises(UserError, match="did not answer within"):
        ask(0.3)
    go_on.set()
    patient.join()
    ask(30)

    assert len(computed) == 2
