"""Which products are used when a category is capped or a sample is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from components.catalog_example_gen.splits import draw


def sample_draw(product_id: str) -> float:
    """Decides who stays, the lowest first; the same in every catalog and run."""
    return draw("sample", product_id)


def quotas(
    sizes: Mapping[str, int], class_cap: float | None, sample: int | None
) -> dict[str, tuple[int, int]]:
    """How many products of each category stay.

    Args:
        sizes: Products of each category.
        class_cap: A category is cut to so many times the mean size, rounded down, at least 1.
        sample: So many stay in all, in proportion to the capped sizes: each category gets its
            share rounded down, and those with the largest remainders one more.

    Returns:
        Of each category, what the cap leaves and what of that is in the sample.
    """
    capped = dict(sizes)
    if class_cap:
        most = max(1, int(class_cap * sum(sizes.values()) / len(sizes)))
        capped = {category: min(size, most) for category, size in sizes.items()}
    total = sum(capped.values())
    if not sample or sample >= total:
        return {category: (size, size) for category, size in capped.items()}
    sampled = {category: size * sample // total for category, size in capped.items()}
    by_remainder = sorted(
        capped, key=lambda category: (-(capped[category] * sample % total), category)
    )
    for category in by_remainder[: sample - sum(sampled.values())]:
        sampled[category] += 1
    return {category: (size, sampled[category]) for category, size in capped.items()}


def bounds(draws: Iterable[float], cap: int, sample: int) -> tuple[float, float]:
    """Bounds below which the draws of a category stay under the cap, and in the sample.

    Args:
        draws: Of all products of the category.
        cap: The lowest so many stay under the cap; at most the number of draws.
        sample: The lowest so many stay in the sample.
    """
    ordered = np.sort(np.fromiter(draws, dtype=np.float64))
    # The draw after the last that stays; all draws are below 1.
    ends = [*ordered, 1.0]
    return float(ends[cap]), float(ends[sample])
