"""The step writes the page beside the artifact's own, whole, and says where it is."""

import json
from pathlib import Path

import jsonschema
import pytest
from tfx import types
from tfx.types import standard_artifacts

from components.catalog_example_gen.artifacts import Conflicts, Rejects
from components.data_gate.artifacts import DataGateVerdict
from components.data_gate.verdict import Verdict
from components.judge import judgement
from components.judge.artifacts import Judgement
from components.report import executor, gather
from components.report.artifacts import HtmlReport
from components.report.component import Report

SCHEMA = Path(executor.__file__).with_name("metrics.schema.json")

READERS = {
    "read_labels": "labels",
    "read_schema": "expectations",
    "read_class_counts": "class_counts",
    "read_history": "history",
    "read_answers": "answers",
}


@pytest.fixture
def do(contents, tmp_path, monkeypatch):
    """Runs the executor on artifacts whose contents are `contents`."""
    for reader, field in READERS.items():
        value = getattr(contents, field)
        monkeypatch.setattr(gather, reader, lambda *of, value=value: value)
    monkeypatch.setattr(gather, "read_ingest", lambda uri: (contents.ingest, contents.rejects))
    verdict = Verdict("error", contents.findings, contents.distances)
    monkeypatch.setattr(executor, "read_verdict", lambda uri: verdict)
    monkeypatch.setattr(executor, "read_evaluation", lambda uri: contents.evaluation)
    judgement.write(contents.judgement, tmp_path / "judgement")

    def run(**properties):
        inputs = {
            "rejects": Rejects(),
            "conflicts": Conflicts(),
            "statistics": standard_artifacts.ExampleStatistics(),
            "schema": standard_artifacts.Schema(),
            "verdict": DataGateVerdict(),
            "transform_graph": standard_artifacts.TransformGraph(),
            "model_run": standard_artifacts.ModelRun(),
            "evaluation": standard_artifacts.ModelEvaluation(),
            "judgement": Judgement(),
            "infra_blessing": standard_artifacts.InfraBlessing(),
            "pushed_model": standard_artifacts.PushedModel(),
        }
        for key, artifact in inputs.items():
            artifact.uri = str(tmp_path / key)
        for name, value in properties.items():
            key, name = name.split("__")
            setter = "set_int_custom_property" if isinstance(value, int) else None
            getattr(inputs[key], setter or "set_string_custom_property")(name, value)
        report = HtmlReport()
        report.uri = str(tmp_path / "artifact")
        executor.Executor().Do(
            {key: [artifact] for key, artifact in inputs.items()},
            {"report": [report]},
            {
                "name": "winter",
                "code": "",
                "attribute_threshold": 0.75,
            },
        )
        return report

    return run


def test_the_page_and_the_metrics_are_written_and_nothing_else(do, tmp_path, contents):
    report = do(infra_blessing__blessed=1, pushed_model__pushed=0)
    assert report.get_string_custom_property("summary").startswith("index.html, ")
    files = sorted(file.name for file in (tmp_path / "artifact").iterdir())
    assert files == ["index.html", "metrics.json"]
    metrics = json.loads((tmp_path / "artifact" / "metrics.json").read_text())
    assert metrics["metrics"] == pytest.approx(contents.evaluation.metrics)
    assert metrics["labels"]["category"]["Footwear"]["support"] == 34
    jsonschema.validate(metrics, json.loads(SCHEMA.read_text()))
    assert metrics["blessed"] is True
    assert [gate["verdict"] for gate in metrics["gates"]][2] == "too few products"
    assert metrics["training"]["temperatures"] == contents.history["temperatures"]


def test_properties_of_the_artifacts_decide_what_became_of_the_model(do, tmp_path):
    page = tmp_path / "artifact" / "index.html"
    do(
        infra_blessing__blessed=1,
        infra_blessing__summary="2 questions answered",
        pushed_model__pushed=1,
        pushed_model__pushed_version="42",
        pushed_model__pushed_destination="/serving/catalog/42",
    )
    assert "Live as version 42" in page.read_text()
    do(infra_blessing__blessed=0, infra_blessing__summary="not blessed: no answer")
    assert "Stopped by the canary" in page.read_text()


def test_canary_and_push_may_be_missing_from_the_pipeline():
    required = {
        "rejects": Rejects,
        "statistics": standard_artifacts.ExampleStatistics,
        "schema": standard_artifacts.Schema,
        "verdict": DataGateVerdict,
        "transform_graph": standard_artifacts.TransformGraph,
        "model_run": standard_artifacts.ModelRun,
        "evaluation": standard_artifacts.ModelEvaluation,
        "judgement": Judgement,
    }
    channels = {key: types.Channel(type=kind) for key, kind in required.items()}
    component = Report(**channels, name="winter", code="", attribute_threshold=0.75)
    assert component.outputs["report"].type is HtmlReport
