"""`seamline index`: an index in Qdrant's own client, and what is told where there is none."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import qdrant_client
from typer.testing import CliRunner

from pipeline.cli import app
from schema import features
from serving.search import FaissIndex, IndexedCatalog, Recipe
from serving.search.blocks import Whitening
from serving.search.catalog import MODEL_KEY
from serving.search.qdrant_index import QdrantIndex
from serving.search.recipe import Answers

# Qdrant's client says of its local form that it has no payload indexes.
pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes")

IDS = [f"p{at}" for at in range(30)]


@pytest.fixture
def workspace(tmp_path):
    rng = np.random.default_rng(1)
    embedding = rng.standard_normal((30, 5))
    recipe = Recipe({"subcategory": ["a", "b"]}, Whitening.fit(embedding, 3))
    mark = hashlib.sha256(b"graph").hexdigest()
    index = FaissIndex(recipe.space, "float16", made_by={MODEL_KEY: mark})
    scores = Answers({"subcategory": rng.random((30, 2))}, embedding)
    vectors = recipe.joined(scores, rng.random((30, 486)))
    index.upsert(IDS, vectors, {"size": list("sml" * 10)})
    version = tmp_path / "serving" / "catalog" / "7"
    (version / "variables").mkdir(parents=True)
    (version / "variables" / "variables.index").write_bytes(b"")
    (version / "saved_model.pb").write_bytes(b"graph")
    pictures = ((id_, b"picture") for id_ in IDS)
    IndexedCatalog.write(version / features.INDEX_FOLDER, index, recipe, pictures)
    return tmp_path


@pytest.fixture
def qdrant(monkeypatch):
    """Qdrant's client without a server, whatever address it is given."""
    client = qdrant_client.QdrantClient(":memory:")
    monkeypatch.setattr(client, "close", lambda: None)
    monkeypatch.setattr(qdrant_client, "QdrantClient", lambda *_, **__: client)
    return client


def _run(*arguments):
    done = CliRunner().invoke(app, ["index", *map(str, arguments)])
    return done.exit_code, " ".join(done.output.split())


def test_an_index_is_brought_to_qdrant_and_answers_there(workspace, qdrant):
    status, said = _run("push", workspace, "http://qdrant:6333")
    assert status == 0, said
    assert said.startswith("30 products in catalog-")
    assert "100.0% of the exact nearest found" in said

    source = IndexedCatalog.open(workspace / "serving/catalog/7" / features.INDEX_FOLDER).index
    there = QdrantIndex(qdrant, "catalog")
    query = source.vectors(["p3"])
    wanted, found = (of.search(query, 5, where={"size": "s"})[0].hits for of in (source, there))
    assert [hit.id for hit in found] == [hit.id for hit in wanted]

    status, said = _run("push", workspace, "http://qdrant:6333", "--remove-replaced")
    assert status == 0 and "in place of catalog-" in said
    assert len(qdrant.get_collections().collections) == 1


def test_qdrant_is_given_its_own_key_and_never_the_model_servers(
    workspace, qdrant, monkeypatch, tmp_path
):
    keys = []

    def client(url, api_key, **_):
        keys.append(api_key)
        return qdrant

    monkeypatch.setattr(qdrant_client, "QdrantClient", client)
    monkeypatch.setenv("SEAMLINE_API_KEY", "the model server's")
    (tmp_path / "key").write_text("qdrant's\n")
    assert _run("push", workspace, "http://q:6333")[0] == 0
    assert _run("push", workspace, "http://q:6333", "--api-key-file", tmp_path / "key")[0] == 0
    monkeypatch.setenv("SEAMLINE_QDRANT_API_KEY", "of the environment")
    assert _run("push", workspace, "http://q:6333")[0] == 0
    assert keys == [None, "qdrant's", "of the environment"]


def test_what_is_not_there_is_told_in_a_sentence(workspace, qdrant, tmp_path):
    assert "there are: 7" in _run("push", workspace, "http://q:6333", "--version", 8)[1]
    assert "No version of shoes was pushed" in _run("push", workspace, "u", "--model", "shoes")[1]
    (workspace / "serving/catalog/7" / features.INDEX_FOLDER).rename(tmp_path / "away")
    for command in (["push", workspace, "http://q:6333"], ["baseline", workspace]):
        status, said = _run(*command)
        assert status == 1
        assert "search: {enabled: true}" in said


def test_a_qdrant_that_is_away_is_told_in_a_sentence(workspace):
    status, said = _run("push", workspace, "http://127.0.0.1:9")
    assert status == 1
    assert "Qdrant" in said and "Traceback" not in said
