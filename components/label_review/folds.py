"""Which products are asked about by heads that did not see them, nor what belongs to them."""

from __future__ import annotations

import numpy as np


def folds_of(group: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Deals products into folds of about one size; what is of one group is in one fold.

    A near-duplicate in another fold would confirm a wrong label of its twin.

    Args:
        group: int64 (N,), the number of each product's group.
        count: How many folds, 2 or more.
        seed: Another one deals otherwise.

    Returns:
        int64 (N,): each product's fold, 0 to `count` - 1.
    """
    groups, of_product, sizes = np.unique(group, return_inverse=True, return_counts=True)
    dealt = np.random.default_rng(seed).permutation(len(groups))
    # The largest first, for one that came last could not be made up for any more.
    order = dealt[np.argsort(-sizes[dealt], kind="stable")]
    fold_of_group = np.empty(len(groups), np.int64)
    filled = np.zeros(count, np.int64)
    for one in order:
        fold = int(np.argmin(filled))
        fold_of_group[one] = fold
        filled[fold] += sizes[one]
    return fold_of_group[of_product]
