"""The arithmetic of the metrics: from counts to accuracy, precision, recall and F1.

Every figure equals scikit-learn's with `zero_division=0`. Precision and recall are averaged over
the classes in proportion to their support, as Ferreira et al. (arXiv 1806.09445, section 4) do:
overall precision, recall and F1.
"""

from __future__ import annotations

import numpy as np

from schema import features

CLASS_FIGURES = ("accuracy", "overall_precision", "overall_recall", "overall_f1")
"""What is said of a level with one class a product."""

ATTRIBUTE_FIGURES = tuple(
    f"{average}_{figure}"
    for average in ("overall", "macro")
    for figure in ("precision", "recall", "f1")
)
"""What is said of the attributes; `overall` pools all decisions (micro average)."""

FIGURES = {
    features.CATEGORY: CLASS_FIGURES,
    features.SUBCATEGORY: CLASS_FIGURES,
    features.ATTRIBUTES: ATTRIBUTE_FIGURES,
}
"""What is said of each level; a metric's full name is `level/figure`."""

CONFUSION = "confusion"
"""Name of a class level's table of pairs: int64 rows [truth, prediction, count]."""

COUNTS = "counts"
"""Name of the attributes' table: int64 rows [true positives, false positives, false negatives]."""

UNKNOWN = -1
"""Index of a true class that the model's vocabulary does not hold; always counted as an error."""


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
        Class index, `UNKNOWN` included, to {"support", "precision", "recall", "f1"}.
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
    return {"accuracy": right / total, **weighted}


def attribute_figures(counts: np.ndarray) -> dict[str, float]:
    """Computes `ATTRIBUTE_FIGURES` from counts.

    Args:
        counts: int64 (A, 3): each attribute's true positives, false positives, false negatives.
    """
    counts = np.asarray(counts, np.int64).reshape(-1, 3)
    pooled = _attribute_precision_recall_f1(counts.sum(axis=0))
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


def _attribute_precision_recall_f1(
    counts: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    true_positives, false_positives, false_negatives = np.moveaxis(counts, -1, 0)
    return precision_recall_f1(
        true_positives, true_positives + false_positives, true_positives + false_negatives
    )
