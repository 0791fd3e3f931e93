"""Prometheus finds TensorFlow Serving's metrics under the names that its dashboards ask for."""

from __future__ import annotations

import re
import threading

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.model_server.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def samples(metrics: Metrics) -> dict[tuple[str, frozenset], float]:
    """Every sample, as the parser of the Prometheus project reads the text.

    It puts `_total` at the end of every counter's name, which is taken off again.
    """
    return {
        (sample.name.removesuffix("_total"), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.text())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name.removesuffix("_total"), frozenset(labels.items())))


def test_requests_are_counted_by_model_and_status(metrics):
    metrics.observe_request("catalog", "Predict", "GRPC", grpc.StatusCode.OK, 0.002)
    metrics.observe_request("catalog", "predict", "REST", "INVALID_ARGUMENT", 0.001)
    metrics.observe_request("catalog", "predict", "REST", grpc.StatusCode.OK, 0.001)

    name = ":tensorflow:serving:request_count"
    assert value(metrics, name, model_name="catalog", status="OK") == 2
    assert value(metrics, name, model_name="catalog", status="INVALID_ARGUMENT") == 1
    assert f"# TYPE {name} counter" in metrics.text().splitlines()


def test_latency_has_tensorflow_servings_33_buckets_in_microseconds(metrics):
    for seconds in (0.000005, 0.00002, 0.002, 5000):
        metrics.observe_request("catalog", "Predict", "GRPC", grpc.StatusCode.OK, seconds)

    lines = metrics.text().splitlines()
    name = ":tensorflow:serving:request_latency"
    labels = 'model_name="catalog",API="Predict",entrypoint="GRPC"'
    buckets = [line for line in lines if line.startswith(f"{name}_bucket{{{labels}")]
    bounds = [re.search('le="(.*?)"', line)[1] for line in buckets]
    assert bounds[:4] == ["10", "18", "32.4", "58.32"]
    assert len(bounds) == 34 and bounds[-1] == "+Inf"
    # 10 x 1.8^32 microseconds are some 25 minutes.
    assert float(bounds[-2]) == pytest.approx(10 * 1.8**32, rel=1e-5)
    counts = [int(line.split()[-1]) for line in buckets]
    assert counts[:3] == [1, 1, 2] and counts[-2:] == [3, 4]
    assert f"{name}_count{{{labels}}} 4" in lines
    assert value(
        metrics, f"{name}_sum", model_name="catalog", API="Predict", entrypoint="GRPC"
    ) == pytest.approx(5 + 20 + 2000 + 5e9)


def test_only_good_requests_count_for_the_latency(metrics):
    metrics.add_model("catalog")
    metrics.observe_request("catalog", "Predict", "GRPC", grpc.StatusCode.INTERNAL, 1)

    assert "request_latency_count" not in metrics.text()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("serving:request_count", "counter"),
        ("serving:request_latency", "histogram"),
        ("serving:runtime_latency", "histogram"),
        ("serving:request_example_counts", "histogram"),
        ("serving:request_example_count_total", "counter"),
        ("serving:model_warmup_latency", "histogram"),
        ("serving:model_warmup_records_read", "counter"),
        ("serving:request_log_count", "counter"),
        ("serving:mlmd_map", "gauge"),
        ("cc:saved_model:load_attempt_count", "counter"),
        ("cc:saved_model:load_latency", "counter"),
    ],
)
def test_each_of_its_metrics_is_declared_from_the_start(metrics, name, kind):
    assert f"# TYPE :tensorflow:{name} {kind}" in metrics.text().splitlines()


