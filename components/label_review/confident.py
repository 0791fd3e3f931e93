"""Confident learning: which labels are probably wrong, by a model's out-of-sample probabilities.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR
70 (2021): a product counts as surely of a label where its probability is at least what products of
that label have in the mean.
"""

from __future__ import annotations

import numpy as np

_TOLERANCE = 1e-6
"""A probability that is equal to the mean, but for rounding, reaches it."""


def mean_self_confidence(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    """The mean probability of a label among the products that have it: the paper's t_j.

    Args:
        probabilities: float (N, K), out of sample.
        given: int64 (N,), the labels.

    Returns:
        float64 (K,); infinite for a label that no product has, so that none counts as surely of it.
    """
    labels = probabilities.shape[1]
    counts = np.bincount(given, minlength=labels)
    own = probabilities[np.arange(len(given)), given].astype(np.float64)
    sums = np.bincount(given, weights=own, minlength=labels)
    return np.where(counts, sums / np.maximum(counts, 1), np.inf)


def sure_labels(probabilities: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """The label that each product surely is of.

    Args:
        probabilities: float (N, K).
        thresholds: float64 (K,), from `mean_self_confidence`.

    Returns:
        int64 (N,): of several that reach their threshold the likeliest; -1 where none does.
    """
    sure = probabilities >= thresholds - _TOLERANCE
    best = np.argmax(np.where(sure, probabilities, -1.0), axis=1)
    return np.where(sure.any(axis=1), best, -1)


def confident_joint(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    """How many products of each label surely are of each.

    Args:
        probabilities: float (N, K), out of sample.
        given: int64 (N,), the labels.

    Returns:
        int64 (K, K): given label by sure label.
    """
    labels = probabilities.shape[1]
    sure = sure_labels(probabilities, mean_self_confidence(probabilities, given))
    known = sure >= 0
    counts = np.bincount(given[known] * labels + sure[known], minlength=labels * labels)
    return counts.reshape(labels, labels)


def issues(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Whether a product surely is of another label than it has.

    One whose own label is the likeliest of all is none.
    """
    sure = sure_labels(probabilities, mean_self_confidence(probabilities, given))
    return (sure >= 0) & (sure != given) & (probabilities.argmax(axis=1) != given)


def margin(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Float (N,), the given label's probability less the likeliest other's, -1 to 1."""
    at = np.arange(len(given))
    others = probabilities.copy()
    others[at, given] = -1.0
    return probabilities[at, given] - others.max(axis=1)
