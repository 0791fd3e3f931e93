"""What the dashboard shows and the alerts look at is there: a server was asked, and it was read.

Everything is held against what a running server shows, and what TensorFlow Serving has as well
against its metrics as its sources define them.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import tensorflow as tf
import yaml
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

import serving
from serving.client import CatalogClient, RequestFailed
from serving.model_server import ModelServer, config_files
from serving.model_server.options import ServerOptions, single_model
from tests.serving import color_model, promql

DEPLOY = Path(serving.__file__).parent / "deploy"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "model_server.json"
RULES = DEPLOY / "prometheus" / "rules.yaml"
RULES_TEST = Path(__file__).parent / "prometheus_rules_test.yaml"

TENSORFLOW_SERVING = {
    ":tensorflow:cc:saved_model:load_attempt_count": {"model_path", "status"},
    ":tensorflow:cc:saved_model:load_latency": {"model_path"},
    ":tensorflow:serving:batching_session:processed_batch_size_bucket": {"le"},
    ":tensorflow:serving:batching_session:processed_batch_size_count": set(),
    ":tensorflow:serving:batching_session:processed_batch_size_sum": set(),
    ":tensorflow:serving:batching_session:queuing_latency_bucket": {"thread_pool_name", "le"},
    ":tensorflow:serving:model_warmup_latency_count": {"model_path", "status"},
    ":tensorflow:serving:model_warmup_latency_sum": {"model_path", "status"},
    ":tensorflow:serving:request_count": {"model_name", "status"},
    ":tensorflow:serving:request_latency_bucket": {"model_name", "API", "entrypoint", "le"},
    ":tensorflow:serving:runtime_latency_bucket": {"model_name", "API", "runtime", "le"},
}
"""Names and labels in its servables/tensorflow/util.cc and saved_model_warmup_util.cc, its
batching/batching_session.cc and batching_util.h, and TensorFlow's cc/saved_model/loader.cc."""

SCRAPED = frozenset({"job", "instance"})
"""The labels that Prometheus itself gives every series."""

OURS = ("seamline_", "process_")
"""What only Seamline's own server shows begins so."""

KEY = "dashboard-key-0123456789"

