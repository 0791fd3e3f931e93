"""The tables of answers as measures read them: two models on the same products, by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from components.judge.measures import Answers, AttributeAnswers, ClassAnswers
from components.predictions import table
from schema import features
from schema.errors import UserError

PICTURES = {
    "image_brightness": ("darkest tenth", "brightest tenth"),
    "image_sharpness": ("most blurred tenth", "sharpest tenth"),
    "image_size": ("smallest tenth", "largest tenth"),
}
"""Columns made of the picture figures, and what the two ends of each are called; between them is
`MIDDLE`. An image's size is its height times its width. Pictures with the same figure fall on one
side, so that an end may hold more than a tenth, or none where nearly all are alike."""

MIDDLE = "those between"

# Of a level, in the table of answers.
_UNREAD = ("true_score", "independent", "uncalibrated", "uncalibrated_score", "uncalibrated_scores")


@dataclass(frozen=True)
class Judged:
    """What two models say of the same N products, or pictures of products.

    Attributes:
        candidate: The candidate's answers.
        last: Those of the last blessed model; None without one.
        groups: (N,), products of one group are not independent of each other.
        slices: Column to its values to the products of each, bool (N,): the catalog's slice
            columns; `features.ATTRIBUTES`, of whose values a product may have several; and what
            `PICTURES` makes of the picture figures.
        columns: Those of `slices` that are the catalog's slice columns.
        known_pairs: Category and sub-category that the candidate's training saw together; None
            where nobody knows.
    """

    candidate: Answers
    last: Answers | None
    groups: np.ndarray
    slices: Mapping[str, Mapping[str, np.ndarray]]
    columns: tuple[str, ...]
    known_pairs: Collection[tuple[str, str]] | None = None

    def __len__(self) -> int:
        return len(self.groups)

    def units(self, chosen: np.ndarray) -> float:
        """Independent units among the chosen products, bool (N,): their groups."""
        return float(len(np.unique(self._group[chosen])))

    @cached_property
    def _group(self) -> np.ndarray:
        return np.unique(self.groups, return_inverse=True)[1].reshape(-1)


def read(folder: str, split: str) -> pa.Table | None:
    """A table of answers as `judged` reads it; None where no model was asked about the split.

    Without what it does not ask for, most of which are the embeddings.
    """
    there = table.column_names(folder, split)
    # A slice column may be called anything.
    unread = {
        name
        for name in there
        if name.rpartition("/")[2] in _UNREAD and not name.startswith(table.slice_name(""))
    }
    names = [name for name in there if name != features.EMBEDDING and name not in unread]
    return table.read(folder, split, names)


def judged(
    candidate: pa.Table,
    last: pa.Table | None,
    slices: Sequence[str],
    attribute_threshold: float,
) -> Judged:
    """Puts tables of answers about a split side by side.

    Codes stand for the same names in both. A level that only one of the models has is left out of
    the other's answers.

    Args:
        candidate: From `read`.
        last: The same of the last blessed model, about the same pictures in any order.
        slices: The catalog's slice columns.
        attribute_threshold: Score from which an attribute counts as predicted.

    Raises:
        UserError: the tables are of other pictures.
    """
    tables = _side_by_side(candidate, last)
    return _judged(tables, [None] * len(tables), slices, attribute_threshold)


def judged_by_product(
    candidate: pa.Table,
    last: pa.Table | None,
    slices: Sequence[str],
    attribute_threshold: float,
) -> Judged:
    """As `judged`, with a row for each product: its answer is the mean of its pictures' scores.

    What is said of a product beside its pictures, its labels, slices and group, is what its first
    picture says.
    """
    tables = _side_by_side(candidate, last)
    names, first, product = np.unique(
        _texts(candidate, features.PRODUCT), return_index=True, return_inverse=True
    )
    means = [_mean_answers(of, product.reshape(-1), len(names)) for of in tables]
    firsts = [of.take(pa.array(first)) for of in tables]
    return _judged(firsts, means, slices, attribute_threshold)


def masks(values: np.ndarray) -> dict[str, np.ndarray]:
    """Each value that occurs, in order, to where it does, bool (N,)."""
    return {value: values == value for value in np.unique(values).tolist()}


def ends(figure: np.ndarray, low: str, high: str) -> dict[str, np.ndarray]:
    """A picture figure's lowest and highest tenth and what is between, as `masks`.

    Args:
        figure: float (N,); NaN where it is not known, which is in no slice.
        low: What the lowest are called.
        high: What the highest are called.
    """
    known = figure[~np.isnan(figure)]
    if not len(known):
        return {}
    first, last = np.quantile(known, [0.1, 0.9], method="nearest")
    least, most = figure <= first, figure >= last
    if first == last:
        return {MIDDLE: ~np.isnan(figure)}
    return {low: least, MIDDLE: ~np.isnan(figure) & ~least & ~most, high: most}


def _side_by_side(candidate: pa.Table, last: pa.Table | None) -> list[pa.Table]:
    return [candidate] if last is None else [candidate, _in_order_of(candidate, last)]


def _judged(
    tables: Sequence[pa.Table],
    scores: Sequence[Mapping[str, np.ndarray] | None],
    slices: Sequence[str],
    attribute_threshold: float,
) -> Judged:
    """Of one table, or two in the same order, each read by `scores` where they are given."""
    read = [
        _answers(of, names, attribute_threshold, of_table)
        for (of, names), of_table in zip(_with_names(tables), scores, strict=True)
    ]
    return Judged(
        candidate=read[0],
        last=read[1] if len(read) > 1 else None,
        groups=_texts(tables[0], features.GROUP),
        slices=_slices(tables[0], slices),
        columns=tuple(slices),
    )


def _own_attributes(of: pa.Table) -> tuple[np.ndarray, list[str]]:
    """Row and label of each attribute that a product has."""
    true = of[f"{features.ATTRIBUTES}/true"].combine_chunks()
    rows = np.repeat(np.arange(of.num_rows), np.diff(true.offsets.to_numpy()))
    return rows, true.flatten().to_pylist()


def _slices(of: pa.Table, columns: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
    found = {column: masks(_texts(of, table.slice_name(column))) for column in columns}
    product, labels = _own_attributes(of)
    own: dict[str, np.ndarray] = {}
    for label, where in masks(np.array(labels, object).astype(str)).items():
        own[label] = np.zeros(of.num_rows, bool)
        own[label][product[where]] = True
    figures = {
        name: of[name].to_numpy().astype(float)
        for name in (features.IMAGE_BRIGHTNESS, features.IMAGE_SHARPNESS)
    }
    figures["image_size"] = np.prod(
        [
            of[name].to_numpy().astype(float)
            for name in (features.IMAGE_HEIGHT, features.IMAGE_WIDTH)
        ],
        axis=0,
    )
    made = {features.ATTRIBUTES: own}
    made |= {name: ends(figures[name], *named) for name, named in PICTURES.items()}
    return found | {name: of for name, of in made.items() if name not in found}


def _in_order_of(candidate: pa.Table, last: pa.Table) -> pa.Table:
    """The rows of `last` in the order of the candidate's."""
    asked, answered = (_texts(of, features.ID) for of in (candidate, last))
    order, back = np.argsort(asked, kind="stable"), np.argsort(answered, kind="stable")
    if not np.array_equal(asked[order], answered[back]):
        raise UserError(
            "The last blessed model was asked about other products than the candidate, so the two "
            "cannot be compared. Delete the folder BaselinePredictions of the workspace's "
            "artifacts and run again."
        )
    taken = np.empty(len(order), np.int64)
    taken[order] = back
    return last.take(pa.array(taken))


