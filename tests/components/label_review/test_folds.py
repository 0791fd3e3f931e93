"""Folds of about one size that never part a group."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.label_review.folds import folds_of


@given(st.lists(st.integers(0, 30), min_size=1, max_size=200), st.integers(2, 7))
def test_no_group_is_parted(groups: list[int], count: int) -> None:
    fold = folds_of(np.array(groups), count)
    assert set(fold.tolist()) <= set(range(count))
    of_group: dict[int, set[int]] = {}
    for group, one in zip(groups, fold.tolist(), strict=True):
        of_group.setdefault(group, set()).add(one)
    assert all(len(found) == 1 for found in of_group.values())


@pytest.mark.parametrize("seed", range(3))
def test_folds_are_of_about_one_size_though_groups_are_not(seed: int) -> None:
    generator = np.random.default_rng(seed)
    groups = np.repeat(np.arange(300), generator.integers(1, 30, 300))
    sizes = np.bincount(folds_of(groups, 5, seed))
    assert sizes.max() - sizes.min() <= 5


def test_a_seed_deals_in_its_own_way() -> None:
    groups = np.arange(100)
    assert (folds_of(groups, 5) == folds_of(groups, 5)).all()
    assert (folds_of(groups, 5) != folds_of(groups, 5, seed=1)).any()
