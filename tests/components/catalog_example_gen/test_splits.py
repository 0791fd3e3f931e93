"""Draws and the sides that they lead to."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.catalog_example_gen.splits import Cuts, draw, exact_cuts, side

DRAWS = [draw(42, str(number)) for number in range(20_000)]


def test_draws_are_uniform_and_depend_on_the_seed() -> None:
    counts, _ = np.histogram(DRAWS, bins=10, range=(0, 1))
    # Ten cells of 2,000 with a standard deviation of 42.
    assert np.abs(counts - 2_000).max() < 200
    others = [draw(43, str(number)) for number in range(20_000)]
    assert abs(np.corrcoef(DRAWS, others)[0, 1]) < 0.03
    assert DRAWS[:3] == [draw(42, "0"), draw(42, "1"), draw(42, "2")]


def test_the_sides_get_their_parts() -> None:
    sides = [side(drawn, Cuts(test=0.1, eval=0.3)) for drawn in DRAWS]
    parts = {name: sides.count(name) / len(sides) for name in set(sides)}
    assert parts == pytest.approx({"train": 0.7, "eval": 0.2, "test": 0.1}, abs=0.01)


def test_the_highest_draws_are_learned_from() -> None:
    assert [side(drawn, Cuts(0.25, 0.5)) for drawn in (0.0, 0.249, 0.25, 0.499, 0.5, 0.999)] == [
        "test",
        "test",
        "eval",
        "eval",
        "train",
        "train",
    ]


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=60),
    st.sampled_from([(0.1, 0.1), (0.25, 0.3), (0.0, 0.15)]),
)
def test_exact_cuts_divide_a_category_to_within_one_group(
    sizes: list[int], parts: tuple[float, float]
) -> None:
    test_part, eval_part = parts
    groups = [(draw(1, str(number)), size) for number, size in enumerate(sizes)]
    cuts = exact_cuts(groups, Cuts(test_part, test_part + eval_part))
    products = dict.fromkeys(("train", "eval", "test"), 0)
    for drawn, size in groups:
        products[side(drawn, cuts)] += size
    asked = {"test": test_part, "eval": eval_part, "train": 1 - test_part - eval_part}
    for name, part in asked.items():
        assert abs(products[name] - part * sum(sizes)) <= max(sizes) + 1e-9


@pytest.mark.parametrize("groups", [3, 4, 5, 6])
def test_the_only_group_of_a_category_that_is_held_out_judges(groups: int) -> None:
    draws = [(number + 0.5) / groups for number in range(groups)]
    cuts = exact_cuts([(drawn, 2) for drawn in draws], Cuts(0.1, 0.2))
    assert [side(drawn, cuts) for drawn in draws] == ["test"] + ["train"] * (groups - 1)


def test_exact_cuts_of_equal_groups_are_those_of_a_ruler() -> None:
    draws = [number / 100 for number in range(100)]
    cuts = exact_cuts([(drawn, 3) for drawn in draws], Cuts(0.15, 0.25))
    sides = [side(drawn, cuts) for drawn in draws]
    assert sides == ["test"] * 15 + ["eval"] * 10 + ["train"] * 75
