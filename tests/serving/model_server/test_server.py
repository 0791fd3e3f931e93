"""A server's life: it opens, loads, answers, follows its folder, and ends without a trace."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from schema.errors import UserError
from serving.client import CatalogClient
from serving.model_server import ModelServer, server_config_pb2
from serving.model_server import server as server_module
from serving.model_server.access import ssl_config
from serving.model_server.options import ServerOptions, single_model
from tests.serving import color_model
from tests.serving.model_server.certificates import Authority

RED = color_model.picture(255, 0, 0)
POLL_S = 0.05
KEY = "k" * 32
ROOT = Path(__file__).parents[3]


class Sums(tf.Module):
    """Adds what it keeps, and takes as long as it is asked to."""

    def __init__(self, kept: float = 2.0):
        super().__init__()
        self.kept = tf.Variable(float(kept))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def add(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x + self.kept}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, "rounds")])
    def work(self, rounds: tf.Tensor) -> dict[str, tf.Tensor]:
        matrix = tf.eye(300) * self.kept / self.kept
        for _ in tf.range(rounds):
            matrix = tf.matmul(matrix, matrix)
        return {"y": tf.reduce_sum(matrix)}


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models that add 2 and 3, and one that cannot be loaded."""
    folder = tmp_path_factory.mktemp("sums")
    for kept in (2, 3):
        model = Sums(kept)
        signatures = {"serving_default": model.add, "work": model.work}
        tf.saved_model.save(model, str(folder / str(kept)), signatures=signatures)
    shutil.copytree(folder / "2", folder / "broken")
    (folder / "broken" / "saved_model.pb").write_bytes(b"no model")
    return {name: folder / name for name in ("2", "3", "broken")}


@pytest.fixture
def root(tmp_path: Path, sums: dict[str, Path]) -> Path:
    """A serving root with version 1 of the model `sums`, which adds 2."""
    (tmp_path / "sums").mkdir()
    # Not a copy, for files that are new are watched for a while before they are loaded.
    (tmp_path / "sums" / "1").symlink_to(sums["2"])
    return tmp_path


def _serve(root: Path, **settings: Any) -> ModelServer:
    return ModelServer(root, "sums", poll_interval_s=POLL_S, **settings)


def _push(model: Path, version: Path) -> None:
    shutil.copytree(model, version.with_name(".unfinished"))
    version.with_name(".unfinished").rename(version)


def _add(channel: grpc.Channel, x: float = 1.0, timeout_s: float = 20, **options: Any) -> float:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "sums"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.float32([x])))
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    return stub.Predict(request, timeout=timeout_s, **options).outputs["y"].float_val[0]


def _work(rounds: int) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "sums"
    request.model_spec.signature_name = "work"
    request.inputs["rounds"].CopyFrom(tf.make_tensor_proto(np.int32(rounds)))
    return request


def _rest(url: str, body: Any = None, context: ssl.SSLContext | None = None, **headers: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        url, data, {k.replace("_", "-"): v for k, v in headers.items()}
    )
    with urllib.request.urlopen(request, timeout=20, context=context) as answer:
        return json.load(answer)


def _own_threads() -> set[str]:
    """The threads there are, but for those that gRPC keeps for the whole process."""
    names = {thread.name for thread in threading.enumerate()}
    return {name for name in names if "_poll_wrapper" not in name}


def test_it_answers_over_grpc_and_rest_and_ends_without_a_trace(root):
    before = _own_threads()
    with _serve(root, rest_port=0) as server:
        assert server.version == 1
        with grpc.insecure_channel(server.endpoint) as channel:
            assert _add(channel) == 3.0
        url = f"http://{server.rest_endpoint}/v1/models/sums:predict"
        assert _rest(url, {"instances": [1.0, 5.0]}) == {"predictions": [3.0, 7.0]}
        ports = [int(end.rpartition(":")[2]) for end in (server.endpoint, server.rest_endpoint)]

    _wait_for(lambda: _own_threads() <= before)
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


def test_servers_may_follow_one_another_and_run_side_by_side(root):
    for _ in range(2):
        with _serve(root) as one, _serve(root) as other:
            assert one.endpoint != other.endpoint
            for server in (one, other):
                with grpc.insecure_channel(server.endpoint) as channel:
                    assert _add(channel) == 3.0


