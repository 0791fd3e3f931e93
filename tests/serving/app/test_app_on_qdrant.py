"""The app where Qdrant answers: of which version, and what is said where it does not."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time

import httpx
import pytest
from typer.testing import CliRunner

from pipeline.cli import app as seamline
from pipeline.index_commands import push_index
from schema import features
from serving.app.models import qdrant_server
from serving.search.qdrant_server import QdrantServer
from tests.serving.app import search_model
from tests.serving.app.running import running
from tests.serving.app.test_models import PICTURE, pushed, until
from tests.serving.app.test_server import address_of, started
from tests.serving.search.qdrant_http import Qdrant


@pytest.fixture
def qdrant():
    with Qdrant().answering() as answering:
        yield answering


@pytest.fixture
def catalog(version_folder, tmp_path):
    """A serving root with the session's model as version 5."""
    pushed(version_folder, tmp_path / "serving", 5)
    return tmp_path / "serving"


def bring(qdrant, root, number=5, alias="catalog", **options):
    """As `seamline index push` does."""
    push_index(root / "catalog", number, qdrant.url, alias, None, options.get("remove", False))


def test_another_version_is_never_answered_by_the_same_vectors(app_on_qdrant):
    told = app_on_qdrant.search(PICTURE, version=3, status=503)["detail"]

    assert 'Qdrant calls "catalog" is not the one of version 3 of catalog' in told
    assert "`seamline index push WORKSPACE QDRANT_URL --model catalog --version 3` brings" in told
    assert app_on_qdrant.search(id="p20", version=3, status=503)["detail"] == told
    # Its pictures and its model have nothing to do with that.
    assert app_on_qdrant.search(PICTURE)["version"] == 5


def test_the_vectors_of_another_model_are_refused_however_alike(
    catalog, qdrant, products, model_server, tmp_path
):
    other = tmp_path / "other" / "catalog" / "5"
    sharper = search_model.SearchModel(sharpness=4.1)
    sharper.save(other)
    search_model.write_index(sharper, other, products)
    bring(qdrant, tmp_path / "other")

    with running(catalog, model_server.endpoint, qdrant=QdrantServer(qdrant.url)) as app:
        assert "is not the one of version 5" in app.search(PICTURE, status=503)["detail"]
        [model] = app.get("/api/models")["models"]
        assert (model["ready"], model["version"], model["engine"]) == (False, None, None)
        assert "is not the one of version 5" in model["problem"]
        assert "is not the one of version 5" in app.get("/readyz", 503)["detail"]

        bring(qdrant, catalog)
        until(lambda: app.http.get("/readyz").status_code == 200)
        assert app.search(PICTURE)["results"]


def test_vectors_that_the_same_model_made_otherwise_are_refused(
    catalog, qdrant, version_folder, products, model_server, tmp_path
):
    # Whitened by what other products look like, and of the same size.
    pushed(version_folder, tmp_path / "other", 5, products[:30])
    bring(qdrant, tmp_path / "other")

    with running(catalog, model_server.endpoint, qdrant=QdrantServer(qdrant.url)) as app:
        assert "is not the one of version 5" in app.search(id="p20", status=503)["detail"]


def test_an_index_that_is_not_there_yet_is_found_when_it_comes(catalog, qdrant, model_server):
    server = QdrantServer(qdrant.url, alias="summer")
    with running(catalog, model_server.endpoint, qdrant=server) as app:
        told = app.search(PICTURE, status=503)["detail"]
        assert told.startswith('Qdrant has no index that is called "summer"; `seamline index')
        assert "--version 5 --alias summer` brings it there" in told

        bring(qdrant, catalog, alias="summer")
        until(lambda: app.http.get("/readyz").status_code == 200)
        assert app.search(PICTURE)["results"]
        assert app.get("/api/models")["models"][0]["engine"] == "Qdrant"


