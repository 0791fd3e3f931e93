"""The fitted temperatures are those that the data were made with, and fold into the weights."""

import keras
import numpy as np
import pytest
from scipy.special import expit, softmax

from trainer import calibration
from trainer.hierarchical_model import build_heads, build_model
from trainer.label_space import LabelSpace

COUNT = 4000
LABELS = LabelSpace(3, 5, {"color": [0, 2], "line": [1, 3, 4]}, {"gender": 2})


def drawn(generator, probabilities):
    """One label a row, drawn by the row's probabilities."""
    return (probabilities.cumsum(1) > generator.random((len(probabilities), 1))).argmax(1)


def test_scores_that_are_three_times_too_large_have_the_temperature_three():
    generator = np.random.default_rng(0)
    honest = softmax(2 * generator.normal(size=(COUNT, 6)), axis=1)
    truths = drawn(generator, honest)
    sure = softmax(3 * np.log(honest), axis=1)
    loss = calibration.softmax_loss(sure, truths)
    assert calibration.fit_temperature(loss, COUNT) == pytest.approx(3, rel=0.05)
    honest_loss = -np.log(honest[np.arange(COUNT), truths]).mean()
    assert loss(3.0) == pytest.approx(honest_loss)


def test_attributes_that_are_too_shy_have_a_temperature_below_one():
    generator = np.random.default_rng(1)
    scores = 2 * generator.normal(size=(COUNT, 4))
    truths = (generator.random(scores.shape) < expit(scores)).astype(np.float32)
    loss = calibration.sigmoid_loss(expit(scores / 2), truths)
    assert calibration.fit_temperature(loss, COUNT) == pytest.approx(0.5, rel=0.05)


def test_certainties_that_32_bits_round_to_zero_and_one_cost_much_and_not_everything():
    """By hand: log(1 / 1e-7) for each that is wrong at temperature 1, and half of it at 2."""
    probabilities = np.array([[0.0, 1.0], [1.0, 0.0]])
    right = calibration.sigmoid_loss(probabilities, np.array([[0, 1], [1, 0]]))
    assert right(1.0) == pytest.approx(2e-7, rel=1e-3)
    wrong = calibration.sigmoid_loss(probabilities, np.array([[1, 0], [0, 1]]))
    assert wrong(1.0) == pytest.approx(2 * np.log(1e7), rel=1e-5)
    assert wrong(2.0) == pytest.approx(np.log(1e7), rel=1e-3)
    single = calibration.softmax_loss(np.array([[0.0, 1.0]]), np.array([0]))
    assert single(1.0) == pytest.approx(37 * np.log(10))


def test_types_are_fitted_by_the_products_that_have_one_attribute_of_them():
    generator = np.random.default_rng(2)
    types = [[0, 2], [1, 3, 4]]
    probabilities, truths = np.zeros((COUNT, 5)), np.zeros((COUNT, 5))
    for members in types:
        honest = softmax(2 * generator.normal(size=(COUNT, len(members))), axis=1)
        truths[np.arange(COUNT), np.array(members)[drawn(generator, honest)]] = 1
        probabilities[:, members] = softmax(2 * np.log(honest), axis=1)
    # Neither nothing nor everything can be said of by a choice of one.
    truths[:500, [1, 3, 4]] = 0
    truths[500:900, [0, 2]] = 1
    loss = calibration.types_loss(types)(probabilities, truths)
    assert calibration.fit_temperature(loss, COUNT) == pytest.approx(2, rel=0.05)


def test_without_a_single_error_the_scores_are_not_driven_to_certainty():
    sure = np.tile([[0.999, 0.001]], (50, 1))
    loss = calibration.softmax_loss(sure, np.zeros(50, int))
    assert calibration.fit_temperature(loss, 50) > 0.8


@pytest.fixture(params=["together", "sigmoid_per_type", "softmax_per_type"])
def model(request):
    """A model of random weights, its scores large enough to be far too sure."""
    # Of some weights a score is so low that it is 0 in 32 bits, and has no logarithm.
    keras.utils.set_random_seed(3)
    pictures = keras.Input((2, 2, 3))
    backbone = keras.Model(pictures, keras.layers.Flatten()(pictures))
    heads = build_heads(
        12,
        LABELS,
        attribute_classifier=request.param,
        dense_units=8,
        dropout=0.0,
        l2=0.0,
        embedding_size=4,
    )
    generator = np.random.default_rng(3)
    for layer in heads.layers:
        if layer.name.endswith("_scores"):
            kernel, bias = layer.get_weights()
            layer.set_weights([6 * kernel, generator.normal(size=bias.shape)])
    return build_model(backbone, heads)


@pytest.fixture
def batches():
    generator = np.random.default_rng(4)
    return [
        (
            generator.normal(size=(size, 2, 2, 3)),
            {
                "category": generator.integers(-1, 3, size),
                "subcategory": generator.integers(0, 5, size),
                "gender": np.full(size, -2),
                "attributes": np.eye(5)[generator.integers(0, 5, size)],
            },
        )
        for size in (64, 64, 20)
    ]


def test_folding_divides_the_scores_and_changes_no_decision(model, batches):
    pictures = batches[0][0].astype(np.float32)
    before, parameters = model.predict_on_batch(pictures), model.count_params()
    temperatures = calibration.calibrate(model, batches, LABELS)
    after = model.predict_on_batch(pictures)
    assert set(temperatures) == {"category", "subcategory", "attributes"}
    assert all(temperature > 1.2 for temperature in temperatures.values())
    assert model.count_params() == parameters
    for level in ("category", "subcategory"):
        np.testing.assert_array_equal(after[level].argmax(1), before[level].argmax(1))
        cooled = softmax(np.log(before[level].astype(float)) / temperatures[level], axis=1)
        np.testing.assert_allclose(after[level], cooled, rtol=1e-3, atol=1e-6)
    # No gender is known, so nothing can be said of its scores.
    np.testing.assert_array_equal(after["gender"], before["gender"])
    np.testing.assert_array_equal(after["embedding"], before["embedding"])


def test_what_the_model_said_before_follows_from_what_it_says_after(model, batches):
    pictures = batches[0][0].astype(np.float32)
    before = model.predict_on_batch(pictures)
    temperatures = calibration.calibrate(model, batches, LABELS)
    told = calibration.uncalibrated(model, model.predict_on_batch(pictures), temperatures)
    assert set(told) == set(temperatures)
    for level, probabilities in told.items():
        np.testing.assert_allclose(probabilities, before[level], rtol=1e-3, atol=1e-5)


def test_products_of_unknown_labels_take_no_part(model, batches):
    known = [
        (
            pictures[labels["category"] >= 0],
            {"category": labels["category"][labels["category"] >= 0]},
        )
        for pictures, labels in batches
    ]
    weights = model.get_weights()
    told = calibration.calibrate(model, known, LABELS)["category"]
    model.set_weights(weights)
    assert calibration.calibrate(model, batches, LABELS)["category"] == pytest.approx(
        told, rel=1e-3
    )
