"""The ingest of one catalog: checks it as a whole, runs the Beam pipeline, judges the counts."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems

from components.catalog_example_gen.conflicts import CONFLICTS_FILE, SEVERAL_PICTURES
from components.catalog_example_gen.corrections import (
    CORRECTIONS_FILE,
    Corrections,
    Outcome,
    check_corrections,
    read_corrections,
    sentences,
    write_outcomes,
)
from components.catalog_example_gen.corrections import COUNTS_FILE as CORRECTIONS_COUNTS_FILE
from components.catalog_example_gen.corrections import counts_json as corrections_json
from components.catalog_example_gen.corrections import write_counts as write_correction_counts
from components.catalog_example_gen.csv_records import Lines
from components.catalog_example_gen.deepfashion import INSHOP
from components.catalog_example_gen.ingestion import Plan, ingest, parts_of
from components.catalog_example_gen.near_misses import Names
from components.catalog_example_gen.preflight import check_folders
from components.catalog_example_gen.rejects import REJECTS_FILE, SUMMARY_FILE, top_reasons
from components.catalog_example_gen.rows import Columns
from components.catalog_example_gen.sampling import quotas
from components.catalog_example_gen.sources import CSV, Source, source_of
from components.progress import ProgressWatch
from components.storage import created, opened, remove_folder
from schema import features
from schema.errors import UserError

_READINGS = 2


def ingest_catalog(
    catalog: Mapping[str, Any],
    split: Mapping[str, Any],
    domains: Mapping[str, Sequence[str]],
    examples: str,
    rejects: str,
    conflicts: str,
    make_pipeline: Callable[[], beam.Pipeline],
    corrections: str | None = None,
) -> dict[str, Any]:
    """Writes a catalog's Examples, rejects.csv, summary.json, conflicts.csv and conflicts.json.

    Args:
        catalog: The config's section `catalog` as a plain dict.
        split: The config's section `split` as a plain dict.
        domains: The allowed labels of the levels that the schema closes.
        examples: Folder that gets `Split-<name>/data_tfrecord-SSSSS-of-NNNNN.gz`.
        rejects: Folder that gets rejects.csv and summary.json.
        conflicts: Folder that gets conflicts.csv and conflicts.json.
        make_pipeline: Gives an empty Beam pipeline.
        corrections: Folder that gets corrections.csv and corrections.json, where
            `catalog.corrections` names a file.

    Returns:
        What stands in summary.json: `rows` + `further_pictures` (more than one a row) = `accepted`
        + `rejected` + `capped` + `not_sampled` + `belonging_rows` (of products with several rows);
        `products` and `groups` of accepted pictures, of nearly the same look or of one product;
        `pictures_without_row`, `ambiguous` (products by whose name there are different pictures),
        `rejected_by_reason`, `products_by_split`, `products_by_category`,
        `looked_into_by_category`, `labels_outside_train` (by level, with their products), `lines`
        of the CSV (of the header, of rows, blank; together all), `corrected` (products of each
        split with a label that people corrected, by level), `notes` and `hints` on rejects
        (sentences), and `seconds`.

    Raises:
        UserError: The catalog is missing, empty or unusable as a whole, or its corrections name
            what it does not have, which is found before anything is written; or too little of it is
            left. Then rejects.csv and summary.json are also in the folder `stopped` beside
            `rejects`, because TFX deletes the outputs of a step that failed.
    """
    started = time.monotonic()
    source = source_of(catalog, split)
    images = os.path.join(catalog["folder"], catalog["images"])
    check_folders(catalog["folder"], source, images, catalog["links"])
    found = source.survey()
    columns = Columns.from_options(catalog, split)
    decided, outcomes = _decisions(catalog, source, columns, domains, split)
    kept = quotas(found.sizes, catalog["class_cap"], catalog["sample"])
    expected = sum(sampled for _, sampled in kept.values())

    # Below the output, which every worker can reach and which is deleted with a run that was
    # killed; by a name of its own, so that of two runs at once neither takes the other's away.
    scratch = f"{examples}/scratch-{uuid4().hex}"
    with ExitStack() as at_the_end:
        at_the_end.callback(remove_folder, scratch)
        marks = at_the_end.enter_context(tempfile.TemporaryDirectory())
        plan = Plan(
            source=source,
            images=images,
            links=catalog["links"],
            names=Names(bool(catalog["picture"]), catalog["images"]),
            columns=columns,
            domains=domains,
            class_cap=catalog["class_cap"],
            sample=catalog["sample"],
            stored_side=catalog["stored_side"],
            seed=split["seed"],
            policy=split["policy"],
            near_duplicate_bits=split["near_duplicate_bits"],
            given_splits=found.splits,
            eval_part=split["eval"],
            test_part=split["test"],
            parts=parts_of(found.rows),
            examples=examples,
            rejects=rejects,
            conflicts=conflicts,
            scratch=scratch,
            progress=os.path.join(marks, "progress"),
            corrections=decided,
        )
        with ProgressWatch(plan.progress, expected, _READINGS), make_pipeline() as pipeline:
            ingest(pipeline, plan)

    notes = [*found.notes, *sentences(outcomes)]
    summary = _finished_summary(rejects, notes, found.lines, time.monotonic() - started)
    if corrections and outcomes:
        with created(FileSystems.join(corrections, CORRECTIONS_FILE)) as file:
            write_outcomes(outcomes, file)
        with created(FileSystems.join(corrections, CORRECTIONS_COUNTS_FILE)) as file:
            write_correction_counts(corrections_json(outcomes, summary["corrected"]), file)
    if problem := _problem(summary, catalog, split):
        stopped = _keep_rejects(rejects)
        told = " ".join([problem, *summary["hints"]])
        raise UserError(f"{source.name}: {told} Every rejected row is in {stopped}.")
    return summary


def _decisions(
    catalog: Mapping[str, Any],
    source: Source,
    columns: Columns,
    domains: Mapping[str, Sequence[str]],
    split: Mapping[str, Any],
) -> tuple[Corrections, list[Outcome]]:
    """What people decided on the labels, and what becomes of it."""
    if not catalog.get("corrections"):
        return Corrections("", {}), []
    decided = read_corrections(catalog["corrections"], columns)
    rows = source.rows(domains, split["seed"], split["eval"])
    return decided, check_corrections(decided, rows, columns)


def _finished_summary(
    rejects: str, notes: Sequence[str], lines: Lines | None, seconds: float
) -> dict[str, Any]:
    path = FileSystems.join(rejects, SUMMARY_FILE)
    with opened(path) as file:
        summary = json.load(file)
    summary["notes"] = [*notes, *summary["notes"], *_ambiguity(summary)]
    if lines:
        summary["lines"] = lines._asdict()
    summary["seconds"] = round(seconds, 2)
    ends = ("accepted", "rejected", "capped", "not_sampled", "belonging_rows")
    if summary["rows"] + summary["further_pictures"] != sum(summary[end] for end in ends):
        raise RuntimeError(f"Rows were lost or doubled, a bug in the ingest: {summary}")
    with created(path) as file:
        file.write(json.dumps(summary, indent=2, ensure_ascii=False).encode())
    return summary


def _ambiguity(summary: Mapping[str, Any]) -> list[str]:
    number = summary["ambiguous"]
    if not number:
        return []
    of_products = "1 product there are" if number == 1 else f"{number:,} products there are"
    return [
        f"For {of_products} several different pictures of that name, of which the first by suffix "
        f"and path is used: see {SEVERAL_PICTURES} in {CONFLICTS_FILE}."
    ]


def _problem(
    summary: Mapping[str, Any],
    catalog: Mapping[str, Any],
    split: Mapping[str, Any],
) -> str | None:
    """Why the catalog as a whole cannot be used, or None."""
    if not summary["accepted"]:
        reasons = top_reasons(summary["rejected_by_reason"])
        return f"none of {summary['rows']:,} rows could be used: {reasons}."
    if len(summary["products_by_category"]) < 2:
        (category,) = summary["products_by_category"]
        return (
            f"all {summary['accepted']:,} usable products have the one category `{category}`, so "
            f"there is nothing to tell apart. Check `catalog.category` ({catalog['category']})."
        )
    for name in features.SPLITS:
        if not summary["products_by_split"][name]:
            if catalog["format"] != CSV and (catalog["format"], name) != (INSHOP, features.EVAL):
                return (
                    f"the annotation files give none of {summary['accepted']:,} usable products to "
                    f"the split `{name}`. Unpack them and the pictures again."
                )
            part = f"`split.{name}` ({split[name]})" if name in split else "the train part"
            return (
                f"{summary['accepted']:,} usable products are so few that none fell into the split "
                f"`{name}`. Add products, raise {part}, or choose another `split.seed`."
            )
    return None


def _keep_rejects(rejects: str) -> str:
    """Copies what the run has found to where TFX does not delete it; gives the CSV's path."""
    stopped = FileSystems.join(FileSystems.split(rejects)[0], "stopped")
    for name in (REJECTS_FILE, SUMMARY_FILE):
        with (
            opened(FileSystems.join(rejects, name)) as source,
            created(FileSystems.join(stopped, name)) as target,
        ):
            shutil.copyfileobj(source, target)
    return FileSystems.join(stopped, REJECTS_FILE)
