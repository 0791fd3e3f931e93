"""What a served version was trained on and how it answered then, found by way of ML Metadata."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tensorflow_metadata.proto.v0 import statistics_pb2

from components.live_traffic.distances import LEAST_PRODUCTS
from schema import features
from schema.errors import UserError
from schema.vocabulary import file_labels

if TYPE_CHECKING:
    from ml_metadata.metadata_store import metadata_store
    from ml_metadata.proto import metadata_store_pb2

    from components.evaluation.results import Evaluation

ANSWERS_ON_TEST = "the model's answers on the test part"
LABELS_OF_TRAIN = "the labels of the train part"

_PUSHED_VERSION = "pushed_version"


@dataclass(frozen=True)
class Scores:
    """How sure the model was on the test part, and how often right.

    Attributes:
        answers: How many.
        mean: Of their scores.
        right: Share of the right ones.
        mean_error: Standard error of `mean`.
        honesty_error: Standard error of `right - mean`.
    """

    answers: int
    mean: float
    right: float
    mean_error: float
    honesty_error: float


@dataclass(frozen=True)
class Level:
    """A level's labels to compare with.

    Attributes:
        counts: How often each label was given.
        origin: `ANSWERS_ON_TEST` or `LABELS_OF_TRAIN`.
        scores: Of the answers; None where the model was not evaluated, and for the attributes: see
            `attribute_scores`.
    """

    counts: Mapping[str, int]
    origin: str
    scores: Scores | None = None


@dataclass(frozen=True)
class Figure:
    """A picture figure's distribution in the train part.

    Attributes:
        edges: Its quantiles with minimum and maximum, ascending, float (B + 1).
        counts: How many pictures are between them, float (B).
        median: Of all.
    """

    edges: np.ndarray
    counts: np.ndarray
    median: float


@dataclass(frozen=True)
class Reference:
    """What live traffic is compared with.

    Attributes:
        levels: By level; the attributes are one of them.
        figures: By name, of `features.PICTURE_STATISTICS`.
        evaluation: Of the model on the test part; None where there was none.
        model: URI of the trained model.
    """

    levels: Mapping[str, Level]
    figures: Mapping[str, Figure]
    evaluation: Evaluation | None = None
    model: str = ""


@dataclass(frozen=True)
class Lineage:
    """Folders of what a version came from.

    Attributes:
        model: The trained model.
        statistics: Of the data that it was trained on.
        evaluation: Of the model; None where it was not evaluated.
        uri: Of the trained model, as it was recorded.
    """

    model: Path
    statistics: Path
    evaluation: Path | None
    uri: str = ""


def find_lineage(
    metadata: Path,
    artifacts: Path,
    pushed_as: Iterable[int],
    database: metadata_store.MetadataStore | None = None,
) -> Lineage:
    """Follows a version back to the statistics of its training data.

    Args:
        metadata: ML Metadata's SQLite file.
        artifacts: Where the workspace has its artifacts now, should it have been moved.
        pushed_as: The version's number, and the one under which its model was first pushed.
        database: What ML Metadata has in place of the file, if it has.

    Raises:
        UserError: No run of this workspace pushed it, or what led to it is gone.
    """
    if not database and not metadata.is_file():
        raise UserError(
            f"{metadata.parent} holds no run of a pipeline. Name the workspace that the served "
            "model comes from."
        )
    from ml_metadata.metadata_store import metadata_store
    from ml_metadata.proto import metadata_store_pb2

    if database is None:
        connection = metadata_store_pb2.ConnectionConfig()
        connection.sqlite.filename_uri = str(metadata)
        connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
        database = metadata_store.MetadataStore(connection)
    graph = _Graph(database)
    wanted = {str(number) for number in pushed_as}
    pushed = [
        (one.custom_properties[_PUSHED_VERSION].string_value, one)
        for one in graph.artifacts("PushedModel")
    ]
    found = [one for number, one in pushed if number in wanted]
    if not found:
        others = ", ".join(sorted({number for number, _ in pushed if number})) or "none"
        raise UserError(
            f"Version {' or '.join(sorted(wanted))} was not pushed by a run of {metadata.parent}; "
            f"pushed were: {others}. Name the workspace that the served model comes from."
        )
    model = graph.went_into(found[-1], "model")
    examples = model and graph.went_into(model, "examples")
    statistics = examples and graph.came_of(examples, "examples", "statistics")
    if not statistics:
        raise UserError(
            f"{metadata.parent} does not tell which data version {found[-1].uri} was trained on. "
            "Run the pipeline again, so that the next version does."
        )
    evaluation = graph.came_of(model, "model", "evaluation")
    return Lineage(
        model=_folder(model.uri, artifacts),
        statistics=_folder(statistics.uri, artifacts),
        evaluation=_folder(evaluation.uri, artifacts) if evaluation else None,
        uri=model.uri,
    )


def read_reference(lineage: Lineage) -> Reference:
    """Reads what `find_lineage` found.

    Raises:
        UserError: A file is gone.
    """
    try:
        train = _train_statistics(lineage.statistics)
        evaluation = _evaluation(lineage.evaluation)
        labels = _vocabularies(lineage.model)
    except OSError as error:
        raise UserError(
            f"{error.filename or lineage.statistics} cannot be read: {error.strerror}. It belongs "
            "to the run that the served version comes from; run the pipeline again, and serve what "
            "it pushes."
        ) from error
    return Reference(levels(train, evaluation, labels), figures(train), evaluation, lineage.uri)


def levels(
    train: statistics_pb2.DatasetFeatureStatistics,
    evaluation: Evaluation | None,
    labels: Mapping[str, list[str]],
) -> dict[str, Level]:
    """What each level is compared with.

    What a model answers differs from what is true by the model's own leaning, and so do its answers
    in production: its answers on the test part are the fairer comparison. But of few products they
    are the worse one, and then the train part's labels stand in.

    Args:
        train: Statistics of the train part.
        evaluation: Of the model; None where it was not evaluated.
        labels: The model's vocabularies by level.
    """
    found: dict[str, Level] = {}
    for feature in train.features:
        name = ".".join(feature.path.step)
        if feature.WhichOneof("stats") == "string_stats" and name in labels:
            buckets = feature.string_stats.rank_histogram.buckets
            counts = {bucket.label: round(bucket.sample_count) for bucket in buckets}
            # Of an extra label, those that nobody knows; no model answers so.
            if name not in features.LEVELS:
                counts.pop(features.UNKNOWN, None)
            if sum(counts.values()):
                found[name] = Level(counts, LABELS_OF_TRAIN)
    if evaluation is None:
        return found
    for level, confusion in evaluation.confusion.items():
        answers = np.bincount(confusion[:, 1], weights=confusion[:, 2])
        counts = _named(answers, labels.get(level, []))
        found[level] = _preferred(found.get(level), counts, int(answers.sum()))
        table = evaluation.reliability.get(level)
        if table is not None and len(table):
            level_scores = scores(table)
            found[level] = Level(found[level].counts, found[level].origin, level_scores)
    positive = evaluation.attribute_counts
    if len(positive):
        counts = _named(positive[:, 0] + positive[:, 1], labels.get(features.ATTRIBUTES, []))
        before = found.get(features.ATTRIBUTES)
        found[features.ATTRIBUTES] = _preferred(before, counts, evaluation.example_count)
    return found


def scores(table: np.ndarray) -> Scores:
    """Sums a level's answers up.

    Args:
        table: float64 (bins, 3): answers, sum of their scores, right ones.
    """
    answers, sums, right = table.sum(axis=0)
    mean, share = sums / answers, right / answers
    there = table[table[:, 0] > 0]
    of_bin = there[:, 1] / there[:, 0]
    # Within a bin scores are taken to be spread evenly.
    variance = (there[:, 0] @ (of_bin - mean) ** 2) / answers + 1 / (12 * len(table) ** 2)
    wrong = there[:, 0] - there[:, 2]
    squares = (there[:, 2] @ (1 - of_bin) ** 2 + wrong @ of_bin**2) / answers
    return Scores(
        answers=int(answers),
        mean=float(mean),
        right=float(share),
        mean_error=float(np.sqrt(variance / answers)),
        honesty_error=float(np.sqrt(max(squares - (share - mean) ** 2, 0) / answers)),
    )


def attribute_scores(evaluation: Evaluation, threshold: float) -> Scores | None:
    """As `scores`, of the attributes that were named on the test part.

    Args:
        evaluation: Of the model.
        threshold: The score from which on one is named.

    Returns:
        None where the bins do not fit the threshold: the model was evaluated with another.
    """
    table = evaluation.reliability.get(features.ATTRIBUTES)
    counts = evaluation.attribute_counts
    if table is None or not len(table) or not len(counts):
        return None
    named, right = counts[:, :2].sum(), counts[:, 0].sum()
    edges = np.arange(len(table) + 1) / len(table)
    above = edges[:-1] >= threshold - 1e-6
    across = (edges[:-1] < threshold - 1e-6) & (edges[1:] > threshold)
    of_bin_across = named - table[above, 0].sum()
    if not named or not 0 <= of_bin_across <= table[across, 0].sum():
        return None
    # Of the bin that the threshold divides, the named ones are in its upper part.
    rows = table[above]
    if of_bin_across:
        middle = (threshold + edges[1:][across][0]) / 2
        right_across = right - rows[:, 2].sum()
        rows = np.vstack([rows, [of_bin_across, of_bin_across * middle, right_across]])
    padding = np.zeros((len(table) - len(rows), 3))
    return scores(np.vstack([padding, rows]))


def figures(train: statistics_pb2.DatasetFeatureStatistics) -> dict[str, Figure]:
    """The picture figures' distributions, from the statistics of the train part."""
    found = {}
    for feature in train.features:
        name = ".".join(feature.path.step)
        if name not in features.PICTURE_STATISTICS or not feature.HasField("num_stats"):
            continue
        for histogram in feature.num_stats.histograms:
            buckets = histogram.buckets
            if histogram.type == statistics_pb2.Histogram.QUANTILES and buckets:
                edges = [buckets[0].low_value, *(bucket.high_value for bucket in buckets)]
                counts = np.array([bucket.sample_count for bucket in buckets])
                found[name] = Figure(np.array(edges), counts, feature.num_stats.median)
    return found


