"""From which score on a product counts as close."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.search.errors import BadSearch
from serving.search.space import Space


@dataclass(frozen=True)
class Calibration:
    """A threshold, and what it does to the pairs that it is from.

    Attributes:
        threshold: for `ProductIndex.threshold`: the least `closeness` that counts as close.
        kept: share of the pairs that look alike which are close.
        let_through: share of the others which are close too.
    """

    threshold: float
    kept: float
    let_through: float


def calibrate(
    space: Space,
    left: npt.ArrayLike,
    right: npt.ArrayLike,
    alike: npt.ArrayLike,
    weights: Mapping[str, float] | None = None,
) -> Calibration:
    """The threshold that tells pairs which look alike from others best.

    That is the one with the greatest kept - let_through (Youden's J: Index for rating diagnostic
    tests, 1950), half way to the next lower closeness; of several, the highest.

    Args:
        space: of the vectors.
        left: one of each pair, numbers (N, D).
        right: the other (N, D).
        alike: whether they look alike, bool (N).
        weights: blocks' weights where they differ from the space's.

    Raises:
        BadSearch: there are no pairs of both kinds, or as many vectors.
    """
    lefts, rights = space.stored(left), space.stored(right)
    truth = np.asarray(alike, np.bool_)
    if not len(lefts) == len(rights) == len(truth):
        raise BadSearch(
            f"Pairs need as many vectors on both sides; there are {len(lefts)}, {len(rights)} and "
            f"{len(truth)} answers whether they look alike."
        )
    if truth.all() or not truth.any():
        raise BadSearch("A threshold needs pairs that look alike and pairs that do not.")
    made = space.weights_for(weights)
    near = np.array(
        [
            space.closeness(float(space.parts(one, made, other[None]).sum()), made)
            for one, other in zip(lefts, rights, strict=True)
        ]
    )
    levels, level_of = np.unique(near, return_inverse=True)
    alike_at = np.bincount(level_of, truth, len(levels))
    other_at = np.bincount(level_of, ~truth, len(levels))
    kept = np.cumsum(alike_at[::-1])[::-1] / truth.sum()
    let_through = np.cumsum(other_at[::-1])[::-1] / (~truth).sum()
    gain = kept - let_through
    best = len(gain) - 1 - int(np.argmax(gain[::-1]))
    below = levels[best - 1] if best else levels[best]
    return Calibration(
        float((levels[best] + below) / 2), float(kept[best]), float(let_through[best])
    )
