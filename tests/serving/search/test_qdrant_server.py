"""Qdrant over HTTP: whose index it has, and what is said where it has not, or does not say."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from schema import features
from schema.errors import UserError
from serving.search import DamagedIndex, FaissIndex, IndexAway, IndexedCatalog, Recipe
from serving.search.blocks import Whitening
from serving.search.catalog import MODEL_KEY, RECIPE_KEY
from serving.search.qdrant_index import push
from serving.search.qdrant_server import QdrantServer
from tests.serving.search.qdrant_http import Qdrant

IDS = [f"p{at}" for at in range(40)]
GRAPH = b"a graph with its weights"


def write(version, seed=1, weights=None):
    """A pushed version of the one model, whose vectors are made by what the seed says."""
    rng = np.random.default_rng(seed)
    recipe = Recipe(
        {"subcategory": ["a", "b"]}, Whitening.fit(rng.normal(size=(30, 5)), 3), weights
    )
    mark = hashlib.sha256(GRAPH).hexdigest()
    index = FaissIndex(recipe.space, made_by={MODEL_KEY: mark})
    vectors = rng.normal(size=(len(IDS), recipe.space.dimensions))
    sizes = [("s", "m", ("m", "l"))[at % 3] for at in range(len(IDS))]
    index.upsert(IDS, vectors, {"size": sizes}, [f"p{at - at % 2}" for at in range(len(IDS))])
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(GRAPH)
    pictures = ((id_, id_.encode()) for id_ in IDS)
    IndexedCatalog.write(version / features.INDEX_FOLDER, index, recipe, pictures)
    return version


def bring(qdrant, version, alias="shop"):
    catalog = IndexedCatalog.of_version(version)
    made_by = catalog.index.made_by | {RECIPE_KEY: catalog.recipe.mark}
    server = QdrantServer(qdrant.url)
    pushed = push(catalog.index, server.client, alias, made_by=made_by, remove_replaced=True)
    server.close()
    return pushed.collection


@pytest.fixture
def qdrant():
    with Qdrant().answering() as answering:
        yield answering


@pytest.fixture
def version(tmp_path):
    return write(tmp_path / "shop" / "7")


def test_what_was_pushed_is_the_versions_over_http_as_well(qdrant, version):
    collection = bring(qdrant, version)
    server = QdrantServer(qdrant.url)
    assert server.collections() == {"shop": collection}

    found = server.catalog("shop", version, collection)
    source = IndexedCatalog.of_version(version)
    assert found.picture("p3") == b"p3"
    for where in ({}, {"size": ["m"]}):
        query = source.index.vectors(["p3"])
        wanted, told = (of.index.search(query, 9, where=where, weights={"colour": 3})[0].hits
                        for of in (source, found))  # fmt: skip
        assert [hit.id for hit in told] == [hit.id for hit in wanted]
        assert [hit.folded for hit in told] == [hit.folded for hit in wanted]
        assert [hit.fields for hit in told] == [hit.fields for hit in wanted]
        assert found.index.facets("size", where) == source.index.facets("size", where)
    assert found.index.doubles("p3") == source.index.doubles("p3") == ["p2"]


@pytest.mark.parametrize("other", [{"seed": 2}, {"weights": {"colour": 0.5}}])
def test_the_same_models_vectors_made_otherwise_are_not_the_versions(
    qdrant, version, tmp_path, other
):
    collection = bring(qdrant, write(tmp_path / "other" / "7", **other))

    with pytest.raises(DamagedIndex, match='Qdrant calls "shop" is not the one of version 7 of sh'):
        QdrantServer(qdrant.url).catalog("shop", version, collection)


def test_another_models_vectors_are_not_the_versions(qdrant, version):
    collection = bring(qdrant, version)
    (version / "saved_model.pb").write_bytes(GRAPH + b"!")

    with pytest.raises(DamagedIndex, match="--model shop --version 7` brings it there"):
        QdrantServer(qdrant.url).catalog("shop", version, collection)


def test_an_index_that_was_pushed_without_a_mark_is_nobodys(qdrant, version):
    source = IndexedCatalog.of_version(version).index
    server = QdrantServer(qdrant.url)
    pushed = push(source, server.client, "shop")

    with pytest.raises(DamagedIndex, match="is not the one of version 7"):
        server.catalog("shop", version, pushed.collection)


def test_a_collection_stays_the_one_that_was_looked_at(qdrant, version, tmp_path):
    index = QdrantServer(qdrant.url).catalog("shop", version, bring(qdrant, version)).index
    assert index.count() == len(IDS)

    bring(qdrant, write(tmp_path / "other" / "8", seed=3))

    # Rather no answer than one by other vectors, though the alias is there.
    for ask in (index.count, lambda: index.search(np.ones(index.space.dimensions), 3)):
        with pytest.raises(DamagedIndex, match="or no longer has; push the index there again"):
            ask()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_whatever_qdrant_refuses_is_one_sentence_until_it_answers(qdrant, version, status):
    server = QdrantServer(qdrant.url)
    index = server.catalog("shop", version, bring(qdrant, version)).index

    qdrant.refuses = status
    for ask in (index.count, server.collections, lambda: index.product("p3")):
        with pytest.raises(IndexAway, match="Qdrant does not answer.*see that it runs") as error:
            ask()
        assert "\n" not in str(error.value)
    qdrant.refuses = None
    assert index.count() == len(IDS)


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_a_key_that_is_wrong_or_not_given_is_said_without_it(version):
    with Qdrant(api_key="right").answering() as qdrant:
        for key in (None, "wrong"):
            server = QdrantServer(qdrant.url, api_key=key)
            for ask in (server.collections, lambda: server.catalog("shop", version, "shop-1")):  # noqa: B023
                with pytest.raises(IndexAway, match="SEAMLINE_QDRANT_API_KEY may hold") as error:
                    ask()
                assert "wrong" not in str(error.value)
        assert QdrantServer(qdrant.url, api_key="right").collections() == {}


def test_an_alias_is_the_models_name_unless_it_is_named(qdrant, version):
    assert QdrantServer(qdrant.url).alias("shop") == "shop"
    named = QdrantServer(qdrant.url, alias="winter")
    assert named.alias("shop") == "winter"
    with pytest.raises(
        DamagedIndex, match='called "winter".*--version 7 --alias winter` brings it'
    ):
        named.catalog("shop", version, None)


def test_what_is_no_address_is_said():
    with pytest.raises(UserError, match="is no address of a Qdrant"):
        QdrantServer("http://[")