class _Graph:
    """ML Metadata's artifacts, and which came of which."""

    def __init__(self, store: metadata_store.MetadataStore):
        self._store = store

    def artifacts(self, kind: str) -> list[metadata_store_pb2.Artifact]:
        """All of a type, the oldest first."""
        return sorted(self._store.get_artifacts_by_type(kind), key=lambda one: one.id)

    def went_into(
        self, artifact: metadata_store_pb2.Artifact, key: str
    ) -> metadata_store_pb2.Artifact | None:
        """The input `key` of the execution that made an artifact."""
        made = self._executions(artifact, _is_output)
        return self._newest(made, lambda event: not _is_output(event) and _key(event) == key)

    def came_of(
        self, artifact: metadata_store_pb2.Artifact, taken_as: str, key: str
    ) -> metadata_store_pb2.Artifact | None:
        """The output `key`, the newest, of the executions that took an artifact as `taken_as`."""
        took = self._executions(
            artifact, lambda event: not _is_output(event) and _key(event) == taken_as
        )
        return self._newest(took, lambda event: _is_output(event) and _key(event) == key)

    def _executions(
        self,
        artifact: metadata_store_pb2.Artifact,
        wanted: Callable[[metadata_store_pb2.Event], bool],
    ) -> list[int]:
        events = self._store.get_events_by_artifact_ids([artifact.id])
        return [event.execution_id for event in events if wanted(event)]

    def _newest(
        self, executions: list[int], wanted: Callable[[metadata_store_pb2.Event], bool]
    ) -> metadata_store_pb2.Artifact | None:
        events = self._store.get_events_by_execution_ids(executions) if executions else []
        ids = {event.artifact_id for event in events if wanted(event)}
        found = self._store.get_artifacts_by_id(ids) if ids else []
        # What a step that failed was to write is not live.
        live = [one for one in found if one.state == one.LIVE]
        return max(live, key=lambda one: one.id, default=None)


