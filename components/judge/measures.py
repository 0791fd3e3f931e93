"""What is said of a model's answers, as sums over products.

A figure that is a function of sums over products is the same function for all products, for a
slice, and for products that were drawn again: see `components.judge.intervals.Bootstrap`. Figures
that `components.evaluation.figures` knows as well are equal to its figures; other than there, a
figure is NaN where nothing was counted, and 0 only where it is as bad as can be.

A class level's table of sums has three cells a product that are not 0, and the attributes' some
three for each attribute that the product has or is said to have, so they are sparse: 40,000
products of 500 classes take 2 MB, and not 480. Measures of the same table share its function
(`sums`), so that who keeps what it gave makes it once for all of them.

Sources: precision, recall and F1 are scikit-learn's with `zero_division=0`, their overall averages
as in `components.evaluation.figures`. The calibration error is that of Guo et al. 2017 (arXiv
1706.04599, equation 5), Brier's score the original one, from 0 to 2 (Brier 1950). The tree distance
counts the edges between two leaves (Dekel et al. 2004, tree-induced error). Top-k recall ranks all
attributes of a product, and asks how many of its own are among the first k, as is usual since
DeepFashion (Liu et al. 2016), after Gong et al. 2013 (arXiv 1312.4894): what they call overall
recall is `top3_recall` here, and their per-class recall `macro_top3_recall`. Others average over
the best attributes alone, so name the variant beside every comparison.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Literal, TypeAlias

import numpy as np
from scipy import sparse

from components.evaluation import figures
from schema import features

Sums: TypeAlias = np.ndarray | sparse.csr_array
"""What every product adds: float64 (N, M), dense or sparse."""

TOP = (3, 5)
"""How many likeliest labels the top-k figures look at."""

EDGES_WITHIN, EDGES_ACROSS = 2, 4
"""Edges of the label tree between two sub-categories of one category, and of two categories."""

CONSISTENCY = f"{features.SUBCATEGORY}/hierarchical_consistency"
"""The share of answers whose sub-category is known below the answered category. Where the model
decides both levels jointly it is 1; the mean of several pictures' scores may be less."""

_CHUNK_CELLS = 1 << 22
"""Scores that are looked at a time."""


@dataclasses.dataclass(frozen=True)
class ClassAnswers:
    """A model's answers on a level with one class a product, N products.

    Attributes:
        labels: Names that the codes stand for: those of the model, and more where the products
            have labels that it does not know.
        truth: int (N,), codes; `features.NOT_GIVEN` where nobody knows, and the product is left
            out of this level, `features.NOT_IN_TRAIN` where the label has no name here.
        answer: int (N,), codes.
        score: float (N,), of the answer, in [0, 1].
        true_rank: int (N,), 1 where the truth is the likeliest; 0 where the model does not know
            the label, or ranks it after those that were kept.
        brier: float (N,), sum over the classes of (p - [true])^2, in [0, 2].

    Raises:
        ValueError: The arrays are not of one length, or a code stands for nothing.
    """

    labels: Sequence[str]
    truth: np.ndarray
    answer: np.ndarray
    score: np.ndarray
    true_rank: np.ndarray
    brier: np.ndarray

    def __post_init__(self) -> None:
        shapes = {name: np.shape(getattr(self, name)) for name in _ARRAYS}
        if set(shapes.values()) != {(len(self),)}:
            raise ValueError(f"answers have one value a product each, found shapes {shapes}")
        _check_codes("answer", self.answer, 0, len(self.labels))
        _check_codes("truth", self.truth, features.NOT_GIVEN, len(self.labels))

    def __len__(self) -> int:
        return len(self.truth)

    @cached_property
    def counted(self) -> np.ndarray:
        """The products whose label somebody knows, bool (N,)."""
        return self.truth != features.NOT_GIVEN

    @cached_property
    def right(self) -> np.ndarray:
        """The products whose answer is their label, bool (N,)."""
        return self.truth == self.answer


_ARRAYS = ("truth", "answer", "score", "true_rank", "brier")


