"""Which products are learned from, which choose, and which judge.

Pictures that are nearly the same form a group (`near_duplicates`), and a group is never divided: a
model must not be judged on a picture that it has learned. Every group has a draw in [0, 1) that
depends on the seed and its picture alone. Low draws judge, high ones are learned from:

- `stable` compares the draw with the parts asked for, so a catalog that grows keeps its old
  products where they were.
- `exact` ranks the draws within each category, so that every category is divided as asked for, to
  within one group. A product that comes in may move others of its category.

Both keep two promises: of every category the group with the highest draw is learned from, because
what was never seen cannot be known; and one with two or more groups has at least one outside the
train part. Of every sub-category the highest draw is learned from too, unless the category needs
it. Where products of two categories share a picture, being learned from goes first.

What can move an old product under `stable`: a group among the few that a promise holds when its
category gets another; groups that a new picture, near to both, joins, of which one follows the
other; and a group whose first product (the shortest id, then the lowest) is taken away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import NamedTuple

from schema import features

GIVEN: Mapping[str, str] = {
    "train": features.TRAIN,
    "training": features.TRAIN,
    "eval": features.EVAL,
    "val": features.EVAL,
    "valid": features.EVAL,
    "validation": features.EVAL,
    "dev": features.EVAL,
    "test": features.TEST,
    "query": features.TEST,
    "gallery": features.TEST,
}
"""What a column may say, in any case, and the split that it means. The two sides of a search
(DeepFashion's in-shop partition) show the same articles, so both judge."""


class Cuts(NamedTuple):
    """Where the draws are divided: below `test`, from there to below `eval`, and above."""

    test: float
    eval: float


def draw(key: object, text: str) -> float:
    """A number in [0, 1) that depends on nothing but `key` and `text`, and looks random."""
    digest = blake2b(text.encode(), key=str(key).encode()[:64], digest_size=8).digest()
    # 53 bits: all that a float holds, so that the result stays below 1.
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def side(drawn: float, cuts: Cuts) -> str:
    """The split of a group whose draw is `drawn`; the highest draws are `train`."""
    if drawn < cuts.test:
        return features.TEST
    return features.EVAL if drawn < cuts.eval else features.TRAIN


def exact_cuts(draws_and_sizes: Iterable[tuple[float, int]], parts: Cuts) -> Cuts:
    """The cuts that divide one category's products as `parts` says, to within one group.

    Where a category is so small that one group only is held out, that one judges: it would be the
    eval part's by its place, but every published figure is the test part's.

    Args:
        draws_and_sizes: Of every group, its draw and its number of products.
        parts: Where to cut, as parts of all products.
    """
    ordered = sorted(draws_and_sizes)
    total = sum(size for _, size in ordered)
    test = evaluation = 0.0
    before = 0
    for drawn, size in ordered:
        # The group goes where its middle product goes.
        middle = (before + size / 2) / total
        above = drawn + 2**-53
        test = above if middle < parts.test else test
        evaluation = above if middle < parts.eval else evaluation
        before += size
    held_out = [size for drawn, size in ordered if drawn < evaluation]
    for_eval = (parts.eval - parts.test) * total
    if parts.test and not test and len(held_out) == 1 and for_eval <= held_out[0]:
        test = evaluation
    return Cuts(test, evaluation)