def _is_output(event: metadata_store_pb2.Event) -> bool:
    return event.type in (event.OUTPUT, event.INTERNAL_OUTPUT, event.DECLARED_OUTPUT)


def _key(event: metadata_store_pb2.Event) -> str:
    return next((step.key for step in event.path.steps if step.key), "")


def _folder(uri: str, artifacts: Path) -> Path:
    """An artifact's folder, also in a workspace that was moved: `<step>/<output>/<execution>`."""
    here = artifacts.joinpath(*Path(uri).parts[-3:])
    return here if here.is_dir() else Path(uri)


def _train_statistics(folder: Path) -> statistics_pb2.DatasetFeatureStatistics:
    content = (folder / f"Split-{features.TRAIN}" / "FeatureStats.pb").read_bytes()
    return statistics_pb2.DatasetFeatureStatisticsList.FromString(content).datasets[0]


def _evaluation(folder: Path | None) -> Evaluation | None:
    if folder is None:
        return None
    from components.evaluation.results import read_evaluation

    return read_evaluation(str(folder))


def _vocabularies(model: Path) -> dict[str, list[str]]:
    """The labels of every level, in the order of their indices."""
    files = sorted((model / "Format-Serving" / "assets").iterdir())
    return {file.name: file_labels(file.read_bytes()) for file in files}


def _named(counts: np.ndarray, labels: list[str]) -> dict[str, int]:
    named = itertools.zip_longest(labels[: len(counts)], counts.tolist())
    return {label: round(count) for label, count in named if label is not None and count}


def _preferred(train: Level | None, counts: Mapping[str, int], products: int) -> Level:
    if train is not None and products < LEAST_PRODUCTS:
        return train
    return Level(counts, ANSWERS_ON_TEST)
