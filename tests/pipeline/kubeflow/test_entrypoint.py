"""What a step's container makes of what the backend hands it, in this process, without a store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.schema_import.executor import Executor
from pipeline.copies import Copies
from pipeline.kubeflow import entrypoint
from pipeline.kubeflow.entrypoint import main, run, typed
from schema.errors import UserError

PLACES = [
    ("s3://bucket/a/b", "s3/bucket/a/b"),
    ("gs://bucket/a b", "gcs/bucket/a b"),
    ("minio://mlpipeline/v2/x", "minio/mlpipeline/v2/x"),
]


@pytest.mark.parametrize(("uri", "place"), PLACES)
@pytest.mark.parametrize("folder", ["/", "/pods/one"])
def test_a_copy_and_its_origin_name_each_other(uri, place, folder):
    copies = Copies(folder)
    path = copies.of(uri)
    assert path == f"{folder.rstrip('/')}/{place}"
    assert copies.origin(path) == uri
    assert copies.in_words(f"see {path}, and /work") == f"see {uri}, and /work"


@pytest.mark.parametrize("path", ["/data/catalog", "relative", "hdfs://a/b", "", "/s3x/a"])
def test_what_is_no_copy_stays_as_it_is(path):
    assert Copies("/").of(path) == Copies("/").origin(path) == path


def test_types_are_taken_from_the_definition_where_the_backend_gives_none():
    kind = {"instanceSchema": "title: components.Rejects\ntype: object\n"}
    other = {"instanceSchema": "title: tfx.Model\n"}
    given = {
        "inputs": {
            "artifacts": {
                "rejects": {"artifacts": [{"type": {"instanceSchema": ""}}]},
                "model": {"artifacts": [{"type": other}, {}]},
            }
        }
    }
    defined = {"artifacts": {"rejects": {"artifactType": kind}, "model": {"artifactType": kind}}}
    typed(given, defined)
    found = given["inputs"]["artifacts"]
    assert found["rejects"]["artifacts"] == [{"type": kind}]
    assert found["model"]["artifacts"] == [{"type": other}, {"type": kind}]


@pytest.fixture
def step(tmp_path):
    """The arguments of a step that writes a schema, in a pod whose earlier attempt was killed."""
    uri = "s3://bucket/root/ImportSchemaGen/schema"
    left = tmp_path / "s3" / "bucket" / "root" / "ImportSchemaGen" / "schema" / "half"
    left.parent.mkdir(parents=True)
    left.write_text("half")

    def of(name, kind, uri):
        return {"artifacts": [{"name": name, "type": kind, "uri": uri, "metadata": {}}]}

    given = {
        "inputs": {"parameterValues": {"text": "feature { name: 'a' }\n"}},
        "outputs": {
            "artifacts": {
                "schema": of("schema", {"instanceSchema": "title: tfx.Schema\n"}, uri),
                "executor-logs": of("executor-logs", {"schemaTitle": "system.Artifact"}, "s3://l"),
            },
            "outputFile": str(tmp_path / "out" / "output_metadata.json"),
        },
    }
    return [
        *("--executor_class_path", f"{Executor.__module__}.{Executor.__name__}"),
        *("--json_serialized_invocation_args", json.dumps(given)),
        "--json_serialized_inputs_spec_args",
        json.dumps({"parameters": {"text": {"parameterType": "STRING"}}}),
        *("--copies", str(tmp_path), "--runner=FnApiRunner"),
    ]


def test_a_step_writes_where_the_launcher_looks_and_tells_of_the_store(step, tmp_path):
    run(step)
    told = json.loads((tmp_path / "out" / "output_metadata.json").read_text())["artifacts"]
    assert set(told) == {"schema"}
    [artifact] = told["schema"]["artifacts"]
    assert artifact["uri"] == "s3://bucket/root/ImportSchemaGen/schema"
    written = tmp_path / "s3" / "bucket" / "root" / "ImportSchemaGen" / "schema"
    assert [path.name for path in written.iterdir()] == ["schema.pbtxt"], "no half of an attempt"
    assert str(tmp_path) not in json.dumps(told)


def test_with_workers_elsewhere_a_step_keeps_the_urls(step, monkeypatch):
    seen = {}

    def look(args, beam_args):
        seen.update(json.loads(args.json_serialized_invocation_args)["outputs"]["artifacts"])
        raise UserError("enough")

    monkeypatch.setattr(entrypoint.kubeflow_v2_run_executor, "_run_executor", look)
    with pytest.raises(UserError):
        run([*step[:-1], "--runner=DataflowRunner"])
    assert seen["schema"]["artifacts"][0]["uri"].startswith("s3://")


def test_what_people_can_mend_is_the_last_line_with_the_stores_names(
    step, tmp_path, monkeypatch, capsys
):
    def refuse(*_):
        raise UserError(f"Look into {Path(tmp_path, 's3', 'bucket', 'a.csv')}.")

    monkeypatch.setattr(entrypoint.kubeflow_v2_run_executor, "_run_executor", refuse)
    monkeypatch.setattr("sys.argv", ["entrypoint", *step])
    assert main() == 1
    assert capsys.readouterr().err.splitlines()[-1] == "Look into s3://bucket/a.csv."
