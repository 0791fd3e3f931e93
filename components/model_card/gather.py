"""Reads what the steps of a run left in their artifacts, into what a card tells."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.atomic_pusher.records import NEEDED_FILES, FileMark, fingerprint
from components.data_gate.verdict import read_verdict
from components.evaluation.results import read_evaluation
from components.judge import judgement
from components.model_card.contents import IMAGENET, Contents, Pretrained
from components.model_card.packages import needed_packages, notice, package
from components.parts import files_of
from components.report.gather import read_conflicts, read_history, read_ingest, read_labels
from schema import features
from schema.version import VERSION
from trainer.backbones.efficientnet_lite import VARIANTS

_GZIP_END_BYTES = 8
_BLOCK_BYTES = 1 << 20


def contents(
    inputs: dict[str, list[types.Artifact]],
    *,
    name: str,
    attribute_threshold: float,
    license_: str = "",
    contact: str = "",
) -> Contents:
    """Reads the artifacts of `ModelCard`'s inputs.

    Args:
        inputs: By the component's keys, one artifact each.
        name: The pipeline's.
        attribute_threshold: Score from which on (>=) an attribute counts as predicted.
        license_: Of the model.
        contact: Whom to ask.
    """

    def uri(key: str) -> str:
        return artifact_utils.get_single_uri(inputs[key])

    model = artifact_utils.get_single_instance(inputs["model"])
    blessing = artifact_utils.get_single_instance(inputs["infra_blessing"])
    ingest, _ = read_ingest(uri("rejects"))
    counts, _ = read_conflicts(uri("conflicts"))
    verdict = read_verdict(uri("verdict"))
    history = read_history(uri("model_run"))
    files = _marks(path_utils.serving_model_path(model.uri))
    of_imagenet = history["hyperparameters"]["model.weights"] == IMAGENET
    return Contents(
        name=name,
        model="/".join(model.uri.rstrip("/").split("/")[-3:]),
        trained=_made(model),
        files=files,
        fingerprint=fingerprint(files),
        examples_sha256=examples_hash(inputs["examples"]),
        ingest=ingest,
        conflicts=counts,
        findings=len(verdict.findings),
        distances=verdict.distances,
        history=history,
        labels=read_labels(uri("transform_graph")),
        evaluation=read_evaluation(uri("evaluation")),
        judgement=judgement.read(uri("judgement")),
        attribute_threshold=attribute_threshold,
        canary_passed=blessing.get_int_custom_property("blessed") == 1,
        canary_summary=blessing.get_string_custom_property("summary"),
        pretrained=pretrained(history["hyperparameters"]),
        packages=needed_packages(extras=["imagenet"] if of_imagenet else []),
        seamline=VERSION,
        license=license_,
        contact=contact,
    )


def pretrained(options: dict[str, Any]) -> Pretrained | None:
    """What a training with these options started from."""
    weights, backbone = options["model.weights"], options["model.backbone"]
    if not weights:
        return None
    if weights != IMAGENET:
        return Pretrained(Path(weights).name)
    if backbone not in VARIANTS:
        return Pretrained(backbone)
    return Pretrained(backbone, package(VARIANTS[backbone].package), notice())


def examples_hash(examples: list[types.Artifact]) -> str:
    """A SHA-256 of the Examples: of each file its name, its size and the checksum at gzip's end."""
    told = []
    for split, file in files_of(examples, features.SPLITS):
        with fileio.open(file, "rb") as data:
            size = data.seek(0, os.SEEK_END) or data.tell()
            data.seek(max(0, size - _GZIP_END_BYTES))
            told.append((split, os.path.basename(file), size, data.read().hex()))
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _marks(folder: str) -> dict[str, FileMark]:
    """The files of a model that a server loads, wherever it lies."""
    marks = {}
    for path, _, names in sorted(fileio.walk(folder)):
        for name in sorted(names):
            file = os.path.join(path, name)
            relative = os.path.relpath(file, folder)
            if relative.startswith(NEEDED_FILES):
                digest, size = hashlib.sha256(), 0
                with fileio.open(file, "rb") as data:
                    while block := data.read(_BLOCK_BYTES):
                        digest.update(block)
                        size += len(block)
                marks[relative] = FileMark(size, digest.hexdigest())
    return marks


def _made(artifact: types.Artifact) -> str:
    """When an artifact was made; empty where nobody wrote it down."""
    since_epoch_ms = artifact.mlmd_artifact.create_time_since_epoch
    if not since_epoch_ms:
        return ""
    made = datetime.fromtimestamp(since_epoch_ms / 1000, timezone.utc)
    return f"{made:%Y-%m-%dT%H:%M:%SZ}"
