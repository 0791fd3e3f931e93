"""What `seamline compile` and `seamline submit` do, the latter with a server of the API's paths.

The server keeps what the real client sends, and answers as its documentation says. Kubeflow
Pipelines itself needs a cluster.
"""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.config import Config
from pipeline.kubeflow import again, submit
from pipeline.kubeflow.spec import compiled

DEMO = "pipeline/configs/demo.yaml"


class Api:
    """What was asked for, and what is answered.

    Attributes:
        sent: Of every POST its path and its body.
        states: Of the run, one a look.
        refused: A status that is answered to everything, if any.
        kind: Content type of the answers.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict]] = []
        self.states = ["RUNNING", "SUCCEEDED"]
        self.refused: int | None = None
        self.kind = "application/json"
        self.tokens: set[str | None] = set()
        api = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                self._answer(api.found(self.path))

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                api.sent.append((self.path, body))
                self._answer({"run_id": "r1", "experiment_id": "e1", "recurring_run_id": "again1"})

            def _answer(self, content):
                api.tokens.add(self.headers.get("authorization"))
                self.send_response(api.refused or 200)
                self.send_header("Content-Type", api.kind)
                self.end_headers()
                said = {"error": "no such user"} if api.refused else content
                self.wfile.write(json.dumps(said).encode())

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def found(self, path: str) -> dict:
        if "/runs/" in path:
            state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            trainer = {"display_name": "Trainer", "state": state}
            driver = {"display_name": "Trainer-driver", "state": "SUCCEEDED"}
            return {
                "run_id": "r1",
                "state": state,
                "run_details": {"task_details": [trainer, driver]},
            }
        return {"multi_user": False}

    def body(self, end: str) -> dict:
        [found] = [body for path, body in self.sent if path.endswith(end)]
        return found

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def api():
    """A server, for as long as the test."""
    server = Api()
    yield server
    server.close()


@pytest.fixture
def seamline(options, bucket_url, monkeypatch):
    """Runs a command on the demo's config; returns its exit status and all it said."""
    monkeypatch.setattr(submit, "_SECONDS_BETWEEN_LOOKS", 0.01)
    monkeypatch.delenv("KFP_TOKEN", raising=False)

    def run(command, *arguments):
        ours = [*options, f"kubeflow.root={bucket_url}/demo"]
        given = [word for option in ours for word in ("--set", option)]
        result = CliRunner().invoke(app, [command, DEMO, *given, *map(str, arguments)])
        return result.exit_code, " ".join(result.output.split())

    return run


def test_a_file_is_written_that_the_backend_takes(seamline, bucket_url, tmp_path):
    file = tmp_path / "out" / "pipeline.yaml"
    status, said = seamline("compile", "--image", "seamline:1", "--output", file)
    assert status == 0
    assert "demo: 16 steps in" in said and f"{bucket_url}/demo/artifacts" in said
    assert "The ledger knows of no earlier run" in said
    pipeline, _ = yaml.safe_load_all(file.read_text())
    assert pipeline["schemaVersion"] == "2.1.0"
    status, said = seamline("compile", "--image", "i", "--no-look-up", "--output", file)
    assert status == 0 and "The ledger was not asked" in said


