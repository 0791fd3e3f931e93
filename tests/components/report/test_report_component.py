"""The step writes the page beside the artifact's own, whole, and says where it is."""

import gzip
import io
import json
import re
from pathlib import Path

import jsonschema
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tensorflow.core.example.example_pb2 import Example
from tfx import types
from tfx.types import standard_artifacts

from components.catalog_example_gen.artifacts import Conflicts, Rejects
from components.data_gate.artifacts import DataGateVerdict
from components.data_gate.verdict import Verdict
from components.judge import judgement
from components.judge.artifacts import Judgement
from components.predictions import table
from components.predictions.artifacts import Predictions
from components.report import executor, gather, tfma_page
from components.report.artifacts import HtmlReport
from components.report.component import Report
from components.report.single_file import delivered
from components.similarity_index.artifacts import MAP_FILE, QUALITY_FILE, SimilarityIndex
from schema.records import framed

SCHEMA = Path(executor.__file__).with_name("metrics.schema.json")

READERS = {
    "read_labels": "labels",
    "read_schema": "expectations",
    "read_class_counts": "class_counts",
    "read_history": "history",
    "read_answers": "answers",
}


LABELS = {"category": ["Bags", "Shoes"], "subcategory": ["Handbag", "Boot"], "attributes": []}
WRONG = 3
"""The number of the product whose answers are wrong."""


def write_answers(folder, count=8):
    """A table of answers about so many test products; all right but for one."""
    truth = np.arange(count) % 2
    answer = np.where(np.arange(count) == WRONG, 1 - truth, truth)
    scores = np.where(np.arange(2) == answer[:, None], 0.8, 0.2)
    schema = table.file_schema(LABELS, ["gender"], 2)
    ids = [f"p{place}" for place in range(count)]
    told = {name: ids for name in ("id", "product", "group")}
    told |= {"split": ["test"] * count, "slice/gender": ["Women"] * count}
    told |= dict.fromkeys(("image_height", "image_width"), [80] * count)
    rest = ("image_aspect", "image_brightness", "image_sharpness")
    told |= {name: [0.5] * count for name in rest}
    truths = {level: [of[code] for code in truth] for level, of in LABELS.items() if of}
    answers = {level: scores for level in truths}
    answers |= {"attributes": np.zeros((count, 0)), "embedding": np.ones((count, 2))}
    rows = table.rows(schema, told, truths | {"attributes": [[]] * count}, answers)
    file = table.split_folder(folder, "test") / "answers.parquet"
    file.parent.mkdir(parents=True)
    with pq.ParquetWriter(file, schema) as writer:
        writer.write_batch(rows)


def write_examples(folder, count=8):
    """The products' pictures, each of a brightness of its own."""
    folder.mkdir(parents=True)
    with gzip.open(folder / "data_tfrecord-00000-of-00001.gz", "wb") as file:
        for place in range(count):
            picture = io.BytesIO()
            Image.new("RGB", (96, 96), (20 * place,) * 3).save(picture, "PNG")
            example = Example()
            example.features.feature["id"].bytes_list.value.append(f"p{place}".encode())
            example.features.feature["image"].bytes_list.value.append(picture.getvalue())
            file.write(framed(example.SerializeToString()))


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
    monkeypatch.setattr(tfma_page, "write", lambda folder, uri: (folder / "tfma.html").touch())
    judgement.write(contents.judgement, tmp_path / "judgement")
    index = tmp_path / "similarity_index"
    index.mkdir()
    (index / QUALITY_FILE).write_text(json.dumps(contents.search))
    (index / MAP_FILE).write_text(json.dumps(contents.search_map))
    write_answers(tmp_path / "predictions")
    write_examples(tmp_path / "examples" / "Split-test")

    def run(name="artifact", **properties):
        inputs = {
            "examples": standard_artifacts.Examples(),
            "predictions": Predictions(),
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
            "similarity_index": SimilarityIndex(),
        }
        for key, artifact in inputs.items():
            artifact.uri = str(tmp_path / key)
        inputs["examples"].split_names = '["test"]'
        for of, value in properties.items():
            key, property_name = of.split("__")
            setter = "set_int_custom_property" if isinstance(value, int) else None
            getattr(inputs[key], setter or "set_string_custom_property")(property_name, value)
        report = HtmlReport()
        report.uri = str(tmp_path / "Report" / name)
        executor.Executor().Do(
            {key: [artifact] for key, artifact in inputs.items()},
            {"report": [report]},
            {
                "name": "winter",
                "code": "",
                "attribute_threshold": 0.75,
                "slices": '["gender"]',
            },
        )
        return report

    return run


