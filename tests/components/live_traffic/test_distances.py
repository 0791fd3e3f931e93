"""Distances against hand arithmetic, SciPy and DataGate's; the bound of chance against draws."""

import numpy as np
import pandas as pd
import pytest
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from scipy.spatial.distance import jensenshannon
from tensorflow_metadata.proto.v0 import schema_pb2

from components.data_gate.distances import drift
from components.live_traffic.distances import (
    beyond_chance,
    cells,
    jensen_shannon,
    largest_change,
)


def counts(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def test_the_distance_of_labels_is_the_largest_change_of_a_share():
    # .25, .625, .125 and .45, .3, .25
    assert largest_change(counts(90, 60, 50), counts(100, 250, 50)) == pytest.approx(0.325)
    assert largest_change(counts(7, 0), counts(0, 9)) == 1
    assert largest_change(counts(2, 4), counts(30, 60)) == 0


def test_the_distance_of_histograms_is_the_jensen_shannon_divergence():
    for one, other in (((1, 2, 3), (3, 2, 1)), ((5, 0, 5), (0, 10, 0)), ((4, 4), (8, 8))):
        expected = jensenshannon(one, other, base=2) ** 2
        assert jensen_shannon(counts(*one), counts(*other)) == pytest.approx(expected, abs=1e-9)


def test_both_are_those_that_data_gate_asks_for():
    generator = np.random.default_rng(5)
    names, numbers, frames = ("Bags", "Shoes", "Hats"), [], []
    for shares in ((0.5, 0.3, 0.2), (0.2, 0.3, 0.5)):
        labels = generator.choice(3, 400, p=shares)
        brightness = np.clip(generator.normal(shares[0], 0.1, 400), 0, 1).astype(np.float32)
        brightness[:2] = 0, 1
        numbers.append((labels, brightness))
        frames.append(
            pd.DataFrame(
                {"category": np.array(names)[labels], "image_brightness": brightness},
            )
        )
    schema = text_format.Parse(
        'feature { name: "category" type: BYTES } feature { name: "image_brightness" type: FLOAT }',
        schema_pb2.Schema(),
    )
    statistics = [tfdv.generate_statistics_from_dataframe(frame) for frame in frames]
    of_gate = {one.feature: one.value for one in drift(*statistics, schema, 0.1)}

    labels = [np.bincount(of[0], minlength=3) for of in numbers]
    assert largest_change(*labels) == pytest.approx(of_gate["category"], abs=1e-6)
    histograms = [np.histogram(of[1], 10, (0, 1))[0] for of in numbers]
    # TFDV's histogram is of a sketch.
    assert jensen_shannon(*histograms) == pytest.approx(of_gate["image_brightness"], abs=0.01)


@pytest.mark.parametrize("distance", [largest_change, jensen_shannon])
@pytest.mark.parametrize(("now", "then"), [(100, 100), (150, 2000)])
def test_two_samples_of_one_kind_exceed_the_bound_as_seldom_as_is_said(distance, now, then):
    generator = np.random.default_rng(8)
    shares = np.array([0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.05, 0.03, 0.01, 0.01])
    exceeded = 0
    for seed in range(400):
        one, other = generator.multinomial(now, shares), generator.multinomial(then, shares)
        exceeded += distance(one, other) > beyond_chance(one, other, distance, 0.05, seed)
    # 20 are expected at most, with a standard deviation of 4.4; and a bound that none exceeds
    # would be too wide.
    assert 5 <= exceeded <= 34


def test_the_bound_is_the_same_whenever_it_is_asked_for_and_falls_with_the_samples():
    few, many = counts(30, 40, 30), counts(3000, 4000, 3000)
    bounds = [beyond_chance(few, few, largest_change, 1e-3) for _ in range(2)]
    assert bounds[0] == bounds[1]
    assert beyond_chance(many, many, largest_change, 1e-3) == pytest.approx(
        bounds[0] / 10, rel=0.25
    )


def quantiles(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As TFDV records them, values that there are."""
    edges = np.quantile(values, np.linspace(0, 1, 11), method="inverted_cdf")
    return edges, np.full(10, len(values) / 10)


def test_numbers_are_sorted_into_the_tenths_of_the_recorded_ones():
    edges, recorded = np.arange(11.0), np.full(10, 20.0)
    now, then = cells(np.array([0.5, 1.5, 1.6, 9.5, -3, 12, 13]), edges, recorded)
    assert now.tolist() == [1, 1, 2, *[0] * 7, 1, 2]
    assert then.tolist() == [0, *[20] * 10, 0]


def test_one_huge_picture_hides_nothing():
    heights = np.r_[np.linspace(300, 600, 999), 8000]
    now, then = cells(np.linspace(300, 400, 500), *quantiles(heights))
    # All are in the lowest third of the recorded ones.
    thirds = [0, *[1] * 4, *[0] * 6, 0]
    assert now @ thirds == 500
    assert jensen_shannon(now, then) > 0.3


def test_frequent_values_are_near_if_they_are_as_frequent_and_as_far_as_they_are_not():
    sizes = np.repeat([80.0, 100.0, 120.0], [500, 300, 200])
    edges, recorded = quantiles(sizes)
    assert jensen_shannon(*cells(sizes[::5], edges, recorded)) == pytest.approx(0, abs=1e-6)
    others = np.repeat([80.0, 100.0, 120.0], [200, 300, 500])
    expected = jensenshannon([0.5, 0.3, 0.2], [0.2, 0.3, 0.5], base=2) ** 2
    found = jensen_shannon(*cells(others, edges, recorded))
    assert found == pytest.approx(expected, abs=0.005)


def test_what_the_record_does_not_tell_makes_no_distance():
    """A tenth is between 80 and 100: of 80s, of 100s, or of what is between them."""
    sizes = np.repeat([80.0, 100.0, 120.0], [500, 300, 200])
    others = np.repeat([80.0, 100.0, 120.0], [600, 200, 200])
    true = jensenshannon([0.5, 0.3, 0.2], [0.6, 0.2, 0.2], base=2) ** 2
    assert true > 0.01
    assert jensen_shannon(*cells(others, *quantiles(sizes))) == pytest.approx(0, abs=1e-6)


def test_pictures_of_one_size_are_apart_from_those_of_another():
    edges, recorded = np.full(11, 96.0), np.full(10, 63.7)
    assert jensen_shannon(*cells(np.full(200, 96.0), edges, recorded)) == 0
    assert jensen_shannon(*cells(np.full(200, 64.0), edges, recorded)) == 1
    assert jensen_shannon(*cells(np.full(200, 128.0), edges, recorded)) == 1
