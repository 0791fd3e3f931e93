"""Reads what the steps of a run left in their artifacts' folders, as plain data."""

from __future__ import annotations

import csv
import itertools
import json
import os
from collections.abc import Iterable
from typing import Any

import tensorflow_transform as tft
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2
from tfx.dsl.io import fileio

from components.catalog_example_gen.conflicts import CONFLICTS_FILE, COUNTS_FILE, KINDS
from components.catalog_example_gen.rejects import REJECTS_FILE, SUMMARY_FILE
from components.report.contents import MOST_CONFLICTS, MOST_REJECTS, Answer, Expectation
from components.similarity_index.artifacts import MAP_FILE, QUALITY_FILE
from schema import features
from schema.vocabulary import vocabulary_labels


def read_ingest(rejects: str) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Returns what the ingest wrote into the folder `rejects`: counts, and the first rejects."""
    with fileio.open(os.path.join(rejects, REJECTS_FILE)) as file:
        rows = list(itertools.islice(csv.DictReader(file), MOST_REJECTS))
    return _json(rejects, SUMMARY_FILE), rows


def read_history(model_run: str) -> dict[str, Any]:
    """Returns what the Trainer wrote of its epochs into the folder `model_run`."""
    return _json(model_run, "history.json")


def read_trials(tuner_results: str) -> list[dict[str, Any]]:
    """Returns the Tuner's trials, the best first, without what KerasTuner notes for itself."""
    own = ("trial_id", "tuner/")
    return [
        {name: value for name, value in trial.items() if not name.startswith(own)}
        for trial in _json(tuner_results, "tuner_results.json")
    ]


def read_labels(transform_graph: str) -> dict[str, list[str]]:
    """Returns each level's vocabulary, in the order of the indices."""
    output = tft.TFTransformOutput(transform_graph)
    levels = features.transformed_levels(output.transformed_feature_spec())
    return {level: vocabulary_labels(output.vocabulary_by_name(level)) for level in levels}


def read_class_counts(statistics: str, levels: Iterable[str]) -> dict[str, dict[str, int]]:
    """Returns each level's labels and their counts in the train part, the most frequent first.

    Args:
        statistics: Folder of StatisticsGen's output.
        levels: Whose labels to count.
    """
    recorded = statistics_pb2.DatasetFeatureStatisticsList()
    train = os.path.join(statistics, f"Split-{features.TRAIN}")
    recorded.ParseFromString(_bytes(os.path.join(train, "FeatureStats.pb")))
    counts: dict[str, dict[str, int]] = {level: {} for level in levels}
    for feature in recorded.datasets[0].features:
        name = ".".join(feature.path.step) or feature.name
        if name in counts:
            counts[name] = {
                bucket.label: int(bucket.sample_count)
                for bucket in feature.string_stats.rank_histogram.buckets
            }
    return counts


def read_conflicts(conflicts: str) -> tuple[dict[str, int], list[dict[str, str]]]:
    """Returns how many conflicts of each kind the ingest found, and those that the page lists.

    Args:
        conflicts: Folder with conflicts.json, the counts, and conflicts.csv, a row each. Both come
            back empty where it holds none. The CSV may be long, so it is read only until there are
            `MOST_CONFLICTS` of every kind.
    """
    if not fileio.exists(os.path.join(conflicts, COUNTS_FILE)):
        return {}, []
    summary = _json(conflicts, COUNTS_FILE)
    counts = {kind: summary[kind] for kind in KINDS if kind in summary}
    wanted = {kind: min(count, MOST_CONFLICTS) for kind, count in counts.items()}
    rows = []
    with fileio.open(os.path.join(conflicts, CONFLICTS_FILE)) as file:
        for row in csv.DictReader(file):
            if not any(wanted.values()):
                break
            if wanted.get(row["kind"]):
                wanted[row["kind"]] -= 1
                rows.append(row)
    return counts, rows


def read_schema(schema: str) -> list[Expectation]:
    """Returns what the schema in the folder `schema` asks of each feature."""
    (path,) = fileio.glob(os.path.join(schema, "*.pbtxt"))
    parsed = text_format.Parse(_bytes(path).decode("utf-8"), schema_pb2.Schema())
    domains = {domain.name: domain for domain in parsed.string_domain}
    return [
        Expectation(
            feature=feature.name,
            kind={"BYTES": "text", "INT": "integer", "FLOAT": "number"}.get(
                schema_pb2.FeatureType.Name(feature.type), ""
            ),
            required=feature.presence.min_fraction == 1,
            allowed=_allowed(feature, domains),
        )
        for feature in parsed.feature
        if feature.name != features.IMAGE
    ]


def read_answers(infra_blessing: str) -> list[Answer]:
    """Returns the canary's questions and answers; none where it got none."""
    if not fileio.exists(os.path.join(infra_blessing, "answers.json")):
        return []
    return [
        Answer(of["id"], of["truth"], of["prediction"], of["thumbnail"])
        for of in _json(infra_blessing, "answers.json")
    ]


def read_search(similarity_index: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns how good the search of an index is, and its map of the test part."""
    return _json(similarity_index, QUALITY_FILE), _json(similarity_index, MAP_FILE)


def _allowed(feature: schema_pb2.Feature, domains: dict[str, schema_pb2.StringDomain]) -> str:
    """Says which values a feature may have; nothing where any is allowed."""
    kind = feature.WhichOneof("domain_info")
    if kind in ("int_domain", "float_domain"):
        domain = getattr(feature, kind)
        bounds = [
            f"{words} {getattr(domain, side):,g}"
            for side, words in (("min", "at least"), ("max", "at most"))
            if domain.HasField(side)
        ]
        return ", ".join(bounds)
    if kind in ("string_domain", "domain"):
        domain = feature.string_domain if kind == "string_domain" else domains[feature.domain]
        return "one of " + ", ".join(domain.value)
    return ""


def _json(folder: str, name: str) -> Any:
    return json.loads(_bytes(os.path.join(folder, name)))


def _bytes(path: str) -> bytes:
    with fileio.open(path, "rb") as file:
        return file.read()
