"""`seamline search` and `seamline app` as a person meets them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from pipeline.app_console import embedded_server, follow
from pipeline.cli import app
from serving.model_server import ModelServer
from tests.serving.app import search_model
from tests.serving.app.running import running
from tests.serving.app.test_models import until

RED = (220, 30, 20)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A workspace with one pushed version."""
    root = tmp_path_factory.mktemp("workspaces") / "workspace" / "shop"
    model, version = search_model.SearchModel(), root / "serving" / "catalog" / "4"
    model.save(version)
    search_model.write_index(model, version, search_model.catalog())
    return root


@pytest.fixture(scope="module")
def server(workspace):
    with ModelServer(workspace / "serving", enable_model_warmup=False) as started:
        yield started


@pytest.fixture
def seamline(monkeypatch, tmp_path):
    """Runs a command; gives the status, what it printed and what it complained of."""
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        done = CliRunner().invoke(app, list(map(str, arguments)))
        assert done.exception is None or isinstance(done.exception, SystemExit)
        return done.exit_code, done.stdout, " ".join(done.stderr.split())

    return run


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "red shirt.png"
    path.write_bytes(search_model.picture(RED))
    return path


def without_time(answer):
    return {name: value for name, value in answer.items() if name != "took_ms"}


def test_a_product_is_looked_for_without_any_server(seamline, workspace, monkeypatch):
    monkeypatch.setattr("serving.client.async_catalog_client.AsyncCatalogClient._run", None)

    status, said, _ = seamline("search", "p20", "--workspace", workspace, "-k", 3)

    assert status == 0
    assert "3 products of catalog version 4 that look like p20" in said
    assert re.search(r"1 +\S+ +\d\.\d{3} +kind 1\.\d\d gender 0\.\d\d", said)
    assert "tone" not in said


def test_json_is_what_the_api_answers(seamline, workspace, server, picture):
    asked = {"k": 4, "where": ["gender=Women"], "weight": ["colour=2"], "crop": "0,0,0.5,1"}
    options = [*("-k", 4, "--where", "gender=Women", "--weight", "colour=2"),
               *("--crop", "0,0,0.5,1", "--json", "--workspace", workspace)]  # fmt: skip

    status, said, _ = seamline("search", picture, *options, "--server", server.endpoint)

    with running(workspace / "serving", server.endpoint) as served:
        expected = served.search(picture.read_bytes(), **asked)
        by_id = served.search(id="p20", k=15)
    assert status == 0
    assert without_time(json.loads(said)) == without_time(expected)
    _, said, _ = seamline("search", "p20", "--json", "--workspace", workspace)
    assert without_time(json.loads(said)) == without_time(by_id)


