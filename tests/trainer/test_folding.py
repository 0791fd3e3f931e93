"""Folding takes batch normalization out and changes no answer."""

import keras
import numpy as np
import pytest
from keras import layers

from trainer.backbones import SMALLEST_SIDE, build_backbone
from trainer.folding import folded
from trainer.fused_normalization import with_fused_normalization


def shaken(model):
    """Gives every normalization statistics and weights that are far from doing nothing."""
    generator = np.random.default_rng(0)
    for layer in normalizations(model):
        layer.set_weights([generator.uniform(0.5, 2, x.shape) for x in layer.get_weights()])
    return model


def normalizations(model):
    return [x for x in model._flatten_layers() if isinstance(x, layers.BatchNormalization)]


def check(model, shape):
    pictures = np.random.default_rng(1).uniform(0, 255, (3, *shape)).astype("float32")
    before = model.get_weights()
    small = folded(model)
    assert normalizations(model), "there was something to fold"
    assert not normalizations(small)
    expected = keras.ops.convert_to_numpy(model(pictures, training=False))
    found = keras.ops.convert_to_numpy(small(pictures, training=False))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    return small


@pytest.mark.parametrize("name", [name for name in SMALLEST_SIDE if name != "vgg16"])
def test_every_backbone_has_the_same_features(name):
    side = SMALLEST_SIDE[name]
    model = build_backbone(name, image_height=side, image_width=side, filters=4, weights=None)
    for layer in normalizations(model):
        # Deep networks would blow wilder numbers up beyond what 32 bits tell apart.
        layer.set_weights(
            [
                np.random.default_rng(2).uniform(0.9, 1.1, x.shape) if i in (0, len(of) - 1) else x
                for of in [layer.get_weights()]
                for i, x in enumerate(of)
            ]
        )
    check(model, (side, side, 3))


@pytest.mark.parametrize("where", ["every_convolution", "block_end"])
def test_wherever_a_small_net_normalizes(where):
    model = build_backbone(
        *("small_residual",),
        **{"image_height": 32, "image_width": 24, "filters": 4, "weights": None},
        batch_normalization=where,
    )
    check(shaken(model), (32, 24, 3))


def test_trainings_fused_layer_is_folded_too():
    backbone = build_backbone(
        "small_residual", image_height=32, image_width=32, filters=4, weights=None
    )
    check(shaken(with_fused_normalization(backbone)), (32, 32, 3))


def built(make):
    pictures = keras.Input((6, 6, 4))
    return shaken(keras.Model(pictures, make(pictures)))


def test_kernels_and_biases_take_a_normalization_up():
    for layer in (
        layers.Conv2D(5, 3),
        layers.Conv2D(5, 3, use_bias=False, padding="same", strides=2),
        layers.Conv2D(6, 1, groups=2),
        layers.DepthwiseConv2D(3, depth_multiplier=2),
        layers.DepthwiseConv2D(3, use_bias=False),
        layers.Dense(3),
        layers.Dense(3, use_bias=False),
    ):
        small = check(built(lambda x, of=layer: layers.BatchNormalization()(of(x))), (6, 6, 4))
        assert len(small.layers) == 2, "nothing but the input and the layer is left"


def test_a_normalization_without_scale_or_center_is_taken_up_as_well():
    for options in ({"scale": False}, {"center": False}, {"scale": False, "center": False}):
        check(
            built(
                lambda x, options=options: layers.BatchNormalization(**options)(
                    layers.Conv2D(5, 3)(x)
                )
            ),
            (6, 6, 4),
        )


def test_where_no_kernel_can_take_it_up_one_scaling_stays():
    def twice_read(x):
        shared = layers.Conv2D(4, 3, padding="same")(x)
        return layers.add([layers.BatchNormalization()(shared), shared])

    def after_an_activation(x):
        return layers.BatchNormalization()(layers.Conv2D(4, 3, activation="relu")(x))

    def used_twice(x):
        convolution = layers.Conv2D(4, 3, padding="same")
        return layers.add([layers.BatchNormalization()(convolution(x)), convolution(x * 2)])

    def first(x):
        return layers.BatchNormalization()(x)

    for make in (twice_read, after_an_activation, used_twice, first):
        small = check(built(make), (6, 6, 4))
        assert any(isinstance(layer, layers.Rescaling) for layer in small.layers)


def test_a_model_inside_that_is_used_twice_is_folded_for_both():
    inside = built(lambda x: layers.BatchNormalization()(layers.Conv2D(4, 3)(x)))
    pictures = keras.Input((6, 6, 4))
    model = keras.Model(pictures, layers.average([inside(pictures), inside(pictures[:, :, ::-1])]))
    check(model, (6, 6, 4))
