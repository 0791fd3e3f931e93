"""The fused batch normalization is Keras' own in all but speed."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.backbones import build_backbone
from trainer.fused_normalization import BatchNormalization, with_fused_normalization


def pictures(seed):
    """Channels of different means and deviations, (6, 5, 4, 3)."""
    generator = np.random.default_rng(seed)
    return (generator.normal(size=(6, 5, 4, 3)) * [1, 3, 0.5] + [0, -2, 1]).astype("float32")


def built(layer_class, **options):
    layer = layer_class(momentum=0.8, epsilon=0.002, **options)
    layer.build((None, 5, 4, 3))
    if layer.scale:
        layer.gamma.assign([1.0, 2.0, -0.5])
    if layer.center:
        layer.beta.assign([0.0, 0.3, 4.0])
    return layer


@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}])
def test_outputs_gradients_and_moving_statistics_are_those_of_keras(options):
    ours = built(BatchNormalization, **options)
    keras_own = built(keras.layers.BatchNormalization, **options)
    towards = tf.constant(pictures(9))
    for step in range(3):
        results = []
        for layer in (ours, keras_own):
            inputs = tf.constant(pictures(step))
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                outputs = layer(inputs, training=True)
                loss = tf.reduce_sum(outputs * towards)
            weights = [weight.value for weight in layer.trainable_weights]
            results.append([outputs, *tape.gradient(loss, [inputs, *weights])])
        for got, expected in zip(*results, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)
    for got, expected in zip(ours.get_weights(), keras_own.get_weights(), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5)
    answers = [layer(pictures(4), training=False) for layer in (ours, keras_own)]
    np.testing.assert_allclose(*answers, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("reason", ["asked", "frozen"])
def test_what_does_not_train_leaves_the_moving_statistics(reason):
    layer = built(BatchNormalization)
    layer.trainable = reason != "frozen"
    before = layer.get_weights()
    outputs = layer(pictures(1), training=reason == "frozen")
    # Mean 0 and variance 1, as a layer begins.
    np.testing.assert_allclose(
        outputs, pictures(1) / 1.002**0.5 * [1, 2, -0.5] + [0, 0.3, 4], rtol=1e-4, atol=1e-5
    )
    for got, expected in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_half_precision_is_computed_in_single():
    layer = built(BatchNormalization, dtype="mixed_float16")
    outputs = layer(1000 + pictures(1), training=True)
    assert outputs.dtype == tf.float16
    expected = built(keras.layers.BatchNormalization, dtype="mixed_float16")(
        1000 + pictures(1), training=True
    )
    np.testing.assert_allclose(outputs, expected, rtol=2e-3, atol=2e-3)


def test_it_is_saved_and_read_back_with_its_numbers(tmp_path):
    model = keras.Sequential([keras.Input((5, 4, 3)), BatchNormalization(momentum=0.8)])
    model(pictures(1), training=True)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again.layers[0]) is BatchNormalization and again.layers[0].momentum == 0.8
    np.testing.assert_array_equal(again(pictures(2)), model(pictures(2)))


def every_layer_of(model):
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from every_layer_of(layer)


@pytest.mark.parametrize("name", ["small_residual", "mobilenetv3small", "efficientnetv2b0"])
def test_in_a_backbone_every_normalization_is_replaced_and_nothing_else_changes(name):
    backbone = build_backbone(name, image_height=32, image_width=32, filters=4, weights=None)
    keras.utils.set_random_seed(3)
    fused = with_fused_normalization(backbone)
    # Where a layer's initializer finds its seed: none was drawn, so that heads begin as they would.
    assert random.random() == random.Random(3).random()
    assert [type(layer).__name__ for layer in every_layer_of(fused)] == [
        type(layer).__name__ for layer in every_layer_of(backbone)
    ]
    assert keras.layers.BatchNormalization not in map(type, every_layer_of(fused))
    assert BatchNormalization in map(type, every_layer_of(fused))
    assert [x.path for x in fused.weights] == [x.path for x in backbone.weights]
    assert fused.name == backbone.name
    picture = np.full((1, 32, 32, 3), 200.0)
    np.testing.assert_array_equal(fused(picture), backbone(picture))
