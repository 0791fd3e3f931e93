"""How an index gets to Qdrant, and what is said where that does not go well."""

from __future__ import annotations

import socket
import warnings

import numpy as np
import pytest
from qdrant_client import QdrantClient

from schema.errors import UserError
from serving.search import BadSearch, DamagedIndex, ExactIndex, IndexAway, Space
from serving.search import qdrant_index as module
from serving.search.qdrant_index import QdrantIndex, push
from tests.serving.search.clustered import SIZES, clustered
from tests.serving.search.edge_client import EdgeClient

COUNT = 1_200


@pytest.fixture(params=["qdrant's client", "qdrant"])
def client(request, tmp_path):
    made = EdgeClient(tmp_path) if request.param == "qdrant" else QdrantClient(":memory:")
    with warnings.catch_warnings():
        # That an index of a field has no effect in the client's own mode.
        warnings.simplefilter("ignore")
        yield made
    made.close()


def catalog(count=COUNT, seed=0):
    index = ExactIndex(
        Space(SIZES, {"features": 0.7}), "float16", threshold=0.4, made_by={"version": seed}
    )
    fields = {
        "gender": ["Women" if at % 3 else "Men" for at in range(count)],
        "a.b[0]": [("Fall", "Summer") if at % 2 else None for at in range(count)],
    }
    groups = [f"p{at - (at % 6 == 5)}" for at in range(count)]
    index.upsert([f"p{at}" for at in range(count)], clustered(count, seed=seed), fields, groups)
    return index


def test_what_is_pushed_answers_as_the_plain_files_do(client):
    source = catalog()
    pushed = push(source, client, "products")
    index = QdrantIndex(client, "products")

    assert pushed.products == index.count() == COUNT
    assert pushed.replaced is None
    assert pushed.recall >= 0.99
    assert index.space == source.space
    assert [index.threshold, index.made_by] == [0.4, {"version": 0}]
    assert index.facets("a.b[0]") == {"Fall": COUNT // 2, "Summer": COUNT // 2}
    queries = clustered(20, seed=9)
    for asked in ({}, {"where": {"gender": "Men", "a.b[0]": ["Summer"]}}, {"weights": {"kind": 4}}):
        ours, theirs = (each.search(queries, 15, exact=True, **asked) for each in (source, index))
        for one, other in zip(ours, theirs, strict=True):
            assert [hit.score for hit in other.hits] == pytest.approx(
                [hit.score for hit in one.hits], abs=1e-3
            )
            assert [hit.folded for hit in other.hits] == [hit.folded for hit in one.hits]
            assert other.hits[0] == one.hits[0]


def test_a_second_push_takes_the_alias_over_and_the_first_may_go(client):
    first = push(catalog(500), client, "products")
    reader = QdrantIndex(client, "products")
    second = push(catalog(600, seed=2), client, "products")

    assert second.replaced == first.collection
    assert client.collection_exists(first.collection)
    assert reader.count() == QdrantIndex(client, "products").count() == 600
    assert QdrantIndex(client, "products").made_by == {"version": 2}
    third = push(catalog(700), client, "products", remove_replaced=True)
    assert not client.collection_exists(second.collection)
    assert client.collection_exists(third.collection)


def test_where_too_few_are_found_the_alias_stays(client, monkeypatch):
    first = push(catalog(500), client, "products")
    before = set(client.get_aliases().aliases[0].model_dump().items())
    whole = module._stream

    def forgetful(source, made):
        whole(source, made)
        # As many products, which lie elsewhere.
        ids = source.ids()[:400]
        made.upsert(ids, clustered(400, seed=99))

    monkeypatch.setattr(module, "_stream", forgetful)
    with pytest.raises(UserError, match=r'of the nearest products, 0.99 are wanted; "products" st'):
        push(catalog(500, seed=2), client, "products")

    assert set(client.get_aliases().aliases[0].model_dump().items()) == before
    assert QdrantIndex(client, "products").made_by == {"version": 0}
    assert client.collection_exists(first.collection)


def test_a_push_that_breaks_off_leaves_nothing_behind(client, monkeypatch):
    def broken(source, made):
        broken.collection = made._collection
        made.upsert(["p1"], clustered(1))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_stream", broken)
    with pytest.raises(KeyboardInterrupt):
        push(catalog(100), client, "products")

    assert not client.collection_exists(broken.collection)
    assert not client.get_aliases().aliases


def test_products_that_got_lost_are_noticed(client, monkeypatch):
    monkeypatch.setattr(
        module, "_stream", lambda source, made: made.upsert(["p1"], source.vectors(["p1"]))
    )
    with pytest.raises(UserError, match="Qdrant has 1 products of 100; push again"):
        push(catalog(100), client, "products")


def test_an_alias_is_no_collection(client):
    QdrantIndex.create(client, "products", Space(SIZES))

    with pytest.raises(BadSearch, match='called "products" itself; choose another alias'):
        push(catalog(100), client, "products")
    with pytest.raises(BadSearch, match='has a collection "products" already'):
        QdrantIndex.create(client, "products", Space(SIZES))


def test_a_collection_of_something_else_is_no_index(client):
    with pytest.raises(DamagedIndex, match='no collection "products" that is an index of products'):
        QdrantIndex(client, "products")


def test_changes_are_there_once_they_are_made(client):
    push(catalog(500), client, "products")
    index = QdrantIndex(client, "products")
    new = clustered(1, seed=123)[0]

    index.upsert(["new"], new, {"gender": ["Kids"], "brand": ["Acme"]})
    assert index.search(new, 1, where={"brand": "Acme"})[0].hits[0].id == "new"
    # Whoever opens it later knows the field as well.
    assert QdrantIndex(client, "products").count({"brand": "Acme"}) == 1
    assert index.delete(["new", "nobody"]) == 1
    with pytest.raises(BadSearch, match='No product has "Acme" as its brand; there is none at all'):
        index.search(new, 1, where={"brand": "Acme"})


def test_qdrant_that_is_away_is_one_sentence():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        client = QdrantClient(
            port=nobody.getsockname()[1], host="127.0.0.1", check_compatibility=False, timeout=2
        )
        for ask in (
            lambda: QdrantIndex(client, "products"),
            lambda: push(catalog(10), client, "products"),
        ):
            with pytest.raises(IndexAway, match='Qdrant does not answer for "products"') as error:
                ask()
            assert "\n" not in str(error.value)


def test_the_engine_walks_its_graph_and_finds_nearly_all(tmp_path):
    """That it is the graph which answers: exactly asked, it finds what that had missed."""
    client = EdgeClient(tmp_path)
    source = catalog(6_000)
    push(source, client, "products", recall=0.9)
    index = QdrantIndex(client, "products")
    queries = clustered(100, seed=9)

    def recall(**asked):
        found, truth = index.search(queries, 15, **asked), source.search(queries, 15, exact=True)
        return np.mean(
            [
                len({hit.id for hit in one.hits} & {hit.id for hit in other.hits}) / 15
                for one, other in zip(found, truth, strict=True)
            ]
        )

    assert recall(exact=True) >= 0.999
    assert recall() >= 0.98
    client.close()