# prometheus_client's parser would rename counters.
_SAMPLE = re.compile(r"^([\w:]+)\{(.*)\} \S+$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Shown:
    """What a server shows to Prometheus.

    Attributes:
        labels: the labels of each series by its name.
        samples: name and labels of every series.
        endpoint: `host:port` of the REST port.
    """

    labels: dict[str, frozenset[str]]
    samples: list[tuple[str, dict[str, str]]]
    endpoint: str


@pytest.fixture(scope="module")
def shown(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """What a server shows that has answered, refused, failed, warmed up and turned away."""
    root = tmp_path_factory.mktemp("dashboard")
    shutil.copytree(saved_model, root / "catalog" / "7")
    _write_warm_up(root / "catalog" / "7")
    keys = root / "keys"
    keys.touch(0o600)
    keys.write_text(f"tests {KEY}\n")
    options = ServerOptions(
        models=single_model(root / "catalog", "catalog"),
        rest_api_port=0,
        file_system_poll_wait_seconds=0.1,
        max_num_load_retries=0,
        enable_batching=True,
        batching_parameters=config_files.batching_parameters(DEPLOY / "config" / "batching.config"),
        monitoring=config_files.monitoring(DEPLOY / "config" / "monitoring.config"),
        api_key_file=keys,
    )
    picture = color_model.picture(200, 10, 10)
    with ModelServer.from_options(options) as server:
        with CatalogClient(server.endpoint, api_key=KEY) as client:
            assert client.predict([picture])[0].category == "red"
        with CatalogClient(server.endpoint) as stranger, pytest.raises(RequestFailed):
            stranger.predict([picture])
        assert _predict_over_rest(server.rest_endpoint, {"instances": [{"b64": "!"}]}) == 400
        assert _predict_over_rest(server.rest_endpoint, _row(picture)) == 200
        (root / "catalog" / "8").mkdir()
        (root / "catalog" / "8" / "saved_model.pb").write_bytes(b"no model")
        deadline = time.monotonic() + 30
        while 'status="fail"' not in (text := _metrics(server.rest_endpoint)):
            assert time.monotonic() < deadline, text
            time.sleep(0.05)
        samples = [(name, dict(_LABEL.findall(labels))) for name, labels in _SAMPLE.findall(text)]
        labels = {name: SCRAPED | frozenset(given) for name, given in samples}
        yield Shown(labels, samples, server.rest_endpoint)


def test_every_query_of_the_dashboard_can_be_answered(shown: Shown):
    known = _known(shown)

    for query, legend in _dashboard_queries():
        given = promql.labels_of(query, known)

        assert _braced(legend) <= given, f"{legend} of {query}"


def test_every_alert_looks_at_what_there_is(shown: Shown):
    known = _known(shown)

    for rule in _rules("alert"):
        given = promql.labels_of(rule["expr"], known)

        for text in rule["annotations"].values():
            assert set(re.findall(r"\$labels\.(\w+)", text)) <= given, rule["alert"]


def test_queries_take_from_tensorflow_serving_only_what_it_has():
    for query in _all_queries():
        for name in promql.names_in(query):
            assert name in TENSORFLOW_SERVING or not name.startswith(":"), name


def test_our_server_shows_what_tensorflow_serving_shows_with_the_same_labels(shown: Shown):
    common = TENSORFLOW_SERVING.keys() & shown.labels.keys()

    assert {name: shown.labels[name] for name in common} == {
        name: SCRAPED | TENSORFLOW_SERVING[name] for name in common
    }
    for name in (":tensorflow:serving:request_count", ":tensorflow:cc:saved_model:load_latency"):
        assert name in common


def test_what_only_our_server_shows_stands_in_a_row_of_its_own():
    for title, panels in _rows().items():
        for panel in panels:
            names = set().union(*(promql.names_in(t["expr"]) for t in panel["targets"]))
            ours = {name for name in names if name.startswith(OURS)}

            assert ours == (names if title == "Seamline's own server" else set()), panel["title"]


def test_the_server_was_seen_to_fail_and_refuse_in_the_words_that_the_rules_look_for(shown: Shown):
    there = {
        (name, label, value) for name, labels in shown.samples for label, value in labels.items()
    }
    loads = ":tensorflow:cc:saved_model:load_attempt_count"

    assert {(loads, "status", "fail"), (loads, "status", "success")} <= there
    assert ("seamline_model_version", "state", "AVAILABLE") in there
    assert ("seamline_refused_total", "reason", "keys") in there
    assert (":tensorflow:serving:request_count", "status", "INVALID_ARGUMENT") in there
    # What the rules count are gRPC's codes.
    for codes in re.findall(r'status!?=~?"([A-Z_|]+)"', RULES.read_text()):
        assert set(codes.split("|")) <= {code.name for code in grpc.StatusCode}


def test_a_version_that_was_warmed_up_is_shown(shown: Shown):
    assert ":tensorflow:serving:model_warmup_latency_sum" in shown.labels


def test_a_query_that_names_what_there_is_not_is_found(shown: Shown):
    known = _known(shown)

    for query, reason in {
        "sum(seamline_nothing)": "there is no metric seamline_nothing",
        'up{color="red"}': "color",
        "sum by (color) (up)": "color",
        "histogram_quantile(0.5, sum by (job) (up))": "le",
        "sum by (job) (up) / sum by (instance) (up)": "never equal",
        "up / on (color) up": "color",
    }.items():
        with pytest.raises(promql.QueryError, match=reason):
            promql.labels_of(query, known)


def test_panels_have_names_and_room_and_do_not_lie_over_each_other():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    taken = set()

    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert panel["title"] and place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["type"] in ("stat", "table", "timeseries")
            assert panel["description"], panel["title"]
            ids = [target["refId"] for target in panel["targets"]]
            assert ids and len(set(ids)) == len(ids)
    # No row of the screen has a hole.
    assert len(taken) == 24 * (max(y for _, y in taken) + 1)


def test_the_dashboard_reads_the_data_source_that_is_chosen():
    dashboard = json.loads(DASHBOARD.read_text())
    (source,) = _yaml("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    chosen = {"type": "prometheus", "uid": "${datasource}"}

    assert variables["datasource"]["current"]["value"] == source["uid"]
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            assert [panel["datasource"], *(t["datasource"] for t in panel["targets"])] == [
                chosen
            ] * (1 + len(panel["targets"]))
    used = {
        name
        for query in _all_queries()
        for name in re.findall(r"\$(?!__|labels|value)(\w+)", query)
    }
    assert used == variables.keys() - {"datasource"}


def test_alerts_of_the_dashboard_are_those_of_the_rules():
    alerts = {rule["alert"] for rule in _rules("alert")}
    described = " ".join(
        panel.get("description", "") for panel in json.loads(DASHBOARD.read_text())["panels"]
    )
    documented = (DEPLOY.parents[1] / "docs" / "serving.md").read_text()

    assert set(re.findall(r"\bModel\w+[a-z]\b", described)) - {"Model"} <= alerts
    for alert in alerts:
        assert f"`{alert}`" in documented, f"docs/serving.md does not say what to do on {alert}"


def test_every_alert_has_a_severity_and_words():
    for rule in _rules("alert"):
        assert rule["labels"]["severity"] in ("page", "ticket"), rule["alert"]
        assert rule["annotations"].keys() == {"summary", "description"}


promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="promtool is not installed (Debian's package prometheus)"
)


@promtool
def test_prometheus_takes_the_rules():
    _run("promtool", "check", "rules", RULES)


@promtool
def test_alerts_fire_when_they_should_and_not_before():
    tested = {
        alert["alertname"]
        for test in yaml.safe_load(RULES_TEST.read_text())["tests"]
        for alert in test.get("alert_rule_test", [])
        if alert["exp_alerts"]
    }

    assert tested == {rule["alert"] for rule in _rules("alert")}
    _run("promtool", "test", "rules", RULES_TEST, cwd=RULES_TEST.parent)


@promtool
@pytest.mark.parametrize("name", ["prometheus.yaml", "kubernetes.yaml"])
def test_prometheus_takes_its_configuration(name: str, tmp_path: Path):
    config = _yaml(f"prometheus/{name}")
    # Debian's build knows no Kubernetes; and the rules lie elsewhere here.
    for job in config["scrape_configs"]:
        job.pop("kubernetes_sd_configs", None)
    config["rule_files"] = [str(RULES)]
    (tmp_path / name).write_text(yaml.safe_dump(config))

    _run("promtool", "check", "config", "--syntax-only", tmp_path / name)


@pytest.mark.skipif(
    not shutil.which("prometheus"), reason="prometheus is not installed (Debian's package)"
)
def test_prometheus_finds_something_to_show_in_every_panel(shown: Shown, tmp_path: Path):
    with _Prometheus(shown, tmp_path) as address:
        answers = {query: _ask_prometheus(address, query) for query, _ in _dashboard_queries()}
        rules = _get(f"http://{address}/api/v1/rules")["data"]["groups"]

    silent = {query for query, answer in answers.items() if not answer}
    assert {rule["health"] for group in rules for rule in group["rules"]} == {"ok"}
    # TensorFlow Serving alone has batches to show, and a version that is new is new for a minute.
    expected = ("batching_session", "unless")
    assert all(any(word in query for word in expected) for query in silent), silent


def _yaml(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def _rules(kind: str) -> list[dict]:
    return [rule for group in _yaml("prometheus/rules.yaml")["groups"] for rule in group["rules"]
            if kind in rule]  # fmt: skip


def _rows() -> dict[str, list[dict]]:
    rows: dict[str, list[dict]] = {}
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        if panel["type"] == "row":
            panels = rows.setdefault(panel["title"], [])
        else:
            panels.append(panel)
    return rows


def _dashboard_queries() -> list[tuple[str, str]]:
    """Each query with the text of its legend."""
    dashboard = json.loads(DASHBOARD.read_text())
    found = [
        (target["expr"], target["legendFormat"])
        for panels in _rows().values()
        for panel in panels
        for target in panel["targets"]
    ]
    for annotation in dashboard["annotations"]["list"]:
        found.append((annotation["expr"], annotation["titleFormat"]))
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            of, label = re.fullmatch(
                r"label_values\((.+), (\w+)\)", variable["definition"]
            ).groups()
            assert variable["definition"] == variable["query"]["query"]
            found.append((of, f"{{{{{label}}}}}"))
    return found


def _all_queries() -> list[str]:
    rules = [rule["expr"] for rule in [*_rules("record"), *_rules("alert")]]
    return [query for query, _ in _dashboard_queries()] + rules


def _braced(legend: str) -> set[str]:
    return set(re.findall(r"\{\{(\w+)\}\}", legend))


def _known(shown: Shown) -> dict[str, frozenset[str]]:
    """The labels of all series: what is shown, of TensorFlow Serving alone, and recorded."""
    known = {name: SCRAPED | frozenset(labels) for name, labels in TENSORFLOW_SERVING.items()}
    known |= {"up": SCRAPED} | shown.labels
    for rule in _rules("record"):
        known[rule["record"]] = promql.labels_of(rule["expr"], known)
    return known


def _write_warm_up(folder: Path) -> None:
    (folder / "assets.extra").mkdir()
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "catalog"
    request.model_spec.signature_name = "tolerant"
    request.inputs["image_bytes"].CopyFrom(
        tf.make_tensor_proto([color_model.picture(200, 10, 10)], dtype=tf.string)
    )
    log = prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request)
    )
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(log.SerializeToString())


def _row(picture: bytes) -> dict:
    encoded = base64.b64encode(picture).decode()
    return {"signature_name": "tolerant", "instances": [{"b64": encoded}]}


def _request(url: str, body: dict | None = None) -> urllib.request.Request:
    data = None if body is None else json.dumps(body).encode()
    return urllib.request.Request(url, data, {"x-api-key": KEY})


def _predict_over_rest(endpoint: str, body: dict) -> int:
    try:
        request = _request(f"http://{endpoint}/v1/models/catalog:predict", body)
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as refusal:
        return refusal.code


def _metrics(endpoint: str) -> str:
    (job,) = _yaml("prometheus/prometheus.yaml")["scrape_configs"]
    with urllib.request.urlopen(_request(f"http://{endpoint}{job['metrics_path']}")) as answer:
        return answer.read().decode()


def _run(*command: str | Path, **options: Any) -> None:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr


class _Prometheus:
    """A Prometheus that scrapes a server every second by the configuration of the compose file."""

    def __init__(self, shown: Shown, folder: Path):
        config = _yaml("prometheus/prometheus.yaml")
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(RULES)]
        (job,) = config["scrape_configs"]
        job["static_configs"] = [{"targets": [shown.endpoint]}]
        job["authorization"] = {"credentials": KEY}
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._address = f"127.0.0.1:{free.getsockname()[1]}"
        self._folder = folder
        self._endpoint = shown.endpoint

    def __enter__(self) -> str:
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={self._folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address={self._address}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"GOMAXPROCS": "1"},
        )
        # Rates need two scrapes with requests between, and the recorded figures one look at those.
        row = _row(color_model.picture(200, 10, 10))
        deadline = time.monotonic() + 60
        while not _ask_prometheus(self._address, "job:serving_failures:ratio_rate5m"):
            assert time.monotonic() < deadline, "Prometheus has nothing to show after a minute"
            assert self._process.poll() is None, "Prometheus has ended"
            assert _predict_over_rest(self._endpoint, row) == 200
            time.sleep(0.3)
        return self._address

    def __exit__(self, *exception: object) -> None:
        self._process.terminate()
        self._process.wait(30)


def _ask_prometheus(address: str, query: str) -> list:
    parameters = urllib.parse.urlencode({"query": promql.without_variables(query)})
    try:
        answer = _get(f"http://{address}/api/v1/query?{parameters}")
    except (ConnectionError, urllib.error.URLError) as error:
        if isinstance(error, urllib.error.HTTPError) and error.code == 400:
            raise AssertionError(f"{query}: {error.read().decode()}") from error
        return []
    return answer["data"]["result"]


def _get(url: str) -> dict:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)
