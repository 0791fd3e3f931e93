"""The arithmetic of the metrics: from counts to accuracy, precision, recall and F1.

Every figure equals scikit-learn's with `zero_division=0`. Precision and recall are averaged over
the classes in proportion to their support, as Ferreira et al. (arXiv 1806.09445, section 4) do:
overall precision, recall and F1.

The expected calibration error is that of Guo et al. 2017 (arXiv 1706.04599, equation 5): answers in
bins by score, how far each bin's mean score is from its share of right answers, weighted by the
bins' answers. A class level's answer is its likeliest class; every attribute of every product is an
answer of its own, right where the product has it.

Products whose label is `features.NOT_GIVEN` are left out of that label's figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from schema import features

CLASS_FIGURES = (
    "accuracy",
    *(
        f"{average}_{figure}"
        for average in ("overall", "macro")
        for figure in ("precision", "recall", "f1")
    ),
    "balanced_accuracy",
)
"""What is said of a level with one class a product: `macro` is over the classes that are true or
answered, `balanced_accuracy` the mean recall of those that are true."""

TOP = (3, 5)

RANK_FIGURES = (*(f"top{k}_accuracy" for k in TOP), "brier")
"""Said of such a level as well: whether the truth is among the likeliest, and Brier's score, the
sum over all classes of (probability - [true])^2, from 0 to 2 (Brier 1950)."""

ATTRIBUTE_FIGURES = tuple(
    f"{average}_{figure}"
    for average in ("overall", "macro")
    for figure in ("precision", "recall", "f1")
)
"""What is said of the attributes; `overall` pools all decisions (micro average)."""

CALIBRATION_ERROR = "calibration_error"
"""Said of every level: the expected calibration error of what is served; less is better."""

LESS_IS_BETTER = frozenset(
    {CALIBRATION_ERROR, "brier", "wrong_within_category", "wrong_across_categories"}
    | {"tree_distance"}
)
"""Figures that are errors."""

UNCALIBRATED_ERROR = "uncalibrated_calibration_error"
"""What `CALIBRATION_ERROR` would be without calibration."""

INDEPENDENT_ACCURACY = "independent_accuracy"
"""What the accuracy of category and sub-category would be without joint decoding."""

CHANGED = "changed_by_decoding"
"""Share of the products for which joint decoding changed the decision of the level."""

DECODING_FIGURES = (INDEPENDENT_ACCURACY, CHANGED)
"""Said of category and sub-category where they are decoded jointly."""

PAIR_FIGURES = (
    "pair_accuracy",
    "wrong_within_category",
    "wrong_across_categories",
    "tree_distance",
)
"""Said of the sub-category: the share of the products whose category is right as well, of those
wrong below the right category, and below another; and the mean of the edges between the true and
the answered leaf, of which there are 0, 2 or 4 (Dekel et al. 2004)."""

INDEPENDENT_PAIR_ACCURACY = "independent_pair_accuracy"
"""What `pair_accuracy` would be without joint decoding."""

PRODUCT_ACCURACY = "product_accuracy"
"""Said of a class level where products have several pictures: the accuracy by product, each named
by the mean of its pictures' scores."""

PRODUCT_ATTRIBUTE_FIGURES = ("product_overall_f1", "product_macro_f1")
"""Said of the attributes then."""

CONFUSION = "confusion"
"""Name of a class level's table of pairs: int64 rows [truth, prediction, count]."""

COUNTS = "counts"
"""Name of the attributes' table: int64 rows [true positives, false positives, false negatives]."""

RELIABILITY = "reliability"
"""Name of a level's table of bins: float64 rows [answers, sum of their scores, right ones]."""

UNCALIBRATED_RELIABILITY = "uncalibrated_reliability"
"""The same without calibration."""

BINS = 15
"""Bins of equal width that the calibration error sorts scores into, as Guo et al. 2017 do."""


def brier_of(level: str) -> str:
    """Name of the output with each answer's own Brier score, float (N, 1)."""
    return f"{level}/brier"


def levels(extra_labels: Iterable[str] = (), attributes: bool = True) -> list[str]:
    """The levels of a catalog in the order in which people read them.

    Args:
        extra_labels: The catalog's extra labels.
        attributes: Whether it has attributes.
    """
    named = [level for level in features.LEVELS if attributes or level != features.ATTRIBUTES]
    return [*named, *sorted(extra_labels)]


