"""The access log: one JSON line a request, and nothing in it that a caller asked about."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from schema.errors import UserError
from serving.model_server import request_log
from serving.model_server.request_log import (
    RECORD,
    ObservedApp,
    Observer,
    Record,
    RequestLog,
    Tracing,
    request_id,
)


def _record(**fields) -> Record:
    record = Record("GRPC", "Predict", "id-1", "ipv4:10.0.0.7:4242")
    for name, value in fields.items():
        setattr(record, name, value)
    return record


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_says_who_asked_what_and_how_it_ended(tmp_path):
    log = RequestLog(tmp_path / "access.log")
    observer = Observer(log)
    record = observer.begin("GRPC", "Predict", {"x-request-id": "order-17"}, "ipv4:10.0.0.7:4242")
    record.model, record.version, record.signature = "catalog", 12, "tolerant"
    record.examples, record.bytes_in, record.bytes_out = 8, 80_000, 1200
    record.caller = "shop"
    record.time, record.began = 1_700_000_000.25, time.perf_counter() - 0.5
    observer.end(record, "OK")
    observer.close()

    (line,) = _lines(tmp_path / "access.log")
    assert 500 <= line.pop("milliseconds") < 5000
    assert line == {
        "time": "2023-11-14T22:13:20.250Z",
        "request_id": "order-17",
        "entrypoint": "GRPC",
        "method": "Predict",
        "model": "catalog",
        "version": 12,
        "signature": "tolerant",
        "examples": 8,
        "status": "OK",
        "bytes_in": 80_000,
        "bytes_out": 1200,
        "peer": "10.0.0.7:4242",
        "caller": "shop",
    }


@pytest.mark.parametrize(
    ("peer", "shown"),
    [
        ("ipv6:%5B::1%5D:4242", "[::1]:4242"),
        ("unix:", "unix:"),
        ("10.0.0.7:80", "10.0.0.7:80"),
    ],
)
def test_an_address_is_shown_as_people_write_it(peer, shown):
    assert json.loads(Record("REST", "Predict", "id", peer).line())["peer"] == shown


def test_names_that_a_caller_chose_cannot_forge_or_break_a_line():
    line = _record(model='x"\n{"status": "OK"}\x1b[31m\x7fé\udcff' + "y" * 5000).line()

    assert line.isascii() and line.isprintable()
    assert len(line) < 2000
    assert json.loads(line)["model"].startswith('x"\n{')


def test_a_good_request_id_is_kept_and_any_other_replaced():
    assert request_id("4bf92f35-77b3") == "4bf92f35-77b3"
    for bad in (None, "", "a b", "a\n", "é", "x" * 129):
        made = request_id(bad)
        assert made != bad and made.isalnum()
    assert request_id(None) != request_id(None)


def test_a_log_that_was_moved_away_is_begun_anew(tmp_path):
    path = tmp_path / "access.log"
    log = RequestLog(path)
    log.write(_record())
    _wait_for(lambda: path.stat().st_size)
    path.rename(tmp_path / "access.log.1")
    log.write(_record(model="second"))
    log.close()

    assert [line["model"] for line in _lines(tmp_path / "access.log.1")] == [""]
    assert [line["model"] for line in _lines(path)] == ["second"]


def test_many_lines_are_all_written_in_order(tmp_path):
    log = RequestLog(tmp_path / "access.log")
    for number in range(5000):
        log.write(_record(examples=number))
    log.close()

    assert [line["examples"] for line in _lines(tmp_path / "access.log")] == list(range(5000))


def test_a_log_goes_to_standard_error_if_asked(capsys):
    log = RequestLog("-")
    log.write(_record())
    log.close()

    assert json.loads(capsys.readouterr().err)["request_id"] == "id-1"


def test_a_log_that_cannot_be_opened_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"access\.log cannot be written: No such file"):
        RequestLog(tmp_path / "none" / "access.log")


def test_a_disk_that_is_full_costs_lines_and_no_request(caplog):
    log = RequestLog("/dev/full")
    log.write(_record())
    _wait_for(lambda: "access log are lost" in caplog.text)
    log.write(_record())
    log.close()

    assert caplog.text.count("lines of the access log are lost") == 1


@pytest.fixture
def spans():
    return InMemorySpanExporter()


@pytest.fixture
def traced(spans):
    observer = Observer(tracing=Tracing(processor=SimpleSpanProcessor(spans)))
    yield observer
    observer.close()


def test_a_span_is_the_child_of_what_traceparent_names(traced, spans):
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    record = traced.begin("GRPC", "Predict", {"traceparent": parent}, "ipv4:10.0.0.7:1")
    record.model, record.version, record.examples = "catalog", 3, 8
    traced.end(record, "OK")

    (span,) = spans.get_finished_spans()
    assert span.name == "GRPC Predict" and span.kind is SpanKind.SERVER
    assert f"{span.context.trace_id:032x}" == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert f"{span.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert record.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert span.attributes["seamline.version"] == 3
    assert span.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("header", ["", "00-zz-11-01", "ff" * 5000])
def test_a_span_without_a_good_parent_begins_a_trace(traced, spans, header):
    traced.end(traced.begin("REST", "Predict", {"traceparent": header}, "::1"), 500, failed=True)

    (span,) = spans.get_finished_spans()
    assert span.parent is None
    assert span.status.status_code is StatusCode.ERROR


def test_traces_without_their_package_or_address_are_one_sentence():
    with pytest.raises(UserError, match="'collector' is no address"):
        Tracing("collector")
    try:
        import opentelemetry.exporter.otlp.proto.http  # noqa: F401
    except ImportError:
        with pytest.raises(UserError, match=r"seamline\[tracing\]"):
            Tracing("http://localhost:4318")


def _ask(app, path: str, headers=(), body: bytes = b"") -> tuple[dict, list]:
    """Sends one request to an ASGI application; its scope and what it sent."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": list(headers),
        "client": ("::1", 4242),
    }
    sent = []

    async def receive():
        return {"type": "http.request", "body": body}

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return scope, sent


