"""What the report tells, as plain data."""

from __future__ import annotations

import dataclasses
from typing import Any

from components.data_gate.findings import Distance, Finding
from components.evaluation.results import Evaluation
from components.judge.judgement import Judgement

MOST_REJECTS = 50
"""Rejected rows that are listed; the rejects artifact has them all."""

MOST_CONFLICTS = 20
"""Conflicts of a kind that are listed; the conflicts artifact has them all."""


@dataclasses.dataclass(frozen=True)
class Expectation:
    """What the schema asks of a feature.

    Attributes:
        feature: Its name.
        kind: "text", "integer" or "number"; empty where the schema does not say.
        required: Whether every product must have it.
        allowed: Which values it may have, in words; empty where any is allowed.
    """

    feature: str
    kind: str
    required: bool
    allowed: str


@dataclasses.dataclass(frozen=True)
class Answer:
    """A test picture that the candidate answered from a real server.

    Attributes:
        id: The product's id.
        truth: Level to its label, for the attributes a list of labels.
        prediction: "category" and "subcategory" with "category_score" and "subcategory_score",
            "attributes", every label with its score, and "extra_labels", each with "label" and
            "score".
        thumbnail: JPEG or PNG bytes in base64; empty where there is none.
    """

    id: str
    truth: dict[str, Any]
    prediction: dict[str, Any]
    thumbnail: str = ""


@dataclasses.dataclass(frozen=True)
class Contents:
    """Everything on the page.

    Attributes:
        name: The pipeline's name.
        created: When the page was made, for people.
        evaluation: The candidate's figures.
        judgement: What the gates say of it.
        labels: Each level's vocabulary.
        attribute_threshold: Score from which on (>=) an attribute counts as predicted.
        canary_passed: Whether the candidate answered from a server; None where it was not asked.
        canary_summary: What the canary says of it, one sentence.
        pushed_version: The version that went live; empty where none did.
        pushed_destination: Where it lies.
        push_summary: What Pusher says of it, one sentence.
        ingest: Counts of the ingest, as `catalog_example_gen` writes them into its summary.
        rejects: Rejected rows: "row", "id", "column", "reason" (a code), "found".
        expectations: What the schema asks of each feature.
        findings: What DataGate found, errors first.
        distances: How far the parts are apart, as DataGate measured it.
        conflicts: Rows of conflicts.csv: "kind", "value" (the first product's id, or the label),
            "rows" (numbers, divided by blanks), "ids" of those rows (divided by `|`), "found".
        conflict_counts: Kind of conflict to how many there are; empty where none were looked for.
        corrections: What people's corrections of labels did, in sentences; none without them.
        label_review: What the review of labels found; empty where there was none.
        class_counts: Each level's labels to their number of products in the train part.
        history: What the Trainer wrote into `history.json`.
        trials: Of each trial of the hyperparameter search its "score" and what it tried, by option,
            the best first; empty where nothing was searched.
        answers: The canary's questions and the candidate's answers.
        products: What the page knows of single products, see `products.told`; empty where the
            table of answers is not at hand.
        attribute_decisions: Each attribute's decisions by score, see `products.attribute_counts`.
        coverage: How right the surest answers are, see `products.coverages`.
        parents: The category of each sub-category, see `products.parents`.
        runs: The workspace's runs that left a report, the oldest first, this one last; see
            `runs.read`.
        search: What is searched by pictures and how good that is, see
            `similarity_index.artifacts.QUALITY_FILE`; empty where the catalog is not searched.
        search_map: Test products laid out by what the search compares, see
            `similarity_index.map.embedding_map`; empty without a search.
    """

    name: str
    created: str
    evaluation: Evaluation
    judgement: Judgement
    labels: dict[str, list[str]]
    attribute_threshold: float
    canary_passed: bool | None = None
    canary_summary: str = ""
    pushed_version: str = ""
    pushed_destination: str = ""
    push_summary: str = ""
    ingest: dict[str, Any] = dataclasses.field(default_factory=dict)
    rejects: list[dict[str, str]] = dataclasses.field(default_factory=list)
    expectations: list[Expectation] = dataclasses.field(default_factory=list)
    findings: list[Finding] = dataclasses.field(default_factory=list)
    distances: list[Distance] = dataclasses.field(default_factory=list)
    conflicts: list[dict[str, str]] = dataclasses.field(default_factory=list)
    conflict_counts: dict[str, int] = dataclasses.field(default_factory=dict)
    corrections: list[str] = dataclasses.field(default_factory=list)
    label_review: str = ""
    class_counts: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    history: dict[str, Any] = dataclasses.field(default_factory=dict)
    trials: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    answers: list[Answer] = dataclasses.field(default_factory=list)
    products: dict[str, Any] = dataclasses.field(default_factory=dict)
    attribute_decisions: dict[str, Any] = dataclasses.field(default_factory=dict)
    coverage: dict[str, Any] = dataclasses.field(default_factory=dict)
    parents: dict[str, str] = dataclasses.field(default_factory=dict)
    runs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    search: dict[str, Any] = dataclasses.field(default_factory=dict)
    search_map: dict[str, Any] = dataclasses.field(default_factory=dict)