def served(level: str) -> tuple[str, ...]:
    """The figures of what a level serves."""
    if level == features.ATTRIBUTES:
        return (*ATTRIBUTE_FIGURES, CALIBRATION_ERROR)
    of_pairs = PAIR_FIGURES if level == features.SUBCATEGORY else ()
    return (*CLASS_FIGURES, *RANK_FIGURES, *of_pairs, CALIBRATION_ERROR)


def compared(level: str, joint_decoding: bool, calibrated: bool) -> tuple[str, ...]:
    """The figures of what a level would serve without joint decoding or without calibration.

    Args:
        level: Its name.
        joint_decoding: Whether the model decodes jointly.
        calibrated: Whether it is calibrated.
    """
    names = [UNCALIBRATED_ERROR] if calibrated else []
    if joint_decoding and level == features.SUBCATEGORY:
        names = [INDEPENDENT_PAIR_ACCURACY, *names]
    if joint_decoding and level in (features.CATEGORY, features.SUBCATEGORY):
        names = [*DECODING_FIGURES, *names]
    return tuple(names)


def by_product(level: str) -> tuple[str, ...]:
    """The figures of a level by product, where products have several pictures."""
    return PRODUCT_ATTRIBUTE_FIGURES if level == features.ATTRIBUTES else (PRODUCT_ACCURACY,)