def test_what_the_server_does_is_told(metrics):
    metrics.observe_runtime("m", "Predict", 0.00001)
    metrics.observe_examples("m", 3)
    metrics.observe_warmup("/m/1", "OK", 2, 0.5)
    metrics.observe_load("/m/1", True, 0.25)
    metrics.observe_load("/m/2", False, 0.25)
    metrics.observe_logged("m")
    metrics.set_mlmd("m", 1, "uuid")
    metrics.observe_refusal("connections")

    def found(name: str, **labels: str) -> float | None:
        return value(metrics, f":tensorflow:{name}", **labels)

    timed = {"model_name": "m", "API": "Predict", "runtime": "TF1"}
    assert found("serving:runtime_latency_bucket", le="10", **timed) == 1
    assert found("serving:runtime_latency_sum", **timed) == pytest.approx(10)
    warmed = {"model_path": "/m/1", "status": "OK"}
    assert found("serving:model_warmup_latency_sum", **warmed) == pytest.approx(500_000)
    assert found("serving:request_example_counts_sum", model="m") == 3
    assert found("serving:request_example_counts_bucket", model="m", le="2") == 0
    assert found("serving:request_example_counts_bucket", model="m", le="4") == 1
    assert found("serving:request_example_count_total", model="m") == 3
    assert found("serving:model_warmup_records_read", model_path="/m/1", status="OK") == 2
    assert found("cc:saved_model:load_attempt_count", model_path="/m/1", status="success") == 1
    assert found("cc:saved_model:load_attempt_count", model_path="/m/2", status="fail") == 1
    assert found("cc:saved_model:load_latency", model_path="/m/1") == 250_000
    assert found("serving:request_log_count", model_name="m", status="OK") == 1
    assert found("serving:mlmd_map", model_name="m", version="1", mlmd_uuid="uuid") == 1
    assert value(metrics, "seamline_refused_total", reason="connections") == 1


def test_values_of_now_are_asked_for_at_each_scrape(metrics):
    queued = 1
    states = [("catalog", 7, "AVAILABLE")]
    metrics.watch("requests_queued", "Requests that wait.", lambda: queued)
    metrics.watch_versions(lambda: states)
    assert value(metrics, "seamline_requests_queued") == 1

    queued, states = 2, [("catalog", 8, "LOADING")]

    assert value(metrics, "seamline_requests_queued") == 2
    labels = {"model_name": "catalog", "state": "LOADING"}
    assert value(metrics, "seamline_model_version", version="8", **labels) == 1
    assert 'version="7"' not in metrics.text()


def test_the_process_is_measured(metrics):
    assert 10e6 < value(metrics, "process_resident_memory_bytes") < 100e9


def test_names_that_callers_make_up_are_no_labels(metrics):
    for number in range(1000):
        metrics.observe_request(f"made up {number}", "Predict", "GRPC", "NOT_FOUND", 1)

    assert "made up" not in metrics.text()
    name = ":tensorflow:serving:request_count"
    assert value(metrics, name, model_name="", status="NOT_FOUND") == 1000


def test_examples_have_buckets_of_powers_of_two(metrics):
    metrics.observe_examples("m", 1)
    lines = metrics.text().splitlines()
    buckets = [line for line in lines if "request_example_counts_bucket" in line]
    bounds = [float(re.search('le="(.*?)"', line)[1]) for line in buckets]
    assert bounds[:-1] == [2**n for n in range(len(bounds) - 1)]


def test_numbers_are_whole_where_they_can_be(metrics):
    shown = {"half": 0.5, "three": 3.0, "large": 2.0**53}
    for name, number in shown.items():
        metrics.watch(name, "A value.", lambda number=number: number)
    lines = metrics.text().splitlines()
    assert "seamline_half{} 0.5" in lines and "seamline_three{} 3" in lines
    assert "seamline_large{} 9007199254740992" in lines
    assert "# HELP seamline_three A value." in lines
    assert "# TYPE seamline_refused_total counter" in lines
    # TensorFlow's own have no description.
    assert not [line for line in lines if line.startswith("# HELP :tensorflow")]


def test_any_label_is_escaped(metrics):
    metrics.observe_load('a"b\\c\nd', True, 1)

    found = {dict(labels).get("model_path") for _, labels in samples(metrics)}
    assert 'a"b\\c\nd' in found


def test_threads_lose_no_count(metrics):
    def observe() -> None:
        for _ in range(500):
            metrics.observe_request("m", "Predict", "GRPC", grpc.StatusCode.OK, 0.001)

    threads = [threading.Thread(target=observe) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    name = ":tensorflow:serving:request_count"
    assert value(metrics, name, model_name="m", status="OK") == 4000
