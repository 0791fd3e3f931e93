"""Which versions answer, on a stand-in for SavedModels whose answer is what its file says."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import model_pb2, prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from schema.errors import UserError
from serving.model_server import inference, saved_model, server_config_pb2
from serving.model_server import servables as servables_module
from serving.model_server.errors import RequestError
from serving.model_server.joint_runs import Batching, Kind, finish
from serving.model_server.options import ServerOptions, single_model
from serving.model_server.servables import WARMUP_REQUESTS, Servables
from tests.serving.model_server import half_plus_two

SIGNATURE = meta_graph_pb2.SignatureDef(
    inputs={"x": meta_graph_pb2.TensorInfo(name="x:0", dtype=types_pb2.DT_STRING)},
    outputs={"y": meta_graph_pb2.TensorInfo(name="y:0", dtype=types_pb2.DT_STRING)},
    method_name="tensorflow/serving/predict",
)
A_MINUTE_AGO = 60.0


class StandIn:
    """A model whose answer to everything is the text in its folder."""

    opened: list[StandIn] = []
    batching = None

    def __init__(self, folder: Path):
        self.signature_defs = {"serving_default": SIGNATURE}
        if not (folder / "saved_model.pb").exists():
            raise tf.errors.NotFoundError(None, None, f"no SavedModel in {folder}")
        self.text = (folder / "saved_model.pb").read_text()
        if self.text.startswith("broken"):
            raise tf.errors.DataLossError(None, None, f"{folder.name} is {self.text}")
        self.asked: list[bytes] = []
        self.is_open = True
        StandIn.opened.append(self)

    def run(self, inputs, outputs, timeout_s=None, signature_name="serving_default"):
        assert self.is_open, "a closed model was asked"
        self.asked.append(inputs["x"][0])
        return [np.array([self.text.encode()], object) for _ in outputs]

    def close(self):
        self.is_open = False


@pytest.fixture(autouse=True)
def _no_models_of_other_tests():
    StandIn.opened = []


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    return folder


def write(folder: Path, text: str, age_s: float = A_MINUTE_AGO) -> Path:
    """Puts a whole version where it belongs, and says that it is of some age."""
    partial = folder.parent / f".{folder.name}"
    (partial / "variables").mkdir(parents=True)
    (partial / "saved_model.pb").write_text(text)
    (partial / "variables" / "variables.index").write_text("")
    for path in (*partial.rglob("*"), partial):
        os.utime(path, (time.time() - age_s,) * 2)
    partial.rename(folder)
    return folder


@contextlib.contextmanager
def serving(
    models: Path | model_server_config_pb2.ModelServerConfig,
    load: Callable | None = StandIn,
    settle_s: float = 0.05,
    ready: bool = True,
    **options,
) -> Iterator[Servables]:
    config = single_model(models, "m") if isinstance(models, Path) else models
    options = {
        "file_system_poll_wait_seconds": 0.02,
        "load_retry_interval_s": 1000.0,
        **options,
    }
    servables = Servables(ServerOptions(config, **options), load, settle_s)
    try:
        servables.start()
        if ready:
            servables.wait_until_ready(10)
        yield servables
    finally:
        servables.close()


def spec(name: str = "m", version: int | None = None, label: str = "") -> model_pb2.ModelSpec:
    made = model_pb2.ModelSpec(name=name)
    if version is not None:
        made.version.value = version
    if label:
        made.version_label = label
    return made


def answer(servables: Servables, *args, **kwargs) -> str:
    with servables.find(spec(*args, **kwargs)) as servable:
        inputs = {"x": np.array([b"?"], object)}
        return finish(inference.predict_arrays(servable, "", inputs))["y"][0].decode()


def refusal(servables: Servables, *args, **kwargs) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(RequestError) as error:
        answer(servables, *args, **kwargs)
    return error.value.code, error.value.message


def states(servables: Servables, name: str = "m") -> dict[int, str]:
    try:
        return {state.version: state.state for state in servables.states(spec(name))}
    except RequestError:
        return {}


def eventually(condition: Callable[[], bool], what: str = "") -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what or "it did not come"
        time.sleep(0.005)


def config(*models: dict) -> model_server_config_pb2.ModelServerConfig:
    made = model_server_config_pb2.ModelServerConfig()
    for model in models:
        policy = model.pop("policy", {})
        model = {"model_platform": "tensorflow", **model, "base_path": str(model["base_path"])}
        made.model_config_list.config.add(**model, model_version_policy=policy)
    return made


def test_how_requests_are_batched_is_known_before_they_are_read(base, monkeypatch):
    batching = Batching()
    monkeypatch.setattr(StandIn, "batching", batching)
    write(base / "1", "one")
    with serving(base) as servables:
        for known in (spec(), spec(version=1)):
            assert servables.batching(Kind("predict", known.SerializeToString())) is batching
        for unknown in (spec("nope"), spec(version=7), spec(label="stable"), spec("")):
            assert servables.batching(Kind("predict", unknown.SerializeToString())) is None
        assert servables.batching(Kind("predict", b"\xff")) is None


def test_batches_that_are_computed_at_a_time_share_the_processors(base, monkeypatch):
    configs = []

    def made(folder, tags, batching, session_config):
        configs.append(session_config.intra_op_parallelism_threads)

    monkeypatch.setattr(saved_model, "SavedModel", made)
    monkeypatch.setattr(servables_module, "cores", lambda: 8)
    own = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=3).SerializeToString()
    for threads, batched, session_config in (
        *((2, True, b""), (8, True, b""), (16, True, b"")),
        *((2, True, own), (2, False, b"")),
    ):
        parameters = server_config_pb2.BatchingParameters()
        parameters.num_batch_threads.value = threads
        options = ServerOptions(
            single_model(base),
            enable_batching=batched,
            batching_parameters=parameters,
            session_config=session_config,
        )
        servables_module.saved_models(options)(base)
    assert configs == [4, 1, 1, 3, 0]


class TestVersions:
    def test_the_newest_answers_and_the_others_are_not_loaded(self, base):
        for version in (1, 3, 20):
            write(base / str(version), f"v{version}")
        with serving(base) as servables:
            assert answer(servables) == answer(servables, version=20) == "v20"
            assert states(servables) == {20: "AVAILABLE"}
            assert refusal(servables, version=3) == (
                grpc.StatusCode.NOT_FOUND,
                "Servable not found for request: Specific(m, 3)",
            )

    def test_a_new_one_takes_over_and_the_old_one_is_closed(self, base):
        write(base / "1", "v1")
        with serving(base) as servables:
            old = StandIn.opened[0]
            write(base / "2", "v2")
            eventually(lambda: answer(servables) == "v2")
            eventually(lambda: states(servables) == {2: "AVAILABLE", 1: "END"})
            assert not old.is_open
            assert [state.version for state in servables.states(spec())] == [2, 1]

    @pytest.mark.parametrize(
        ("policy", "answering"),
        [
            ({}, [30]),
            ({"latest": {"num_versions": 0}}, [30]),
            ({"latest": {"num_versions": 2}}, [2, 30]),
            ({"all": {}}, [1, 2, 30]),
            ({"specific": {"versions": [1, 30, 99]}}, [1, 30]),
        ],
    )
    def test_the_policy_says_which_answer(self, base, policy, answering):
        for version in (1, 2, 30):
            write(base / str(version), f"v{version}")
        with serving(config({"name": "m", "base_path": base, "policy": policy})) as servables:
            eventually(lambda: states(servables) == {version: "AVAILABLE" for version in answering})
            assert answer(servables) == f"v{answering[-1]}"
            for version in answering:
                assert answer(servables, version=version) == f"v{version}"

    def test_names_that_are_no_versions_are_ignored(self, base):
        write(base / "7", "v7")
        for name in ("8.partial", "-9", "tmp", "9223372036854775808", "1e9", "٣"):
            write(base / name, "never")
        (base / "10").write_text("a file")
        with serving(base) as servables:
            assert answer(servables) == "v7"
            time.sleep(0.2)
            assert states(servables) == {7: "AVAILABLE"}

    def test_leading_zeros_do_not_count(self, base):
        write(base / "00042", "v42")
        with serving(base) as servables:
            assert answer(servables, version=42) == "v42"

    def test_a_version_may_be_a_link(self, base, tmp_path):
        write(tmp_path / "elsewhere", "linked")
        (base / "1").symlink_to(tmp_path / "elsewhere")
        with serving(base) as servables:
            assert answer(servables) == "linked"

    def test_when_the_newest_is_removed_the_next_one_takes_over(self, base):
        write(base / "1", "v1")
        write(base / "2", "v2")
        with serving(base) as servables:
            assert answer(servables) == "v2"
            shutil.rmtree(base / "2")
            eventually(lambda: answer(servables) == "v1")
            eventually(lambda: states(servables) == {2: "END", 1: "AVAILABLE"})

    def test_when_all_are_removed_none_answers_any_more(self, base):
        write(base / "1", "v1")
        with serving(base) as servables:
            shutil.rmtree(base / "1")
            eventually(lambda: states(servables) == {1: "END"})
            assert refusal(servables) == (
                grpc.StatusCode.NOT_FOUND,
                "Servable not found for request: Latest(m)",
            )
            assert not StandIn.opened[0].is_open
            write(base / "1", "again")
            eventually(lambda: states(servables) == {1: "AVAILABLE"})
            assert answer(servables) == "again"

    def test_when_the_whole_folder_is_away_the_models_stay(self, base):
        write(base / "1", "v1")
        with serving(base) as servables:
            base.rename(base.parent / "away")
            time.sleep(0.2)
            assert answer(servables) == "v1"

    def test_no_request_fails_while_versions_come_and_go(self, base):
        write(base / "1", "v1")
        failures, answers, stop = [], [], threading.Event()

        def ask():
            while not stop.is_set():
                try:
                    answers.append(answer(servables))
                except BaseException as error:
                    failures.append(error)

        with serving(base) as servables:
            callers = [threading.Thread(target=ask) for _ in range(4)]
            for caller in callers:
                caller.start()
            for version in range(2, 12):
                write(base / str(version), f"v{version}")
                eventually(lambda version=version: answer(servables) == f"v{version}")
            stop.set()
            for caller in callers:
                caller.join()
            assert not failures
            assert set(answers) == {f"v{version}" for version in range(1, 12)}
            eventually(lambda: [model.text for model in StandIn.opened if model.is_open] == ["v11"])


class TestRequests:
    @pytest.mark.parametrize(
        ("asked", "code", "message"),
        [
            ({"name": ""}, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
            ({"name": "x"}, "NOT_FOUND", "Servable not found for request: Latest(x)"),
            (
                {"name": "x", "version": 5},
                "NOT_FOUND",
                "Servable not found for request: Specific(x, 5)",
            ),
            ({"label": "l"}, "INVALID_ARGUMENT", "Unrecognized servable version label: l"),
        ],
    )
    def test_what_nobody_has_is_refused_as_tensorflow_serving_does(
        self, base, asked, code, message
    ):
        write(base / "1", "v1")
        with serving(base) as servables:
            assert refusal(servables, **asked) == (grpc.StatusCode[code], message)

    @pytest.mark.parametrize(
        ("asked", "message"),
        [
            ({"name": "x"}, "Could not find any versions of model x"),
            ({"name": ""}, "Could not find any versions of model "),
            ({"version": 9}, "Could not find version 9 of model m"),
        ],
    )
    def test_the_status_of_what_nobody_knows_is_not_found(self, base, asked, message):
        write(base / "1", "v1")
        with serving(base) as servables:
            with pytest.raises(RequestError) as error:
                servables.states(spec(**asked))
            assert (error.value.code, error.value.message) == (grpc.StatusCode.NOT_FOUND, message)
            assert [state.version for state in servables.states(spec(version=1))] == [1]

    def test_until_the_first_version_is_loaded_requests_are_unavailable(self, base):
        write(base / "1", "v1")
        go = threading.Event()

        def slow(folder):
            go.wait(10)
            return StandIn(folder)

        with serving(base, load=slow, ready=False) as servables:
            eventually(lambda: states(servables) == {1: "LOADING"})
            assert refusal(servables)[0] == grpc.StatusCode.UNAVAILABLE
            # Whoever waits for a server asks for a model that there is not.
            assert refusal(servables, "none")[0] == grpc.StatusCode.UNAVAILABLE
            assert not servables.is_ready()
            go.set()
            servables.wait_until_ready(10)
            assert servables.is_ready()
            assert answer(servables) == "v1"
            assert refusal(servables, "none")[0] == grpc.StatusCode.NOT_FOUND

    def test_a_version_is_closed_only_when_its_last_request_is_answered(self, base):
        write(base / "1", "v1")
        with serving(base) as servables:
            with servables.find(spec()) as old:
                write(base / "2", "v2")
                eventually(lambda: answer(servables) == "v2")
                eventually(lambda: states(servables)[1] == "UNLOADING")
                assert refusal(servables, version=1)[0] == grpc.StatusCode.NOT_FOUND
                time.sleep(0.1)
                assert old.model.is_open
                assert states(servables)[1] == "UNLOADING"
            eventually(lambda: states(servables)[1] == "END")
            assert not old.model.is_open

    def test_a_request_that_fails_does_not_keep_its_version_open(self, base):
        write(base / "1", "v1")
        with serving(base) as servables:
            with pytest.raises(RuntimeError), servables.find(spec()) as old:
                raise RuntimeError
            write(base / "2", "v2")
            eventually(lambda: not old.model.is_open)

    def test_whoever_listens_hears_of_every_state(self, base):
        write(base / "1", "v1")
        heard = []
        servables = Servables(ServerOptions(single_model(base, "m")), StandIn, 0.05)
        servables.listen(lambda: heard.append(states(servables).get(1)))
        servables.start()
        servables.wait_until_ready(10)
        servables.close()
        assert heard == ["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]


class TestHalfCopiedVersions:
    def test_one_that_is_found_quiet_at_the_start_is_loaded_at_once(self, base, monkeypatch):
        monkeypatch.setattr("serving.model_server.servables._OLD_S", 0.1)
        write(base / "1", "v1")
        time.sleep(0.2)
        with serving(base, settle_s=1000) as servables:
            assert answer(servables) == "v1"

    def test_one_that_was_just_written_is_looked_at_twice(self, base):
        write(base / "1", "v1", age_s=0)
        began = time.monotonic()
        with serving(base, settle_s=0.3) as servables:
            assert answer(servables) == "v1"
            assert time.monotonic() - began > 0.3

    def test_a_copy_that_bears_old_times_is_looked_at_twice(self, base):
        write(base / "1", "v1")
        os.utime(base / "1" / "saved_model.pb", (0, 0))
        shutil.copytree(base / "1", base / "2")
        with serving(base, settle_s=1000, ready=False) as servables:
            time.sleep(0.2)
            assert states(servables) == {2: "START"}

    def test_one_that_grows_is_not_loaded_before_it_stops_to(self, base):
        write(base / "1", "v1")
        with serving(base, settle_s=0.3) as servables:
            (base / "2").mkdir()
            (base / "2" / "saved_model.pb").write_text("v2")
            for size in range(10):
                (base / "2" / "asset").write_text("x" * size)
                time.sleep(0.1)
                assert answer(servables) == "v1"
                assert states(servables)[2] == "START"
            eventually(lambda: answer(servables) == "v2")

    def test_one_that_changes_while_it_is_loaded_does_not_answer(self, base):
        write(base / "1", "half")

        def load(folder):
            model = StandIn(folder)
            if model.text == "half":
                (folder / "saved_model.pb").write_text("whole")
            return model

        with serving(base, load) as servables:
            assert answer(servables) == "whole"
            assert [model.text for model in StandIn.opened if model.is_open] == ["whole"]

    def test_one_that_is_completed_after_it_was_loaded_is_loaded_again(self, base):
        write(base / "1", "half")
        with serving(base) as servables:
            assert answer(servables) == "half"
            (base / "1" / "saved_model.pb").write_text("whole")
            eventually(lambda: answer(servables) == "whole")
            assert states(servables) == {1: "AVAILABLE"}
            eventually(lambda: [m.text for m in StandIn.opened if m.is_open] == ["whole"])

    def test_one_that_is_spoiled_after_it_was_loaded_answers_on(self, base, caplog):
        write(base / "1", "sound")
        with serving(base) as servables:
            (base / "1" / "saved_model.pb").write_text("broken")
            eventually(lambda: "cannot be loaded" in caplog.text)
            assert answer(servables) == "sound"
            assert states(servables) == {1: "AVAILABLE"}


class TestBrokenVersions:
    def test_the_old_one_answers_on_and_the_status_says_why(self, base):
        write(base / "1", "v1")
        with serving(base) as servables:
            write(base / "2", "broken beyond repair")
            eventually(lambda: states(servables).get(2) == "END")
            assert answer(servables) == "v1"
            state = servables.states(spec(version=2))[0]
            assert state.code == grpc.StatusCode.DATA_LOSS
            assert state.message == "2 is broken beyond repair"
            assert states(servables)[1] == "AVAILABLE"

    def test_it_is_loaded_when_its_files_change(self, base):
        write(base / "1", "v1")
        with serving(base) as servables:
            write(base / "2", "broken")
            eventually(lambda: states(servables).get(2) == "END")
            (base / "2" / "saved_model.pb").write_text("repaired")
            eventually(lambda: answer(servables) == "repaired")
            assert servables.states(spec(version=2))[0].message == ""

    def test_an_older_one_stands_in_at_the_start_until_a_newer_one_answers(self, base):
        write(base / "1", "v1")
        write(base / "2", "v2")
        write(base / "3", "broken, too")
        write(base / "4", "broken")
        with serving(base) as servables:
            assert answer(servables) == "v2"
            assert states(servables) == {4: "END", 3: "END", 2: "AVAILABLE"}
            time.sleep(0.1)
            assert sum(model.is_open for model in StandIn.opened) == 1
            write(base / "5", "v5")
            eventually(lambda: answer(servables) == "v5")
            eventually(lambda: states(servables)[2] == "END")

    def test_it_is_tried_again_as_often_as_it_was_told(self, base):
        write(base / "1", "v1")
        tries = []

        def load(folder):
            tries.append(folder.name)
            if len(tries) < 4:
                raise MemoryError("for now")
            return StandIn(folder)

        options = {"max_num_load_retries": 3, "load_retry_interval_s": 0.01}
        with serving(base, load, ready=False, **options) as servables:
            eventually(lambda: states(servables) == {1: "AVAILABLE"})
            assert len(tries) == 4

    def test_after_the_last_retry_it_is_left_alone(self, base):
        write(base / "1", "v1")
        tries = []

        def load(folder):
            tries.append(folder.name)
            raise ValueError

        options = {"max_num_load_retries": 2, "load_retry_interval_s": -1}
        with serving(base, load, ready=False, **options) as servables:
            eventually(lambda: len(tries) == 3)
            time.sleep(0.2)
            assert len(tries) == 3
            assert servables.states(spec())[0].message == "ValueError"

    def test_a_folder_without_a_model_says_so(self, base):
        write(base / "1", "v1")
        with serving(base) as servables:
            (base / "2").mkdir()
            eventually(lambda: states(servables).get(2) == "END")
            state = servables.states(spec(version=2))[0]
            assert state.code == grpc.StatusCode.NOT_FOUND
            assert "no SavedModel in" in state.message

    def test_nobody_waits_for_a_model_of_which_no_version_can_be_loaded(self, base):
        write(base / "1", "broken")
        with (
            pytest.raises(UserError, match=r"version 1: 1 is broken\)"),
            serving(base, ready=False) as servables,
        ):
            servables.wait_until_ready(10)

    def test_a_model_without_a_version_is_waited_for(self, base):
        with serving(base, ready=False) as servables:
            with pytest.raises(UserError, match="there is no version in"):
                servables.wait_until_ready(0.1)
            assert refusal(servables)[0] == grpc.StatusCode.NOT_FOUND
            write(base / "1", "v1")
            servables.wait_until_ready(10)
            assert answer(servables) == "v1"


class TestPolling:
    def test_0_looks_once(self, base):
        write(base / "1", "v1")
        with serving(base, file_system_poll_wait_seconds=0) as servables:
            write(base / "2", "v2")
            time.sleep(0.2)
            assert states(servables) == {1: "AVAILABLE"}

    def test_0_waits_until_what_it_saw_has_settled(self, base):
        write(base / "1", "v1", age_s=0)
        with serving(base, file_system_poll_wait_seconds=0) as servables:
            assert answer(servables) == "v1"

    def test_less_than_0_never_looks(self, base):
        write(base / "1", "v1")
        with serving(base, file_system_poll_wait_seconds=-1, ready=False) as servables:
            time.sleep(0.2)
            assert states(servables) == {}
            assert not servables.is_ready()


class TestFolders:
    def test_one_that_does_not_exist_is_named(self, tmp_path):
        servables = Servables(ServerOptions(single_model(tmp_path / "none", "m")), StandIn)
        with pytest.raises(UserError, match="of model m in .*none: No such file"):
            servables.check_folders()

    def test_one_without_a_version_is_named(self, base):
        servables = Servables(ServerOptions(single_model(base, "m")), StandIn)
        with pytest.raises(UserError, match="There is no version of model m in"):
            servables.check_folders()


class TestSeveralModels:
    @pytest.fixture
    def two(self, tmp_path):
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            write(tmp_path / name / "1", name)
        return [{"name": name, "base_path": tmp_path / name} for name in ("a", "b")]

    def test_each_answers_under_its_name(self, two):
        with serving(config(*two)) as servables:
            assert answer(servables, "a") == "a"
            assert answer(servables, "b") == "b"

    def test_another_configuration_adds_and_removes(self, two, tmp_path):
        a, b = two
        with serving(config(dict(a))) as servables:
            assert refusal(servables, "b")[0] == grpc.StatusCode.NOT_FOUND
            servables.reload(config(dict(b)))
            assert answer(servables, "b") == "b"
            assert refusal(servables, "a") == (
                grpc.StatusCode.NOT_FOUND,
                "Servable not found for request: Latest(a)",
            )
            eventually(lambda: states(servables, "a") == {1: "END"})
            servables.reload(config(dict(a), dict(b)))
            assert answer(servables, "a") == "a"

    def test_another_policy_is_followed(self, two):
        a = two[0]
        write(a["base_path"] / "2", "a2")
        with serving(config(dict(a))) as servables:
            assert answer(servables, "a") == "a2"
            servables.reload(config({**a, "policy": {"specific": {"versions": [1]}}}))
            eventually(lambda: answer(servables, "a") == "a")

    def test_another_folder_is_followed(self, two):
        a, b = two
        with serving(config(dict(a))) as servables:
            servables.reload(config({**a, "base_path": b["base_path"]}))
            eventually(lambda: answer(servables, "a") == "b")

    def test_a_new_model_that_cannot_be_loaded_is_an_error_and_the_rest_is_served(
        self, two, tmp_path
    ):
        a, b = two
        (tmp_path / "c").mkdir()
        write(tmp_path / "c" / "1", "broken")
        c = {"name": "c", "base_path": tmp_path / "c"}
        with serving(config(dict(a))) as servables:
            with pytest.raises(RequestError) as error:
                servables.reload(config(dict(b), c))
            assert error.value.code == grpc.StatusCode.UNKNOWN
            assert error.value.message.startswith(
                "1 model(s) did not become available: {{{name: c}"
            )
            assert "1 is broken" in error.value.message
            assert answer(servables, "b") == "b"
            assert refusal(servables, "a")[0] == grpc.StatusCode.NOT_FOUND

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"base_path": "relative"}, "Expected model a to have an absolute path or URI; got "),
            ({"base_path": "gs://bucket/a"}, "only folders of this machine can be served"),
            ({"model_platform": ""}, "Illegal setting neither ModelServerConfig::model_type"),
            ({"model_type": 1}, "Illegal setting both ModelServerConfig::model_type"),
            (
                {"model_platform": "other"},
                "Illegal to change a model's platform. For model a platform was tensorflow and new "
                "platform requested is other",
            ),
            ({"name": "new", "model_platform": "other"}, "requests unsupported platform other"),
            ({"name": "b"}, "Illegal to list model b multiple times in config list"),
            ({"logging_config": {}}, "No request-logger-creator provided."),
        ],
    )
    def test_a_mistake_in_it_changes_nothing(self, two, change, message):
        a, b = two
        with serving(config(dict(a), dict(b))) as servables:
            with pytest.raises(RequestError) as error:
                servables.reload(config({**a, **change}, dict(b)))
            assert error.value.code == grpc.StatusCode.INVALID_ARGUMENT
            assert message in error.value.message
            assert answer(servables, "a") == "a"
            assert servables.config == config(dict(a), dict(b))

    def test_a_list_is_not_followed_by_another_kind_of_configuration(self, two):
        with serving(config(*two)) as servables:
            with pytest.raises(
                RequestError, match="Cannot transition to requested config"
            ) as error:
                servables.reload(model_server_config_pb2.ModelServerConfig())
            assert error.value.code == grpc.StatusCode.FAILED_PRECONDITION

    def test_the_deprecated_model_type_is_a_platform_too(self, two):
        a = {**two[0], "model_platform": "", "model_type": 1}
        with serving(config(a)) as servables:
            assert answer(servables, "a") == "a"


class TestLabels:
    def test_a_label_names_a_version_that_answers(self, base):
        write(base / "1", "v1")
        write(base / "2", "v2")
        model = {"name": "m", "base_path": base, "policy": {"all": {}}}
        with serving(config(dict(model))) as servables:
            eventually(lambda: states(servables) == {1: "AVAILABLE", 2: "AVAILABLE"})
            servables.reload(config({**model, "version_labels": {"stable": 1, "canary": 2}}))
            assert answer(servables, label="stable") == "v1"
            assert answer(servables, label="canary") == "v2"
            assert [state.version for state in servables.states(spec(label="stable"))] == [1]
            servables.reload(config({**model, "version_labels": {"stable": 2}}))
            assert answer(servables, label="stable") == "v2"
            assert refusal(servables, label="canary")[0] == grpc.StatusCode.INVALID_ARGUMENT

    def test_a_label_of_a_version_that_does_not_answer_is_refused(self, base):
        write(base / "1", "v1")
        model = {"name": "m", "base_path": base}
        with serving(config(dict(model))) as servables:
            with pytest.raises(RequestError) as error:
                servables.reload(config({**model, "version_labels": {"next": 2}}))
            assert error.value.code == grpc.StatusCode.FAILED_PRECONDITION
            assert error.value.message == (
                "Request to assign label to version 2 of model m, which is not currently available "
                "for inference"
            )

    def test_unless_it_is_allowed_and_the_label_is_new(self, base):
        write(base / "1", "v1")
        model = {"name": "m", "base_path": base, "version_labels": {"stable": 1}}
        with serving(
            config(dict(model)), allow_version_labels_for_unavailable_models=True
        ) as servables:
            assert answer(servables, label="stable") == "v1"
            with pytest.raises(RequestError, match="assign label to version 2"):
                servables.reload(config({**model, "version_labels": {"stable": 2}}))
            servables.reload(config({**model, "version_labels": {"next": 2}}))
            assert refusal(servables, label="next") == (
                grpc.StatusCode.NOT_FOUND,
                "Servable not found for request: Specific(m, 2)",
            )

    def test_labels_at_the_start_need_the_flag_that_allows_them(self, base):
        write(base / "1", "v1")
        labelled = config({"name": "m", "base_path": base, "version_labels": {"stable": 1}})
        with (
            pytest.raises(UserError, match="--allow_version_labels_for_unavailable_models"),
            serving(labelled),
        ):
            pass


class TestModelsConfig:
    @pytest.fixture
    def file(self, tmp_path):
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            write(tmp_path / name / "1", name)
        return tmp_path / "models.config"

    def _serve(self, file: Path, *names: str):
        made = config(*({"name": name, "base_path": file.parent / name} for name in names))
        return made

    @contextlib.contextmanager
    def _following(self, file: Path) -> Iterator[Servables]:
        file.write_text(str(self._serve(file, "a")))
        with serving(
            self._serve(file, "a"),
            model_config_file=file,
            model_config_file_poll_wait_seconds=0.02,
        ) as servables:
            yield servables

    def test_a_change_in_the_file_is_followed(self, file):
        with self._following(file) as servables:
            file.write_text(str(self._serve(file, "b")))
            eventually(lambda: states(servables, "b") == {1: "AVAILABLE"})
            eventually(lambda: states(servables, "a") == {1: "END"})
            file.write_text(str(self._serve(file, "a", "b")))
            eventually(lambda: states(servables, "a") == {1: "AVAILABLE"})

    def test_a_mistake_leaves_everything_as_it_is_and_is_logged_once(self, file, caplog):
        with self._following(file) as servables:
            file.write_text("model_config_list { config { nam: 'b' } }")
            eventually(lambda: "has no field nam" in caplog.text)
            time.sleep(0.2)
            assert caplog.text.count("has no field nam") == 1
            assert answer(servables, "a") == "a"
            file.write_text(str(self._serve(file, "b")))
            eventually(lambda: states(servables, "b") == {1: "AVAILABLE"})

    def test_a_file_that_is_away_leaves_everything_as_it_is_and_is_logged_once(self, file, caplog):
        with self._following(file) as servables:
            file.unlink()
            eventually(lambda: "No such file" in caplog.text)
            time.sleep(0.2)
            assert caplog.text.count("No such file") == 1
            assert answer(servables, "a") == "a"

    def test_one_that_cannot_be_served_is_named_at_the_start(self, file):
        wrong = config({"name": "a", "base_path": "relative"})
        with (
            pytest.raises(UserError, match=r"models\.config: Expected model a to have an absolute"),
            serving(wrong, model_config_file=file),
        ):
            pass

    def test_without_an_interval_it_is_read_no_more(self, file):
        file.write_text(str(self._serve(file, "a")))
        with serving(self._serve(file, "a"), model_config_file=file) as servables:
            file.write_text(str(self._serve(file, "b")))
            time.sleep(0.2)
            assert answer(servables, "a") == "a"


class TestWarmUp:
    def _with_requests(self, folder: Path, *logs: prediction_log_pb2.PredictionLog | bytes) -> Path:
        write(folder, "warm")
        path = folder / WARMUP_REQUESTS
        path.parent.mkdir()
        with tf.io.TFRecordWriter(str(path)) as writer:
            for log in logs:
                writer.write(log if isinstance(log, bytes) else log.SerializeToString())
        return folder

    def _predict_log(self, value: bytes, **spec) -> prediction_log_pb2.PredictionLog:
        log = prediction_log_pb2.PredictionLog()
        request = log.predict_log.request
        request.model_spec.CopyFrom(model_pb2.ModelSpec(name="any", **spec))
        request.inputs["x"].CopyFrom(tf.make_tensor_proto([value]))
        return log

    def test_the_requests_in_its_folder_are_answered_before_callers_are(self, base):
        self._with_requests(base / "1", self._predict_log(b"one"), self._predict_log(b"two"))
        with serving(base) as servables:
            answer(servables)
            assert StandIn.opened[0].asked == [b"one", b"two", b"?"]

    def test_each_is_answered_as_often_as_told(self, base):
        self._with_requests(base / "1", self._predict_log(b"one"))
        with serving(base, num_request_iterations_for_warmup=3):
            assert StandIn.opened[0].asked == [b"one"] * 3

    def test_it_can_be_turned_off(self, base):
        self._with_requests(base / "1", self._predict_log(b"one"))
        with serving(base, enable_model_warmup=False):
            assert StandIn.opened[0].asked == []

    @pytest.mark.parametrize(
        ("logs", "code", "message"),
        [
            ([b"\xff\xff"], "INVALID_ARGUMENT", "Failed to parse warmup record 1 from "),
            (
                [prediction_log_pb2.PredictionLog(session_run_log={})],
                "UNIMPLEMENTED",
                "Unsupported log_type for warmup: ",
            ),
        ],
    )
    def test_a_request_that_is_none_keeps_the_version_from_answering(
        self, base, logs, code, message
    ):
        self._with_requests(base / "1", *logs)
        with serving(base, ready=False) as servables:
            eventually(lambda: states(servables) == {1: "END"})
            state = servables.states(spec())[0]
            assert state.code == grpc.StatusCode[code]
            assert message in state.message
            assert not StandIn.opened[0].is_open

    def test_a_request_that_the_model_refuses_keeps_the_version_from_answering(self, base):
        self._with_requests(base / "1", self._predict_log(b"x", signature_name="none"))
        with serving(base, ready=False) as servables:
            eventually(lambda: states(servables) == {1: "END"})
            said = servables.states(spec())[0].message
            assert said.startswith('Serving signature key "none" not found.')

    def test_a_file_that_is_no_tfrecord_says_so(self, base):
        write(base / "1", "warm")
        (base / "1" / WARMUP_REQUESTS.parent).mkdir()
        (base / "1" / WARMUP_REQUESTS).write_text("these are no records, but it is long enough")
        with serving(base, ready=False) as servables:
            eventually(lambda: states(servables) == {1: "END"})
            state = servables.states(spec())[0]
            assert state.code == grpc.StatusCode.DATA_LOSS
            assert "Please verify your warmup data is in TFRecord format." in state.message

    def test_more_than_a_thousand_are_too_many(self, base):
        self._with_requests(base / "1", *[self._predict_log(b"x")] * 1001)
        with serving(base, ready=False) as servables:
            eventually(lambda: states(servables) == {1: "END"})
            assert "exceeds the maximum (1000)" in servables.states(spec())[0].message


class TestSavedModels:
    """The same with what is served in earnest: SavedModels in Sessions."""

    @pytest.fixture(scope="class")
    def sound(self, tmp_path_factory) -> Path:
        folder = tmp_path_factory.mktemp("sound") / "model"
        half_plus_two.save(folder)
        return folder

    def _ask(self, servables: Servables) -> tuple[int, float]:
        with servables.find(spec()) as servable:
            inputs = {"x": np.float32([[2]])}
            return servable.version, finish(inference.predict_arrays(servable, "", inputs))[
                "y"
            ].item()

    def test_versions_are_swapped_without_a_failed_request(self, base, sound):
        shutil.copytree(sound, base / "1")
        answers, failures, stop = [], [], threading.Event()

        def ask():
            while not stop.is_set():
                try:
                    answers.append(self._ask(servables))
                except BaseException as error:
                    failures.append(error)

        with serving(base, load=None) as servables:
            callers = [threading.Thread(target=ask) for _ in range(2)]
            for caller in callers:
                caller.start()
            for version in (2, 3):
                shutil.copytree(sound, base / str(version))
                eventually(lambda version=version: self._ask(servables)[0] == version)
            stop.set()
            for caller in callers:
                caller.join()
            assert not failures
            assert set(answers) == {(1, 3.0), (2, 3.0), (3, 3.0)}

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda folder: (folder / "saved_model.pb").unlink(),
            lambda folder: os.truncate(folder / "saved_model.pb", 100),
            lambda folder: (folder / "saved_model.pb").write_bytes(b"\xff" * 1000),
            lambda folder: (folder / "saved_model.pb").write_bytes(b""),
            lambda folder: (folder / "variables" / "variables.index").unlink(),
            lambda folder: os.truncate(next((folder / "variables").glob("*.data-*")), 1),
            lambda folder: next((folder / "variables").glob("*.data-*")).unlink(),
            lambda folder: shutil.rmtree(folder / "variables"),
        ],
    )
    def test_a_damaged_one_never_answers_and_one_that_is_repaired_does(self, base, sound, spoil):
        shutil.copytree(sound, base / "1")
        with serving(base, load=None) as servables:
            shutil.copytree(sound, base.parent / "2")
            spoil(base.parent / "2")
            (base.parent / "2").rename(base / "2")
            eventually(lambda: states(servables).get(2) == "END")
            state = servables.states(spec(version=2))[0]
            assert state.code != grpc.StatusCode.OK
            assert state.message
            assert self._ask(servables) == (1, 3.0)
            shutil.copytree(sound, base / "2", dirs_exist_ok=True)
            eventually(lambda: self._ask(servables) == (2, 3.0))


@pytest.fixture(autouse=True)
def _log_level(caplog):
    caplog.set_level(logging.INFO, "seamline.serving")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RequestError(grpc.StatusCode.NOT_FOUND, "gone"), "NOT_FOUND", "gone"),
        (tf.errors.DataLossError(None, None, "damaged"), "DATA_LOSS", "damaged"),
        (tf.errors.OpError(None, None, "odd", 999), "UNKNOWN", "odd"),
        (FileNotFoundError(2, "No such file", "/m"), "NOT_FOUND", "[Errno 2] No such file: '/m'"),
        (ValueError("bad"), "UNKNOWN", "bad"),
        (ValueError(), "UNKNOWN", "ValueError"),
        (ValueError("x" * 5000), "UNKNOWN", "x" * 4096),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_a_damaged_model_raises_becomes_a_code_and_words(error, code, said):
    assert servables_module._reason(error) == (grpc.StatusCode[code], said)


def test_an_error_whose_message_is_no_text_is_told_by_what_it_prints():
    error = ValueError("printed")
    error.message = b"bytes"
    assert servables_module._reason(error) == (grpc.StatusCode.UNKNOWN, "printed")


def test_the_files_of_a_version_are_told_by_size_and_time(tmp_path):
    folder = tmp_path / "1"
    assert servables_module._files(folder) == (frozenset(), 0)
    (folder / "variables").mkdir(parents=True)
    file = folder / "variables" / "data"
    file.write_bytes(b"12345")
    (folder / "link").symlink_to(tmp_path / "none")
    before = time.time() - 1000
    os.utime(file, (before, before))
    found, newest = servables_module._files(folder)
    assert {(path.removeprefix(f"{tmp_path}/"), size) for path, size, _ in found} == {
        ("1", 0),
        ("1/variables", 0),
        ("1/variables/data", 5),
        ("1/link", -1),
    }
    times = {path: changed for path, _, changed in found}
    assert times[str(file)] == pytest.approx(before * 1e9, abs=1e6)
    # A copy bears the times of its original; since when it is here it cannot hide.
    assert newest == pytest.approx(time.time(), abs=30)
