"""A backbone's features are the average of a map, and that map is found in every backbone."""

import keras
import numpy as np
import pytest
from keras import layers

from trainer.backbones import SMALLEST_SIDE, build_backbone
from trainer.feature_maps import with_map, with_parts
from trainer.folding import folded
from trainer.hierarchical_model import build_heads, build_model
from trainer.label_space import LabelSpace


def pictures(height, width):
    return np.random.default_rng(1).uniform(0, 255, (2, height, width, 3)).astype("float32")


# One of each kind: what its siblings end in is built by the same lines.
@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("small_residual", "efficientnetlite0", "densenet121", "efficientnetv2b0"),
        *("inceptionv3", "inceptionresnetv2", "mobilenetv3small", "resnet50", "vgg16"),
    ],
)
def test_the_features_of_a_backbone_are_the_average_of_its_map(name):
    height, width = 2 * SMALLEST_SIDE[name], 3 * SMALLEST_SIDE[name]
    backbone = build_backbone(name, image_height=height, image_width=width, filters=4, weights=None)
    features, of_places = with_map(backbone)(pictures(height, width))
    np.testing.assert_array_equal(features, backbone(pictures(height, width)))
    assert min(of_places.shape[1:3]) > 1
    average = np.asarray(of_places, np.float64).mean((1, 2))
    np.testing.assert_allclose(features, average, rtol=1e-4, atol=1e-5 * np.abs(average).max())


@pytest.mark.parametrize("mirror_average", [False, True])
@pytest.mark.parametrize("prepared", [folded, lambda model: model])
def test_the_parts_of_a_network_sum_to_what_the_heads_get(mirror_average, prepared):
    backbone = build_backbone(
        "small_residual", image_height=48, image_width=32, filters=4, weights=None
    )
    # Without a projection the embedding is the direction of the features.
    heads = build_heads(32, LabelSpace(2, 3), dense_units=8, dropout=0.0, l2=0.0)
    model = build_model(backbone, heads, mirror_average=mirror_average)
    answers, parts = with_parts(prepared(model))(pictures(48, 32))
    for level, expected in model(pictures(48, 32), training=False).items():
        np.testing.assert_allclose(answers[level], expected, rtol=1e-4, atol=1e-6)
    total = np.asarray(parts).sum((1, 2))
    direction = total / np.linalg.norm(total, axis=1, keepdims=True)
    np.testing.assert_allclose(direction, answers["embedding"], rtol=1e-4, atol=1e-6)


def test_with_the_mirror_average_the_mirror_images_parts_are_the_mirror_image_of_the_parts():
    backbone = build_backbone(
        "small_residual", image_height=48, image_width=32, filters=4, weights=None
    )
    heads = build_heads(32, LabelSpace(2, 3), dense_units=8, dropout=0.0, l2=0.0)
    network = with_parts(build_model(backbone, heads, mirror_average=True))
    _, parts = network(pictures(48, 32))
    _, of_mirror = network(pictures(48, 32)[:, :, ::-1])
    np.testing.assert_allclose(of_mirror, np.asarray(parts)[:, :, ::-1], rtol=1e-4, atol=1e-6)


def test_a_backbone_that_ends_otherwise_is_named():
    inputs = keras.Input((8, 8, 3))
    strongest = keras.Model(inputs, layers.GlobalMaxPooling2D()(inputs), name="strongest")
    with pytest.raises(ValueError, match="must end in GlobalAveragePooling2D. Received: strongest"):
        with_map(strongest)