def _with_names(tables: Sequence[pa.Table]) -> list[tuple[pa.Table, dict[str, list[str]]]]:
    """Each table with the names of all labels that any has or any product has, by its levels."""
    names: dict[str, dict[str, None]] = {}
    for of in tables:
        for level, labels in table.labels_of(of.schema).items():
            names.setdefault(level, {}).update(dict.fromkeys(labels))
    for of in tables:
        for level in table.labels_of(of.schema):
            true = of[f"{level}/true"].combine_chunks()
            if level == features.ATTRIBUTES:
                true = true.flatten()
            names[level].update(dict.fromkeys(one for one in true.unique().to_pylist() if one))
    return [
        (of, {level: list(names[level]) for level in table.labels_of(of.schema)}) for of in tables
    ]


def _answers(
    of: pa.Table,
    names: Mapping[str, Sequence[str]],
    attribute_threshold: float,
    scores: Mapping[str, np.ndarray] | None = None,
) -> Answers:
    """The answers of a table; by `scores`, float (N, C) a level, where they are given."""
    levels: dict[str, ClassAnswers | AttributeAnswers] = {}
    for level, labels in table.labels_of(of.schema).items():
        code_of = {name: code for code, name in enumerate(names[level])}
        own = np.array([code_of[label] for label in labels], np.int64)
        if level == features.ATTRIBUTES:
            given = table.matrix(of, f"{level}/scores") if scores is None else scores[level]
            levels[level] = _attributes(of, given, own, code_of, attribute_threshold)
            continue
        true = of[f"{level}/true"].to_pylist()
        truth = np.array(
            [features.NOT_GIVEN if one is None else code_of[one] for one in true], np.int64
        )
        if scores is None:
            best = of[f"{level}/labels"].combine_chunks()
            first = best.offsets.to_numpy()[:-1]
            answer = np.array(
                [code_of[one] for one in best.values.take(pa.array(first)).to_pylist()]
            )
            levels[level] = ClassAnswers(
                names[level],
                truth,
                answer.astype(np.int64),
                of[f"{level}/scores"].combine_chunks().values.to_numpy()[first],
                of[f"{level}/true_rank"].to_numpy(),
                of[f"{level}/brier"].to_numpy(),
            )
        else:
            levels[level] = _of_scores(names[level], truth, scores[level], own)
    return Answers(levels)


