"""Backbones give pooled features and prepare pictures themselves."""

import keras
import numpy as np
import pytest

from schema.errors import UserError
from trainer import backbones
from trainer.backbones import build_backbone


def small(filters=4, weights=None, name="small_residual", width=32):
    return build_backbone(
        name, image_height=32, image_width=width, filters=filters, weights=weights
    )


def test_small_residual_doubles_its_filters_three_times():
    assert small(filters=4).output_shape == (None, 32)


def test_small_residual_scales_pixels_to_plus_minus_one_itself():
    rescaling = small().layers[1]
    np.testing.assert_allclose(rescaling(np.array([0.0, 127.5, 255.0])), [-1, 0, 1], atol=1e-6)


def test_resnet_is_fed_blue_green_red_less_the_imagenet_means():
    picture = np.array([[[10.0, 20.0, 30.0]]], "float32")
    expected = keras.applications.resnet.preprocess_input(picture.copy())
    np.testing.assert_allclose(backbones.CenteredBGR()(picture), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "features"), [("efficientnetv2b0", 1280), ("mobilenetv3small", 576)]
)
def test_applications_are_pooled(name, features):
    assert small(name=name).output_shape == (None, features)


def test_pictures_too_small_for_an_application_are_refused():
    with pytest.raises(UserError, match="at least 32x32 pixels.*is 32x24"):
        small(name="mobilenetv3small", width=24)


def test_weights_come_from_a_file(tmp_path):
    path = str(tmp_path / "small.weights.h5")
    trained = small()
    trained.save_weights(path)
    pictures = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3))
    np.testing.assert_allclose(small(weights=path)(pictures), trained(pictures), rtol=1e-6)


def test_weights_of_a_keras_application_come_from_its_own_file(tmp_path):
    network = keras.applications.MobileNetV3Small(
        include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg"
    )
    path = str(tmp_path / "published.weights.h5")
    network.save_weights(path)
    pictures = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3))
    loaded = small(name="mobilenetv3small", weights=path)
    np.testing.assert_allclose(loaded(pictures), network(pictures), rtol=1e-4, atol=1e-5)


def test_weights_of_other_sizes_are_refused_by_name(tmp_path):
    path = str(tmp_path / "other.weights.h5")
    small(filters=8).save_weights(path)
    with pytest.raises(UserError, match=r"other\.weights\.h5.*does not fit.*small_residual"):
        small(filters=4, weights=path)


def test_a_missing_weights_file_is_named():
    with pytest.raises(UserError, match=r"nowhere\.h5.*does not exist"):
        small(weights="nowhere.h5")


def test_small_residual_has_no_imagenet_weights():
    with pytest.raises(UserError, match="imagenet"):
        small(weights="imagenet")


def test_imagenet_weights_that_cannot_be_downloaded_say_what_to_do(monkeypatch):
    def offline(**kwargs):
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.applications, "MobileNetV3Small", offline)
    with pytest.raises(UserError, match=r"mobilenetv3small.*weights file in model\.weights"):
        small(name="mobilenetv3small", weights="imagenet")