@dataclasses.dataclass(frozen=True)
class AttributeAnswers:
    """A model's answers on the attributes, N products, A attributes.

    Attributes:
        labels: The attributes' names: those of the model, and more where the products have
            attributes that it does not know.
        truth: bool (N, A).
        scores: float (N, A), in [0, 1]; NaN where the model does not know the attribute. It never
            predicts that, so that a product that has it is a miss.
        threshold: Predicted is what has this score, as float32, or more.

    Raises:
        ValueError: The arrays are not of one shape, with a column for each label.
    """

    labels: Sequence[str]
    truth: np.ndarray
    scores: np.ndarray
    threshold: float

    def __post_init__(self) -> None:
        expected = (len(self), len(self.labels))
        if not expected == self.truth.shape == self.scores.shape:
            raise ValueError(
                f"answers on {len(self.labels)} attributes have shape {expected}, found truth of "
                f"{self.truth.shape} and scores of {self.scores.shape}"
            )

    def __len__(self) -> int:
        return len(self.truth)

    @cached_property
    def predicted(self) -> np.ndarray:
        """The attributes that the model names, bool (N, A)."""
        return self.scores >= np.float32(self.threshold)

    @cached_property
    def own(self) -> np.ndarray:
        """How many attributes a product has, whether the model knows them or not, int64 (N,)."""
        return np.count_nonzero(self.truth, axis=1)

    @cached_property
    def own_ranks(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Product, attribute and rank of each attribute that a product has, three int64 arrays.

        Ranks are by score, the first of equals first, from 1 on; 0 where the model does not know
        the attribute, for whatever it ranks, it is not that.
        """
        product, attribute = np.nonzero(self.truth)
        rank = np.zeros(len(product), np.int64)
        columns = np.arange(len(self.labels))
        for chunk in _chunks(len(product), len(self.labels)):
            scores = self.scores[product[chunk]]
            score = np.take_along_axis(scores, attribute[chunk, None], axis=1)
            earlier = (scores == score) & (columns < attribute[chunk, None])
            before = np.count_nonzero((scores > score) | earlier, axis=1)
            rank[chunk] = np.where(np.isnan(score[:, 0]), 0, before + 1)
        return product, attribute, rank


@dataclasses.dataclass(frozen=True)
class Answers:
    """A model's answers on all levels, on the same N products.

    Attributes:
        levels: Level's name to its answers.

    Raises:
        ValueError: The levels are not of as many products.
    """

    levels: Mapping[str, ClassAnswers | AttributeAnswers]

    def __post_init__(self) -> None:
        products = {level: len(answers) for level, answers in self.levels.items()}
        if len(set(products.values())) > 1:
            raise ValueError(f"all levels answer for the same products, found {products}")


@dataclasses.dataclass(frozen=True)
class Measure:
    """A figure as a function of sums over products.

    Attributes:
        name: `level/figure`.
        is_share: Whether it is a share of products, each of which counts or does not, so that
            Wilson's interval is its own; its sums are [those that do, all].
        lower_is_better: Whether less is better.
        sums: From answers to what every product adds, float64 (N, M).
        value: From sums (..., M) to the figure, float64 (...); NaN where nothing was counted.
    """

    name: str
    is_share: bool
    lower_is_better: bool
    sums: Callable[[Answers], Sums]
    value: Callable[[np.ndarray], np.ndarray]

    def figure(self, answers: Answers, chosen: np.ndarray | None = None) -> float:
        """Computes the figure of all products, or of the chosen ones, bool (N,)."""
        return float(self.value(totals(self.sums(answers), chosen)))


def measures(
    answers: Answers, known_pairs: Collection[tuple[str, str]] | None = None
) -> dict[str, Measure]:
    """All measures of the levels that `answers` has, by name; they fit any answers on those levels.

    Args:
        answers: Of any model; what its levels are called and which are attributes is all that is
            looked at.
        known_pairs: Category and sub-category that are known to go together, by name. Without them
            nothing is said of the hierarchy's consistency.
    """
    found: list[Measure] = []
    for level, of_level in answers.levels.items():
        if isinstance(of_level, AttributeAnswers):
            found += _attribute_measures(level)
        else:
            found += _class_measures(level)
    if {features.CATEGORY, features.SUBCATEGORY} <= set(answers.levels):
        found += _pair_measures(known_pairs)
    return {measure.name: measure for measure in found}


def totals(sums: Sums, chosen: np.ndarray | None = None) -> np.ndarray:
    """Adds up what all products add, or the chosen ones, bool (N,): float64 (M,)."""
    rows = sums if chosen is None else sums[np.flatnonzero(chosen)]
    return np.asarray(rows.sum(axis=0), np.float64)


def label_average_precision(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Computes every label's average precision over the products, ranked by its scores.

    Sum over the distinct scores, falling, of (recall - recall before) x precision, without
    interpolation, as scikit-learn's `average_precision_score`. What has no score, NaN, is never
    found: it lowers the recall, and a label that the model does not know has 0.

    Args:
        scores: float (N, A).
        truth: bool (N, A).

    Returns:
        float64 (A,); NaN where no product has the label.
    """
    return _average_precisions(scores.T, truth.T)


def average_precision(
    scores: np.ndarray, truth: np.ndarray, average: Literal["macro", "micro", "samples"] = "macro"
) -> float:
    """Computes the average precision of all labels; see `label_average_precision`.

    Args:
        scores: float (N, A).
        truth: bool (N, A).
        average: `macro` over the labels that any product has, `samples` over the products that have
            any label, each ranking its labels; `micro` of all decisions together.

    Returns:
        In [0, 1]; NaN where no product has a label.
    """
    if average == "macro":
        each = label_average_precision(scores, truth)
    elif average == "samples":
        each = _average_precisions(scores, truth)
    else:
        each = _average_precisions(scores.reshape(1, -1), truth.reshape(1, -1))
    left = each[~np.isnan(each)]
    return float(left.mean()) if len(left) else math.nan


def _class_measures(level: str) -> list[Measure]:
    def share(name: str, right: Callable[[ClassAnswers], np.ndarray]) -> Measure:
        def sums(answers: ClassAnswers) -> np.ndarray:
            return _columns(right(answers), answers.counted)

        return Measure(f"{level}/{name}", True, False, _of(level, sums), _ratio)

    table = _of(level, _class_table)
    return [
        share("accuracy", lambda answers: answers.right),
        *(share(f"top{k}_accuracy", partial(_among_first, k)) for k in TOP),
        *(
            Measure(f"{level}/{name}", False, False, table, value)
            for name, value in _CLASS_VALUES.items()
        ),
        Measure(
            f"{level}/brier",
            False,
            True,
            _of(level, lambda answers: _columns(answers.brier, answers.counted)),
            _ratio,
        ),
        Measure(
            f"{level}/{figures.CALIBRATION_ERROR}",
            False,
            True,
            _of(level, _class_bins),
            _calibration_error,
        ),
    ]


def _pair_measures(known_pairs: Collection[tuple[str, str]] | None) -> list[Measure]:
    def measure(
        name: str,
        of_pair: Callable[[np.ndarray, np.ndarray], np.ndarray],
        is_share: bool = True,
        lower_is_better: bool = False,
    ) -> Measure:
        def sums(answers: Answers) -> np.ndarray:
            category, subcategory = _pair(answers)
            counted = category.counted & subcategory.counted
            return _columns(of_pair(category.right, subcategory.right), counted)

        name = f"{features.SUBCATEGORY}/{name}"
        return Measure(name, is_share, lower_is_better, sums, _ratio)

    found = [
        measure(figures.PAIR_FIGURES[0], lambda category, subcategory: category & subcategory),
        measure(
            "wrong_within_category",
            lambda category, subcategory: category & ~subcategory,
            lower_is_better=True,
        ),
        measure(
            "wrong_across_categories", lambda category, subcategory: ~category, lower_is_better=True
        ),
        measure(
            "tree_distance",
            lambda category, subcategory: np.where(
                category, np.where(subcategory, 0, EDGES_WITHIN), EDGES_ACROSS
            ),
            is_share=False,
            lower_is_better=True,
        ),
    ]
    if known_pairs is not None:
        sums = partial(_consistent, frozenset(known_pairs))
        found.append(Measure(CONSISTENCY, True, False, sums, _ratio))
    return found


def _attribute_measures(level: str) -> list[Measure]:
    def measure(
        name: str, sums: Callable[[AttributeAnswers], Sums], is_share: bool = False
    ) -> Measure:
        return Measure(f"{level}/{name}", is_share, False, _of(level, sums), _ratio)

    table = _of(level, _attribute_table)
    found = [
        Measure(f"{level}/{name}", False, False, table, value)
        for name, value in _ATTRIBUTE_VALUES.items()
    ]
    found += [
        Measure(
            f"{level}/{figures.CALIBRATION_ERROR}",
            False,
            True,
            _of(level, _attribute_bins),
            _calibration_error,
        ),
        measure("r_precision", _r_precision),
        measure("micro_r_precision", partial(_hits_and_own, None)),
    ]
    for k in TOP:
        found += [
            measure(f"top{k}_recall", partial(_hits_and_own, k)),
            Measure(
                f"{level}/macro_top{k}_recall",
                False,
                False,
                _of(level, partial(_hits_by_attribute, k)),
                _mean_recall,
            ),
        ]
    return [
        *found,
        measure("example_f1", _example_f1),
        measure("subset_accuracy", _subset, is_share=True),
    ]


def _of(level: str, sums: Callable[[Any], Sums]) -> Callable[[Answers], Sums]:
    return lambda answers: sums(answers.levels[level])


def _pair(answers: Answers) -> tuple[ClassAnswers, ClassAnswers]:
    levels: Mapping[str, Any] = answers.levels
    return levels[features.CATEGORY], levels[features.SUBCATEGORY]


def _columns(part: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Sums [part, counted] of the products that are counted, zeros of others: float64 (N, 2)."""
    return np.column_stack([np.where(counted, part, 0), counted]).astype(np.float64)


def _ratio(sums: np.ndarray) -> np.ndarray:
    part, whole = sums[..., 0], sums[..., 1]
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)


def _among_first(k: int, answers: ClassAnswers) -> np.ndarray:
    return (answers.true_rank >= 1) & (answers.true_rank <= k)


def _class_table(answers: ClassAnswers) -> sparse.csr_array:
    """[right answers, answers, truths] by class, the one without a name first: (N, 3(C + 1))."""
    width = len(answers.labels) + 1
    truth, answer = (codes + 1 for codes in (answers.truth, answers.answer))
    counted, right = (np.flatnonzero(of) for of in (answers.counted, answers.right))
    return _sparse(
        np.concatenate([right, counted, counted]),
        np.concatenate([answer[right], width + answer[counted], 2 * width + truth[counted]]),
        (len(answers), 3 * width),
    )


def _class_value(
    figure: int, average: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
) -> Callable[[np.ndarray], np.ndarray]:
    """A value of `_class_table`: a figure of `figures.precision_recall_f1`, averaged."""

    def value(sums: np.ndarray) -> np.ndarray:
        right, answers, truths = _thirds(sums)
        return average(figures.precision_recall_f1(right, answers, truths)[figure], answers, truths)

    return value


def _weighted(figure: np.ndarray, answers: np.ndarray, truths: np.ndarray) -> np.ndarray:
    return _mean(figure, truths)


def _over_occurring(figure: np.ndarray, answers: np.ndarray, truths: np.ndarray) -> np.ndarray:
    return _mean(figure, answers + truths > 0)


def _over_true(figure: np.ndarray, answers: np.ndarray, truths: np.ndarray) -> np.ndarray:
    return _mean(figure, truths > 0)


def _mean(figure: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean over the last axis."""
    return _ratio(np.stack([(figure * weights).sum(axis=-1), weights.sum(axis=-1)], axis=-1))


_PRECISION_RECALL_F1 = ("precision", "recall", "f1")

_CLASS_VALUES = {
    **{
        f"{name}_{figure}": _class_value(position, average)
        for name, average in (("overall", _weighted), ("macro", _over_occurring))
        for position, figure in enumerate(_PRECISION_RECALL_F1)
    },
    "balanced_accuracy": _class_value(1, _over_true),
}
"""Figures of `_class_table`: `macro` is over the classes that are true or answered, and
`balanced_accuracy` over those that are true."""


def _class_bins(answers: ClassAnswers) -> sparse.csr_array:
    """[answers, their scores, right ones] by bin: (N, 3 BINS)."""
    counted = np.flatnonzero(answers.counted)
    score = answers.score[counted].astype(np.float64)
    bins = _bin(score)
    return _sparse(
        np.tile(counted, 3),
        np.concatenate([position * figures.BINS + bins for position in range(3)]),
        (len(answers), 3 * figures.BINS),
        np.concatenate([np.ones(len(counted)), score, answers.right[counted]]),
    )


def _attribute_bins(answers: AttributeAnswers) -> np.ndarray:
    """[answers, their scores, right ones] by bin, of the known attributes: (N, 3 BINS)."""
    sums = np.empty((len(answers), 3, figures.BINS))
    for chunk in _chunks(len(answers), len(answers.labels)):
        scores = answers.scores[chunk].astype(np.float64)
        row, attribute = np.nonzero(~np.isnan(scores))
        score, right = scores[row, attribute], answers.truth[chunk][row, attribute]
        cell = row * figures.BINS + _bin(score)
        for position, weights in enumerate((None, score, right)):
            counts = np.bincount(cell, weights, len(scores) * figures.BINS)
            sums[chunk, position] = counts.reshape(len(scores), figures.BINS)
    return sums.reshape(len(answers), -1)


def _bin(scores: np.ndarray) -> np.ndarray:
    return np.minimum((scores * figures.BINS).astype(np.int64), figures.BINS - 1)


def _calibration_error(sums: np.ndarray) -> np.ndarray:
    answers, scores, right = _thirds(sums)
    gaps = np.abs(right - scores).sum(axis=-1)
    return _ratio(np.stack([gaps, answers.sum(axis=-1)], axis=-1))


def _consistent(known: frozenset[tuple[str, str]], answers: Answers) -> np.ndarray:
    """Products whose answers are known to go together; their truths do not matter."""
    category, subcategory = _pair(answers)
    pairs, position = np.unique(
        np.column_stack([category.answer, subcategory.answer]), axis=0, return_inverse=True
    )
    is_known = [
        (category.labels[above], subcategory.labels[below]) in known
        for above, below in pairs.tolist()
    ]
    return _columns(np.array(is_known, bool)[position.reshape(-1)], np.ones(len(category), bool))


def _attribute_table(answers: AttributeAnswers) -> sparse.csr_array:
    """[right ones, predicted, true] by attribute, and a 1 for the product: (N, 3A + 1)."""
    width, ones = len(answers.labels), np.ones((len(answers), 1), bool)
    cells = [answers.predicted & answers.truth, answers.predicted, answers.truth, ones]
    at = [np.nonzero(of) for of in cells]
    return _sparse(
        np.concatenate([row for row, _ in at]),
        np.concatenate([column + position * width for position, (_, column) in enumerate(at)]),
        (len(answers), 3 * width + 1),
    )


def _attribute_value(figure: int, pooled: bool) -> Callable[[np.ndarray], np.ndarray]:
    """A value of `_attribute_table`, of all decisions together or the mean over the attributes."""

    def value(sums: np.ndarray) -> np.ndarray:
        counts = _thirds(sums[..., :-1])
        if pooled:
            counts = counts.sum(axis=-1, keepdims=True)
        each = figures.precision_recall_f1(*counts)[figure]
        return np.where(sums[..., -1] > 0, _mean(each, np.ones_like(each)), np.nan)

    return value


_ATTRIBUTE_VALUES = {
    f"{name}_{figure}": _attribute_value(position, pooled)
    for name, pooled in (("overall", True), ("macro", False))
    for position, figure in enumerate(_PRECISION_RECALL_F1)
}
"""Figures of `_attribute_table`: `macro` is over all attributes, those that do not occur at 0."""


def _r_precision(answers: AttributeAnswers) -> np.ndarray:
    """Share of a product's k attributes among its first k: (N, 2), [share, has any]."""
    share = _hits(answers, None) / np.maximum(answers.own, 1)
    return _columns(share, answers.own > 0)


def _hits_and_own(k: int | None, answers: AttributeAnswers) -> np.ndarray:
    return np.column_stack([_hits(answers, k), answers.own]).astype(np.float64)


def _hits(answers: AttributeAnswers, k: int | None) -> np.ndarray:
    """How many of a product's attributes are among its first k, or as many as it has: (N,)."""
    product, _, _ = answers.own_ranks
    return np.bincount(product[_is_hit(answers, k)], minlength=len(answers))


def _is_hit(answers: AttributeAnswers, k: int | None) -> np.ndarray:
    product, _, rank = answers.own_ranks
    return (rank >= 1) & (rank <= (answers.own[product] if k is None else k))


def _hits_by_attribute(k: int, answers: AttributeAnswers) -> sparse.csr_array:
    """[those among their product's first k, all] by attribute: (N, 2A)."""
    product, attribute, _ = answers.own_ranks
    hit, width = _is_hit(answers, k), len(answers.labels)
    return _sparse(
        np.concatenate([product[hit], product]),
        np.concatenate([attribute[hit], attribute + width]),
        (len(answers), 2 * width),
    )


def _mean_recall(sums: np.ndarray) -> np.ndarray:
    hits, own = np.split(sums, 2, axis=-1)
    recall = np.divide(hits, own, out=np.zeros(hits.shape), where=own > 0)
    return _mean(recall, own > 0)


def _example_f1(answers: AttributeAnswers) -> np.ndarray:
    hits = np.count_nonzero(answers.predicted & answers.truth, axis=1)
    named = np.count_nonzero(answers.predicted, axis=1)
    _, _, f1 = figures.precision_recall_f1(hits, named, answers.own)
    return _columns(f1, np.ones(len(answers), bool))


def _subset(answers: AttributeAnswers) -> np.ndarray:
    exact = (answers.predicted == answers.truth).all(axis=1)
    return _columns(exact, np.ones(len(answers), bool))


def _average_precisions(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Average precision of each row (R, C), ranked by its scores; NaN where nothing is true."""
    rows = zip(scores, truth, strict=True)
    return np.array([_row_average_precision(*row) for row in rows], np.float64)


def _row_average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """The mean, over what is true, of the precision among all that score as high as it."""
    scored = ~np.isnan(scores)
    everything, own = np.sort(scores[scored]), np.sort(scores[truth & scored])
    as_high = [len(of) - np.searchsorted(of, own) for of in (own, everything)]
    positives = np.count_nonzero(truth)
    return float((as_high[0] / as_high[1]).sum() / positives) if positives else math.nan


def _thirds(sums: np.ndarray) -> np.ndarray:
    """The three kinds of sums that a table holds: (3, ..., M / 3)."""
    return np.stack(np.split(sums, 3, axis=-1))


def _sparse(
    rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int], data: np.ndarray | None = None
) -> sparse.csr_array:
    data = np.ones(len(rows)) if data is None else data
    return sparse.csr_array((data, (rows, columns)), shape=shape)


def _chunks(rows: int, width: int) -> Iterator[slice]:
    """Slices of `rows`, so that each has `_CHUNK_CELLS` cells of `width` at most, or one row."""
    step = max(_CHUNK_CELLS // max(width, 1), 1)
    return (slice(start, start + step) for start in range(0, rows, step))


def _check_codes(name: str, codes: np.ndarray, least: int, labels: int) -> None:
    strange = np.flatnonzero((codes < least) | (codes >= labels))
    if len(strange):
        row = int(strange[0])
        raise ValueError(
            f"{name} of product {row} is {int(codes[row])}, expected a code from {least} to "
            f"{labels - 1}, for there are {labels} labels"
        )
