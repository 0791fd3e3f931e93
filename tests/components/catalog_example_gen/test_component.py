"""CatalogExampleGen in a pipeline of its own: what it hands on, and when it runs again."""

import json
import os
from pathlib import Path

import pytest
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2
from PIL import Image
from tfx.dsl.compiler import compiler
from tfx.orchestration import pipeline as tfx_pipeline
from tfx.orchestration.local import local_dag_runner
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.types import artifact_utils

from components.catalog_example_gen import sources
from components.catalog_example_gen.component import CatalogExampleGen
from pipeline.beam_runner import LOCAL
from pipeline.config import Catalog, Split
from pipeline.demo_catalog import draw_demo_catalog
from schema.errors import UserError

Execution = metadata_store_pb2.Execution


class Workspace:
    """A catalog and a pipeline of one step on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.catalog = draw_demo_catalog(folder / "catalog", products=60, seed=3).folder

    def run(self) -> tuple[str, dict[str, str]]:
        """Runs the pipeline; gives how the step ended and the URIs of its outputs."""
        catalog = Catalog(
            folder=str(self.catalog),
            category="category",
            subcategory="subcategory",
            attributes=["colour"],
            slices=["gender"],
        )
        options = catalog.model_dump(), Split(eval=0.2, test=0.2).model_dump()
        component = CatalogExampleGen(
            *options, {}, sources.fingerprint(*options)
        ).with_beam_pipeline_args(LOCAL)
        local_dag_runner.LocalDagRunner().run(
            tfx_pipeline.Pipeline(
                pipeline_name="ingest",
                pipeline_root=str(self.folder / "artifacts"),
                metadata_connection_config=sqlite_metadata_connection_config(str(self.database)),
                components=[component],
                enable_cache=True,
            )
        )
        return self.last_execution()

    @property
    def database(self) -> Path:
        return self.folder / "metadata.sqlite"

    def last_execution(self) -> tuple[str, dict[str, str]]:
        store = metadata_store.MetadataStore(sqlite_metadata_connection_config(str(self.database)))
        execution = max(store.get_executions(), key=lambda one: one.id)
        events = store.get_events_by_execution_ids([execution.id])
        artifacts = store.get_artifacts_by_id([event.artifact_id for event in events])
        outputs = {artifact.type: artifact for artifact in artifacts}
        return Execution.State.Name(execution.last_known_state), outputs


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("workspace"))


def test_it_runs_once_and_then_only_when_the_catalog_has_changed(workspace: Workspace) -> None:
    assert workspace.run()[0] == "COMPLETE"
    assert workspace.run()[0] == "CACHED"

    (workspace.catalog / "images" / "notes.txt").write_text("no picture")
    assert workspace.run()[0] == "CACHED"

    picture = workspace.catalog / "images" / "10001.jpg"
    os.utime(picture, ns=(1, 1))
    assert workspace.run()[0] == "COMPLETE"
    assert workspace.run()[0] == "CACHED"

    Image.new("RGB", (20, 20)).save(workspace.catalog / "images" / "new.png")
    assert workspace.run()[0] == "COMPLETE"
    picture.unlink()
    assert workspace.run()[0] == "COMPLETE"

    labels = workspace.catalog / "labels.csv"
    labels.write_text(labels.read_text().replace("Red", "Pink"))
    assert workspace.run()[0] == "COMPLETE"


def test_it_hands_on_examples_of_three_splits_and_the_rejects(workspace: Workspace) -> None:
    _, outputs = workspace.run()
    examples = outputs["Examples"]
    names = examples.properties["split_names"].string_value
    assert artifact_utils.decode_split_names(names) == ["train", "eval", "test"]
    assert examples.custom_properties["payload_format"].string_value == "FORMAT_TF_EXAMPLE"
    summary = json.loads((Path(outputs["components.Rejects"].uri) / "summary.json").read_text())
    assert examples.custom_properties["summary"].string_value == (
        f"{summary['accepted']} products, {summary['rejected']} rejected"
    )
    assert sorted(path.name for path in Path(examples.uri).iterdir()) == [
        "Split-eval",
        "Split-test",
        "Split-train",
    ]


def test_a_run_that_can_use_nothing_fails_and_keeps_the_list_of_rejects(
    workspace: Workspace,
) -> None:
    for picture in (workspace.catalog / "images").iterdir():
        picture.write_bytes(b"")
    with pytest.raises(UserError, match="none of 60 rows could be used") as raised:
        workspace.run()
    assert workspace.last_execution()[0] == "FAILED"
    (path,) = [word for word in str(raised.value).split() if word.endswith("rejects.csv.")]
    assert Path(path[:-1]).read_text().startswith("row,id,column,reason,found\n")


def test_it_compiles_for_other_orchestrators(workspace: Workspace) -> None:
    component = CatalogExampleGen({"folder": "x"}, {}, {"category": ["a"]}, "")
    pipeline = tfx_pipeline.Pipeline("ingest", "root", components=[component])
    node = compiler.Compiler().compile(pipeline).nodes[0].pipeline_node
    assert json.loads(node.parameters.parameters["domains"].field_value.string_value) == {
        "category": ["a"]
    }
