"""Measures the ingest: its speed against a plain loop, how it grows, and a run that is cached.

    python benchmarks/ingest.py                                 a drawn catalog
    python benchmarks/ingest.py CONFIG --set catalog.folder=DIR  a catalog of your own
    python benchmarks/ingest.py --only speed                    or growth, cache, rejects

Prints one line a figure with its yardstick. Speeds are the best of `--rounds` runs, the loop's and
ours in turn. Growth is measured on pictures that it draws itself; with 40,000 products it takes
some minutes. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks._catalog import ROOT, configured, parser
from components.catalog_example_gen import pictures
from components.catalog_example_gen.examples import serialized_example, write_records
from components.catalog_example_gen.folder import files_below
from pipeline.beam_runner import LOCAL
from pipeline.config import Config

GROWTH = (5_000, 10_000, 20_000, 40_000)

_INGEST = """
import json, resource, sys, time
import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from components.catalog_example_gen.catalog import ingest_catalog
catalog, split, out, beam_args = json.loads(sys.argv[1])
started = time.perf_counter()
summary = ingest_catalog(
    catalog, split, {}, out + "/examples", out + "/rejects", out + "/conflicts",
    lambda: beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner", *beam_args])),
)
summary["seconds"] = time.perf_counter() - started
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
summary["peak_mb"] = max(one.ru_maxrss for one in used) / 1024
print(json.dumps(summary))
"""


def ingested(config: Config, workers: int = 1, mode: str = "multi_processing") -> dict[str, Any]:
    """Runs the ingest in a process of its own: summary.json, `seconds` and `peak_mb` (MiB).

    The peak is that of the largest process: the one that waits, or one of the workers.
    """
    beam_args = []
    if workers > 1:
        beam_args = [f"--direct_num_workers={workers}", f"--direct_running_mode={mode}"]
    with tempfile.TemporaryDirectory() as out:
        options = (config.catalog.model_dump(), config.split.model_dump(), out, beam_args)
        done = subprocess.run(
            [sys.executable, "-c", _INGEST, json.dumps(options)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return json.loads(done.stdout.splitlines()[-1])


def plain_loop(config: Config) -> tuple[int, float]:
    """Reads, checks and writes the same Examples with no Beam: products and seconds."""
    catalog = config.catalog
    folder = Path(catalog.folder)
    started = time.perf_counter()
    files = {Path(file.path).stem: file.path for file in files_below(str(folder / catalog.images))}
    written = 0

    def records() -> Iterator[bytes]:
        nonlocal written
        with (folder / catalog.labels_csv).open(encoding=catalog.encoding, newline="") as rows:
            for row in csv.DictReader(rows):
                path = row[catalog.picture] if catalog.picture else files.get(row[catalog.id])
                if not path:
                    continue
                try:
                    content = (folder / catalog.images / path).read_bytes()
                    measured = pictures.measured(content)
                except (OSError, pictures.PictureError):
                    continue
                written += 1
                yield serialized_example(
                    {
                        "id": row[catalog.id].encode(),
                        "image": pictures.stored(content, measured, catalog.stored_side),
                        "category": row[catalog.category].encode(),
                        "subcategory": row[catalog.subcategory].encode(),
                        "attributes": [row[name].encode() for name in catalog.attributes],
                        "image_height": measured.height,
                        "image_width": measured.width,
                        "image_aspect": measured.aspect,
                        "image_brightness": measured.brightness,
                        "image_sharpness": measured.sharpness,
                        **{name: row[name].encode() for name in catalog.slices},
                    }
                )

    with tempfile.TemporaryFile() as file:
        write_records(records(), file)
    return written, time.perf_counter() - started


def measure_speed(config: Config, rounds: int, mode: str) -> None:
    plain = 0.0
    best = dict.fromkeys((1, 2), 0.0)
    for _ in range(rounds):
        products, seconds = plain_loop(config)
        plain = max(plain, products / seconds)
        for workers in best:
            summary = ingested(config, workers, mode)
            best[workers] = max(best[workers], summary["accepted"] / summary["seconds"])
    print(f"plain loop: {plain:,.0f} products/s ({products:,} products), the yardstick")
    for workers, speed in best.items():
        print(
            f"ingest, {workers} worker(s): {speed:,.0f} products/s, {speed / plain:.2f} of the loop"
        )
    ends = ("rows", "accepted", "rejected", "capped", "not_sampled", "pictures_without_row")
    print("counts: " + ", ".join(f"{summary[end]:,} {end}" for end in ends))


def copied(config: Config, times: int, folder: Path) -> Config:
    """A catalog whose ids name the pictures, with every row and picture so many times.

    No two files are the same.
    """
    catalog = config.catalog
    source = Path(catalog.folder)
    (folder / "images").mkdir(parents=True)
    with (source / catalog.labels_csv).open(encoding=catalog.encoding, newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, reader.fieldnames or ())
        writer.writeheader()
        for copy in range(times):
            writer.writerows({**row, catalog.id: f"{row[catalog.id]}-{copy}"} for row in rows)
    for found in files_below(str(source / catalog.images)):
        path = Path(found.path)
        content = (source / catalog.images / path).read_bytes()
        for copy in range(times):
            # Decoders do not look behind a picture's end.
            (folder / "images" / f"{path.stem}-{copy}{path.suffix}").write_bytes(
                content + bytes([copy])
            )
    options = {"folder": str(folder), "labels_csv": "labels.csv", "images": "images"}
    return config.model_copy(update={"catalog": catalog.model_copy(update=options)})


def draw_garments(folder: Path, products: int) -> Config:
    """A catalog of 60 x 80 pictures, no two alike, in 20 categories."""
    images = folder / "images"
    images.mkdir(parents=True)
    generator = np.random.default_rng(products)
    lines = ["id,category,subcategory"]
    for number in range(products):
        coarse = generator.integers(0, 256, (8, 6, 3), dtype=np.uint8)
        shapes = Image.fromarray(coarse).resize((60, 80), Image.Resampling.BICUBIC)
        shapes.save(images / f"{number}.jpg", quality=90)
        lines.append(f"{number},category {number % 20},kind {number % 60}")
    (folder / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    return Config.model_validate(
        {"catalog": {"folder": str(folder), "category": "category", "subcategory": "subcategory"}}
    )


def measure_growth() -> None:
    first = None
    for products in GROWTH:
        with tempfile.TemporaryDirectory() as folder:
            summary = ingested(draw_garments(Path(folder) / "catalog", products))
        each_ms = 1000 * summary["seconds"] / products
        first = first or (each_ms, summary["peak_mb"])
        print(
            f"{products:,} products: {summary['seconds']:.1f} s, {each_ms:.2f} ms each "
            f"({each_ms / first[0]:.2f} of {GROWTH[0]:,}'s), {summary['peak_mb']:,.0f} MB at most "
            f"({summary['peak_mb'] / first[1]:.2f} of {GROWTH[0]:,}'s)"
        )


def measure_rejects() -> None:
    """A CSV of 1 GB with long texts, whose rows have no picture but for the first few."""
    with tempfile.TemporaryDirectory() as folder:
        config = draw_garments(Path(folder) / "catalog", 500)
        labels = Path(config.catalog.folder) / "labels.csv"
        text = "long text, quoted, " * 18
        with labels.open("w", encoding="utf-8") as file:
            file.write("id,category,subcategory,text\n")
            for number in range(2_700_000):
                file.write(f'{number},category {number % 20},kind {number % 60},"{text}"\n')
        size = labels.stat().st_size
        summary = ingested(config)
    print(
        f"labels.csv of {size / 1e9:.2f} GB, {summary['rows']:,} rows, {summary['rejected']:,} "
        f"rejected: {summary['seconds']:.0f} s, {summary['peak_mb']:,.0f} MB at most"
    )


def measure_cache(config: Config) -> None:
    from tfx.orchestration import pipeline as tfx_pipeline
    from tfx.orchestration.local import local_dag_runner
    from tfx.orchestration.metadata import sqlite_metadata_connection_config

    from components.catalog_example_gen.component import CatalogExampleGen

    with tempfile.TemporaryDirectory() as folder:
        for run in ("first", "second"):
            step = CatalogExampleGen(config.catalog.model_dump(), config.split.model_dump(), {}, "")
            started = time.perf_counter()
            local_dag_runner.LocalDagRunner().run(
                tfx_pipeline.Pipeline(
                    pipeline_name="ingest",
                    pipeline_root=f"{folder}/artifacts",
                    metadata_connection_config=sqlite_metadata_connection_config(f"{folder}/db"),
                    components=[step.with_beam_pipeline_args(LOCAL)],
                    enable_cache=True,
                )
            )
            seconds = time.perf_counter() - started
            print(f"{run} run of the step: {seconds:.2f} s" + ", cached" * (run == "second"))


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--only", choices=("speed", "growth", "cache", "rejects"))
    options.add_argument("--copies", type=int, default=1, help="measure speed on so many copies")
    options.add_argument(
        "--mode",
        choices=("multi_processing", "multi_threading"),
        default="multi_processing",
        help="what two workers are; `beam.workers` means processes",
    )
    options.set_defaults(rounds=3)
    arguments = options.parse_args()
    with configured(arguments) as (config, scratch):
        if arguments.only in (None, "speed"):
            if arguments.copies > 1:
                config = copied(config, arguments.copies, scratch / "copies")
            measure_speed(config, arguments.rounds, arguments.mode)
        if arguments.only in (None, "growth"):
            measure_growth()
        if arguments.only in (None, "cache"):
            measure_cache(config)
        if arguments.only in (None, "rejects"):
            measure_rejects()


if __name__ == "__main__":
    main()
