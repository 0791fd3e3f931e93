"""Runs the review of labels on artifacts."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils

from components.catalog_example_gen import corrections
from components.catalog_example_gen.conflicts import CONFLICTS_FILE
from components.label_review import page
from components.label_review.frozen import Describe, Network, Store
from components.label_review.review import LIST_FILE, Options, decided_of, review, write_list
from components.parts import files_of, parts_of, work_off
from components.predictions import table
from schema import features

EXAMPLES = "examples"
PREDICTIONS = "predictions"
CONFLICTS = "conflicts"
CORRECTIONS = "corrections"
REVIEW = "label_review"
OPTIONS = "options"
MODEL = "model"
EXTRA_LABELS = "extra_labels"
GROUPS = "groups"
NAME = "name"
FEATURES_DIR = "features_dir"
CODE = "code"

_progress = logging.getLogger("seamline.progress")


class Executor(base_beam_executor.BaseBeamExecutor):
    """Executor of `LabelReview`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes label_review.csv, the page and its pictures.

        Raises:
            UserError: the features' network cannot be had.
        """
        examples = artifact_utils.get_single_instance(input_dict[EXAMPLES])
        groups = json.loads(exec_properties[GROUPS])
        extra_labels = json.loads(exec_properties[EXTRA_LABELS])
        files = described_files(
            examples,
            Network.of(json.loads(exec_properties[MODEL])),
            extra_labels,
            exec_properties[FEATURES_DIR],
            self._make_beam_pipeline,
        )
        answers = artifact_utils.get_single_uri(input_dict[PREDICTIONS])
        outcomes = _outcomes(artifact_utils.get_single_uri(input_dict[CORRECTIONS]))
        found = review(
            files,
            extra_labels=extra_labels,
            groups=groups,
            answered=_answered(answers),
            conflicts=_conflicts(artifact_utils.get_single_uri(input_dict[CONFLICTS])),
            decided=decided_of(outcomes, groups),
            options=Options(**json.loads(exec_properties[OPTIONS])),
            report=lambda message: _progress.info(message, extra={"completed": 0, "total": None}),
        )
        output = artifact_utils.get_single_instance(output_dict[REVIEW])
        folder = Path(output.uri)
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / LIST_FILE, "wb") as file:
            write_list(found, file)
        page.write(
            found,
            folder / page.PAGE_FOLDER,
            name=exec_properties[NAME],
            decisions=[one.decision for one in outcomes],
            examples=[file for _, file in files_of([examples], features.SPLITS)],
        )
        output.set_string_custom_property("summary", found.summary)


def described_files(
    examples: types.Artifact,
    network: Network,
    extra_labels: Sequence[str],
    folder: str,
    make_pipeline: Callable[[], beam.Pipeline],
) -> list[str]:
    """The files with all pictures' features, computed where they are not known yet.

    Args:
        examples: All products.
        network: Whose features.
        extra_labels: The extra labels, which are noted beside.
        folder: Where they are kept from run to run.
        make_pipeline: Gives an empty Beam pipeline.
    """
    levels = (*features.LEVELS, *extra_labels)
    run = hashlib.sha256(json.dumps([examples.uri, levels]).encode()).hexdigest()[:16]
    store = Store(folder, network, run)
    parts = parts_of(examples, features.SPLITS, store.folder, ".parquet")
    work_off(make_pipeline, parts, Describe(network, levels, tuple(store.known)))
    store.forget_others()
    # A split of a small catalog may have files without a product.
    return [part.output for part in parts if os.path.exists(part.output)]


def _answered(folder: str) -> list[pa.Table]:
    found = []
    for split in (features.EVAL, features.TEST):
        names = table.column_names(folder, split)
        of_split = table.read(folder, split, [name for name in names if name != features.EMBEDDING])
        if of_split is not None:
            found.append(of_split)
    return found


def _conflicts(folder: str) -> list[dict[str, str]]:
    with open(os.path.join(folder, CONFLICTS_FILE), encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _outcomes(folder: str) -> list[corrections.Outcome]:
    path = os.path.join(folder, corrections.CORRECTIONS_FILE)
    if not os.path.exists(path):
        return []
    with open(path, "rb") as file:
        return corrections.read_outcomes(file)
