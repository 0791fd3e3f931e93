"""The index that a run pushed, asked by way of the model that it pushed, as the app does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from schema.picture_figures import opened, upright_rgb
from serving.client import CatalogClient
from serving.model_server import ModelServer
from serving.search.catalog import IndexedCatalog
from serving.search.recipe import Answers

ASKED = 12


@pytest.fixture(scope="module")
def version(demo_runs) -> Path:
    """The folder of the version that was pushed last."""
    folders = (demo_runs.workspace.serving / "catalog").iterdir()
    return max((path for path in folders if path.name.isdecimal()), key=lambda path: int(path.name))


@pytest.fixture(scope="module")
def catalog(version) -> IndexedCatalog:
    return IndexedCatalog.of_version(version)


@pytest.fixture(scope="module")
def client(demo_runs):
    with (
        ModelServer(demo_runs.workspace.serving, enable_model_warmup=False) as server,
        CatalogClient(server.endpoint, timeout_s=60) as client,
    ):
        yield client


def test_a_products_own_picture_finds_it_with_the_whole_score(version, catalog, client):
    ids = catalog.index.ids()[:: len(catalog.index.ids()) // ASKED][:ASKED]
    pictures = [catalog.picture(id_) for id_ in ids]

    answers, labels = Answers.of_outputs(client.outputs("everything", pictures))
    catalog.recipe.check(labels)
    images = [upright_rgb(opened(picture)) for picture in pictures]
    vectors = catalog.recipe.vectors(answers, images)

    # What is indexed came by way of tables in 16 bits, whose error whitening makes larger, and
    # through another signature.
    np.testing.assert_allclose(vectors, catalog.index.vectors(ids), atol=0.05)
    whole = sum(catalog.index.space.weights.values())
    for id_, found in zip(ids, catalog.index.search(vectors, 3, fold=False), strict=True):
        assert found.hits[0].score == pytest.approx(whole, abs=0.02)
        # A near-duplicate may come as near.
        near = [hit.id for hit in found.hits if hit.score > found.hits[0].score - 0.005]
        assert id_ in near
        assert found.nothing_close is False


def test_what_the_places_of_a_picture_add_is_what_the_features_add(catalog, client):
    asked, other = catalog.index.ids()[:2]
    picture = catalog.picture(asked)
    told = client.outputs("explain", [picture], inputs={"label": ""})

    block = catalog.index.space.part(catalog.index.vectors([other]), "features")[0]
    maps = catalog.recipe.feature_maps(told["regions"][0], block)

    (answer,) = catalog.index.search(catalog.index.vectors([asked]), 1000, fold=False)
    (hit,) = [hit for hit in answer.hits if hit.id == other]
    weight = catalog.index.space.weights["features"]
    assert weight * maps.sum() == pytest.approx(hit.parts["features"], abs=0.02)
