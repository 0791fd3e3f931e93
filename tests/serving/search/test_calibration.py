"""The threshold of what is close, held against scikit-learn's curve."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from serving.search import BadSearch, Space, calibrate

SPACE = Space({"kind": 4, "colour": 3}, {"colour": 0.5})


def pairs(count, seed=0):
    rng = np.random.default_rng(seed)
    left = rng.standard_normal((count, 7))
    alike = rng.random(count) < 0.4
    noise = np.where(alike[:, None], 0.7, 3.0) * rng.standard_normal((count, 7))
    return left, left + noise, alike


def closeness(left, right):
    def cosine(one, other):
        return np.sum(one * other, 1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)

    kind, colour = cosine(left[:, :4], right[:, :4]), cosine(left[:, 4:], right[:, 4:])
    return (kind + 0.5 * colour) / 1.5


def test_it_tells_pairs_apart_as_well_as_any_threshold_does():
    left, right, alike = pairs(400)
    made = calibrate(SPACE, left, right, alike)

    near = closeness(left, right)
    let_through, kept, _ = roc_curve(alike, near, drop_intermediate=False)
    assert made.kept - made.let_through == pytest.approx(np.max(kept - let_through))
    assert made.kept == pytest.approx(np.mean(near[alike] >= made.threshold))
    assert made.let_through == pytest.approx(np.mean(near[~alike] >= made.threshold))


def test_pairs_that_are_apart_are_divided_in_the_middle():
    left = np.tile([1.0, 0, 0, 0, 1, 0, 0], (2, 1))
    right = np.array([left[0], [0, 1, 0, 0, 1, 0, 0]])

    made = calibrate(SPACE, left, right, [True, False])
    # Cosines of 1 and 1, and of 0 and 1.
    assert made.threshold == pytest.approx((1 + 0.5 / 1.5) / 2)
    assert [made.kept, made.let_through] == [1, 0]


@pytest.mark.parametrize("alike", [[True, True], [False, False], [True, False, True]])
def test_it_needs_pairs_of_both_kinds(alike):
    with pytest.raises(BadSearch, match="[Pp]airs"):
        calibrate(SPACE, np.ones((2, 7)), np.ones((2, 7)), alike)
