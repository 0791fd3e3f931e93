"""Class cap and sample size."""

import random

from hypothesis import given
from hypothesis import strategies as st

from components.catalog_example_gen.sampling import bounds, quotas, sample_draw


def test_a_category_is_cut_to_so_many_times_the_mean_category() -> None:
    # Mean of 100, 10, 10 is 40; 1.5 times that is 60.
    sizes = {"a": 100, "b": 10, "c": 10}
    assert quotas(sizes, 1.5, None) == {"a": (60, 60), "b": (10, 10), "c": (10, 10)}
    assert quotas(sizes, 4, None) == {"a": (100, 100), "b": (10, 10), "c": (10, 10)}
    assert quotas(sizes, 0.001, None) == dict.fromkeys(sizes, (1, 1))


def test_a_sample_is_in_proportion_to_what_the_cap_leaves() -> None:
    sizes = {"a": 100, "b": 10, "c": 10}
    assert quotas(sizes, 1.5, 8) == {"a": (60, 6), "b": (10, 1), "c": (10, 1)}
    assert quotas(sizes, None, 1000) == {"a": (100, 100), "b": (10, 10), "c": (10, 10)}


@given(
    st.dictionaries(st.text(max_size=3), st.integers(1, 500), min_size=1),
    st.one_of(st.none(), st.floats(0.1, 5)),
    st.integers(1, 3000),
)
def test_a_sample_has_its_size_and_every_category_its_share(
    sizes: dict[str, int], class_cap: float | None, sample: int
) -> None:
    found = quotas(sizes, class_cap, sample)
    capped = sum(cap for cap, _ in found.values())
    assert sum(drawn for _, drawn in found.values()) == min(sample, capped)
    for category, (cap, drawn) in found.items():
        assert drawn <= cap <= sizes[category]
        assert abs(drawn - cap * min(1, sample / capped)) < 1


def test_bounds_let_exactly_so_many_through() -> None:
    draws = [sample_draw(str(number)) for number in range(500)]
    random.Random(1).shuffle(draws)
    cap, sample = bounds(draws, 120, 7)
    assert sum(drawn < cap for drawn in draws) == 120
    assert sum(drawn < sample for drawn in draws) == 7
    assert bounds(draws, 500, 0) == (1, min(draws))