def _of_scores(
    names: Sequence[str], truth: np.ndarray, scores: np.ndarray, own: np.ndarray
) -> ClassAnswers:
    """Answers of full scores float (N, C), whose column c is of the label with code own[c]."""
    order = np.argsort(-scores, axis=1, kind="stable")
    is_true = own[order] == truth[:, None]
    rank = np.where(is_true.any(axis=1), is_true.argmax(axis=1) + 1, 0)
    true_score = (scores * (own == truth[:, None])).sum(axis=1)
    return ClassAnswers(
        names,
        truth,
        own[order[:, 0]],
        np.take_along_axis(scores, order[:, :1], 1)[:, 0],
        rank,
        (scores**2).sum(axis=1) - 2 * true_score + 1,
    )


def _attributes(
    of: pa.Table,
    given: np.ndarray,
    own: np.ndarray,
    code_of: Mapping[str, int],
    threshold: float,
) -> AttributeAnswers:
    scores = np.full((of.num_rows, len(code_of)), np.nan, np.float32)
    scores[:, own] = given
    truth = np.zeros(scores.shape, bool)
    rows, own_labels = _own_attributes(of)
    truth[rows, np.array([code_of[one] for one in own_labels], np.int64)] = True
    return AttributeAnswers(list(code_of), truth, scores, threshold)


def _mean_answers(of: pa.Table, product: np.ndarray, products: int) -> dict[str, np.ndarray]:
    """Mean scores of each product's pictures, float64 (P, C) by level."""
    pictures = np.bincount(product, minlength=products)[:, None]
    means = {}
    for level in table.labels_of(of.schema):
        name = "scores" if level == features.ATTRIBUTES else "all_scores"
        scores = table.matrix(of, f"{level}/{name}")
        summed = np.zeros((products, scores.shape[1]))
        np.add.at(summed, product, scores)
        means[level] = summed / pictures
    return means


def _texts(of: pa.Table, column: str) -> np.ndarray:
    return np.array(of[column].to_pylist(), object).astype(str)