def test_the_page_its_data_and_the_metrics_are_written_and_nothing_else(do, tmp_path, contents):
    report = do(infra_blessing__blessed=1, pushed_model__pushed=0)
    assert report.get_string_custom_property("summary").startswith("index.html, ")
    folder = tmp_path / "Report" / "artifact"
    files = sorted(file.name for file in folder.iterdir())
    assert [re.sub(r"-\w{12}$", "-", name) for name in files] == [
        *("files-", "index.html", "metrics.json")
    ]
    assert f'"files":"{files[0]}"' in (folder / "index.html").read_text()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["metrics"] == pytest.approx(contents.evaluation.metrics)
    assert metrics["labels"]["category"]["Footwear"]["support"] == 34
    jsonschema.validate(metrics, json.loads(SCHEMA.read_text()))
    assert metrics["blessed"] is True
    assert [gate["verdict"] for gate in metrics["gates"]][2] == "too few products"
    assert metrics["training"]["temperatures"] == contents.history["temperatures"]


def test_what_the_page_shows_of_products_lies_beside_it(do, tmp_path):
    do()
    [beside] = (tmp_path / "Report" / "artifact").glob("files-*")
    assert sorted(file.name for file in beside.iterdir()) == [
        *("0000.webp", "map.js", "products.js", "slices.js", "tfma.html")
    ]
    told = delivered(beside / "products.js")
    assert told["ids"][0] == f"p{WRONG}"
    assert told["slices"]["gender"]["values"] == ["Women"]
    sheet = np.asarray(Image.open(beside / "0000.webp"))
    shades = [int(name[1:]) * 20 for name in told["ids"]]
    assert sheet[48, 48 : 96 * 8 : 96, 0].tolist() == pytest.approx(shades, abs=6)


def test_the_search_is_told_as_its_step_measured_it(do, tmp_path, contents):
    do()
    folder = tmp_path / "Report" / "artifact"
    assert json.loads((folder / "metrics.json").read_text())["search"] == contents.search
    [file] = folder.glob("files-*/map.js")
    assert delivered(file) == contents.search_map
    assert 'id="visual-search"' in (folder / "index.html").read_text()


def test_earlier_runs_of_the_workspace_are_told(do, tmp_path):
    do("1", pushed_model__pushed=1, pushed_model__pushed_version="42")
    do("2")
    assert 'id="runs"' not in (tmp_path / "Report" / "1" / "index.html").read_text()
    assert "live as 42" in (tmp_path / "Report" / "2" / "index.html").read_text()
    metrics = json.loads((tmp_path / "Report" / "1" / "metrics.json").read_text())
    assert metrics["live"] == "42"


def test_properties_of_the_artifacts_decide_what_became_of_the_model(do, tmp_path):
    page = tmp_path / "Report" / "artifact" / "index.html"
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


def test_canary_push_and_search_may_be_missing_from_the_pipeline():
    required = {
        "examples": standard_artifacts.Examples,
        "predictions": Predictions,
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
    component = Report(**channels, name="winter", code="", attribute_threshold=0.75, slices=[])
    assert component.outputs["report"].type is HtmlReport
