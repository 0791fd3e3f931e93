"""The schema of a run is an artifact that the other steps can read."""

from __future__ import annotations

from pathlib import Path

from tfx.types import standard_artifacts
from tfx.utils import io_utils

from components.schema_import.component import ImportSchemaGen
from components.schema_import.executor import Executor
from schema.catalog import BASE_FILE, catalog_schema, schema_text


def test_the_text_becomes_the_schema(tmp_path: Path) -> None:
    schema = catalog_schema(["größe", 'with "quotes"'], BASE_FILE.with_name("demo.pbtxt"))
    step = ImportSchemaGen(schema_text(schema))
    made = standard_artifacts.Schema()
    made.uri = str(tmp_path / "schema")
    Executor().Do({}, {"schema": [made]}, step.exec_properties)
    assert io_utils.SchemaReader().read(f"{made.uri}/schema.pbtxt") == schema
    assert step.id == "ImportSchemaGen"


def test_the_same_schema_is_the_same_text() -> None:
    one, two = (schema_text(catalog_schema(["gender"])) for _ in range(2))
    assert one == two != schema_text(catalog_schema(["brand"]))