def test_stopping_twice_or_before_the_start_is_nothing(root):
    server = _serve(root)
    server.stop()
    server = _serve(root).start()
    server.stop()
    server.stop()
    server.wait_for_termination()


def test_without_tls_and_keys_it_listens_on_loopback_only(root, caplog):
    with _serve(root, rest_port=0) as server:
        assert server.endpoint.startswith("127.0.0.1:")
        assert not server.is_open_to_anybody
    assert "anybody" not in caplog.text

    with _serve(root, host="0.0.0.0") as server:
        assert server.endpoint.startswith("localhost:")
        assert server.is_open_to_anybody
    assert "anybody who can reach 0.0.0.0 may ask this server" in caplog.text


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["::1", "::"])
def test_both_ports_speak_ipv6(root, host):
    with _serve(root, host=host, rest_port=0) as server:
        ports = [end.rpartition(":")[2] for end in (server.endpoint, server.rest_endpoint)]
        with grpc.insecure_channel(f"[::1]:{ports[0]}") as channel:
            assert _add(channel) == 3.0
        url = f"http://[::1]:{ports[1]}/v1/models/sums:predict"
        assert _rest(url, {"instances": [1.0]}) == {"predictions": [3.0]}
        assert server.endpoint.startswith("[::1]:" if host == "::1" else "localhost:")


@pytest.mark.parametrize("option", ["--port", "--rest_api_port"])
def test_a_port_in_use_is_one_sentence_and_leaves_nothing_behind(root, option):
    before = _own_threads()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        second = _serve(root, **{"port" if option == "--port" else "rest_port": port})
        with pytest.raises(UserError, match=rf"{port}.*(?:in use).*{option}"):
            second.start()
    _wait_for(lambda: _own_threads() <= before)


def test_the_two_ports_must_differ(root):
    with pytest.raises(UserError, match="gRPC and REST cannot share port 8500"):
        _serve(root, port=8500, rest_port=8500).start()


def test_a_folder_without_a_version_is_an_error_that_names_it_and_the_remedy(tmp_path):
    (tmp_path / "sums").mkdir()
    with pytest.raises(UserError, match=f"{tmp_path}/sums.*seamline run"):
        _serve(tmp_path).start()
    with pytest.raises(UserError, match=f"{tmp_path}/none/sums"):
        _serve(tmp_path / "none").start()


def test_a_folder_of_broken_versions_is_an_error_that_says_why(tmp_path, sums):
    _push(sums["broken"], tmp_path / "sums" / "3")
    before = _own_threads()
    with pytest.raises(UserError, match=r"can be loaded \(version 3: ."), _serve(tmp_path):
        pass
    _wait_for(lambda: _own_threads() <= before)


def test_a_server_of_options_waits_for_its_first_version(tmp_path, sums):
    (tmp_path / "sums").mkdir()
    options = ServerOptions(
        single_model(tmp_path / "sums", "sums"), file_system_poll_wait_seconds=POLL_S
    )
    server = ModelServer.from_options(options).start()
    try:
        with grpc.insecure_channel(server.endpoint) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            watching = health.Watch(health_pb2.HealthCheckRequest(), timeout=60)
            assert next(watching).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert server.version is None
            _push(sums["2"], tmp_path / "sums" / "1")
            server.wait_until_ready(60)
            assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
            assert _add(channel) == 3.0
    finally:
        server.stop()


def test_whoever_asks_while_the_model_is_loaded_is_told_to_ask_again(root, monkeypatch):
    may_load = threading.Event()
    real = server_module.saved_models

    def slowly(options: ServerOptions) -> Callable:
        load = real(options)
        return lambda folder: may_load.wait(30) and load(folder)

    monkeypatch.setattr(server_module, "saved_models", slowly)
    server = _serve(root).start()
    try:
        with grpc.insecure_channel(server.endpoint) as channel:
            with pytest.raises(grpc.RpcError) as told:
                _add(channel)
            assert told.value.code() is grpc.StatusCode.UNAVAILABLE
            with pytest.raises(UserError, match=r"0\.1 s"):
                server.wait_until_ready(0.1)
            may_load.set()
            server.wait_until_ready(60)
            assert _add(channel) == 3.0
    finally:
        may_load.set()
        server.stop()


