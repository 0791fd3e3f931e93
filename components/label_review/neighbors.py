"""The most similar products of other groups, exactly, without all similarities at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_ROWS = 512
_COLUMNS = 32_768
"""Similarities that are in memory at a time: 64 MB."""


def nearest_of_other_groups(
    vectors: np.ndarray,
    group: np.ndarray,
    count: int,
    report: Callable[[int], None] = lambda done: None,
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest neighbors of every product among the products of other groups.

    Args:
        vectors: float32 (N, D) of unit length.
        group: int64 (N,), the number of each product's group.
        count: How many neighbors.
        report: Is told how many products are done.

    Returns:
        int64 (N, count): their indices, the most similar first; -1 where there are not so many.
        float32 (N, count): the cosines, -inf where there is no neighbor.
    """
    indices = np.full((len(vectors), count), -1, np.int64)
    cosines = np.full((len(vectors), count), -np.inf, np.float32)
    for first in range(0, len(vectors), _ROWS):
        rows = slice(first, first + _ROWS)
        best, similar = indices[rows], cosines[rows]
        for start in range(0, len(vectors), _COLUMNS):
            columns = slice(start, start + _COLUMNS)
            found = vectors[rows] @ vectors[columns].T
            found[group[rows, None] == group[None, columns]] = -np.inf
            among = min(count, found.shape[1])
            at = np.argpartition(-found, among - 1, axis=1)[:, :among]
            every = np.concatenate([similar, np.take_along_axis(found, at, 1)], axis=1)
            places = np.concatenate([best, at + start], axis=1)
            order = np.argsort(-every, axis=1, kind="stable")[:, :count]
            similar = np.take_along_axis(every, order, 1)
            best = np.take_along_axis(places, order, 1)
        indices[rows] = np.where(similar == -np.inf, -1, best)
        cosines[rows] = similar
        report(min(first + _ROWS, len(vectors)))
    return indices, cosines


def votes(given: np.ndarray, neighbors: np.ndarray, labels: int) -> np.ndarray:
    """How many of each product's neighbors have each label.

    Args:
        given: int64 (N,), the labels, negative where a product has none; or bool (N, labels).
        neighbors: int64 (N, count), from `nearest_of_other_groups`.
        labels: How many labels there are.

    Returns:
        float32 (N, labels), whole numbers.
    """
    counted = np.zeros((len(neighbors), labels), np.float32)
    for column in neighbors.T:
        if given.ndim == 2:
            counted += given[column] & (column >= 0)[:, None]
            continue
        label = np.where(column >= 0, given[column], -1)
        known = np.flatnonzero(label >= 0)
        counted[known, label[known]] += 1
    return counted