def precision_recall_f1(
    true_positives: np.ndarray, predicted: np.ndarray, support: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes the three figures elementwise; a figure whose divisor is 0 is 0.

    Args:
        true_positives: Counts of right predictions, any shape.
        predicted: Counts of predictions, same shape.
        support: Counts of truths, same shape.

    Returns:
        Precision, recall and F1, float64 arrays of that shape.
    """

    def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return np.divide(part, whole, out=np.zeros(np.shape(part)), where=np.asarray(whole) > 0)

    return (
        ratio(true_positives, predicted),
        ratio(true_positives, support),
        ratio(2 * true_positives, predicted + support),
    )


def per_class(confusion: np.ndarray) -> dict[int, dict[str, float]]:
    """Gives every class that occurs its support, precision, recall and F1.

    Args:
        confusion: int64 (K, 3), one row [truth, prediction, count] for every pair that occurs.

    Returns:
        Class index, `features.NOT_IN_TRAIN` included, to {"support", "precision", "recall", "f1"}.
    """
    truth, prediction, count = np.asarray(confusion, np.int64).reshape(-1, 3).T
    classes = np.union1d(truth, prediction)
    columns = np.stack(
        [
            np.bincount(np.searchsorted(classes, chosen), weights, len(classes))
            for chosen, weights in (
                (truth, count * (truth == prediction)),
                (prediction, count),
                (truth, count),
            )
        ]
    )
    precision, recall, f1 = precision_recall_f1(*columns)
    return {
        int(index): {"support": int(n), "precision": float(p), "recall": float(r), "f1": float(f)}
        for index, n, p, r, f in zip(classes, columns[2], precision, recall, f1, strict=True)
    }


def confusion(decisions: np.ndarray) -> np.ndarray:
    """Sums up decisions to the pairs of truth and prediction.

    Args:
        decisions: int64 (K, 4), rows [truth, prediction, independent prediction, count].

    Returns:
        int64 (P, 3), one row [truth, prediction, count] for every pair that occurs, sorted.
    """
    decisions = np.asarray(decisions, np.int64).reshape(-1, 4)
    pairs, where = np.unique(decisions[:, :2], axis=0, return_inverse=True)
    counts = np.bincount(where.ravel(), decisions[:, 3], len(pairs)).astype(np.int64)
    return np.column_stack([pairs, counts])


def decoding_figures(decisions: np.ndarray) -> dict[str, float]:
    """Computes `DECODING_FIGURES`.

    Args:
        decisions: int64 (K, 4), rows [truth, prediction, independent prediction, count]; the
            independent prediction is the one without joint decoding.
    """
    truth, prediction, independent, count = np.asarray(decisions, np.int64).reshape(-1, 4).T
    total = max(int(count.sum()), 1)
    return {
        INDEPENDENT_ACCURACY: int(count[truth == independent].sum()) / total,
        CHANGED: int(count[prediction != independent].sum()) / total,
    }


def pair_figures(counts: np.ndarray) -> dict[str, float]:
    """Computes `PAIR_FIGURES` and `INDEPENDENT_PAIR_ACCURACY`.

    Args:
        counts: int64 (4): products, those with the category right, with both levels right, and with
            both right without joint decoding.
    """
    products, category, both, independent = np.asarray(counts, np.int64).tolist()
    within, across = category - both, products - category
    found = both, within, across, 2 * within + 4 * across, independent
    names = (*PAIR_FIGURES, INDEPENDENT_PAIR_ACCURACY)
    return {name: of / max(products, 1) for name, of in zip(names, found, strict=True)}


def rank_figures(sums: np.ndarray) -> dict[str, float]:
    """Computes `RANK_FIGURES`.

    Args:
        sums: float64 (4): products, those whose truth is among the likeliest 3 and 5, and the sum
            of their Brier scores.
    """
    products, *summed = np.asarray(sums, np.float64).tolist()
    return {name: of / max(products, 1) for name, of in zip(RANK_FIGURES, summed, strict=True)}


def calibration_error(reliability: np.ndarray) -> float:
    """Computes the expected calibration error; 0 without answers.

    Args:
        reliability: float64 (BINS, 3), rows [answers, sum of their scores, right ones].
    """
    answers, scores, right = np.asarray(reliability, np.float64).reshape(-1, 3).T
    return float(np.abs(right - scores).sum() / max(answers.sum(), 1))


def class_figures(confusion: np.ndarray) -> dict[str, float]:
    """Computes `CLASS_FIGURES` of a level with one class a product.

    Args:
        confusion: int64 (K, 3), one row [truth, prediction, count] for every pair that occurs.
    """
    confusion = np.asarray(confusion, np.int64).reshape(-1, 3)
    total = max(int(confusion[:, 2].sum()), 1)
    right = int(confusion[confusion[:, 0] == confusion[:, 1], 2].sum())
    classes = per_class(confusion).values()
    weighted = {
        f"overall_{figure}": sum(of[figure] * of["support"] for of in classes) / total
        for figure in ("precision", "recall", "f1")
    }
    macro = {
        f"macro_{figure}": sum(of[figure] for of in classes) / max(len(classes), 1)
        for figure in ("precision", "recall", "f1")
    }
    recalls = [of["recall"] for of in classes if of["support"]]
    return {
        "accuracy": right / total,
        **weighted,
        **macro,
        "balanced_accuracy": sum(recalls) / max(len(recalls), 1),
    }


def attribute_figures(counts: np.ndarray, unknown: int = 0) -> dict[str, float]:
    """Computes `ATTRIBUTE_FIGURES` from counts.

    Args:
        counts: int64 (A, 3): each attribute's true positives, false positives, false negatives.
        unknown: How often products have attributes that the model does not know; each is a miss
            among all decisions, but none of the A attributes that the macro figures are over.
    """
    counts = np.asarray(counts, np.int64).reshape(-1, 3)
    pooled = _attribute_precision_recall_f1(counts.sum(axis=0) + [0, 0, unknown])
    macro = [
        figure.mean() if len(counts) else 0.0 for figure in _attribute_precision_recall_f1(counts)
    ]
    return {
        name: float(value) for name, value in zip(ATTRIBUTE_FIGURES, [*pooled, *macro], strict=True)
    }


def per_attribute(counts: np.ndarray) -> list[dict[str, float]]:
    """Gives every attribute {"support", "precision", "recall", "f1"}, in the order of `counts`.

    Args:
        counts: int64 (A, 3): each attribute's true positives, false positives, false negatives.
    """
    counts = np.asarray(counts, np.int64).reshape(-1, 3)
    support = counts[:, 0] + counts[:, 2]
    return [
        {"support": int(n), "precision": float(p), "recall": float(r), "f1": float(f)}
        for n, p, r, f in zip(support, *_attribute_precision_recall_f1(counts), strict=True)
    ]


def counts_at(scores: np.ndarray, truth: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """Counts each attribute's decisions at several thresholds.

    Args:
        scores: float (N, A); NaN, where a model does not know the attribute, is never said.
        truth: bool (N, A).
        thresholds: Scores from which on (>=) an attribute counts as predicted.

    Returns:
        int64 (A, T, 3): true positives, false positives, false negatives.
    """
    counts = np.zeros((scores.shape[1], len(thresholds), 3), np.int64)
    for place, threshold in enumerate(thresholds):
        said = scores >= threshold
        counts[:, place, 0] = np.count_nonzero(said & truth, axis=0)
        counts[:, place, 1] = np.count_nonzero(said & ~truth, axis=0)
        counts[:, place, 2] = np.count_nonzero(~said & truth, axis=0)
    return counts


def _attribute_precision_recall_f1(
    counts: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    true_positives, false_positives, false_negatives = np.moveaxis(counts, -1, 0)
    return precision_recall_f1(
        true_positives, true_positives + false_positives, true_positives + false_negatives
    )
