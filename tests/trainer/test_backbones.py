"""Whatever the backbone: pictures from 0 to 255 in, pooled features out, weights from where asked.

The first part runs over every backbone, at its smallest pictures; the network is built once.
"""

import typing

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format
from keras.src.utils import file_utils

from pipeline.config import Model
from schema.errors import UserError
from trainer.backbones import SMALLEST_SIDE, build_backbone, load_weights_file
from trainer.backbones.applications import CenteredBGR

FEATURES = {
    "small_residual": 32,
    "efficientnetlite0": 1280,
    "efficientnetlite2": 1280,
    "densenet121": 1024,
    "densenet169": 1664,
    "densenet201": 1920,
    "efficientnetb4": 1792,
    "efficientnetv2b0": 1280,
    "inceptionresnetv2": 1536,
    "inceptionv3": 2048,
    "mobilenetv3large": 960,
    "mobilenetv3small": 576,
    "resnet50": 2048,
    "vgg16": 512,
}
"""Of the last stage, as the papers give them."""

DEEP = {"densenet169", "densenet201", "inceptionresnetv2"}
"""Slow to write and read, and made of the same layers as their smaller sisters."""

MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def standardized(pictures):
    return keras.applications.imagenet_utils.preprocess_input(pictures, mode="torch")


def plus_minus_one(pictures):
    return keras.applications.imagenet_utils.preprocess_input(pictures, mode="tf")


PREPARATIONS = {
    "small_residual": plus_minus_one,
    "efficientnetlite0": lambda pictures: (pictures - 127) / 128,
    "efficientnetlite2": lambda pictures: (pictures - 127) / 128,
    "densenet121": keras.applications.densenet.preprocess_input,
    "densenet169": keras.applications.densenet.preprocess_input,
    "densenet201": keras.applications.densenet.preprocess_input,
    "efficientnetb4": standardized,
    "efficientnetv2b0": standardized,
    "inceptionresnetv2": keras.applications.inception_resnet_v2.preprocess_input,
    "inceptionv3": keras.applications.inception_v3.preprocess_input,
    "mobilenetv3large": plus_minus_one,
    "mobilenetv3small": plus_minus_one,
    "resnet50": keras.applications.resnet.preprocess_input,
    "vgg16": keras.applications.vgg16.preprocess_input,
}


def pictures_for(backbone, seed=0):
    shape = (2, *backbone.input_shape[1:])
    return np.random.default_rng(seed).uniform(0, 255, shape).astype("float32")


def features_of(backbone):
    return keras.ops.convert_to_numpy(backbone(pictures_for(backbone)))


def take_published_statistics(layers):
    """Gives EfficientNet's normalization what the published file holds: deviations, no squares."""
    for layer in layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            layer.set_weights([np.array(MEAN), np.array(DEVIATION), np.array(0)])
            layer.finalize_state()


def network_of(backbone):
    """The network without what prepares the pictures, where that stands apart."""
    return next((layer for layer in backbone.layers if isinstance(layer, keras.Model)), backbone)


def small(filters=4, weights=None, name="small_residual", width=32, **options):
    return build_backbone(
        name, image_height=32, image_width=width, filters=filters, weights=weights, **options
    )


@pytest.fixture(scope="module", params=FEATURES)
def backbone(request):
    keras.utils.set_random_seed(0)
    name = request.param
    side = SMALLEST_SIDE[name]
    return build_backbone(name, image_height=side, image_width=side, filters=4, weights=None)


@pytest.fixture
def published(monkeypatch):
    """The file that Keras finds on its server; at first it finds no server."""
    files = []

    def get_file(fname=None, origin=None, **_options):
        if not files:
            raise Exception(f"URL fetch failure on {origin}: None -- unreachable")
        return files[0]

    monkeypatch.setattr(file_utils, "get_file", get_file)
    return files


def test_features_are_pooled_and_finite(backbone):
    features = features_of(backbone)
    assert backbone.output_shape == (None, FEATURES[backbone.name])
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert not np.array_equal(features[0], features[1])


def test_pictures_are_prepared_as_the_network_expects(backbone):
    """What arrives at the first layer that is neither input nor preparation."""
    pictures = prepared = pictures_for(backbone)
    layers = list(backbone.layers)
    if network_of(backbone) is not backbone:
        layers[-1:] = layers[-1].layers
    take_published_statistics(layers)
    for layer in layers:
        if isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization | CenteredBGR):
            prepared = layer(prepared)
        elif not isinstance(layer, keras.layers.InputLayer):
            break
    expected = PREPARATIONS[backbone.name](pictures.copy())
    np.testing.assert_allclose(prepared, expected, rtol=1e-4, atol=1e-4)


def test_a_frozen_backbone_stays_as_it_is_and_a_free_one_learns(backbone):
    model = keras.Sequential([backbone, keras.layers.Dense(2)])

    def changed_by_a_step(trainable):
        backbone.trainable = trainable
        model.compile(keras.optimizers.Adam(), "mse", run_eagerly=True)
        before = backbone.get_weights()
        loss = model.train_on_batch(pictures_for(backbone), np.eye(2))
        assert np.isfinite(loss)
        pairs = zip(before, backbone.get_weights(), strict=True)
        return np.mean([not np.array_equal(old, new) for old, new in pairs])

    assert changed_by_a_step(trainable=False) == 0
    assert changed_by_a_step(trainable=True) > 0.9


