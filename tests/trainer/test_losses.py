"""Losses are Keras' own where classes are equally frequent, and let all classes count alike."""

import keras
import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from trainer.losses import (
    TypeCrossentropy,
    WeightedBinaryCrossentropy,
    WeightedCrossentropy,
    attribute_weights,
    class_weights,
)

GENERATOR = np.random.default_rng(0)


def probabilities(rows, classes):
    scores = GENERATOR.uniform(0.1, 1, (rows, classes))
    return (scores / scores.sum(1, keepdims=True)).astype("float32")


@pytest.mark.parametrize("weights_of", [class_weights, attribute_weights])
def test_equally_frequent_classes_weigh_one(weights_of):
    np.testing.assert_allclose(weights_of([7, 7, 7], limit=20), 1)


def test_with_equal_frequencies_the_loss_is_the_plain_one():
    labels, predictions = GENERATOR.integers(0, 4, 12), probabilities(12, 4)
    weighted = WeightedCrossentropy(class_weights([5, 5, 5, 5], limit=20))
    plain = keras.losses.SparseCategoricalCrossentropy()
    assert float(weighted(labels, predictions)) == pytest.approx(
        float(plain(labels, predictions)), rel=1e-5
    )


@pytest.mark.parametrize("weights_of", [class_weights, attribute_weights])
def test_within_the_limit_every_class_counts_alike(weights_of):
    counts = np.array([60, 10, 30])
    shares = counts * weights_of(counts, limit=20)
    np.testing.assert_allclose(shares, shares[0], rtol=1e-6)


def test_class_weights_are_those_that_scikit_learn_calls_balanced():
    labels = np.repeat([0, 1, 2], [60, 10, 30])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(class_weights(np.bincount(labels), limit=20), expected, rtol=1e-6)


def test_what_the_limit_takes_from_the_rarest_the_others_share():
    # 90 t / 90 + 9 t / 9 + 3 = 100 products, hence t = 48.5 and 48.5 / 9 above the limit of 3;
    # so 9 products at 3 as well: t = 100 - 27 - 3 = 70.
    np.testing.assert_allclose(class_weights([90, 9, 1], limit=3), [70 / 90, 3, 3], rtol=1e-6)
    # Among attributes: t / 90 + t / 10 = 3 - 2, hence t = 9.
    np.testing.assert_allclose(attribute_weights([90, 10, 1], limit=2), [0.1, 0.9, 2], rtol=1e-6)


@pytest.mark.parametrize("limit", [1, 1.5, 4, 20, 1000])
def test_the_mean_weight_is_one_at_any_limit(limit):
    counts = np.array([700, 5000, 80, 9, 1, 1])
    weights = class_weights(counts, limit)
    assert np.average(weights, weights=counts) == pytest.approx(1, rel=1e-5)
    assert weights.max() <= limit
    assert attribute_weights(counts, limit).mean() == pytest.approx(1, rel=1e-5)
    assert attribute_weights(counts, limit).max() <= limit


def test_a_class_that_train_has_no_product_of_gets_the_limit():
    np.testing.assert_allclose(class_weights([5, 5, 0], limit=2), [1, 1, 2], rtol=1e-6)


def test_a_limit_below_the_mean_is_refused():
    with pytest.raises(ValueError, match="limit=0.5"):
        class_weights([1, 2], limit=0.5)


def test_each_products_cross_entropy_is_weighted_by_its_class():
    predictions = np.array([[0.5, 0.5], [0.25, 0.75]], "float32")
    expected = (2 * np.log(2) + 0.5 * np.log(4 / 3)) / 2
    loss = WeightedCrossentropy([2, 0.5])
    assert float(loss(np.array([0, 1]), predictions)) == pytest.approx(expected, rel=1e-5)


def test_unknown_labels_weigh_nothing():
    predictions = probabilities(3, 2)
    loss = WeightedCrossentropy([1, 1])
    known = float(loss(np.array([0, 1]), predictions[:2])) * 2
    assert float(loss(np.array([0, 1, -1]), predictions)) * 3 == pytest.approx(known, rel=1e-5)


def test_labels_in_a_column_are_taken_too():
    labels, predictions = np.array([0, 1, 1]), probabilities(3, 2)
    loss = WeightedCrossentropy([1, 2])
    assert float(loss(labels[:, None], predictions)) == float(loss(labels, predictions))


def test_each_attribute_has_its_own_weight():
    labels = np.array([[1, 0]], "float32")
    predictions = np.array([[0.5, 0.25]], "float32")
    expected = (3 * np.log(2) + 0.5 * np.log(4 / 3)) / 2
    loss = WeightedBinaryCrossentropy([3, 0.5])
    assert float(loss(labels, predictions)) == pytest.approx(expected, rel=1e-5)


def test_with_weights_of_one_the_attributes_loss_is_the_plain_one():
    labels = GENERATOR.integers(0, 2, (8, 5)).astype("float32")
    predictions = GENERATOR.uniform(0.05, 0.95, (8, 5)).astype("float32")
    assert float(WeightedBinaryCrossentropy(np.ones(5))(labels, predictions)) == pytest.approx(
        float(keras.losses.BinaryCrossentropy()(labels, predictions)), rel=1e-5
    )


@pytest.mark.parametrize(
    "loss", [WeightedCrossentropy([1.0, 2.0]), WeightedBinaryCrossentropy([1.0, 2.0])]
)
def test_losses_come_back_from_their_configs(loss):
    assert type(loss).from_config(loss.get_config()).get_config() == loss.get_config()


def test_the_loss_of_exclusive_attributes_is_a_cross_entropy_for_each_type():
    # Types {0, 2} and {1, 3}; the second product has no attribute of the second type.
    labels = np.array([[1, 0, 0, 1], [0, 0, 1, 0]], "float32")
    predictions = np.array([[0.7, 0.4, 0.3, 0.6], [0.2, 0.9, 0.8, 0.1]], "float32")
    expected = (-np.log(0.7) - np.log(0.6) - 3 * np.log(0.8)) / 2
    loss = TypeCrossentropy([1, 1, 3, 1])
    assert float(loss(labels, predictions)) == pytest.approx(expected, rel=1e-5)
