"""Commands that are given a workspace in a bucket: those that take it, and what others say."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from components import storage
from pipeline.cli import app
from pipeline.config import Catalog, Config, Training, Tuning
from pipeline.config.beam import Beam
from pipeline.demo_catalog import draw_demo_catalog
from pipeline.session import run_in_console
from pipeline.workspace import Workspace
from schema.errors import UserError


@pytest.fixture
def seamline(monkeypatch, tmp_path):
    """Runs a command; returns its exit status and what it said on a line."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(*arguments: object) -> tuple[int, str]:
        done = CliRunner().invoke(app, [str(argument) for argument in arguments])
        return done.exit_code, " ".join(done.output.split())

    return run


@pytest.mark.parametrize(
    "command",
    [
        ["serve", "gs://bucket/shop"],
        ["app", "gs://bucket/shop"],
        ["search", "1", "--workspace", "gs://bucket/shop"],
        ["drift", "gs://bucket/shop", "--log", "log"],
        ["slices", "gs://bucket/shop"],
        ["demo", "--workspace", "gs://bucket/shop"],
        ["index", "push", "gs://bucket/shop", "http://localhost:6333"],
        ["index", "baseline", "gs://bucket/shop"],
    ],
    ids=lambda command: command[0],
)
def test_a_command_that_reads_a_folder_says_how_to_fetch_one(seamline, tmp_path, command):
    status, said = seamline(*command)
    assert status == 1
    assert "`gcloud storage cp --recursive gs://bucket/shop .` does, and name that." in said
    assert list(tmp_path.iterdir()) == []


def test_the_report_is_fetched_and_only_again_where_another_run_has_written_one(
    seamline, gs_url, tmp_path
):
    status, said = seamline("report", f"{gs_url}/shop")
    assert (status, f"{gs_url}/shop holds no report yet" in said) == (1, True)
    for content in (b"first", b"second"):
        storage.write_whole(f"{gs_url}/shop/report/index.html", content)
        status, said = seamline("report", f"{gs_url}/shop")
        page = Path(said.replace(" ", ""))
        assert (status, page.read_bytes()) == (0, content)
        assert page.is_relative_to(tmp_path / "cache")


def test_a_bucket_that_cannot_be_read_is_told(seamline, gs_url):
    status, said = seamline("metrics", "gs://nowhere-at-all/shop")
    assert (status, "There is no bucket nowhere-at-all" in said) == (1, True)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"tuning": Tuning(enabled=True, listen="0.0.0.0:7077")}, "^tuning.listen has other"),
        ({"training": Training(machines=2)}, "^training.machines has other machines read"),
    ],
    ids=["trials", "training"],
)
def test_what_needs_a_folder_that_machines_mount_is_refused(
    tmp_path, gs_url, monkeypatch, options, told
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    catalog = draw_demo_catalog(tmp_path / "catalog", products=20)
    columns = {"category": "category", "subcategory": "subcategory"}
    config = Config(catalog=Catalog(folder=str(catalog.folder), **columns), **options)
    with pytest.raises(UserError, match=rf"{told}.*{gs_url}/shop is in a bucket\. Name a folder"):
        run_in_console(config, Workspace.named(Path(f"{gs_url}/shop")))
    assert storage.files(gs_url) == [] and not (tmp_path / "cache").exists()


def test_dataflow_is_given_no_folders(tmp_path, gs_url, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    catalog = draw_demo_catalog(tmp_path / "catalog", products=20).folder
    for file in filter(Path.is_file, catalog.rglob("*")):
        storage.copy(str(file), f"{gs_url}/catalog/{file.relative_to(catalog)}")
    dataflow = {"runner": "dataflow", "project": "p", "region": "r", "sdk_container_image": "i"}
    beam = Beam(**dataflow, temp_location=f"{gs_url}/temp")
    columns = {"category": "category", "subcategory": "subcategory"}
    for folder, workspace, told in (
        (catalog, f"{gs_url}/shop", rf"^{catalog} is a folder, .* with catalog\.folder, "),
        (f"{gs_url}/catalog", tmp_path / "work", "/work is a folder, .* with --workspace, "),
    ):
        config = Config(catalog=Catalog(folder=str(folder), **columns), beam=beam)
        with pytest.raises(UserError, match=told):
            run_in_console(config, Workspace.named(Path(workspace)))
    assert storage.files(f"{gs_url}/shop") == []
    assert not (tmp_path / "work").exists() and not (tmp_path / "cache").exists()
