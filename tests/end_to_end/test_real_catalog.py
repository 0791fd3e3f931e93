"""A short run on some hundred products of a real catalog.

`SEAMLINE_REAL_CATALOG` names the tar of the Kaggle data set "fashion-product-images-small"
(`labels.csv` and `images/<id>.jpg`).
"""

import csv
import os
import tarfile
from pathlib import Path

import pytest

from pipeline.config import load_config
from pipeline.steps import LOOK_UPS, OPTIONAL_STEPS, STEPS
from pipeline.workspace import Workspace
from serving.client import CatalogClient
from tests.end_to_end.conftest import SEARCHED

TAR = os.environ.get("SEAMLINE_REAL_CATALOG", "")
CONFIG = Path(__file__).parents[2] / "pipeline" / "configs" / "fashion_products.yaml"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.real_catalog,
    pytest.mark.skipif(
        not TAR, reason="set SEAMLINE_REAL_CATALOG to the tar of fashion-product-images-small"
    ),
]


def test_some_hundred_real_products_become_a_served_model(tmp_path, steps):
    with tarfile.open(TAR) as tar:
        tar.extractall(tmp_path / "catalog", filter="data")
    from pipeline import local_runner
    from serving.model_server import ModelServer

    config = load_config(
        CONFIG,
        [
            f"catalog.folder={tmp_path / 'catalog'}",
            "catalog.sample=300",
            "model.image_height=80",
            "model.image_width=60",
            "training.frozen_epochs=1",
            "training.epochs=2",
            "evaluation.gates=[]",
        ],
    )
    workspace = Workspace(tmp_path / "work")
    workspace.create()
    results = local_runner.run(config, workspace, steps)
    assert steps.computed() == set(STEPS) - {*OPTIONAL_STEPS, *LOOK_UPS} | SEARCHED

    with open(tmp_path / "catalog" / "labels.csv", encoding="utf-8", newline="") as labels_csv:
        rows = list(csv.DictReader(labels_csv))
    categories = {row["subCategory"] for row in rows}
    pictures = [tmp_path / "catalog" / "images" / f"{row['id']}.jpg" for row in rows[:5]]
    with (
        # A few questions to one signature: nobody waits for the others to be warm.
        ModelServer(workspace.serving, model_name="catalog", enable_model_warmup=False) as server,
        CatalogClient(server.endpoint) as client,
    ):
        predictions = client.predict(pictures)
    assert {prediction.category for prediction in predictions} <= categories
    assert all(
        label.startswith(("season=", "usage="))
        for prediction in predictions
        for label in prediction.attributes
    )
    assert results["Pusher"].summary
