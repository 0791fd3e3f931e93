"""Models with indexes of a small catalog, served by the real model server to the real app."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorflow_serving.config import model_server_config_pb2

from pipeline.index_commands import push_index
from serving.client import CatalogClient
from serving.model_server import ModelServer
from serving.model_server.options import ServerOptions
from serving.search.qdrant_server import QdrantServer
from tests.serving.app import search_model
from tests.serving.app.running import Running, running
from tests.serving.search.qdrant_http import Qdrant


@pytest.fixture(scope="session")
def products() -> list[search_model.Product]:
    """The catalog."""
    return search_model.catalog()


@pytest.fixture(scope="session")
def model() -> search_model.SearchModel:
    """The model that the catalog's vectors are of."""
    return search_model.SearchModel()


@pytest.fixture(scope="session")
def version_folder(
    model: search_model.SearchModel,
    products: list[search_model.Product],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The model and its index, as pushed."""
    folder = tmp_path_factory.mktemp("pushed") / "model"
    model.save(folder)
    search_model.write_index(model, folder, products)
    return folder


@pytest.fixture(scope="session")
def root(
    version_folder: Path,
    products: list[search_model.Product],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """`catalog`, versions 3 and 5, the older with half of the products; `plain`, without maps."""
    root = tmp_path_factory.mktemp("serving")
    shutil.copytree(version_folder, root / "catalog" / "5")
    shutil.copytree(version_folder, root / "catalog" / "3")
    shutil.rmtree(root / "catalog" / "3" / "assets.extra")
    search_model.write_index(search_model.SearchModel(), root / "catalog" / "3", products[:30])
    plain = search_model.SearchModel(explains=False)
    plain.save(root / "plain" / "1")
    search_model.write_index(plain, root / "plain" / "1", products, threshold=None)
    return root


def served(root: Path, *names: str) -> ModelServer:
    """A server of all versions of some models, not started yet."""
    config = model_server_config_pb2.ModelServerConfig()
    for name in names:
        one = config.model_config_list.config.add(
            name=name, base_path=str(root / name), model_platform="tensorflow"
        )
        one.model_version_policy.all.SetInParent()
    options = ServerOptions(
        models=config, file_system_poll_wait_seconds=0.1, enable_model_warmup=False
    )
    return ModelServer.from_options(options)


@pytest.fixture(scope="session")
def model_server(root: Path) -> Iterator[ModelServer]:
    """Answers with every version."""
    with served(root, "catalog", "plain") as server:
        for name, numbers in (("catalog", (3, 5)), ("plain", (1,))):
            with CatalogClient(server.endpoint, name) as client:
                while {of.version for of in client.model_status() if of.state == "AVAILABLE"} != {
                    *numbers
                }:
                    time.sleep(0.02)
            # A session's first run takes seconds where others use the processors.
            for number in numbers:
                with CatalogClient(server.endpoint, name, 60, version=number) as client:
                    client.outputs("everything", search_model.picture((9, 9, 9)))
        yield server


@pytest.fixture(scope="module")
def app(root: Path, model_server: ModelServer) -> Iterator[Running]:
    """The app. It looks for new versions as long as it runs, so not beyond its module."""
    with running(root, model_server.endpoint) as started:
        yield started


@pytest.fixture(scope="module")
def app_on_qdrant(root: Path, model_server: ModelServer) -> Iterator[Running]:
    """The app, over the newest versions' indexes in Qdrant."""
    with Qdrant().answering() as qdrant:
        for name, number in (("catalog", 5), ("plain", 1)):
            push_index(root / name, number, qdrant.url, name, None, False)
        with running(root, model_server.endpoint, qdrant=QdrantServer(qdrant.url)) as started:
            yield started


@pytest.fixture(scope="module", params=["app", "app_on_qdrant"])
def each_app(request: pytest.FixtureRequest) -> Running:
    """The app over either engine: the same is asked of both."""
    found: Running = request.getfixturevalue(request.param)
    return found