def test_a_new_version_takes_over_without_a_failed_request(root, sums):
    answers: list[float] = []
    failures: list[Exception] = []
    enough = threading.Event()

    def ask_without_pause(endpoint: str) -> None:
        with grpc.insecure_channel(endpoint) as channel:
            while not enough.is_set():
                try:
                    answers.append(_add(channel))
                except Exception as error:
                    failures.append(error)

    with _serve(root) as server:
        callers = [
            threading.Thread(target=ask_without_pause, args=[server.endpoint]) for _ in range(4)
        ]
        for caller in callers:
            caller.start()
        try:
            _wait_for(lambda: len(answers) > 20)
            _push(sums["3"], root / "sums" / "2")
            _wait_for(lambda: server.version == 2)
            answered = len(answers)
            _wait_for(lambda: len(answers) > answered + 20)
        finally:
            enough.set()
            for caller in callers:
                caller.join()

    assert failures == []
    assert set(answers) == {3.0, 4.0}
    assert (answers[0], answers[-1]) == (3.0, 4.0)


def test_a_broken_new_version_changes_nothing_for_callers(root, sums):
    with _serve(root, rest_port=0) as server, grpc.insecure_channel(server.endpoint) as channel:
        _push(sums["broken"], root / "sums" / "2")
        url = f"http://{server.rest_endpoint}/v1/models/sums"

        def broken() -> dict:
            states = _rest(url)["model_version_status"]
            return next((state for state in states if state["version"] == "2"), {})

        _wait_for(lambda: broken().get("state") == "END")
        assert broken()["status"]["error_message"]
        assert _add(channel) == 3.0


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"shop {KEY}")
    path.chmod(0o600)
    return path


def test_a_key_opens_both_ports_and_health_needs_none(root, key_file, tmp_path):
    log = tmp_path / "access.log"
    with _serve(root, rest_port=0, api_key_file=key_file, access_log=str(log)) as server:
        url = f"http://{server.rest_endpoint}/v1/models/sums:predict"
        shown = {"x_api_key": KEY, "x_request_id": "from-rest"}
        assert _rest(url, {"instances": [1.0]}, **shown) == {"predictions": [3.0]}
        with pytest.raises(urllib.error.HTTPError) as refused:
            _rest(url, {"instances": [1.0]})
        assert refused.value.code == 401
        with grpc.insecure_channel(server.endpoint) as channel:
            assert _add(channel, metadata=[("authorization", f"Bearer {KEY}")]) == 3.0
            with pytest.raises(grpc.RpcError) as told:
                _add(channel)
            assert told.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    ended = [(line["entrypoint"], line["status"], line.get("caller")) for line in lines]
    assert sorted(ended, key=str) == [
        ("GRPC", "OK", "shop"),
        ("GRPC", "UNAUTHENTICATED", None),
        ("REST", 200, "shop"),
        ("REST", 401, None),
    ]
    assert lines[0]["request_id"] == "from-rest"


def test_tls_is_spoken_on_both_ports_and_may_be_mutual(root, tmp_path):
    authority = Authority()
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    files = authority.pair().write(tmp_path, "server")
    own = authority.pair("caller")
    own_files = own.write(tmp_path, "caller")
    with _serve(root, rest_port=0, ssl=ssl_config(*files, tmp_path / "ca.crt")) as server:
        url = f"https://{server.rest_endpoint}/v1/models/sums:predict"
        context = ssl.create_default_context(cadata=authority.certificate.decode())
        # A certificate that is not shown is missed when the first answer is read.
        with pytest.raises((OSError, urllib.error.URLError)):
            _rest(url, {"instances": [1.0]}, context)
        context.load_cert_chain(*own_files)
        assert _rest(url, {"instances": [1.0]}, context) == {"predictions": [3.0]}
        credentials = grpc.ssl_channel_credentials(authority.certificate, own.key, own.certificate)
        with grpc.secure_channel(server.endpoint, credentials) as channel:
            assert _add(channel) == 3.0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ssl": server_config_pb2.SSLConfig(server_cert="x", server_key="y")}, "no PEM text"),
        ({"api_key_file": Path("/no/such/file")}, "API key file /no/such/file cannot be read"),
        ({"access_log": "/no/such/folder/log"}, "access log /no/such/folder/log cannot be"),
        ({"otlp_endpoint": "collector"}, "'collector' is no address"),
        ({"host": "no.such.host.invalid"}, "no.such.host.invalid"),
        ({"grpc_socket_path": "/no/such/folder/socket"}, "Unix socket /no/such/folder/socket"),
    ],
)
def test_what_is_wrong_at_the_start_is_one_sentence_and_nothing_is_served(root, settings, said):
    before = _own_threads()
    with pytest.raises(UserError, match=said):
        _serve(root, **settings).start()
    _wait_for(lambda: _own_threads() <= before)


