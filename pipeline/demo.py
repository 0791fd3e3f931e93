"""The demo: a catalog drawn, learned, served and asked about products it has never seen."""

from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path

from rich.console import Console

from pipeline.config import load_config
from pipeline.demo_catalog import draw_demo_catalog
from pipeline.session import quiet_terminal, run_in_console, shown
from pipeline.tables import truth_table
from pipeline.workspace import Workspace
from schema.features import attribute_label
from serving.client import CatalogClient

APP_ADDRESS = "http://localhost:8080"
"""Where `seamline app` answers if nothing else is asked for."""

UNSEEN_SEED = 2026
"""Another seed than the catalog's, so that the questions are pictures that nobody trained on."""


def run_demo(folder: Path, verbose: bool = False) -> bool:
    """Runs the demo in `folder`; returns whether its model was blessed, served and answered."""
    console = Console()
    catalog = folder / "catalog"
    if not (catalog / "labels.csv").exists():
        draw_demo_catalog(catalog)
        console.print(f"catalog drawn: {shown(catalog)}", highlight=False, soft_wrap=True)
    config = load_config(
        Path(str(files("pipeline") / "configs" / "demo.yaml")), [f"catalog.folder={catalog}"]
    )
    workspace = Workspace(folder)
    if not run_in_console(config, workspace, verbose):
        return False

    unseen = folder / "unseen"
    if not (unseen / "labels.csv").exists():
        draw_demo_catalog(unseen, products=12, seed=UNSEEN_SEED, faults=False)
    with open(unseen / "labels.csv", encoding="utf-8", newline="") as labels_csv:
        products = list(csv.DictReader(labels_csv))[1::4]
    truths = [
        {
            "id": product["id"],
            "category": product[config.catalog.category],
            "subcategory": product[config.catalog.subcategory],
            "attributes": {
                attribute_label(group, product[group]) for group in config.catalog.attributes
            },
        }
        for product in products
    ]
    pictures = [unseen / "images" / f"{truth['id']}.jpg" for truth in truths]
    with quiet_terminal(workspace.log / "demo.log", verbose) as terminal:
        from serving.model_server import ModelServer

        model_name = config.serving.model_name
        with (
            # Three questions to one signature: nobody waits for the others to be warm.
            ModelServer(
                workspace.serving, model_name=model_name, enable_model_warmup=False
            ) as server,
            CatalogClient(server.endpoint, model_name=model_name) as client,
        ):
            predictions = client.predict(pictures)
        console = Console(file=terminal)
        console.print(f"\nthree products it has never seen, asked over gRPC at {server.endpoint}:")
        console.print(truth_table(truths, predictions, config.evaluation.attribute_threshold))
        page = shown(workspace.report / "index.html")
        console.print(f"report: {page}", highlight=False, soft_wrap=True)
        for line in (
            f"search by pictures: seamline app {shown(workspace.root)}, then open {APP_ADDRESS}",
            f"  drop {shown(pictures[0])} on the page, or in a terminal:",
            f"  seamline search {shown(pictures[0])} --workspace {shown(workspace.root)}",
        ):
            console.print(line, highlight=False, soft_wrap=True)
    return True