def test_a_qdrant_that_goes_and_comes_back(catalog, model_server, products):
    qdrant = Qdrant()
    with qdrant.answering():
        bring(qdrant, catalog)
        with running(catalog, model_server.endpoint, qdrant=QdrantServer(qdrant.url)) as app:
            before = app.search(PICTURE)
    with running(catalog, model_server.endpoint, qdrant=QdrantServer(qdrant.url)) as app:
        # It is away before anything was opened.
        assert app.search(PICTURE, status=503)["detail"].startswith("Qdrant does not answer")
        with qdrant.answering():
            until(lambda: app.http.get("/readyz").status_code == 200)
            assert app.search(PICTURE)["results"] == before["results"]
        for path, body in (("search", PICTURE), ("explain", PICTURE)):
            told = app.post(
                path, body, status=503, **{"result": "p20"} if path == "explain" else {}
            )
            assert told["detail"].startswith("Qdrant does not answer"), path
            assert str(qdrant.port) not in told["detail"]
        assert app.get("/api/facets", 503)["detail"].startswith("Qdrant does not answer")
        assert app.get("/api/products/p20", 503)["detail"].startswith("Qdrant does not answer")
        # What needs no index goes on.
        assert app.http.get("/api/images/p20").status_code == 200
        assert app.post("predict", PICTURE)["seen"]
        until(lambda: app.http.get("/readyz").status_code == 503)
        [model] = app.get("/api/models")["models"]
        assert model["problem"].startswith("Qdrant does not answer") and not model["ready"]
        assert (model["version"], model["products"]) == (5, len(products))
        assert app.http.get("/healthz").status_code == 200
        with qdrant.answering():
            until(lambda: app.http.get("/readyz").status_code == 200)
            assert app.search(PICTURE)["results"] == before["results"]
            assert app.get("/api/models")["models"][0]["problem"] is None


def test_nobody_waits_for_a_qdrant_that_is_known_to_hang(
    catalog, model_server, products, monkeypatch
):
    monkeypatch.setattr("serving.search.qdrant_server._TIMEOUT_S", 2)
    qdrant = Qdrant()
    with qdrant.answering():
        bring(qdrant, catalog)
        server = QdrantServer(qdrant.url)
        stack = contextlib.ExitStack()
        app = stack.enter_context(running(catalog, model_server.endpoint, qdrant=server))
    with stack, socket.create_server(("127.0.0.1", qdrant.port)):
        until(lambda: app.http.get("/readyz").status_code == 503)
        began = time.monotonic()
        for _ in range(5):
            assert "Qdrant does not answer" in app.search(id="p20", status=503)["detail"]
            assert app.get("/api/models")["models"][0]["products"] == len(products)
        assert time.monotonic() - began < 2


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_a_wrong_key_is_said_without_it(catalog, model_server, tmp_path, monkeypatch):
    key = tmp_path / "key"
    key.write_text("the right one\n")
    with Qdrant(api_key="the right one").answering() as qdrant:
        push_index(catalog / "catalog", 5, qdrant.url, "catalog", "the right one", False)
        wrong = QdrantServer(qdrant.url, api_key="a wrong one")
        with running(catalog, model_server.endpoint, qdrant=wrong) as app:
            told = app.search(PICTURE, status=503)["detail"]
            assert told.startswith("Qdrant wants another API key than it was given; SEAMLINE_QDRA")
            assert "wrong one" not in told
        monkeypatch.setenv("SEAMLINE_QDRANT_API_KEY", "the right one")
        for right in (qdrant_server(qdrant.url, None, None), qdrant_server(qdrant.url, None, key)):
            with running(catalog, model_server.endpoint, qdrant=right) as app:
                assert app.search(PICTURE)["results"]


