"""Losses are Keras' own where classes are equally frequent, and let all classes count alike."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight

from trainer.losses import (
    SemiHardTriplet,
    TypeCrossentropy,
    WeightedBinaryCrossentropy,
    WeightedCrossentropy,
    attribute_weights,
    class_weights,
    effective_numbers,
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
    "loss",
    [
        WeightedCrossentropy([1.0, 2.0], focal_gamma=2.0, label_smoothing=0.1),
        WeightedBinaryCrossentropy([1.0, 2.0]),
        TypeCrossentropy([1.0, 2.0], focal_gamma=2.0),
        SemiHardTriplet(0.3),
    ],
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


def test_effective_numbers_are_those_of_the_paper():
    # The expected volume after n draws, E(n) = 1 + beta E(n - 1) (Cui et al. 2019, appendix).
    expected = [0.0]
    for _ in range(50):
        expected.append(1 + 0.9 * expected[-1])
    np.testing.assert_allclose(effective_numbers(np.arange(51), beta=0.9), expected)
    np.testing.assert_allclose(effective_numbers([1, 7, 90], beta=0), 1)


def test_effective_numbers_weight_between_none_and_inverse_frequency():
    counts = np.array([1000, 100, 10])
    ratios = [
        weights[2] / weights[0]
        for weights in (
            class_weights(counts, limit=1e6, sizes=effective_numbers(counts, beta))
            for beta in (0, 0.9, 0.999, 0.999999)
        )
    ]
    assert ratios == sorted(ratios)
    assert ratios[0] == pytest.approx(1) and ratios[-1] == pytest.approx(100, rel=1e-2)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_the_focal_loss_is_the_one_of_keras(gamma):
    labels, predictions = GENERATOR.integers(0, 4, 12), probabilities(12, 4)
    focal = keras.losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=gamma)
    expected = float(focal(np.eye(4)[labels], predictions))
    ours = WeightedCrossentropy(np.ones(4), focal_gamma=gamma)
    assert float(ours(labels, predictions)) == pytest.approx(expected, rel=1e-5)
    of_types = TypeCrossentropy(np.ones(4), focal_gamma=gamma)
    assert float(of_types(np.eye(4)[labels], predictions)) == pytest.approx(expected, rel=1e-5)


def test_a_certain_answer_has_a_slope_under_a_focal_loss_too():
    loss = WeightedCrossentropy(np.ones(2), focal_gamma=0.5)
    with tf.GradientTape() as tape:
        predictions = tf.Variable([[1.0, 0.0]])
        value = loss(np.array([0]), tf.identity(predictions))
    assert np.isfinite(tape.gradient(value, predictions)).all()


def test_label_smoothing_is_the_one_of_keras():
    labels, predictions = GENERATOR.integers(0, 4, 12), probabilities(12, 4)
    smooth = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    assert float(
        WeightedCrossentropy(np.ones(4), label_smoothing=0.1)(labels, predictions)
    ) == pytest.approx(float(smooth(np.eye(4)[labels], predictions)), rel=1e-5)


@pytest.mark.parametrize("options", [{"focal_gamma": 2.0}, {"label_smoothing": 0.1}])
def test_unknown_labels_weigh_nothing_whatever_the_technique(options):
    predictions = probabilities(2, 3)
    loss = WeightedCrossentropy([1, 2, 3], **options)
    alone = float(loss(np.array([2]), predictions[:1]))
    assert float(loss(np.array([2, -1]), predictions)) == pytest.approx(alone / 2, rel=1e-5)


def triplet_loss(labels, embeddings, margin):
    """Triplet by triplet, as the paper words it."""
    losses = []
    for anchor, positive in itertools.permutations(np.flatnonzero(labels >= 0), 2):
        if labels[anchor] != labels[positive]:
            continue
        close = ((embeddings[anchor] - embeddings[positive]) ** 2).sum()
        negatives = [
            ((embeddings[anchor] - embeddings[other]) ** 2).sum()
            for other in np.flatnonzero(labels >= 0)
            if labels[other] != labels[anchor]
        ]
        if not negatives:
            continue
        farther = [distance for distance in negatives if distance > close]
        losses.append(max(0, close - (min(farther) if farther else max(negatives)) + margin))
    return np.mean(losses) if losses else 0.0


@pytest.mark.parametrize(
    "labels",
    [
        [0, 0, 1, 1, 2, 2, 0, 1],
        [0, -1, 1, 1, -1, 2, 0, 1],
        [0, 1, 2, 3, 4, 5, 6, 7],
        [3, 3, 3, 3, 3, 3, 3, -1],
    ],
    ids=["all_known", "some_unknown", "no_positives", "no_negatives"],
)
@pytest.mark.parametrize("margin", [0.05, 0.5])
def test_the_triplet_loss_is_that_of_going_through_all_triplets(labels, margin):
    labels = np.array(labels)
    embeddings = GENERATOR.normal(size=(8, 3)).astype("float32")
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    assert float(SemiHardTriplet(margin)(labels, embeddings)) == pytest.approx(
        triplet_loss(labels, embeddings, margin), rel=1e-4, abs=1e-6
    )


def test_the_triplet_loss_brings_classes_together():
    labels = np.repeat(np.arange(4), 6)
    embeddings = tf.Variable(GENERATOR.normal(size=(24, 4)).astype("float32"))
    descent = keras.optimizers.Adam(0.2)

    def unit():
        return tf.math.l2_normalize(embeddings, axis=1)

    for _ in range(30):
        with tf.GradientTape() as tape:
            loss = SemiHardTriplet(0.5)(labels, unit())
        descent.apply([tape.gradient(loss, embeddings)], [embeddings])
    similar = unit().numpy() @ unit().numpy().T
    same = labels[:, None] == labels
    assert similar[same].min() > similar[~same].max()