def test_prometheus_sees_what_there_is(root):
    monitoring = server_config_pb2.MonitoringConfig()
    monitoring.prometheus_config.enable = True
    with _serve(root, rest_port=0, monitoring=monitoring) as server:
        with grpc.insecure_channel(server.endpoint) as channel:
            _add(channel)
        url = f"http://{server.rest_endpoint}/monitoring/prometheus/metrics"
        text = urllib.request.urlopen(url, timeout=20).read().decode()

    assert ':tensorflow:serving:request_count{model_name="sums",status="OK"} 1' in text
    assert 'seamline_model_version{model_name="sums",version="1",state="AVAILABLE"} 1' in text
    assert "seamline_requests_queued{} 0" in text
    assert re.search(
        r':cc:saved_model:load_attempt_count{model_path=".*1",status="success"} 1', text
    )


def test_a_call_past_its_deadline_stops_computing(root):
    with _serve(root) as server, grpc.insecure_channel(server.endpoint) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        stub.Predict(_work(1), timeout=20)
        with pytest.raises(grpc.RpcError) as late:
            stub.Predict(_work(10_000_000), timeout=0.5)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        _wait_for(lambda: server._admission.in_flight == 0)


def test_a_signal_ends_it_well_and_who_had_asked_is_answered(root):
    announced, answers = threading.Event(), []
    server = _serve(root)

    def ask_and_signal() -> None:
        announced.wait(60)
        with grpc.insecure_channel(server.endpoint) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            calls = [stub.Predict.future(_work(300), timeout=60) for _ in range(3)]
            _wait_for(lambda: server._admission.in_flight == 3)
            os.kill(os.getpid(), signal.SIGTERM)
            answers.extend(call.result() for call in calls)

    asking = threading.Thread(target=ask_and_signal)
    asking.start()
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    server_module.serve(server, announce=announced.set)
    asking.join()

    assert len(answers) == 3
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers


class _Hanging:
    """A server that is asked to stop as soon as it runs, and then does not, or not in time."""

    def __init__(self, signals: list[int], takes_s: float = 60) -> None:
        self.options = ServerOptions(single_model("/m"), stop_grace_s=0.1)
        self.stopping = threading.Event()
        self.over = threading.Event()
        self._signals = signals
        self._takes_s = takes_s

    def start(self) -> None:
        pass

    def wait_until_ready(self, timeout_s: float | None) -> None:
        assert timeout_s is None

    def wait_for_termination(self) -> None:
        first, *later = self._signals
        threading.Thread(target=self._signal_while_stopping, args=(later,), daemon=True).start()
        os.kill(os.getpid(), first)
        self.over.wait(30)

    def _signal_while_stopping(self, later: list[int]) -> None:
        assert self.stopping.wait(30)
        for number in later:
            os.kill(os.getpid(), number)

    def stop(self) -> None:
        self.stopping.set()
        self.over.wait(self._takes_s)


class _Exited(BaseException):
    """What `os._exit` is here, so that the tests go on."""


@pytest.fixture
def exits(monkeypatch) -> list[int]:
    """The statuses that the process would have ended with."""
    statuses: list[int] = []

    def leave(status: int) -> None:
        statuses.append(status)
        raise _Exited

    monkeypatch.setattr(server_module.os, "_exit", leave)
    monkeypatch.setattr(server_module, "_LONGER_THAN_GRACE_S", 0.2)
    # The tests that follow are to be collected as ever.
    monkeypatch.setattr(server_module.gc, "freeze", lambda: None)
    return statuses


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_server_at_once_that_hangs_while_it_stops(exits, second):
    server = _Hanging([signal.SIGTERM, second])
    server.options = ServerOptions(single_model("/m"), stop_grace_s=60)
    before = time.monotonic()
    with pytest.raises(_Exited):
        server_module.serve(server, announce=lambda: None)
    server.over.set()
    assert exits == [128 + second]
    assert time.monotonic() - before < 30


