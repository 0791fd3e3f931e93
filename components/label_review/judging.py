"""How probable it is that a label is wrong, from all that was said of it out of sample.

On the flipped labels of `benchmarks/label_review.py` these numbers found most: `_HEADS`, the power
of the neighbors' cosines and that of the thresholds.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from components.label_review import confident
from components.label_review.heads import Level

_HEADS = 0.7
"""The part of what is said that heads, and the final model, say; the rest is the neighbors'."""

_NEARNESS = 16
"""The power of a neighbor's cosine by which its label counts."""

_BALANCE = 0.25
"""The power of a label's mean probability by which probabilities are divided: labels that pictures
show badly would be suspected all too often."""

LEAST_SKILL = 0.5
"""A level is judged if heads, asked about products that they did not see, make at most so large a
part fewer mistakes than who always names the most frequent label."""

_LEAST_CONFIDENCE = 0.5
"""Of several labels that a product may have those are judged whose mean probability is so high."""


@dataclasses.dataclass(frozen=True)
class Said:
    """What was said of N products about the K labels of a level.

    Attributes:
        heads: float32 (N, K): the heads' probabilities, out of sample; with the final model's where
            that is out of sample, too.
        votes: float32 (N, K): how many of the nearest neighbors have each label.
        shares: float32 (N, K): their part in the neighbors, the nearer ones counting more.
    """

    heads: np.ndarray
    votes: np.ndarray
    shares: np.ndarray

    @property
    def together(self) -> np.ndarray:
        """float32 (N, K)."""
        return _HEADS * self.heads + (1 - _HEADS) * self.shares


def shares_of(given: np.ndarray, neighbors: np.ndarray, cosines: np.ndarray, k: int) -> np.ndarray:
    """The part that each label has in a product's neighbors, the nearer ones counting more.

    Args:
        given: int64 (N,), negative where a product has no label; or bool (N, K).
        neighbors: int64 (N, n), -1 where there is none.
        cosines: float32 (N, n).
        k: How many labels there are.

    Returns:
        float32 (N, K). Of one label a product they sum to 1, for as much as one neighbor more is
        spread over all labels as frequent as they are.
    """
    weights = np.where(neighbors >= 0, np.clip(cosines, 0, 1) ** _NEARNESS, 0).astype(np.float32)
    single = given.ndim == 1
    counted = np.zeros((len(neighbors), k), np.float32)
    total = np.zeros(len(neighbors), np.float32)
    for column, weight in zip(neighbors.T, weights.T, strict=True):
        if single:
            label = np.where(column >= 0, given[column], -1)
            known = np.flatnonzero(label >= 0)
            counted[known, label[known]] += weight[known]
            total[known] += weight[known]
        else:
            counted += weight[:, None] * given[column]
            total += weight
    frequent = (
        np.bincount(given[given >= 0], minlength=k) / max(1, (given >= 0).sum())
        if single
        else given.mean(axis=0)
    ).astype(np.float32)
    one = np.where(total > 0, total / max(1, neighbors.shape[1]), 1)[:, None]
    return (counted + one * frequent) / (total[:, None] + one)


def skill(probabilities: np.ndarray, given: np.ndarray) -> float:
    """By what part there are fewer mistakes than if the most frequent label were always named."""
    known = given >= 0
    if not known.any():
        return 0.0
    counts = np.bincount(given[known])
    frequent = counts.max() / counts.sum()
    right = float((probabilities[known].argmax(axis=1) == given[known]).mean())
    return (right - frequent) / (1 - frequent) if frequent < 1 else 0.0


def suspicion(
    said: Said, level: Level, least_products: int, allowed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """How probably each product's label is wrong, and which would be right.

    A label and the likeliest other one are compared by their probabilities, each divided by a power
    of what products of that label have in the mean (`confident.mean_self_confidence`). Of labels
    with few products the neighbors alone are asked, and how far these agree on one label.

    Args:
        said: What was said of the products.
        level: Their labels, one a product.
        least_products: Labels of fewer products are rare.
        allowed: bool (N, K), the labels that a product may be suspected to be of; all by default.

    Returns:
        float32 (N,): 0 to 1, above .5 where another label is likelier; 0 where there is no label,
        or no other. int64 (N,): the likeliest other label.
    """
    known = np.flatnonzero(level.given >= 0)
    score = np.zeros(len(level.given), np.float32)
    suggested = np.full(len(level.given), -1)
    if not len(known):
        return score, suggested
    given = level.given[known]
    at = np.arange(len(known))
    together = said.together[known]
    usual = confident.mean_self_confidence(together, given)
    weighed = together / np.where(np.isinf(usual), np.inf, np.maximum(usual, 1e-6) ** _BALANCE)
    own = weighed[at, given]
    others = weighed if allowed is None else np.where(allowed[known], weighed, -1)
    others[at, given] = -1
    best = others.argmax(axis=1)
    other = np.maximum(others[at, best], 0)
    found = other / np.maximum(other + own, 1e-12)
    rare = np.bincount(given, minlength=weighed.shape[1])[given] < least_products
    found = np.where(rare, np.minimum(found, said.shares[known][at, best]), found)
    possible = others[at, best] >= 0
    score[known] = np.where(possible, found, 0)
    suggested[known] = np.where(possible, best, -1)
    return score, suggested


def sure(said: Said, level: Level) -> np.ndarray:
    """Whether confident learning counts a product as surely of another label."""
    known = level.given >= 0
    found = np.zeros(len(known), bool)
    found[known] = confident.issues(said.together[known], level.given[known])
    return found


def suspicion_of_several(said: Said, level: Level) -> tuple[np.ndarray, np.ndarray]:
    """The same of a level with any number of labels: the one that most probably is wrong.

    Each label is judged by itself, as there or not there, if pictures show it; products of which
    the catalog says nothing are not judged.

    Returns:
        float32 (N,): 0 to 1. int64 (N,): the label that should change sides, -1 for none.
    """
    there = level.given
    together = said.together
    counts = there.sum(axis=0)
    usual = np.where(counts, (together * there).sum(axis=0) / np.maximum(counts, 1), 0)
    absent = (~there).sum(axis=0)
    usual_absent = ((1 - together) * ~there).sum(axis=0) / np.maximum(absent, 1)
    yes = together / np.maximum(usual, 1e-6) ** _BALANCE
    no = (1 - together) / np.maximum(usual_absent, 1e-6) ** _BALANCE
    wrong = np.where(there, no, yes) / np.maximum(yes + no, 1e-12)
    judged = (usual >= _LEAST_CONFIDENCE) & np.any(there, axis=1, keepdims=True)
    wrong = np.where(judged, wrong, 0)
    place = wrong.argmax(axis=1)
    score = wrong[np.arange(len(wrong)), place].astype(np.float32)
    return score, np.where(score > 0, place, -1)
