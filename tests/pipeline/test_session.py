"""A run as a person sees it."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config import Catalog, Config, Metadata, Serving
from pipeline.demo_catalog import draw_demo_catalog
from pipeline.session import run_in_console, shown
from pipeline.workspace import Workspace
from schema.errors import UserError


def test_what_is_said_before_a_run_needs_no_tensorflow():
    script = (
        "import sys, pipeline.cli, pipeline.session, serving.client\n"
        "sys.exit(', '.join({'tensorflow', 'tfx', 'apache_beam'} & set(sys.modules)))"
    )
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert process.stderr.strip() == ""


def test_paths_are_shown_as_they_would_be_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shown(tmp_path / "workspace" / "shop") == Path("workspace/shop")
    assert shown(tmp_path.parent) == tmp_path.parent


def _sections(place, bucket_url):
    return {
        "bucket": {"serving": Serving(push_to="s3://nowhere-at-all/serving")},
        "database": {"metadata": Metadata(postgresql="postgresql://me@127.0.0.1:1/shop")},
        "both buckets": {
            "catalog": {"folder": "s3://nowhere-at-all/shop"},
            "serving": Serving(push_to=f"{bucket_url}/serving"),
        },
    }[place]


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("bucket", "There is no bucket nowhere-at-all .* s3://nowhere-at-all/serving"),
        ("database", "PostgreSQL does not answer at 127.0.0.1:1"),
        ("both buckets", "There is no bucket nowhere-at-all .* s3://nowhere-at-all/shop"),
    ],
)
def test_shared_storage_that_is_away_is_told_before_anything_is_written(
    tmp_path, bucket_url, place, told
):
    catalog = draw_demo_catalog(tmp_path / "catalog", products=20)
    sections = _sections(place, bucket_url)
    columns = {"category": "category", "subcategory": "subcategory"}
    folder = {"folder": str(catalog.folder)} | sections.pop("catalog", {})
    config = Config(catalog=Catalog(**folder, **columns), **sections)
    with pytest.raises(UserError, match=told):
        run_in_console(config, Workspace(tmp_path / "work"))
    assert not (tmp_path / "work").exists()
