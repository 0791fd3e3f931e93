"""The folder that holds everything of one catalog's runs."""

import subprocess
import sys

import pytest

from pipeline.config import Catalog
from pipeline.workspace import Workspace
from schema.errors import UserError


@pytest.fixture
def workspace(tmp_path):
    place = Workspace(tmp_path / "work")
    place.create()
    return place


def test_a_second_run_in_the_same_workspace_is_told_which_process_is_first(workspace):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"""
from pathlib import Path
from pipeline.workspace import Workspace
with Workspace(Path({str(workspace.root)!r})).locked():
    print("locked", flush=True)
    input()
""",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(UserError, match=f"process {holder.pid}"), workspace.locked():
            pass
    finally:
        holder.kill()
        holder.communicate()
    with workspace.locked():
        pass


def test_a_workspace_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--workspace"):
        Workspace(tmp_path / "file" / "work").create()


def test_the_schema_file_changes_its_name_exactly_when_the_schema_changes(workspace):
    catalog = Catalog(folder="shop", category="kind", subcategory="type", slices=["gender"])
    first, schema = workspace.write_schema(catalog)
    again, _ = workspace.write_schema(catalog)
    other, _ = workspace.write_schema(catalog.model_copy(update={"slices": ["brand"]}))
    assert first == again
    assert first != other
    assert "gender" in {feature.name for feature in schema.feature}
