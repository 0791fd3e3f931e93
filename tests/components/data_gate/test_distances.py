"""Distances between parts, against distances computed by hand."""

import numpy as np
import pandas as pd
import pytest
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from scipy.spatial.distance import jensenshannon
from tensorflow_metadata.proto.v0 import schema_pb2

from components.data_gate.distances import Statistics, drift, skew, too_far
from components.data_gate.findings import Distance, Finding

SCHEMA = text_format.Parse(
    """
    feature { name: "id" type: BYTES }
    feature { name: "gender" type: BYTES presence { min_fraction: 1 } }
    feature { name: "image_brightness" type: FLOAT float_domain { min: 0 max: 1 } }
    feature { name: "image_height" type: INT }
    """,
    schema_pb2.Schema(),
)


def measured(genders: dict[str, int], brightness: float = 0.5) -> Statistics:
    """Statistics of products of these genders, whose pictures are about so bright."""
    products = sum(genders.values())
    spread = np.linspace(-0.1, 0.1, products)
    frame = pd.DataFrame(
        {
            "id": [f"p{number}" for number in range(products)],
            "gender": [gender for gender, count in genders.items() for _ in range(count)],
            "image_brightness": (brightness + spread).astype(np.float32),
            "image_height": np.arange(products) % 40 + 60,
        }
    )
    return tfdv.generate_statistics_from_dataframe(frame)


def by_feature(distances: list[Distance]) -> dict[str, Distance]:
    return {one.feature: one for one in distances}


def test_the_distance_of_a_label_is_the_largest_change_of_a_share() -> None:
    earlier = measured({"Men": 100, "Women": 250, "Kids": 50})  # .25, .625, .125
    now = measured({"Men": 90, "Women": 60, "Kids": 50})  # .45, .3, .25
    gender = by_feature(drift(now, earlier, SCHEMA, 0.3))["gender"]
    assert gender.value == pytest.approx(0.325)
    assert gender.sentence == (
        "`gender` has drifted: 'Women' was 62.5% of the labels and is 30.0% "
        "(distance 0.33, and `checks.drift` allows 0.3)"
    )
    assert too_far([gender]) == [Finding("train", "gender", "warning", gender.sentence)]


def test_a_label_that_is_new_or_gone_counts_like_any_other() -> None:
    found = by_feature(skew("eval", measured({"Men": 100}), measured({"Women": 100}), SCHEMA, 0.1))
    gender = found["gender"]
    assert gender.value == 1
    assert (gender.kind, gender.split) == ("skew", "eval")
    assert "`gender` is skewed: 'Men' is 100.0% of the labels, and 0.0% in train" in gender.sentence


def test_pictures_that_have_become_darker_are_noticed() -> None:
    found = by_feature(drift(measured({"Men": 201}, 0.3), measured({"Men": 201}, 0.8), SCHEMA, 0.9))
    assert found["image_brightness"].value == pytest.approx(1, abs=0.01)  # no value in common
    assert "its median was 0.8 and is 0.3" in found["image_brightness"].sentence
    assert found["image_height"].value == pytest.approx(0, abs=1e-6)


def test_the_same_data_are_no_distance_apart_and_ids_are_not_compared() -> None:
    same = measured({"Men": 100, "Women": 100})
    found = by_feature(drift(same, same, SCHEMA, 0))
    assert set(found) == {"gender", "image_brightness", "image_height"}
    assert too_far(found.values()) == []


def test_parts_of_a_few_products_are_not_compared() -> None:
    many = measured({"Men": 100})
    assert drift(many, measured({"Women": 99}), SCHEMA, 0) == []
    assert drift(measured({"Women": 99}), many, SCHEMA, 0) == []
    assert drift(many, measured({"Women": 100}), SCHEMA, 0) != []


def test_a_comparator_in_the_schema_wins_over_the_threshold_and_needs_none() -> None:
    schema = schema_pb2.Schema()
    schema.CopyFrom(SCHEMA)
    schema.feature[1].skew_comparator.infinity_norm.threshold = 0.05
    train, test = measured({"Men": 100, "Women": 100}), measured({"Men": 112, "Women": 88})
    for threshold in (0.5, None):
        gender = by_feature(skew("test", test, train, schema, threshold))["gender"]
        assert gender.threshold == 0.05
        assert "(distance 0.06, and the schema allows 0.05)" in gender.sentence
        assert too_far([gender])
    assert set(by_feature(skew("test", test, train, schema, None))) == {"gender"}


def test_a_feature_that_one_of_the_two_lacks_is_left_out() -> None:
    now = measured({"Men": 100})
    earlier = measured({"Men": 100})
    kept = [one for one in earlier.datasets[0].features if one.path.step[0] != "gender"]
    del earlier.datasets[0].features[:]
    earlier.datasets[0].features.extend(kept)
    assert "gender" not in by_feature(drift(now, earlier, SCHEMA, 0.1))


def test_a_feature_without_any_label_is_left_out() -> None:
    empty = tfdv.generate_statistics_from_dataframe(pd.DataFrame({"gender": [[]] * 200}))
    for statistics in (empty, measured({"Men": 200})):
        assert by_feature(drift(statistics, empty, SCHEMA, 0.1)) == {}


def test_pictures_of_nearly_one_size_are_near_whatever_the_few_others_are() -> None:
    def heights(*values: int) -> Statistics:
        frame = pd.DataFrame({"image_height": [80] * 995 + list(values)})
        return tfdv.generate_statistics_from_dataframe(frame)

    alike, other = heights(*[80] * 5), heights(60, 60, 65, 70, 79)
    for one, two in ((alike, other), (other, alike), (alike, alike)):
        (height,) = skew("eval", one, two, SCHEMA, 0.1)
        assert height.value == pytest.approx(0, abs=0.01)


def test_the_distance_of_a_number_is_the_divergence_of_its_histograms() -> None:
    now = np.r_[np.full(30, 0.05), np.full(70, 0.95), np.zeros(20), np.ones(80)]
    then = np.r_[np.zeros(100), np.ones(100)]
    frames = [pd.DataFrame({"image_brightness": one.astype(np.float32)}) for one in (now, then)]
    statistics = [tfdv.generate_statistics_from_dataframe(frame) for frame in frames]
    (found,) = drift(*statistics, SCHEMA, 0.1)
    # Both have the two outer tenths alone: .25 and .75 against .5 and .5.
    expected = jensenshannon([0.25, 0.75], [0.5, 0.5], base=2) ** 2
    assert found.value == pytest.approx(expected, abs=1e-4)