async def _echo(scope, receive, send):
    body = (await receive())["body"]
    scope[RECORD].version = 9
    await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": body * 2})


@pytest.mark.parametrize(
    ("path", "method", "model"),
    [
        ("/v1/models/catalog:predict", "Predict", "catalog"),
        ("/v1/models/catalog/versions/3:classify", "Classify", "catalog"),
        ("/V1/models/catalog/labels/stable:REGRESS", "Regress", "catalog"),
        ("/v1/models/catalog/metadata", "GetModelMetadata", "catalog"),
        ("/v1/models/catalog/versions/3/metadata", "GetModelMetadata", "catalog"),
        ("/v1/models/catalog", "GetModelStatus", "catalog"),
        ("/v1/models/catalog/versions/3", "GetModelStatus", "catalog"),
        ("/monitoring/prometheus/metrics", "/monitoring/prometheus/metrics", ""),
    ],
)
def test_a_rest_request_is_told_as_a_grpc_call_is(tmp_path, path, method, model):
    observer = Observer(RequestLog(tmp_path / "access.log"))
    _, sent = _ask(ObservedApp(_echo, observer), path, [(b"x-request-id", b"r-1")], b"12345")
    observer.close()

    assert sent[0]["headers"] == [(b"a", b"b"), (b"x-request-id", b"r-1")]
    (line,) = _lines(tmp_path / "access.log")
    assert (line["method"], line["model"], line["version"]) == (method, model, 9)
    assert (line["bytes_in"], line["bytes_out"], line["status"]) == (5, 10, 200)
    assert (line["entrypoint"], line["peer"]) == ("REST", "[::1]:4242")


def test_a_rest_request_that_fails_or_is_left_is_told_too(tmp_path):
    async def fails(scope, receive, send):
        raise ZeroDivisionError

    async def is_left(scope, receive, send):
        raise asyncio.CancelledError

    observer = Observer(RequestLog(tmp_path / "access.log"))
    with pytest.raises(ZeroDivisionError):
        _ask(ObservedApp(fails, observer), "/v1/models/catalog:predict")
    with pytest.raises(asyncio.CancelledError):
        _ask(ObservedApp(is_left, observer), "/v1/models/catalog:predict")
    observer.close()

    assert [line["status"] for line in _lines(tmp_path / "access.log")] == [500, 499]


def _wait_for(condition, timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_only_so_many_requests_wait_to_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(request_log, "_MOST_WAITING", 3)
    log = RequestLog(tmp_path / "access.log")
    # Its thread has ended, so that nothing is written any more.
    log.close()
    for number in range(5):
        log.write(Record("GRPC", "Predict", str(number), "peer"))
    assert [record.request_id for record in log._waiting] == ["0", "1", "2"]
    assert log._dropped == 2


def test_a_file_in_whose_place_another_was_put_is_opened_anew(tmp_path):
    path = tmp_path / "access.log"
    log = RequestLog(path)
    assert not log._was_moved()
    path.rename(tmp_path / "access.log.1")
    path.touch()
    assert log._was_moved()
    log.write(Record("GRPC", "Predict", "after", "peer"))
    log.close()
    assert [line["request_id"] for line in _lines(path)] == ["after"]