def test_who_may_not_read_the_store_may_still_compile(seamline, tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    given = ["--set", "catalog.folder=s3://shop/catalog", "--set", "kubeflow.root=s3://shop/runs"]
    given += ["--image", "i", "--output", tmp_path / "pipeline.yaml"]
    status, said = seamline("compile", *given, "--no-look-up")
    assert status == 0 and "s3://shop/catalog is not seen from here" in said
    status, said = seamline("compile", *given)
    assert status == 1 and "s3://shop/runs needs credentials" in said


def test_a_run_is_started_with_the_parameters_of_now(seamline, api, config, bucket_url):
    status, said = seamline("submit", "--host", api.url, "--image", "seamline:1")
    assert (status, said.split()[-1]) == (0, f"{api.url}/#/runs/details/r1")
    sent = api.body("/runs")
    made = compiled(config(), "seamline:1", look_up=False)
    assert sent["runtime_config"]["parameters"] == made.parameters
    assert sent["runtime_config"]["pipeline_root"] == f"{bucket_url}/demo/artifacts"
    assert sent["pipeline_spec"]["pipeline_spec"]["pipelineInfo"]["name"] == "demo"
    assert "kubernetes" in sent["pipeline_spec"]["platform_spec"]["platforms"]
    assert sent["experiment_id"] == "e1"
    assert api.tokens == {None}


def test_a_run_is_followed_to_its_end(seamline, api, monkeypatch):
    monkeypatch.setenv("KFP_TOKEN", "secret")
    status, said = seamline("submit", "--host", api.url, "--image", "i", "--follow")
    assert status == 0
    assert said.endswith("Trainer running Trainer succeeded")
    assert api.tokens == {"Bearer secret"}
    api.states = ["FAILED"]
    status, said = seamline("submit", "--host", api.url, "--image", "i", "--follow")
    assert status == 1
    assert "The run ended as failed" in said and "/#/runs/details/r1" in said


def test_what_recurs_submits_the_same_config_anew(seamline, api, monkeypatch, capsys):
    arguments = ["--host", api.url, "--image", "seamline:1", "--schedule", "0 0 3 * * 1"]
    arguments += ["--set", f"kubeflow.host={api.url}"]
    arguments += ["--set", "kubeflow.secrets={KEY: minio/secretkey}"]
    status, said = seamline("submit", *arguments)
    assert (status, said) == (0, "demo starts by itself (0 0 3 * * 1): again1")
    sent = api.body("/recurringruns")
    assert sent["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * 1"
    assert sent["no_catchup"] is True
    spec = sent["pipeline_spec"]["pipeline_spec"]
    [executor] = spec["deploymentSpec"]["executors"].values()
    container = executor["container"]
    assert container["command"] == ["python", "-m", "pipeline.kubeflow.again"]
    [pod] = sent["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"][
        "executors"
    ].values()
    assert pod["secretAsEnv"][0]["keyToEnv"] == [{"secretKey": "secretkey", "envVar": "KEY"}]

    # And now what the container does.
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    monkeypatch.setattr("sys.argv", container["command"][2:])
    assert again.main() == 0
    assert capsys.readouterr().out.strip() == f"{api.url}/#/runs/details/r1"
    started = api.body("/runs")["pipeline_spec"]["pipeline_spec"]
    images = {
        executor["container"]["image"]
        for executor in started["deploymentSpec"]["executors"].values()
    }
    assert images == {"seamline:1"}


def test_what_recurs_is_its_user_s_too(seamline, api, monkeypatch):
    given = ["--host", api.url, "--image", "i", "--set", f"kubeflow.host={api.url}"]
    status, _ = seamline("submit", *given, "--namespace", "ann", "--schedule", "0 0 3 * * 1")
    assert status == 0
    spec = api.body("/recurringruns")["pipeline_spec"]["pipeline_spec"]
    [executor] = spec["deploymentSpec"]["executors"].values()
    for variable in executor["container"]["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    api.sent.clear()
    api.tokens.clear()

    # A secret of the cluster's.
    monkeypatch.setenv("KFP_TOKEN", "secret")
    monkeypatch.setattr("sys.argv", executor["container"]["command"][2:])
    assert again.main() == 0
    assert api.body("/experiments")["namespace"] == "ann"
    assert api.tokens == {"Bearer secret"}


def test_a_config_comes_back_from_its_own_text_as_it_was(config):
    before = config("kubeflow.steps={Trainer: {cpu: 2}}", name="fashion_products.yaml")
    text = yaml.safe_dump(before.model_dump(mode="json"), allow_unicode=True)
    assert Config.model_validate(yaml.safe_load(text)) == before


def test_a_host_that_is_none_is_named_with_what_to_do(seamline):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        status, said = seamline("submit", "--host", url, "--image", "i")
    assert status == 1
    assert f"does not answer at {url}" in said and "kubectl port-forward" in said
    status, said = seamline("submit", "--host", "ftp://x", "--image", "i")
    assert status == 1 and "is no address" in said


@pytest.mark.parametrize(
    ("code", "hint"), [(401, "Give a token in KFP_TOKEN"), (403, "Check the token"), (500, "")]
)
def test_what_the_backend_refuses_is_one_sentence(seamline, api, code, hint):
    api.refused = code
    status, said = seamline("submit", "--host", api.url, "--image", "i")
    assert status == 1
    assert f"refuses ({code})" in said and "no such user" in said and hint in said
    assert "Traceback" not in said


def test_a_page_to_log_in_at_is_no_api(seamline, api):
    api.kind = "text/html"
    status, said = seamline("submit", "--host", api.url, "--image", "i")
    assert status == 1 and "is not the API" in said and "KFP_TOKEN" in said


def test_a_bucket_without_rights_is_told_before_anything_is_sent(seamline, api):
    status, said = seamline(
        *("submit", "--host", api.url, "--image", "i"),
        *("--set", "kubeflow.root=s3://nowhere-at-all/demo"),
    )
    assert status == 1 and "There is no bucket nowhere-at-all" in said
    assert api.sent == []


def test_a_catalog_that_is_none_is_never_submitted(seamline, api, tmp_path):
    status, said = seamline(
        "submit", "--host", api.url, "--image", "i", "--set", "catalog.category=nothing"
    )
    assert status == 1 and "nothing" in said
    assert api.sent == []
