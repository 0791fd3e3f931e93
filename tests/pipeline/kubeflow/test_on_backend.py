"""The demo's catalog from pictures to a pushed model, as a cluster runs it: see `backend`.

Three runs: of a new catalog, of the same once more, and of one with another picture. Each is
compiled anew, as `seamline submit` does, so that it finds in the ledger what the last one left.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks import _wheel
from components.ledger.ledger import Blessed, Ledger, Passed, Pushed
from pipeline.config import load_config
from pipeline.demo_catalog import draw_demo_catalog
from pipeline.kubeflow.spec import NEVER_CACHED, Spec, compiled
from pipeline.steps import LOOK_UPS
from tests.pipeline.kubeflow.backend import Backend, Run
from tests.pipeline.kubeflow.conftest import CONFIGS, QUICK

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

boto3 = pytest.importorskip("boto3", reason="the object store's client is not installed")
moto = pytest.importorskip("moto.server", reason="the object store is not installed")


@dataclass
class Cluster:
    """A backend, the catalog that its pods see, and its object store."""

    backend: Backend
    catalog: Path
    ledger: Ledger

    def run(self) -> tuple[Spec, Run]:
        """Compiles the demo and runs it."""
        spec = compiled(
            load_config(
                CONFIGS / "demo.yaml",
                [
                    *QUICK,
                    f"catalog.folder={self.catalog}",
                    "kubeflow.root=s3://bucket/demo",
                    f"kubeflow.volumes={{data: {self.catalog.parent}}}",
                    f"kubeflow.scratch={self.backend.folder / 'scratch'}",
                ],
            ),
            "seamline:1",
        )
        return spec, self.backend.run(spec.to_yaml(), spec.root)

    def keys(self, prefix: str) -> list[str]:
        """What lies in the store below a prefix."""
        pages = self.backend.store.get_paginator("list_objects_v2").paginate(
            Bucket="bucket", Prefix=prefix
        )
        return [found["Key"] for page in pages for found in page.get("Contents", ())]

    def versions(self) -> list[str]:
        """The numbers of the pushed versions."""
        return sorted({key.split("/")[3] for key in self.keys("demo/serving/catalog/")})


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster on which nothing has run."""
    folder = tmp_path_factory.mktemp("cluster")
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    env = {
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in env}
    os.environ.update(env)
    store = boto3.client("s3")
    store.create_bucket(Bucket="bucket")
    (folder / "wheel").mkdir()
    wheel = _wheel.unpacked(_wheel.built(folder / "wheel"), folder / "installed")
    catalog = draw_demo_catalog(folder / "data" / "catalog", products=200, seed=11).folder
    backend = Backend(folder / "pods", wheel, store, env)
    yield Cluster(backend, catalog, Ledger("s3://bucket/demo/ledger"))
    backend.close()
    server.stop()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
    shutil.rmtree(folder, ignore_errors=True)


def test_a_catalog_becomes_a_pushed_model_and_is_computed_again_only_where_it_changed(cluster):
    spec, run = cluster.run()
    assert spec.looked_up == {}
    assert run.done() == set(spec.pipeline["root"]["dag"]["tasks"])
    [version] = cluster.versions()
    assert f"demo/serving/catalog/{version}/saved_model.pb" in cluster.keys("demo/serving/")
    assert any("assets.extra/similarity_index/" in key for key in cluster.keys("demo/serving/"))
    [passed], [blessed], [pushed] = (
        list(cluster.ledger.entries(kind)) for kind in (Passed, Blessed, Pushed)
    )
    assert pushed.destination == f"s3://bucket/demo/serving/catalog/{version}"
    assert pushed.model == blessed.model == run.outputs["Trainer"]["model"].uri
    assert passed.statistics == run.outputs["StatisticsGen"]["statistics"].uri
    assert passed.statistics.startswith("s3://bucket/demo/artifacts/demo/run-1/StatisticsGen/")
    page = run.outputs["Report"]["report"].uri.removeprefix("s3://bucket/")
    assert f"{page}/index.html" in cluster.keys(page)
    told = json.dumps([artifact.metadata for artifact in cluster.backend.artifacts])
    assert str(cluster.backend.folder) not in told, "no pod's path outlives the pod"

    # The same again. What must be noted is judged anew, and what shows that is written anew.
    spec, run = cluster.run()
    assert spec.looked_up == {}, "its own results are no measure"
    assert run.done() == {*NEVER_CACHED, "ModelCard", "Report"}
    assert cluster.versions() == [version], "the model is live already"

    # Another picture: everything is computed, and compared with what was.
    picture = next((cluster.catalog / "images").glob("*.jpg"))
    os.utime(picture, (1, 1))
    spec, run = cluster.run()
    assert spec.looked_up == {
        "PreviousStatistics": passed.statistics,
        "BaselineModel": blessed.model,
        "BaselineJudgement": blessed.judgement,
    }
    same = {*LOOK_UPS, "ImportSchemaGen"}
    assert run.done() == set(spec.pipeline["root"]["dag"]["tasks"]) - same
    assert "BaselinePredictions" in run.done()
    [before, after] = cluster.versions()
    assert before == version
    last = next(cluster.ledger.entries(Pushed))
    assert last.destination.endswith(f"/{after}")