def test_another_version_takes_over_without_a_wrong_or_a_lost_answer(
    version_folder, products, model_server, qdrant, tmp_path
):
    # The session's server answers with 3 and 5, whatever lies in this folder.
    root = tmp_path / "serving"
    old, new = {p.id for p in products[:30]}, {p.id for p in products[30:]}
    pushed(version_folder, root, 3, products[:30])
    bring(qdrant, root, 3)
    found, problems = [], []
    stop = threading.Event()

    def ask(app):
        with httpx.Client(base_url=app.url, timeout=60) as client:
            # Not without a pause: pushes want a processor, too.
            while not stop.wait(0.05):
                answer = client.post("/api/search?k=1000", files={"picture": PICTURE})
                if answer.status_code != 200:
                    problems.append(answer.text)
                else:
                    told = answer.json()
                    found.append((told["version"], {hit["id"] for hit in told["results"]}))

    with running(root, model_server.endpoint, qdrant=QdrantServer(qdrant.url)) as app:
        until(lambda: app.http.get("/readyz").status_code == 200)
        threads = [threading.Thread(target=ask, args=[app]) for _ in range(2)]
        for thread in threads:
            thread.start()
        until(lambda: len(found) > 5)
        pushed(version_folder, root, 5, products[30:])
        until(lambda: [v["live"] for v in app.get("/api/models")["models"][0]["versions"]]
              == [True, True])  # fmt: skip
        # The model server answers by it, its index is not in Qdrant yet: the one before goes on.
        assert app.search(PICTURE)["version"] == 3
        assert "version 5 of catalog" in app.get("/api/models")["models"][0]["problem"]
        assert app.http.get("/readyz").status_code == 200
        bring(qdrant, root, 5, remove=True)
        until(lambda: any(version == 5 for version, _ in found))
        count = len(found)
        until(lambda: len(found) > count + 5)
        stop.set()
        for thread in threads:
            thread.join()

    assert problems == []
    for version, ids in found:
        assert ids <= (old if version == 3 else new)


def test_the_command_line_searches_there(catalog, qdrant, monkeypatch, products):
    bring(qdrant, catalog)
    # Where the products' vectors lie is not asked: they may be many.
    for file in (catalog / "catalog" / "5" / features.INDEX_FOLDER / "index").glob("vectors-*"):
        file.unlink()

    def run(*arguments):
        done = CliRunner().invoke(seamline, ["search", "p20", "--workspace", str(catalog.parent),
                                             *arguments])  # fmt: skip
        return done.exit_code, done.stdout, " ".join(done.stderr.split())

    status, said, _ = run("--json", "-k", "3", "--qdrant", qdrant.url)
    assert status == 0 and len(json.loads(said)["results"]) == 3
    status, _, complaint = run("--qdrant", qdrant.url, "--qdrant-alias", "winter")
    assert status == 1 and 'no index that is called "winter"' in complaint
    status, _, complaint = run("--qdrant", "http://127.0.0.1:9")
    assert status == 1 and "Qdrant does not answer" in complaint
    for useless in (["--qdrant-alias", "winter"], ["--qdrant-api-key-file", "key"]):
        status, _, complaint = run(*useless)
        assert (status, complaint) == (
            1,
            "error: Which Qdrant is meant? Name it with --qdrant URL.",
        )
    status, _, complaint = run("--qdrant", "http://[")
    assert status == 1 and "http://[ is no address of a Qdrant" in complaint


def test_the_app_as_a_process_searches_there(catalog, qdrant, model_server):
    bring(qdrant, catalog)
    process = started(
        catalog, "--port", 0, "--qdrant", qdrant.url, "--server", model_server.endpoint
    )
    try:
        address = address_of(process)
        [model] = httpx.get(f"{address}api/models", timeout=60).json()["models"]
        assert (model["engine"], model["ready"]) == ("Qdrant", True)
    finally:
        process.terminate()
        assert process.wait(60) == 0


def test_a_version_whose_recipe_is_gone_is_said_as_ever(catalog, qdrant, model_server):
    bring(qdrant, catalog)
    (catalog / "catalog" / "5" / features.INDEX_FOLDER / "recipe.json").unlink()

    with running(catalog, model_server.endpoint, qdrant=QdrantServer(qdrant.url)) as app:
        assert "build the index anew" in app.search(PICTURE, status=503)["detail"]