def test_weights_saved_from_the_bare_network_are_loaded(backbone, tmp_path):
    if backbone.name in DEEP:
        pytest.skip("its smaller sister stands for it")
    path = str(tmp_path / "bare.weights.h5")
    before = features_of(backbone)
    network_of(backbone).save_weights(path)
    backbone.set_weights([np.zeros(weight.shape) for weight in backbone.weights])
    assert not features_of(backbone).any()
    load_weights_file(backbone, path)
    np.testing.assert_array_equal(features_of(backbone), before)


def test_it_is_saved_and_loaded_as_a_whole(backbone, tmp_path):
    if backbone.name in DEEP:
        pytest.skip("its smaller sister stands for it")
    backbone.save(tmp_path / "backbone.keras")
    loaded = keras.saving.load_model(tmp_path / "backbone.keras")
    np.testing.assert_allclose(features_of(loaded), features_of(backbone), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SMALLEST_SIDE)
def test_pictures_that_are_too_small_are_refused(name):
    side = SMALLEST_SIDE[name]
    with pytest.raises(UserError, match=rf"`{name}` .* at least {side}x{side}.* {side}x{side - 1}"):
        build_backbone(name, image_height=side, image_width=side - 1, filters=4, weights=None)


def test_the_config_offers_every_backbone():
    offered = typing.get_args(Model.model_fields["backbone"].annotation)
    assert sorted(offered) == sorted(SMALLEST_SIDE) == sorted(FEATURES)


def write_as_published(network, path):
    """In the older format that keras.applications still publish their weights in."""
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, network)


@pytest.mark.parametrize("suffix", [".h5", ".weights.h5", ".keras"])
def test_weights_are_read_in_every_format_of_keras(suffix, tmp_path):
    network = keras.applications.MobileNetV3Small(
        include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg"
    )
    path = tmp_path / f"mobilenet{suffix}"
    write = {".h5": write_as_published, ".keras": keras.Model.save}
    write.get(suffix, keras.Model.save_weights)(network, path)
    loaded = small(name="mobilenetv3small", weights=str(path))
    np.testing.assert_array_equal(features_of(loaded), features_of(network))


def test_imagenet_weights_are_downloaded(published, tmp_path):
    published.append(str(tmp_path / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"))
    random = small(name="vgg16")
    write_as_published(network_of(random), published[0])
    downloaded = small(name="vgg16", weights="imagenet")
    np.testing.assert_array_equal(features_of(downloaded), features_of(random))


def test_efficientnetb4_sees_the_same_with_weights_from_keras_and_from_their_file(
    published, tmp_path
):
    """Keras builds a network whose weights it downloads itself with one layer more."""
    path = str(tmp_path / "efficientnetb4_notop.h5")
    random = small(name="efficientnetb4")
    take_published_statistics(network_of(random).layers)
    write_as_published(network_of(random), path)
    published.append(path)
    downloaded = small(name="efficientnetb4", weights="imagenet")
    np.testing.assert_allclose(features_of(downloaded), features_of(random), rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("name", ["mobilenetv3small", "vgg16"])
def test_imagenet_weights_that_cannot_be_downloaded_say_what_to_do(published, name):
    with pytest.raises(UserError, match=rf"{name}.*unreachable.*weights file in model\.weights"):
        small(name=name, weights="imagenet")


def test_small_residual_has_no_imagenet_weights():
    with pytest.raises(UserError, match="imagenet"):
        small(weights="imagenet")


def test_weights_of_other_sizes_are_refused_by_name(tmp_path):
    path = str(tmp_path / "other.weights.h5")
    small(filters=8).save_weights(path)
    with pytest.raises(UserError, match=r"other\.weights\.h5.*does not fit.*small_residual"):
        small(filters=4, weights=path)


def test_a_missing_weights_file_is_named():
    with pytest.raises(UserError, match=r"nowhere\.h5.*does not exist"):
        small(weights="nowhere.h5")


def convolutions_of(backbone):
    return [layer for layer in backbone.layers if isinstance(layer, keras.layers.Conv2D)]


def normalizations_of(backbone):
    return [
        layer for layer in backbone.layers if isinstance(layer, keras.layers.BatchNormalization)
    ]


def test_small_residual_has_four_blocks_and_three_of_them_change_the_shape():
    """A first convolution, two a block, and one in each shortcut over a change of shape."""
    backbone = small()
    assert len(convolutions_of(backbone)) == len(normalizations_of(backbone)) == 1 + 4 * 2 + 3


def test_more_blocks_a_stage_keep_its_shape():
    backbone = small(blocks=3)
    assert len(convolutions_of(backbone)) == 1 + 3 * 4 * 2 + 3
    assert backbone.output_shape == (None, 32)


def test_the_kernel_size_is_that_of_the_blocks():
    """The first convolution's is 5 and the shortcuts' 1 whatever it is."""
    sizes = [layer.kernel_size[0] for layer in convolutions_of(small(kernel_size=7))]
    assert sorted(sizes) == [1] * 3 + [5] + [7] * 8


@pytest.mark.parametrize(("placement", "count"), [("block_end", 1 + 4), ("none", 0)])
def test_batch_normalization_is_placed_as_asked(placement, count):
    backbone = small(batch_normalization=placement)
    assert len(normalizations_of(backbone)) == count
    biased = [layer for layer in convolutions_of(backbone) if layer.use_bias]
    assert len(biased) == 12 - (1 if placement == "block_end" else 0)
    assert np.isfinite(features_of(backbone)).all()
