"""Category and sub-category decided together, over the pairs of them that training saw."""

from __future__ import annotations

import numpy as np
from keras import ops

TINY = 1e-37
"""Stands for probabilities that 32 bits round to 0, whose logarithm would be infinite."""


class JointDecoding:
    """Makes the two levels agree: no sub-category under a category that it was never seen with.

    With p the model's probabilities and r(c | s) the share of category c among the sub-category
    s's products in the train split, P(c) = sum over s of p(s) r(c | s) is what the sub-categories
    say of the category, and the joint probability

        J(c, s) ~ (p(c) / P(c)) ** 0.5 * p(s) * r(c | s)

    takes the geometric mean of both opinions on the category (a logarithmic opinion pool, Genest
    and Zidek 1986, with equal weights). Where they agree it changes nothing, unlike p(c) p(s),
    which would count the same evidence twice and be far too sure. It is 0 for pairs never seen.

    The category's probabilities are J summed over the sub-categories, its likeliest is c*. The
    sub-category's are J summed over the categories, as long as the likeliest of them is the
    likeliest of J(s | c*) too, and otherwise J(s | c*), so that the decision is always that one.

    Args:
        pairs: Products of the train split by category and sub-category, (C1, C2); every category
            and every sub-category has one.
    """

    def __init__(self, pairs: np.ndarray):
        pairs = np.asarray(pairs, np.float64)
        self._category, self._subcategory = np.nonzero(pairs)
        shares = pairs / np.maximum(pairs.sum(axis=0), 1)
        self._log_shares = np.log(shares[pairs > 0]).astype(np.float32)
        self._to_categories = _one_hot(self._category, pairs.shape[0])
        self._to_subcategories = _one_hot(self._subcategory, pairs.shape[1])

    def __call__(self, category, subcategory):
        """Decodes a batch.

        Args:
            category: The model's probabilities of each category, float32 (N, C1).
            subcategory: Those of each sub-category, float32 (N, C2).

        Returns:
            Both anew, same shapes, rows sum to 1; the pair of the likeliest was seen in training.
        """
        log_category = ops.log(ops.maximum(category, TINY))
        log_subcategory = ops.log(ops.maximum(subcategory, TINY))
        # One column a pair that was seen: (N, K).
        from_subcategory = ops.take(log_subcategory, self._subcategory, axis=1) + self._log_shares
        opinion = ops.matmul(ops.exp(from_subcategory), self._to_categories)
        log_ratio = log_category - ops.log(ops.maximum(opinion, TINY))
        joint = ops.softmax(
            0.5 * ops.take(log_ratio, self._category, axis=1) + from_subcategory, axis=1
        )

        category = _normalized(ops.matmul(joint, self._to_categories))
        chosen = ops.cast(ops.argmax(category, axis=1), "int32")
        under_it = ops.equal(chosen[:, None], self._category.astype(np.int32)[None])
        given_it = _normalized(
            ops.matmul(joint * ops.cast(under_it, joint.dtype), self._to_subcategories)
        )
        subcategory = _normalized(ops.matmul(joint, self._to_subcategories))
        agree = ops.equal(ops.argmax(subcategory, axis=1), ops.argmax(given_it, axis=1))
        return category, ops.where(agree[:, None], subcategory, given_it)


def _one_hot(indices: np.ndarray, width: int) -> np.ndarray:
    return np.eye(width, dtype=np.float32)[indices]


def _normalized(x):
    return x / ops.sum(x, axis=1, keepdims=True)
