"""A catalog and a ledger in a bucket are what they are on the disk, in every kind of store."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from components import storage
from components.catalog_example_gen import sources
from components.catalog_example_gen.catalog import ingest_catalog
from components.catalog_example_gen.preflight import check_catalog
from components.ledger.ledger import Blessed, Ledger, Pushed
from pipeline.config import Catalog, Split
from pipeline.demo_catalog import draw_demo_catalog


def put_folder(folder: Path, url: str) -> None:
    for name in storage.files(str(folder)):
        storage.copy(f"{folder}/{name}", f"{url}/{name}")


def catalog_options(folder: str) -> dict[str, Any]:
    return Catalog(
        folder=folder,
        category="category",
        subcategory="subcategory",
        attributes=["colour", "pattern"],
    ).model_dump()


def examples_of(folder: str, out: Path) -> dict[str, str]:
    """Ingests a catalog; returns the digest of each file of Examples, and of each report."""
    split = Split(eval=0.25, test=0.25).model_dump()
    check_catalog(catalog_options(folder), split)
    ingest_catalog(
        catalog_options(folder),
        split,
        {},
        f"{out}/examples",
        f"{out}/rejects",
        f"{out}/conflicts",
        lambda: beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])),
    )
    return {
        name: hashlib.sha256((out / name).read_bytes()).hexdigest()
        for name in storage.files(str(out))
        if not name.endswith("summary.json")
    }


def test_a_catalog_in_a_bucket_gives_the_examples_that_it_gives_on_disk(
    bucket: str, tmp_path: Path
) -> None:
    folder = tmp_path / "catalog"
    draw_demo_catalog(folder, products=40)
    put_folder(folder, f"{bucket}/shop")
    on_disk = examples_of(str(folder), tmp_path / "disk")
    assert any(name.startswith("examples/Split-train/") for name in on_disk)
    assert examples_of(f"{bucket}/shop", tmp_path / "bucket") == on_disk
    split = Split().model_dump()
    of_url = catalog_options(f"{bucket}/shop")
    before = sources.fingerprint(of_url, split)
    assert sources.fingerprint(of_url, split) == before
    with storage.created(f"{bucket}/shop/images/new.jpg") as file:
        file.write(b"picture")
    assert sources.fingerprint(of_url, split) != before


def test_a_ledger_in_a_bucket_tells_what_one_in_a_folder_tells(bucket: str, tmp_path: Path) -> None:
    for place in (f"{bucket}/ledger", bucket, str(tmp_path)):
        ledger = Ledger(place)
        assert ledger.base_for("a") is None
        for name in ("model", "judgement"):
            storage.write_whole(f"{place}/artifacts/{name}/x", b"x")
        blessed = Blessed("a", "t", f"{place}/artifacts/model", f"{place}/artifacts/judgement")
        ledger.add(blessed)
        ledger.add(blessed)
        ledger.add(Pushed("m", "d", "1"))
        assert len(storage.names(f"{place}/blessed", ".json")) == 1
        assert ledger.base_for("b") == blessed
        assert ledger.baseline_for("t") is None
        storage.remove_folder(f"{place}/artifacts/model")
        assert ledger.base_for("b") is None, "its model is gone"
