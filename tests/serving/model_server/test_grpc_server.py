"""The gRPC port: who is answered, when, and what is said to everybody else.

What computes is a stand-in here: its answer says what it was asked, and its signatures misbehave.
`test_served_over_grpc.py` asks real models.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from schema.errors import UserError
from serving.model_server import admission, grpc_server
from serving.model_server.access import ApiKeys, Tls, ssl_config
from serving.model_server.admission import Admission
from serving.model_server.errors import RequestError
from serving.model_server.grpc_server import GrpcServer, Parts
from serving.model_server.joint_runs import Kind
from serving.model_server.metrics import Metrics
from serving.model_server.options import ServerOptions, single_model
from serving.model_server.request_log import Observer, RequestLog
from tests.serving.model_server.certificates import Authority

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

MAX_MESSAGE_BYTES = 1 << 20
KEY = "k" * 32


class Answers:
    """In place of what computes: answers Predict with the time it has, and does as it is told."""

    def __init__(self):
        self.asked: list[str] = []
        self.timeouts_s: list[float | None] = []
        self.go_on = threading.Event()
        self.begun = threading.Semaphore(0)

    def predict(self, servables, request, timeout_s):
        name = request.model_spec.signature_name
        self.asked.append(name)
        self.timeouts_s.append(timeout_s)
        if name == "wait":
            self.begun.release()
            self.go_on.wait(20)
        if name == "slow" and admission.may_be_put_off():
            raise admission.TakesLong
        if name == "break":
            raise ZeroDivisionError("a secret of the server")
        if name == "fill":
            raise MemoryError
        if name == "refuse":
            raise RequestError(grpc.StatusCode.FAILED_PRECONDITION, request.model_spec.name)
        # A request of `joint_runs` that needs no computation.
        yield from ()
        response = predict_pb2.PredictResponse(model_spec=request.model_spec)
        response.model_spec.version.value = 3
        if name in ("most", "much"):
            content = response.outputs["y"]
            content.tensor_content = bytes(MAX_MESSAGE_BYTES - 100)
            more = MAX_MESSAGE_BYTES - response.ByteSize() + (name == "much")
            content.tensor_content += bytes(more)
        return response

    def classify(self, servables, request, timeout_s):
        yield from ()
        return classification_pb2.ClassificationResponse(model_spec=request.model_spec)

    def metadata(self, servables, request):
        return get_model_metadata_pb2.GetModelMetadataResponse(model_spec=request.model_spec)

    def status(self, servables, request):
        response = get_model_status_pb2.GetModelStatusResponse()
        response.model_version_status.add(version=3)
        return response


class Running:
    """A gRPC server of stand-ins, in a loop of its own."""

    def __init__(self, log: Path, tls: Tls | None = None, keys: ApiKeys | None = None, **settings):
        self.answers = Answers()
        self.reloaded: list[Any] = []
        self.is_ready = True
        self.log = log
        self.metrics = Metrics()
        self.settings = {"port": 0, "max_message_bytes": MAX_MESSAGE_BYTES} | settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._observer = Observer(RequestLog(log))
        self._admission = Admission(2, self.settings.pop("queued", 100), 1 << 30, slow=1)
        parts = Parts(
            servables=SimpleNamespace(reload=self.reloaded.append),
            admission=self._admission,
            metrics=self.metrics,
            observer=self._observer,
            keys=keys,
            is_ready=lambda: self.is_ready,
            answers=self.answers,
        )
        self.server = GrpcServer(
            ServerOptions(models=single_model("/none"), **self.settings), parts, tls
        )
        self._is_stopped = False

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def start(self) -> Running:
        try:
            self.run(self.server.open())
            self.run(self.server.start())
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self, grace_s: float = 5.0) -> None:
        if self._is_stopped:
            return
        self._is_stopped = True
        self.run(self.server.stop(grace_s))
        self.answers.go_on.set()
        self._admission.close()
        self.server.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._observer.close()

    def becomes_ready(self) -> None:
        self.is_ready = True
        self._loop.call_soon_threadsafe(self.server.tell_health)

    def lines(self) -> list[dict]:
        """The access log; the server is stopped first."""
        self.stop()
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def make(tmp_path) -> Iterator[Callable[..., Running]]:
    made: list[Running] = []

    def start(**settings) -> Running:
        made.append(Running(tmp_path / f"access{len(made)}.log", **settings))
        return made[-1].start()

    yield start
    for running in made:
        running.answers.go_on.set()
        running.stop()


@pytest.fixture
def running(make) -> Running:
    return make()


@pytest.fixture
def channel(running) -> Iterator[grpc.Channel]:
    with _channel(running) as opened:
        yield opened


@pytest.fixture
def stub(channel) -> prediction_service_pb2_grpc.PredictionServiceStub:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def _channel(running: Running) -> grpc.Channel:
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    return grpc.insecure_channel(f"127.0.0.1:{running.server.port}", options)


def _request(signature: str = "", name: str = "m") -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    return request


def _refusal(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as refused:
        call()
    return refused.value.code().name, refused.value.details()


def test_the_deadline_of_a_call_is_the_time_its_computation_has(running, stub):
    stub.Predict(_request(), timeout=20)
    stub.Predict(_request())

    given, endless = running.answers.timeouts_s
    # On the wire it is rounded up.
    assert 10 < given < 21
    assert endless is None


def test_a_refusal_reaches_the_caller_as_it_is(stub):
    said = _refusal(lambda: stub.Predict(_request("refuse", name="no such thing")))

    assert said == ("FAILED_PRECONDITION", "no such thing")


@pytest.mark.parametrize("filler", ["x", "é", "\U0001f45f"])
def test_a_long_text_is_cut_where_tensorflow_serving_cuts_and_breaks_no_header(stub, filler):
    code, details = _refusal(lambda: stub.Predict(_request("refuse", name=filler * 5000)))

    assert code == "FAILED_PRECONDITION"
    text, mark, rest = details.partition("...TRUNCATED")
    assert (set(text), mark, rest) == ({filler}, "...TRUNCATED", "")
    assert 1024 - 3 <= len(text.encode()) <= 1024


def test_a_text_that_is_no_utf_8_breaks_no_call():
    assert grpc_server._sendable("bad \udcff byte") == "bad \\udcff byte"


def test_what_goes_wrong_inside_is_internal_and_told_in_the_log_alone(running, stub, caplog):
    code, details = _refusal(lambda: stub.Predict(_request("break")))

    (line,) = running.lines()
    assert code == "INTERNAL"
    assert line["status"] == "INTERNAL" and line["error_id"] in details
    assert "secret" not in details
    assert "ZeroDivisionError: a secret of the server" in caplog.text
    assert line["error_id"] in caplog.text


def test_what_the_memory_does_not_hold_is_told_to_come_again(stub):
    assert _refusal(lambda: stub.Predict(_request("fill")))[0] == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize(
    "message", [b"\xff\xff\xff", b"\x0a\x7f", b"\x00", b"\x0a\x05\x0a\xff" * 9]
)
def test_a_message_that_cannot_be_parsed_is_internal(channel, running, message):
    raw = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    code, details = _refusal(lambda: raw(message))

    assert code == "INTERNAL" and "no tensorflow.serving.PredictRequest" in details
    assert running.answers.asked == []


def test_a_message_that_is_too_large_is_refused_and_the_next_one_answered(running, stub):
    large = _request()
    large.inputs["x"].tensor_content = bytes(MAX_MESSAGE_BYTES)

    assert _refusal(lambda: stub.Predict(large))[0] == "RESOURCE_EXHAUSTED"
    assert stub.Predict(_request()).model_spec.version.value == 3
    assert running.answers.asked == [""]


def test_an_answer_that_is_too_large_is_refused_with_a_remedy(stub):
    code, details = _refusal(lambda: stub.Predict(_request("much")))

    assert code == "RESOURCE_EXHAUSTED"
    assert f"({MAX_MESSAGE_BYTES + 1} vs. {MAX_MESSAGE_BYTES})" in details
    assert "fewer outputs" in details
    assert stub.Predict(_request("most")).ByteSize() == MAX_MESSAGE_BYTES


def test_a_message_that_does_not_come_is_not_waited_for_forever(channel, running, monkeypatch):
    monkeypatch.setattr(grpc_server, "_MESSAGE_TIMEOUT_S", 0.2)
    never = threading.Event()

    def messages():
        never.wait(20)
        yield b""

    slow = channel.stream_unary("/tensorflow.serving.PredictionService/Predict")
    try:
        code, details = _refusal(lambda: slow(messages()))
    finally:
        never.set()
    assert code == "DEADLINE_EXCEEDED" and "not there after 0.2 s" in details
    assert running.answers.asked == []


def test_messages_that_are_half_sent_have_a_limit(channel, running, stub, monkeypatch):
    monkeypatch.setattr(grpc_server, "_MOST_ARRIVING", 3)
    never = threading.Event()

    def messages():
        never.wait(20)
        yield b""

    slow = channel.stream_unary("/tensorflow.serving.PredictionService/Predict")
    waiting = [slow.future(messages()) for _ in range(3)]
    _wait_for(lambda: running.server._calls._arriving == 3)
    try:
        assert _refusal(lambda: stub.Predict(_request()))[0] == "RESOURCE_EXHAUSTED"
    finally:
        for call in waiting:
            call.cancel()
        never.set()
    _wait_for(lambda: running.server._calls._arriving == 0)
    assert stub.Predict(_request()).model_spec.version.value == 3


def _fill(running: Running, stub) -> list[grpc.Future]:
    """Takes both places where something is computed."""
    calls = [stub.Predict.future(_request("wait")) for _ in range(2)]
    for _ in calls:
        assert running.answers.begun.acquire(timeout=10)
    return calls


def test_what_nobody_waits_for_any_more_is_not_begun(running, stub):
    computing = _fill(running, stub)
    given_up = stub.Predict.future(_request(), metadata=[("x-request-id", "given-up")])
    _wait_for(lambda: running._admission.queued == 1)
    given_up.cancel()
    late = [("x-request-id", "late")]
    assert _refusal(lambda: stub.Predict(_request(), timeout=0.2, metadata=late))[0] == (
        "DEADLINE_EXCEEDED"
    )
    far_off = stub.Predict.future(_request(), timeout=60, metadata=[("x-request-id", "far-off")])
    _wait_for(lambda: running._admission.queued == 1)
    far_off.cancel()
    _wait_for(lambda: running._admission.queued == 0)
    running.answers.go_on.set()
    for call in computing:
        call.result(10)

    assert running.answers.asked == ["wait", "wait"]
    statuses = {line["request_id"]: line["status"] for line in running.lines()}
    assert statuses.pop("given-up") == statuses.pop("far-off") == "CANCELLED"
    assert statuses.pop("late") == "DEADLINE_EXCEEDED"
    assert [*statuses.values()] == ["OK", "OK"]


def test_more_than_may_wait_is_turned_away(make):
    running = make(queued=1)
    with _channel(running) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        computing = _fill(running, stub)
        waiting = stub.Predict.future(_request())
        _wait_for(lambda: running._admission.queued == 1)
        assert _refusal(lambda: stub.Predict(_request()))[0] == "RESOURCE_EXHAUSTED"
        running.answers.go_on.set()
        assert all(call.result(10) for call in [*computing, waiting])


def test_a_call_that_takes_long_is_answered_in_the_slow_lane(running, stub):
    assert stub.Predict(_request("slow"), timeout=20).model_spec.name == "m"
    assert running.answers.asked == ["slow", "slow"]
    (line,) = running.lines()
    assert (line["status"], line["signature"]) == ("OK", "slow")


def test_status_metadata_and_health_are_answered_under_full_load(running, channel, stub):
    computing = _fill(running, stub)
    spec = get_model_status_pb2.GetModelStatusRequest().model_spec
    status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(
        get_model_status_pb2.GetModelStatusRequest(model_spec=spec), timeout=10
    )
    assert status.model_version_status[0].version == 3
    assert stub.GetModelMetadata(get_model_metadata_pb2.GetModelMetadataRequest(), timeout=10)
    health = health_pb2_grpc.HealthStub(channel)
    assert health.Check(health_pb2.HealthCheckRequest(), timeout=10).status == SERVING
    running.answers.go_on.set()
    for call in computing:
        call.result(10)


def test_a_caller_with_many_calls_does_not_keep_another_connection_waiting(running, stub):
    computing = _fill(running, stub)
    many = [stub.Predict.future(_request("many")) for _ in range(20)]
    _wait_for(lambda: running._admission.queued == 20)
    # Channels to one address share their connection unless they are told not to.
    apart = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{running.server.port}", apart) as own:
        few = prediction_service_pb2_grpc.PredictionServiceStub(own).Predict.future(_request("few"))
        _wait_for(lambda: running._admission.queued == 21)
        running.answers.go_on.set()
        few.result(10)
    for call in [*computing, *many]:
        call.result(10)

    assert running.answers.asked.index("few") <= 4


def test_a_reload_hands_its_list_of_models_on(channel, running):
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    request = model_management_pb2.ReloadConfigRequest()
    request.config.CopyFrom(single_model("/models/shoes", "shoes"))
    response = stub.HandleReloadConfigRequest(request)

    assert response.status.error_code == 0
    assert running.reloaded == [request.config]


def test_a_reload_of_another_kind_is_refused(channel):
    stub = model_service_pb2_grpc.ModelServiceStub(channel)

    code, details = _refusal(
        lambda: stub.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest())
    )
    assert code == "INVALID_ARGUMENT" and "Only ModelConfigList" in details


def test_a_method_that_there_is_not_is_unimplemented(channel):
    raw = channel.unary_unary("/tensorflow.serving.PredictionService/Guess")

    assert _refusal(lambda: raw(b""))[0] == "UNIMPLEMENTED"


HEALTH_NAMES = [
    "",
    "PredictionService",
    "ModelService",
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
]


def test_health_says_that_it_serves_once_it_is_ready(running, channel):
    health = health_pb2_grpc.HealthStub(channel)
    running.is_ready = False
    checks = [health_pb2.HealthCheckRequest(service=name) for name in HEALTH_NAMES]
    assert {health.Check(check).status for check in checks} == {NOT_SERVING}
    running.is_ready = True

    assert {health.Check(check).status for check in checks} == {SERVING}
    # A model that was added later must not take the others' callers away.
    running.is_ready = False
    assert {health.Check(check).status for check in checks} == {SERVING}
    unknown = health_pb2.HealthCheckRequest(service="shoes")
    assert _refusal(lambda: health.Check(unknown)) == ("NOT_FOUND", "unknown service shoes")


def test_whoever_watches_the_health_is_told_of_each_change_until_the_end(running, channel):
    health = health_pb2_grpc.HealthStub(channel)
    running.is_ready = False

    def watch(service: str) -> tuple[list, Any]:
        call, seen = health.Watch(health_pb2.HealthCheckRequest(service=service)), []

        def follow() -> None:
            try:
                seen.extend(message.status for message in _kept(call, seen))
            except grpc.RpcError as error:
                seen.append(error.code().name)

        def _kept(messages, into):
            for message in messages:
                into.append(message.status)
                yield from ()

        threading.Thread(target=follow).start()
        return seen, call

    whole, _ = watch("")
    left, call = watch("PredictionService")
    unknown, _ = watch("shoes")
    _wait_for(lambda: whole and left and unknown)
    call.cancel()
    _wait_for(lambda: left[-1] == "CANCELLED")
    running.becomes_ready()
    _wait_for(lambda: len(whole) == 2)
    running.stop()

    _wait_for(lambda: whole[-1] == unknown[-1] == "UNAVAILABLE")
    assert whole == [NOT_SERVING, SERVING, NOT_SERVING, "UNAVAILABLE"]
    assert left == [NOT_SERVING, "CANCELLED"]
    assert unknown == [SERVICE_UNKNOWN, "UNAVAILABLE"]


def test_health_can_be_left_out(make):
    running = make(enable_grpc_healthcheck_service=False)
    with _channel(running) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        assert _refusal(lambda: health.Check(health_pb2.HealthCheckRequest()))[0] == (
            "UNIMPLEMENTED"
        )


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_describes_the_services(channel, version):
    ask = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    service = "tensorflow.serving.PredictionService"
    listed, described = ask(
        iter(
            [
                reflection_pb2.ServerReflectionRequest(list_services=""),
                reflection_pb2.ServerReflectionRequest(file_containing_symbol=service),
            ]
        )
    )
    names = {found.name for found in listed.list_services_response.service}
    assert {service, "tensorflow.serving.ModelService", "grpc.health.v1.Health"} <= names
    files = described.file_descriptor_response.file_descriptor_proto
    assert any(b"MultiInference" in file for file in files)


def test_a_call_is_logged_once_with_the_id_that_it_came_with(running, stub):
    request = _request()
    request.inputs["x"].tensor_shape.dim.add(size=8)
    _, call = stub.Predict.with_call(request, metadata=[("x-request-id", "order-17")])
    _, unnamed = stub.Predict.with_call(request)

    first, second = running.lines()
    assert dict(call.trailing_metadata())["x-request-id"] == "order-17" == first["request_id"]
    assert dict(unnamed.trailing_metadata())["x-request-id"] == second["request_id"]
    assert (first["method"], first["model"], first["version"]) == ("Predict", "m", 3)
    assert (first["examples"], first["status"]) == (8, "OK")
    assert first["bytes_in"] == request.ByteSize()
    assert first["peer"].startswith("127.0.0.1:")


def test_calls_are_counted_by_how_they_ended(running, stub):
    stub.Predict(_request())
    _refusal(lambda: stub.Predict(_request("refuse")))
    running.stop()

    text = running.metrics.text()
    assert ':tensorflow:serving:request_count{model_name="m",status="OK"} 1' in text
    assert 'API="Predict",entrypoint="GRPC"' in text


def test_examples_are_counted_where_they_are_asked_about(running, stub):
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "m"
    for _ in range(3):
        request.input.example_list.examples.add()
    stub.Classify(request)
    stub.Predict(_request(name="other"))
    running.stop()

    told = [line for line in running.metrics.text().splitlines() if "example_count_total" in line]
    told = [line for line in told if not line.startswith("#")]
    assert told == [':tensorflow:serving:request_example_count_total{model="m"} 3']


@pytest.fixture
def keyed(make, tmp_path) -> Running:
    (tmp_path / "keys").write_text(f"shop {KEY}")
    (tmp_path / "keys").chmod(0o600)
    return make(keys=ApiKeys(tmp_path / "keys"))


def test_only_who_shows_a_key_is_answered_and_only_health_is_for_everybody(keyed):
    with _channel(keyed) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        shown = [("authorization", f"Bearer {KEY}")]
        assert stub.Predict(_request(), metadata=shown)
        assert _refusal(lambda: stub.Predict(_request()))[0] == "UNAUTHENTICATED"
        wrong = [("x-api-key", "wrong" * 5)]
        assert _refusal(lambda: stub.Predict(_request(), metadata=wrong)) == (
            "UNAUTHENTICATED",
            "The API key is not known here",
        )
        models = model_service_pb2_grpc.ModelServiceStub(channel)
        status = get_model_status_pb2.GetModelStatusRequest()
        assert _refusal(lambda: models.GetModelStatus(status))[0] == "UNAUTHENTICATED"
        reflect = channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
        )
        assert _refusal(lambda: list(reflect(iter([]))))[0] == "UNAUTHENTICATED"
        health = health_pb2_grpc.HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest()).status == SERVING

    first, *refused = keyed.lines()
    assert (first["caller"], first["status"]) == ("shop", "OK")
    assert {line["status"] for line in refused} == {"UNAUTHENTICATED"}
    assert keyed.answers.asked == [""]
    assert KEY not in keyed.log.read_text() and "wrong" not in keyed.log.read_text()


def test_a_message_is_not_received_before_its_key_is_seen(keyed):
    never = threading.Event()

    def messages():
        never.wait(20)
        yield b""

    with _channel(keyed) as channel:
        slow = channel.stream_unary("/tensorflow.serving.PredictionService/Predict")
        try:
            assert _refusal(lambda: slow(messages()))[0] == "UNAUTHENTICATED"
        finally:
            never.set()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def _tls(authority: Authority, folder: Path, mutual: bool) -> Tls:
    (folder / "ca.crt").write_bytes(authority.certificate)
    files = authority.pair().write(folder, "server")
    return Tls.of(ssl_config(*files, folder / "ca.crt" if mutual else None))


def _asked_over_tls(running: Running, authority: Authority, pair=None) -> int:
    credentials = grpc.ssl_channel_credentials(
        authority.certificate, pair and pair.key, pair and pair.certificate
    )
    with grpc.secure_channel(f"localhost:{running.server.port}", credentials) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        return stub.Predict(_request(), timeout=5).model_spec.version.value


def test_over_tls_who_trusts_the_authority_is_answered(make, authority, tmp_path):
    running = make(tls=_tls(authority, tmp_path, mutual=False))

    assert _asked_over_tls(running, authority) == 3
    with _channel(running) as plain:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(plain)
        assert _refusal(lambda: stub.Predict(_request(), timeout=5))[0] == "UNAVAILABLE"


def test_over_mutual_tls_only_who_has_a_certificate_of_the_authority(make, authority, tmp_path):
    running = make(tls=_tls(authority, tmp_path, mutual=True))

    assert _asked_over_tls(running, authority, authority.pair("caller")) == 3
    for stranger in (None, Authority("another").pair("stranger")):
        code, _ = _refusal(lambda pair=stranger: _asked_over_tls(running, authority, pair))
        assert code == "UNAVAILABLE"
    assert running.answers.asked == [""]


def test_a_unix_socket_is_listened_to_as_well_and_gone_at_the_end(make, tmp_path):
    path = tmp_path / "grpc.sock"
    running = make(grpc_socket_path=str(path))
    for target in (f"unix:{path}", f"127.0.0.1:{running.server.port}"):
        with grpc.insecure_channel(target) as channel:
            assert prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(_request())
    with pytest.raises(UserError, match="a server listens there already.*--grpc_socket_path"):
        make(port=None, grpc_socket_path=str(path))
    running.stop()

    # What a server that was killed leaves behind is in nobody's way.
    with socket.socket(socket.AF_UNIX) as left:
        path.unlink(missing_ok=True)
        left.bind(str(path))
    make(port=None, grpc_socket_path=str(path))


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("none/grpc.sock", "No such file or directory"),
        ("x" * 200, "too long"),
        ("a file", "there is a file of that name"),
    ],
)
def test_a_unix_socket_that_cannot_be_made_is_one_sentence(make, tmp_path, place, said):
    (tmp_path / "a file").write_text("")

    with pytest.raises(UserError, match=f"{said}.*--grpc_socket_path"):
        make(port=None, grpc_socket_path=str(tmp_path / place))
    assert (tmp_path / "a file").exists()


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("no.such.host.invalid", "is no address of this machine"),
        ("192.0.2.1", "is no address of this machine"),
        ("é" * 70, "is no address of this machine"),
    ],
)
def test_an_address_that_is_none_is_one_sentence(make, host, said):
    with pytest.raises(UserError, match=f"Cannot listen on .*{said}"):
        make(host=host)


def test_a_port_in_use_is_one_sentence(make):
    first = make()
    port = first.server.port

    with pytest.raises(UserError, match=rf"127\.0\.0\.1:{port}: port {port} is in use.*--port"):
        make(port=port)
    with pytest.raises(UserError, match="ports go from 0 to 65535"):
        make(port=70000)


def test_a_port_is_free_again_at_once(make):
    first = make()
    with _channel(first) as channel:
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(_request())
    first.stop()

    assert make(port=first.server.port).server.port == first.server.port


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
@pytest.mark.parametrize(
    ("host", "target"), [("::1", "[::1]"), ("::", "[::1]"), ("::", "127.0.0.1")]
)
def test_ipv6_is_spoken(make, host, target):
    running = make(host=host)
    with grpc.insecure_channel(f"{target}:{running.server.port}") as channel:
        assert prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(_request())
    assert running.lines()[0]["peer"].startswith(f"{target}:")


def test_channel_arguments_reach_grpc(make):
    running = make(grpc_channel_arguments=(("grpc.max_connection_age_ms", 200),))
    with _channel(running) as channel:
        states: list[grpc.ChannelConnectivity] = []
        channel.subscribe(states.append)
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        assert stub.Predict(_request())
        # A connection of that age is asked to go, and the next call opens another.
        _wait_for(lambda: grpc.ChannelConnectivity.IDLE in states[2:])
        assert stub.Predict(_request())


def test_a_connection_may_be_given_an_age(make):
    running = make(max_connection_age_s=0.2)
    with _channel(running) as channel:
        states: list[grpc.ChannelConnectivity] = []
        channel.subscribe(states.append)
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        assert stub.Predict(_request())
        _wait_for(lambda: grpc.ChannelConnectivity.IDLE in states[2:])


def test_idle_connections_cost_nobody_anything(running, stub):
    idle = [socket.create_connection(("127.0.0.1", running.server.port)) for _ in range(200)]
    try:
        threads = threading.active_count()
        for half_open in idle[:50]:
            half_open.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        for garbage in idle[50:100]:
            garbage.sendall(os.urandom(64))
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: stub.Predict(_request(), timeout=10), range(50)))
        assert len(answers) == 50
        assert threading.active_count() <= threads + 4
    finally:
        for connection in idle:
            connection.close()


def test_stopping_answers_the_calls_there_are_and_takes_no_more(running, stub):
    computing = _fill(running, stub)
    stopping = threading.Thread(target=running.stop)
    stopping.start()
    _wait_for(lambda: running.server._health._closed)
    time.sleep(0.2)
    assert _refusal(lambda: stub.Predict(_request(), timeout=2))[0] == "UNAVAILABLE"
    running.answers.go_on.set()
    stopping.join(20)

    assert [call.result(10).model_spec.version.value for call in computing] == [3, 3]


def test_stopping_cuts_off_who_takes_longer_than_he_is_given(running, stub):
    computing = _fill(running, stub)
    running.stop(grace_s=0.2)

    codes = {call.exception(10).code().name for call in computing}
    assert codes <= {"UNAVAILABLE", "CANCELLED"}


def _wait_for(condition: Callable[[], Any], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


logging.getLogger("grpc").setLevel(logging.CRITICAL)


def _kind(message: bytes, method: str = "Predict") -> Kind | None:
    (method,) = (of for of in grpc_server._PREDICTION_METHODS if of.name == method)
    record = SimpleNamespace(bytes_in=0)
    return grpc_server._Work(method, None, message, record, None).kind


def test_what_is_asked_of_whom_is_seen_where_it_comes_first():
    spec = model_pb2.ModelSpec(name="m", signature_name="tolerant")
    request = predict_pb2.PredictRequest(model_spec=spec, output_filter=["y"])
    message = request.SerializeToString()
    assert _kind(message) == Kind("predict", spec.SerializeToString())
    assert _kind(message, "Classify") == Kind("classify", spec.SerializeToString())
    assert _kind(message, "MultiInference") is None
    # The same message in another order, which a caller may choose.
    first = predict_pb2.PredictRequest(output_filter=["y"]).SerializeToString()
    last = predict_pb2.PredictRequest(model_spec=spec).SerializeToString()
    assert predict_pb2.PredictRequest.FromString(first + last) == request
    assert _kind(first + last) is None
    spec.name = "m" * 200
    assert _kind(predict_pb2.PredictRequest(model_spec=spec).SerializeToString()) is None
    for cut in (b"", message[:1]):
        assert _kind(cut) is None


def _described(request: Any) -> tuple[str, str, int | None]:
    record = SimpleNamespace(model="", signature="", examples=None)
    grpc_server._describe(request, record)
    return record.model, record.signature, record.examples


def test_a_request_is_described_by_its_model_its_signature_and_its_rows():
    request = _request("tolerant", name="shop")
    assert _described(request) == ("shop", "tolerant", None)
    request.inputs["x"].dtype = 1
    assert _described(request) == ("shop", "tolerant", 1)
    for size in (7, 5):
        request.inputs["x"].tensor_shape.dim.add(size=size)
    assert _described(request) == ("shop", "tolerant", 7)

    asked = classification_pb2.ClassificationRequest()
    asked.model_spec.name = "shop"
    assert _described(asked) == ("shop", "", 0)
    for of_kind in ("example_list", "example_list_with_context"):
        getattr(asked.input, of_kind).examples.add()
        getattr(asked.input, of_kind).examples.add()
        assert _described(asked) == ("shop", "", 2)

    many = inference_pb2.MultiInferenceRequest()
    assert _described(many) == ("", "", 0)
    for name in ("first", "second"):
        many.tasks.add().model_spec.name = name
    many.input.example_list.examples.add()
    assert _described(many) == ("first", "", 1)

    about = get_model_status_pb2.GetModelStatusRequest()
    about.model_spec.name = "shop"
    assert _described(about) == ("shop", "", None)
    assert _described(model_management_pb2.ReloadConfigRequest()) == ("", "", None)


def test_the_version_that_answers_is_read_from_the_answer():
    response = predict_pb2.PredictResponse()
    assert grpc_server._version_of(response) is None
    response.model_spec.name = "shop"
    assert grpc_server._version_of(response) is None
    response.model_spec.version.value = 0
    assert grpc_server._version_of(response) == 0

    many = inference_pb2.MultiInferenceResponse()
    assert grpc_server._version_of(many) is None
    for version in (4, 5):
        many.results.add().model_spec.version.value = version
    assert grpc_server._version_of(many) == 4
    assert grpc_server._version_of(model_management_pb2.ReloadConfigResponse()) is None


def test_grpc_is_told_the_servers_own_options_and_then_the_operators():
    models = single_model("/none")
    plain = dict(grpc_server._channel_arguments(ServerOptions(models, max_message_bytes=12345)))
    assert plain["grpc.max_send_message_length"] == 12345
    assert plain["grpc.max_receive_message_length"] == 12345
    assert plain["grpc.so_reuseport"] == 0
    # Callers' machines that have gone are found within minutes, and those who ping are let be.
    assert plain["grpc.keepalive_time_ms"] == 5 * 60 * 1000
    assert plain["grpc.keepalive_timeout_ms"] == 20 * 1000
    assert plain["grpc.keepalive_permit_without_calls"] == 1
    for direction in ("min_ping_interval", "min_recv_ping_interval"):
        assert plain[f"grpc.http2.{direction}_without_data_ms"] == 10 * 1000
    assert "grpc.max_connection_age_ms" not in plain

    options = ServerOptions(
        models,
        max_connection_age_s=1.5,
        grpc_channel_arguments=(("grpc.keepalive_time_ms", 7), ("grpc.own", "x")),
    )
    chosen = dict(grpc_server._channel_arguments(options))
    assert chosen["grpc.max_connection_age_ms"] == 1500
    assert (chosen["grpc.keepalive_time_ms"], chosen["grpc.own"]) == (7, "x")


def test_metadata_that_is_no_text_is_left_out():
    context = SimpleNamespace(invocation_metadata=lambda: [("a", "b"), ("trace-bin", b"\0")])
    assert grpc_server._metadata_of(context) == {"a": "b"}


def test_a_text_of_1024_bytes_is_whole():
    assert grpc_server._sendable("x" * 1024) == "x" * 1024
    assert grpc_server._sendable("x" * 1025) == "x" * 1024 + "...TRUNCATED"


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_that_is_none_is_one_sentence(port):
    said = f"Cannot listen on 127.0.0.1:{port}: ports go from 0 to 65535. Choose another with --p."
    with pytest.raises(UserError) as refused:
        grpc_server.check_port("127.0.0.1", port, "--p")
    assert str(refused.value) == said


def test_once_everything_answered_a_model_that_is_added_does_not_change_the_health():
    is_ready = False
    health = grpc_server.Health(lambda: is_ready)
    assert health._status() == NOT_SERVING
    is_ready = True
    assert health._status() == SERVING
    is_ready = False
    assert health._status() == SERVING
    health.close()
    is_ready = True
    assert health._status() == NOT_SERVING