def test_a_server_that_hangs_while_it_stops_is_left_once_nobody_is_waited_for(exits):
    server = _Hanging([signal.SIGTERM])
    before = time.monotonic()
    with pytest.raises(_Exited):
        server_module.serve(server, announce=lambda: None)
    server.over.set()
    assert exits == [0]
    # A tenth for the callers, two for what else there is to close.
    assert 0.3 <= time.monotonic() - before < 30


def test_a_server_that_stops_in_time_is_not_left(exits):
    server = _Hanging([signal.SIGINT], takes_s=0.3)
    server.options = ServerOptions(single_model("/m"), stop_grace_s=60)
    server_module.serve(server, announce=lambda: None)
    assert exits == []


def test_a_mistake_at_the_start_is_told_though_stopping_hangs(exits, monkeypatch):
    def start() -> None:
        raise UserError("The port is taken.")

    server = _Hanging([])
    monkeypatch.setattr(server, "start", start)
    with pytest.raises(UserError, match="The port is taken"):
        server_module.serve(server, announce=lambda: None)
    server.over.set()
    assert exits == []


@pytest.fixture
def process(root: Path) -> Iterator[Callable[..., tuple[subprocess.Popen, str]]]:
    """Starts `python -m serving.model_server` on the model; gives it and its gRPC address."""
    started: list[subprocess.Popen] = []

    def start(*flags: str) -> tuple[subprocess.Popen, str]:
        command = [sys.executable, "-m", "serving.model_server", "--port=any"]
        command += ["--model_name=sums", f"--model_base_path={root / 'sums'}", *flags]
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "2", "GRPC_VERBOSITY": "NONE"}
        running = subprocess.Popen(
            command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=os.environ | quiet
        )
        started.append(running)
        where = ""
        for line in running.stderr:
            if found := re.search(r"gRPC at (\S+:\d+)", line):
                where = found[1]
            if "every model answers" in line:
                break
        assert where, "the server did not start"
        return running, where

    yield start
    for running in started:
        running.kill()
        running.wait()
        running.stderr.close()


def test_as_a_process_it_ends_well_under_load(process):
    running, where = process("--stop_grace_s=30")
    failures: list[grpc.RpcError] = []
    answers: list[float] = []

    def ask_without_pause() -> None:
        with grpc.insecure_channel(where) as channel:
            while True:
                try:
                    answers.append(_add(channel))
                except grpc.RpcError as error:
                    failures.append(error)
                    return

    callers = [threading.Thread(target=ask_without_pause) for _ in range(4)]
    for caller in callers:
        caller.start()
    _wait_for(lambda: len(answers) > 50)
    running.send_signal(signal.SIGTERM)
    assert running.wait(30) == 0
    for caller in callers:
        caller.join(30)
    # gRPC itself drops a call that comes in the moment in which it closes, as one may on a slow
    # machine. Our client asks again after either.
    dropped = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED
    assert len(failures) == 4 and {error.code() for error in failures} <= {*dropped}


def test_as_a_process_it_ends_at_once_when_it_is_told_twice(process):
    stubborn, where = process("--stop_grace_s=300")
    with grpc.insecure_channel(where) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        call = stub.Predict.future(_work(10_000_000))
        _wait_for(call.running)
        time.sleep(0.5)
        stubborn.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert stubborn.poll() is None
        stubborn.send_signal(signal.SIGTERM)
        assert stubborn.wait(30) == 128 + signal.SIGTERM


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
        cwd=ROOT,
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


def _wait_for(condition: Callable[[], Any], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_as_many_files_may_be_open_as_callers_connect():
    """Never fewer than before, and never more than the machine's administrator allows."""
    kind = resource.RLIMIT_NOFILE
    before = resource.getrlimit(kind)
    most = before[1]
    wanted = 65_536 if most == resource.RLIM_INFINITY else min(most, 65_536)
    try:
        resource.setrlimit(kind, (2000, most))
        server_module._allow_many_connections()
        assert resource.getrlimit(kind) == (wanted, most)
        if most > wanted:
            resource.setrlimit(kind, (wanted + 1, most))
            server_module._allow_many_connections()
            assert resource.getrlimit(kind) == (wanted + 1, most)
    finally:
        resource.setrlimit(kind, before)