def test_a_picture_starts_a_server_of_its_own_in_the_only_workspace_there_is(workspace, picture):
    done = subprocess.run(
        [str(Path(sys.executable).parent / "seamline"), "search", str(picture), "-k", "2"],
        cwd=workspace.parents[1], capture_output=True, text=True, timeout=200,
        env={**os.environ, "COLUMNS": "160"},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "category: red 0." in done.stdout
    assert "2 products of catalog version 4" in done.stdout
    assert done.stderr == ""


def test_nothing_close_and_nothing_at_all_are_said(seamline, workspace):
    colors_alone = [f"--weight={name}=0" for name in search_model.WEIGHTS if name != "colour"]

    status, said, _ = seamline("search", "p20", "--workspace", workspace, *colors_alone, "-k", 1)

    # No other product of these colors has a color in common with this one.
    assert status == 0
    assert "Nothing in catalog version 4 is close to p20; the nearest are" in said
    everybody = [f"--exclude=p{at}" for at in range(60)]
    ids = [product.id for product in search_model.catalog()]
    everybody += [f"--exclude={id_}" for id_ in ids]
    status, said, _ = seamline("search", "p20", "--workspace", workspace, *everybody)
    assert status == 0 and "Nothing in catalog version 4 passes" in said


REFUSED = [
    (["p20", "--where", "size=L"], "no field"),
    (["p20", "--where", "gender=Woman"], "Women"),
    (["p20", "--weight", "shape=1"], "shape"),
    (["p20", "--version", "9"], "there are: 4"),
    (["p20", "--model", "shoes"], "search.enabled=true"),
    (["p20", "--crop", "1"], "crop"),
    (["nothing.jpg"], "nothing.jpg is no file, and no product"),
]


@pytest.mark.parametrize(("arguments", "word"), REFUSED)
def test_what_makes_no_sense_is_one_sentence(seamline, workspace, arguments, word):
    status, said, complaint = seamline("search", *arguments, "--workspace", workspace)

    assert (status, said) == (1, "")
    assert word in complaint and complaint.startswith("error: ")


def test_no_picture_is_said_before_a_model_is_loaded(seamline, workspace, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")

    status, _, complaint = seamline("search", "notes.txt", "--workspace", workspace)

    assert status == 1 and "JPEG, PNG, WebP, GIF and BMP" in complaint


def test_a_server_that_is_away_is_named(seamline, workspace, picture):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"

    status, _, complaint = seamline("search", picture, "--workspace", workspace, "--server", nobody)

    assert status == 1 and nobody in complaint


def test_a_workspace_without_a_push_or_an_index_says_how_to_get_one(seamline, tmp_path, workspace):
    for command in (["search", "p20", "--workspace"], ["app"]):
        (tmp_path / "empty").mkdir(exist_ok=True)
        status, _, complaint = seamline(*command, tmp_path / "empty")
        assert status == 1 and "was pushed yet" in complaint
        assert "--set search.enabled=true" in complaint
        (tmp_path / "older" / "serving" / "catalog" / "3").mkdir(parents=True, exist_ok=True)
        status, _, complaint = seamline(*command, tmp_path / "older")
        assert status == 1 and "No version of catalog" in complaint
    assert "no workspace" in seamline("search", "p20")[2]
    assert "no workspace" in seamline("app", tmp_path / "none")[2]


def test_the_app_says_where_it_is_what_to_try_and_ends_well(workspace, server):
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "seamline"), "app", str(workspace), "--port", "0",
         "--server", server.endpoint],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("ready"):
                break
        address = re.search(r"http://\S+/", said[0])[0]
        found = httpx.post(f"{address}api/search", files={"picture": search_model.picture(RED)})
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
    assert found.status_code == 200
    assert any("curl -F picture=@PICTURE.jpg" in line for line in said)
    assert said[-1] == "ready: 60 products by catalog version 4\n"
    assert not any("Anybody" in line for line in said)


def test_a_model_that_comes_while_the_app_runs_is_searched_by_and_one_that_goes_is_not(
    workspace, tmp_path
):
    shutil.copytree(workspace / "serving" / "catalog", tmp_path / "catalog")
    with (
        embedded_server(tmp_path, None) as server,
        running(tmp_path, server.endpoint) as served,
    ):
        following = asyncio.run_coroutine_threadsafe(follow(server, tmp_path, None), served.loop)
        shutil.copytree(workspace / "serving" / "catalog", tmp_path / ".coming")
        (tmp_path / ".coming").rename(tmp_path / "other")

        def ready():
            return {one["name"]: one["ready"] for one in served.get("/api/models")["models"]}

        until(lambda: ready() == {"catalog": True, "other": True})
        shutil.rmtree(tmp_path / "other")
        until(lambda: [one.name for one in server.models.model_config_list.config] == ["catalog"])
        # The app looks for itself, at other moments.
        until(lambda: ready() == {"catalog": True})
        following.cancel()


def test_a_port_in_use_is_said_before_anything_is_loaded(seamline, workspace):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, _, complaint = seamline("app", workspace, "--port", port)

    assert status == 1 and f"port {port}" in complaint and "--port" in complaint
