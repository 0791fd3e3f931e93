"""What a card tells, as plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from components.atomic_pusher.records import FileMark
from components.data_gate.findings import Distance
from components.evaluation.results import Evaluation
from components.judge.answers import PICTURES
from components.judge.gates import main_figure
from components.judge.judgement import Judgement
from components.model_card.packages import Package
from schema import features

IMAGENET = "imagenet"
"""What `model.weights` says where the backbone was trained on ImageNet."""

SMALL = 30
"""Products below which a slice is none of the worst: by chance alone it could be."""

_WORST = 5
_MOST_CONFUSED = 10


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """Weights that the training started from.

    Attributes:
        name: The network's, or the weights file's.
        package: That they came in; None where it was none.
        notice: What has to be handed on with them; empty where nobody says.
    """

    name: str
    package: Package | None = None
    notice: str = ""


@dataclasses.dataclass(frozen=True)
class WorstSlice:
    """A slice and how far its figure is below that of all products.

    Attributes:
        column: What it is a value of.
        value: Which.
        metric: `level/figure`.
        told: What `Judgement.slices` says of the figure.
        below: The figure of all products less the slice's.
    """

    column: str
    value: str
    metric: str
    told: Mapping[str, Any]
    below: float


@dataclasses.dataclass(frozen=True)
class Contents:
    """Everything on a card.

    Attributes:
        name: The pipeline's name.
        model: The trained model's artifact, the end of its path.
        trained: When the training ended, ISO 8601 in UTC; empty where no artifact says.
        files: What a server loads of the model, by path.
        fingerprint: Which model it is, as `seamline_version.json` tells it; SHA-256.
        examples_sha256: A hash of the Examples; see `gather.examples_hash`.
        ingest: Counts of the ingest, as `catalog_example_gen` writes them into its summary.
        conflicts: Kind of conflict to how many there are.
        findings: How many things DataGate found that are not as the schema says.
        distances: How far the parts are apart, as DataGate measured it.
        history: What the Trainer wrote into `history.json`.
        labels: Each level's vocabulary.
        evaluation: The Evaluator's figures.
        judgement: The Judge's figures, with intervals, and its verdict.
        attribute_threshold: Score from which on (>=) an attribute counts as predicted.
        canary_passed: Whether the candidate answered from a server.
        canary_summary: What the canary says of it, one sentence.
        pretrained: What the training started from; None for random weights.
        packages: What ran.
        seamline: Its version.
        license: Of the model; empty where nobody said.
        contact: Whom to ask; empty where nobody said.
    """

    name: str
    model: str
    trained: str
    files: Mapping[str, FileMark]
    fingerprint: str
    examples_sha256: str
    ingest: Mapping[str, Any]
    conflicts: Mapping[str, int]
    findings: int
    distances: Sequence[Distance]
    history: Mapping[str, Any]
    labels: Mapping[str, Sequence[str]]
    evaluation: Evaluation
    judgement: Judgement
    attribute_threshold: float
    canary_passed: bool
    canary_summary: str
    pretrained: Pretrained | None
    packages: Sequence[Package]
    seamline: str
    license: str = ""
    contact: str = ""

    @property
    def options(self) -> Mapping[str, Any]:
        """Those of the training, by `section.option`."""
        return self.history["hyperparameters"]

    @property
    def levels(self) -> list[str]:
        """The levels that were judged, in the order in which people read them."""
        return [level for level in self.labels if main_figure(level) in self.judgement.figures]

    @property
    def slice_columns(self) -> list[str]:
        """The catalog's own slice columns, which come before what is made of other columns."""
        made = {features.ATTRIBUTES, *PICTURES}
        return [column for column in self.judgement.slices if column not in made]

    @property
    def is_of_people(self) -> bool:
        """Whether a label may be taken for what a person is, which it is not."""
        return any("gender" in name.lower() for name in (*self.labels, *self.slice_columns))

    def worst_slices(self) -> list[WorstSlice]:
        """The slices that are farthest below all products, of those with `SMALL` products."""
        found = [
            WorstSlice(column, value, metric, told, whole - told["value"])
            for column, values in self.judgement.slices.items()
            for value, metrics in values.items()
            for metric, told in metrics.items()
            if (whole := self.judgement.figures[metric]["value"]) is not None
            and told["value"] is not None
            and told["products"] >= SMALL
            and told["value"] < whole
        ]
        return sorted(found, key=lambda one: (-one.below, one.column, one.value, one.metric))[
            :_WORST
        ]

    def confusions(self, level: str) -> list[tuple[int, int, int]]:
        """The commonest mistakes of a level with one label a product: truth, answer, products."""
        wrong = [
            (int(truth), int(answer), int(count))
            for truth, answer, count in self.evaluation.confusion.get(level, ())
            if truth != answer
        ]
        return sorted(wrong, key=lambda pair: (-pair[2], pair))[:_MOST_CONFUSED]
