"""What Prometheus is told: TensorFlow Serving's metrics under its names, and some of our own.

The values live in prometheus_client. The text is written here, for that library puts `_total` at
the end of every counter's name, and dashboards made for TensorFlow Serving ask for names without.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of `Metrics.text`."""

DEFAULT_PATH = "/monitoring/prometheus/metrics"
"""Where TensorFlow Serving shows them, if its monitoring config names no other path."""

UNKNOWN_MODEL = ""
"""The `model_name` of requests for models that there are not."""


def _exponential(first: float, factor: float, count: int) -> list[float]:
    return [first * factor**power for power in range(count)]


# TensorFlow Serving's buckets. Microseconds: some 20 minutes, and one second.
_LATENCY_BUCKETS = _exponential(10, 1.8, 33)
_EXAMPLES_BUCKETS = _exponential(1, 2, 15)

_US = 1_000_000


class Metrics:
    """Counts what the server does. Threads may share it.

    A name of a model becomes a label only when a request for it has succeeded or `add_model` was
    called with it: callers could fill the memory with labels otherwise.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        # Names as they are written, by the names that prometheus_client knows.
        self._names: dict[str, str] = {}
        self._models: set[str] = set()
        self._lock = threading.Lock()
        self._watched_versions: Callable[[], Iterable[tuple[str, int, str]]] | None = None

        self._requests = self._counter("serving/request_count", "model_name", "status")
        self._request_latency = self._histogram(
            "serving/request_latency", _LATENCY_BUCKETS, "model_name", "API", "entrypoint"
        )
        self._runtime_latency = self._histogram(
            "serving/runtime_latency", _LATENCY_BUCKETS, "model_name", "API", "runtime"
        )
        self._example_counts = self._histogram(
            "serving/request_example_counts", _EXAMPLES_BUCKETS, "model"
        )
        self._example_total = self._counter("serving/request_example_count_total", "model")
        self._warmup_latency = self._histogram(
            "serving/model_warmup_latency", _LATENCY_BUCKETS, "model_path", "status"
        )
        self._warmup_records = self._counter(
            "serving/model_warmup_records_read", "model_path", "status"
        )
        self._logged = self._counter("serving/request_log_count", "model_name", "status")
        self._mlmd = Gauge(
            _metric_name("serving/mlmd_map"),
            "",
            ("model_name", "version", "mlmd_uuid"),
            registry=self._registry,
        )
        self._loads = self._counter("cc/saved_model/load_attempt_count", "model_path", "status")
        self._load_latency = self._counter("cc/saved_model/load_latency", "model_path")

        self._refused = Counter(
            "seamline_refused", "Requests and connections turned away.", ("reason",),
            registry=self._registry,
        )  # fmt: skip
        self._registry.register(_Collected(self._versions))
        ProcessCollector(registry=self._registry)

    def add_model(self, name: str) -> None:
        """Lets a model's name be a label; called for every model that is to be served."""
        with self._lock:
            self._models.add(name)

    def observe_request(
        self,
        model: str,
        method: str,
        entrypoint: str,
        status: grpc.StatusCode | str,
        seconds: float,
    ) -> None:
        """Counts a request that has ended.

        Args:
            model: the name that was asked for.
            method: what was asked, e.g. `Predict`, over REST `predict`.
            entrypoint: `GRPC` or `REST`.
            status: how it ended; only the time of those that are OK is told.
            seconds: how long it took.
        """
        status = status if isinstance(status, str) else status.name
        if status == "OK" and model not in self._models:
            self.add_model(model)
        model = model if model in self._models else UNKNOWN_MODEL
        self._requests.labels(model, status).inc()
        if status == "OK":
            self._request_latency.labels(model, method, entrypoint).observe(seconds * _US)

    def observe_runtime(
        self, model: str, method: str, seconds: float, runtime: str = "TF1"
    ) -> None:
        """Tells how long TensorFlow computed for a request."""
        self._runtime_latency.labels(model, method, runtime).observe(seconds * _US)

    def observe_examples(self, model: str, count: int) -> None:
        """Tells how many Examples a Classify, Regress or MultiInference held."""
        self._example_counts.labels(model).observe(count)
        self._example_total.labels(model).inc(count)

    def observe_warmup(self, model_path: str, status: str, records: int, seconds: float) -> None:
        """Counts a version that was warmed up, or not: `status` is OK or a status code's name."""
        self._warmup_latency.labels(model_path, status).observe(seconds * _US)
        self._warmup_records.labels(model_path, status).inc(records)

    def observe_load(self, model_path: str, succeeded: bool, seconds: float) -> None:
        """Counts an attempt to load a version."""
        self._loads.labels(model_path, "success" if succeeded else "fail").inc()
        self._load_latency.labels(model_path).inc(round(seconds * _US))

    def observe_logged(self, model: str, status: str = "OK") -> None:
        """Counts a request that was put into the sample of live traffic, or could not be."""
        self._logged.labels(model, status).inc()

    def observe_refusal(self, reason: str) -> None:
        """Counts who was turned away; `reason` is one of few words, e.g. `connections`."""
        self._refused.labels(reason).inc()

    def set_mlmd(self, model: str, version: int, uuid: str) -> None:
        """Ties a version to its entry in ML Metadata."""
        self._mlmd.labels(model, str(version), uuid).set(1)

    def watch(self, name: str, description: str, value: Callable[[], float]) -> None:
        """Shows a value of now, asked for at every scrape, as the gauge `seamline_<name>`."""
        Gauge(f"seamline_{name}", description, registry=self._registry).set_function(value)

    def watch_versions(self, states: Callable[[], Iterable[tuple[str, int, str]]]) -> None:
        """Shows every version as `seamline_model_version{model_name,version,state} 1`.

        Args:
            states: gives (model's name, version, state), e.g. `("catalog", 7, "AVAILABLE")`.
        """
        self._watched_versions = states

    def text(self) -> str:
        """All of it in Prometheus's text format."""
        return "\n".join(self._lines()) + "\n"

    def _counter(self, name: str, *labels: str) -> Counter:
        counter = Counter(_metric_name(name), "", labels, registry=self._registry)
        self._names[_metric_name(name).removesuffix("_total")] = _metric_name(name)
        return counter

    def _histogram(self, name: str, buckets: list[float], *labels: str) -> Histogram:
        return Histogram(_metric_name(name), "", labels, buckets=buckets, registry=self._registry)

    def _versions(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "seamline_model_version",
            "Versions of models, by what became of them.",
            labels=("model_name", "version", "state"),
        )
        for model, version, state in self._watched_versions() if self._watched_versions else ():
            family.add_metric((model, str(version), state), 1)
        yield family

    def _lines(self) -> Iterator[str]:
        for metric in self._registry.collect():
            name = self._names.get(metric.name, metric.name)
            ours = metric.type == "counter" and metric.name not in self._names
            name = f"{name}_total" if ours else name
            if metric.documentation:
                yield f"# HELP {name} {metric.documentation}"
            yield f"# TYPE {name} {metric.type}"
            for sample in metric.samples:
                if sample.name.endswith("_created"):
                    continue
                shown = name if metric.type == "counter" else sample.name
                labels = ",".join(
                    f'{label}="{_bound(value) if label == "le" else _escaped(value)}"'
                    for label, value in sample.labels.items()
                )
                yield f"{shown}{{{labels}}} {_number(sample.value)}"


class _Collected:
    """What is made at every scrape, in the form that a registry takes."""

    def __init__(self, collect: Callable[[], Iterator[Metric]]):
        self.collect = collect


def _metric_name(path: str) -> str:
    """Prometheus's name of one of TensorFlow's metrics, as its exporter makes it."""
    return re.sub("[^a-zA-Z0-9_]", ":", f"/tensorflow/{path}")


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _bound(value: str) -> str:
    """A bucket's bound with six digits, as TensorFlow Serving writes it."""
    return value if value == "+Inf" else f"{float(value):g}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
