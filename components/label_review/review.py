"""The review of a catalog's labels: from features and answers to what is probably wrong."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import pyarrow as pa

from components.catalog_example_gen.conflicts import SAME_PICTURE
from components.catalog_example_gen.corrections import (
    ALREADY,
    CHANGED,
    KEPT,
    Outcome,
    joined,
)
from components.label_review import frozen, judging
from components.label_review.final_model import final_answers, mixed
from components.label_review.folds import folds_of
from components.label_review.heads import cross_fitted
from components.label_review.judging import Said
from components.label_review.neighbors import nearest_of_other_groups, votes
from components.label_review.products import Products
from components.label_review.suspects import Decided, Skipped, Suspect, skipped, suspects
from schema import features, workbook
from schema.labels import items, normalized

LIST_FILE = "label_review.csv"

CLEAR = 0.9
"""The score from which on a suspect is nearly certain; most are less."""

COLUMNS = ("id", "level", "given", "suggested", "score", "reasons")

_MOST_COMPONENTS = 384
_PRODUCTS_A_COMPONENT = 8
"""Heads read so many principal components of the features: of as large variance each, they would
tell few products apart by noise."""

_NEIGHBORS_COMPONENTS = 256

_PENALTY = 2.0
"""Of the heads' weights, by the square root of the number of products."""


class Options(NamedTuple):
    """The config's section `label_review`."""

    folds: int
    neighbors: int
    least_products: int


@dataclass(frozen=True)
class Review:
    """What came out.

    Attributes:
        products: All.
        suspects: The labels that are probably wrong, the likeliest mistake first.
        skipped: Levels that are not judged.
        neighbors: int64 (N, n): the most similar products of other groups, -1 where there is none.
    """

    products: Products
    suspects: Sequence[Suspect]
    skipped: Sequence[Skipped]
    neighbors: np.ndarray

    @property
    def clear(self) -> int:
        """How many suspects are nearly certain."""
        return sum(one.score >= CLEAR for one in self.suspects)

    @property
    def summary(self) -> str:
        """In a sentence."""
        by_level = Counter(one.level for one in self.suspects)
        listed = ", ".join(f"{number:,} of {level}" for level, number in by_level.most_common())
        told = f"{len(self.suspects):,} labels to look at{f' ({listed})' if listed else ''}"
        if self.suspects:
            told += f", {self.clear:,} of them with a score of {CLEAR:.1f} or more"
        if self.skipped:
            told += f"; not judged: {', '.join(one.level for one in self.skipped)}"
        return told


def review(
    files: Sequence[str | Path],
    *,
    extra_labels: Sequence[str],
    groups: Sequence[str],
    answered: Sequence[pa.Table],
    conflicts: Sequence[Mapping[str, str]],
    decided: Decided,
    options: Options,
    report: Callable[[str], None] = lambda message: None,
) -> Review:
    """Judges all labels of a catalog.

    Args:
        files: From `frozen.Describe`.
        extra_labels: The extra labels.
        groups: The groups of attributes.
        answered: The final model's answers about splits that it was not trained on.
        conflicts: Rows of the ingest's conflicts.csv.
        decided: What people have looked at.
        options: How.
        report: Is told what is being done.
    """
    described = frozen.described(files)
    products = Products.of(described, extra_labels, groups)
    report("principal components of the features")
    components, deviation = reduced(files, products)
    neighbors, said = ask(products, components, deviation, options, report)
    is_answered, answers = final_answers(products, answered)
    for name, of_model in answers.items():
        given = products.levels[name].given[is_answered]
        said[name].heads[is_answered] = mixed(said[name].heads[is_answered], of_model, given)
    not_judged = skipped(products, said)
    return Review(
        products,
        suspects(
            products,
            said,
            least_products=options.least_products,
            same_picture=same_picture(products, described[features.ID].to_pylist(), conflicts),
            decided=decided,
            without={one.level for one in not_judged},
        ),
        not_judged,
        neighbors,
    )


def reduced(files: Sequence[str | Path], products: Products) -> tuple[np.ndarray, np.ndarray]:
    """As `frozen.reduced`, to as many components as there are products for."""
    size = min(_MOST_COMPONENTS, max(2, len(products) // _PRODUCTS_A_COMPONENT))
    return frozen.reduced(files, products.of_picture, size)


def ask(
    products: Products,
    components: np.ndarray,
    deviation: np.ndarray,
    options: Options,
    report: Callable[[str], None] = lambda message: None,
) -> tuple[np.ndarray, dict[str, Said]]:
    """What heads and neighbors say of every product, out of sample.

    Args:
        products: All.
        components: float32 (N, D), from `reduced`.
        deviation: float32 (D,), from the same.
        options: How.
        report: Is told what is being done.

    Returns:
        int64 (N, neighbors): the nearest neighbors of other groups; and what was said, by level.
    """
    deviation = np.maximum(deviation, 1e-6)
    # Half as unlike in their variances as they are: neither the first components nor noise decide.
    near = (components / np.sqrt(deviation))[:, :_NEIGHBORS_COMPONENTS]
    near /= np.maximum(np.linalg.norm(near, axis=1, keepdims=True), 1e-12)
    neighbors, cosines = nearest_of_other_groups(
        near,
        products.group,
        options.neighbors,
        lambda done: report(f"neighbors of {done:,} of {len(products):,} products"),
    )
    heads = cross_fitted(
        components / deviation,
        products.levels,
        folds_of(products.group, options.folds),
        penalty=_PENALTY / np.sqrt(len(products)),
        report=lambda done: report(f"heads of fold {done} of {options.folds}"),
    )
    said = {}
    for name, level in products.levels.items():
        k = len(level.labels)
        said[name] = Said(
            heads[name],
            votes(level.given, neighbors, k),
            judging.shares_of(level.given, neighbors, cosines, k),
        )
    return neighbors, said


def same_picture(
    products: Products, examples: Sequence[str], conflicts: Sequence[Mapping[str, str]]
) -> list[list[int]]:
    """The products of each conflict on nearly the same picture.

    Args:
        products: All.
        examples: The Examples' ids, in the order of `products.of_picture`.
        conflicts: Rows of conflicts.csv.
    """
    place_of = dict(zip(examples, products.of_picture.tolist(), strict=True))
    return [
        sorted({place_of[name] for name in conflict["ids"].split("|") if name in place_of})
        for conflict in conflicts
        if conflict["kind"] == SAME_PICTURE
    ]


def decided_of(outcomes: Sequence[Outcome], groups: Sequence[str]) -> set[tuple[str, str, str]]:
    """The labels, as they are now, that people have decided on.

    Args:
        outcomes: What became of the decisions that the ingest read.
        groups: The groups of attributes.
    """
    found = set()
    for decision, outcome, _ in outcomes:
        label = {KEPT: decision.given, CHANGED: decision.corrected, ALREADY: decision.corrected}
        if outcome in label:
            now = label[outcome]
            if decision.level in groups:
                now = joined(filter(None, map(normalized, items(now, "|"))))
            found.add((decision.id, decision.level, now))
    return found


def write_list(of: Review, file: IO[bytes]) -> None:
    """Writes label_review.csv: UTF-8, with a header, the likeliest mistake first."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for one in of.suspects:
        reasons = [*one.reasons]
        if one.subcategory:
            reasons.append(f"its sub-category is then likely {one.subcategory}")
        cells = [
            *(of.products.ids[one.place], one.level, one.given, one.suggested),
            *(f"{one.score:.4f}", "; ".join(reasons)),
        ]
        writer.writerow(map(workbook.cell, cells))
    text.detach()
