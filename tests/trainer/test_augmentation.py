"""The augmentation does what its options say, to each picture on its own, in training only."""

import keras
import numpy as np
import pytest

from trainer.augmentation import Augmentation

STILL = {
    "flip_probability": 0.0,
    "contrast": 0.0,
    "contrast_probability": 0.0,
    "brightness": 0.0,
    "brightness_probability": 0.0,
    "shift": 0.0,
    "scale": 0.0,
    "rotation_degrees": 0.0,
    "geometry_probability": 0.0,
}


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 256, (64, 20, 16, 3)).astype("uint8")


def augmented(pictures, **changes):
    layer = Augmentation(**{**STILL, **changes}, seed=3)
    return keras.ops.convert_to_numpy(layer(pictures, training=True))


def test_pictures_pass_unchanged_outside_training(pictures):
    everything = dict.fromkeys(STILL, 0.2)
    layer = Augmentation(**everything, seed=1)
    np.testing.assert_array_equal(layer(pictures, training=False), pictures.astype("float32"))


def test_without_any_probability_training_pictures_stay_too(pictures):
    np.testing.assert_allclose(augmented(pictures), pictures, atol=1e-3)


def test_a_certain_flip_mirrors_left_to_right(pictures):
    np.testing.assert_allclose(
        augmented(pictures, flip_probability=1.0), pictures[:, :, ::-1], atol=1e-2
    )


def test_flips_come_as_often_as_their_probability_says(pictures):
    many = np.repeat(pictures, 16, axis=0)
    flipped = augmented(many, flip_probability=0.25)
    share = np.mean(np.abs(flipped - many).mean(axis=(1, 2, 3)) > 1)
    assert share == pytest.approx(0.25, abs=0.06)


def test_brightness_multiplies_each_picture_by_a_factor_within_its_limit(pictures):
    dim = np.maximum(pictures // 2, 1)
    ratios = augmented(dim, brightness=0.2, brightness_probability=1.0) / dim
    factors = ratios.mean(axis=(1, 2, 3))
    assert ratios.std(axis=(1, 2, 3)).max() < 1e-3
    assert factors.min() >= 0.8 and factors.max() <= 1.2
    assert factors.std() > 0.05


def test_contrast_keeps_a_pictures_mean(pictures):
    calm = 100 + pictures / 8
    changed = augmented(calm, contrast=0.2, contrast_probability=1.0)
    np.testing.assert_allclose(changed.mean((1, 2, 3)), calm.mean((1, 2, 3)), rtol=1e-4)
    spread = changed.std((1, 2, 3)) / calm.std((1, 2, 3))
    assert spread.min() >= 0.8 and spread.max() <= 1.2 and spread.std() > 0.05


def test_a_shift_moves_by_at_most_its_part_of_the_side():
    dot = np.zeros((200, 32, 32, 1), "float32").repeat(3, axis=-1)
    dot[:, 16, 16] = 200
    moved = augmented(dot, shift=0.125, geometry_probability=1.0)[..., 0]
    total = moved.sum((1, 2))
    centers = [
        (moved.sum(2) * np.arange(32)).sum(1) / total,
        (moved.sum(1) * np.arange(32)).sum(1) / total,
    ]
    for center in centers:
        distance = np.abs(center - 16)
        assert distance.max() <= 4 + 1e-3
        assert distance.max() > 3


def test_rotation_and_scale_leave_the_center_where_it_is():
    ramp = np.broadcast_to(np.arange(33.0)[:, None, None], (50, 33, 33, 3)).astype("float32")
    turned = augmented(ramp, rotation_degrees=15, scale=0.1, geometry_probability=1.0)
    np.testing.assert_allclose(turned[:, 16, 16], 16, atol=1e-3)
    # One pixel further down the ramp rises by cos(angle) / scale.
    slope = turned[:, 17, 16, 0] - turned[:, 16, 16, 0]
    assert slope.min() >= np.cos(np.radians(15)) / 1.1 - 1e-3
    assert slope.max() <= 1 / 0.9 + 1e-3
    assert slope.std() > 0.02


def test_strength_multiplies_what_the_changes_may_reach(pictures):
    sizes = {"brightness": 0.1, "contrast": 0.05, "shift": 0.1, "scale": 0.05}
    sizes["rotation_degrees"] = 6
    often = dict.fromkeys(
        ("flip_probability", "contrast_probability", "brightness_probability"), 0.5
    ) | {"geometry_probability": 0.7}
    doubled = {name: 2 * size for name, size in sizes.items()}
    np.testing.assert_allclose(
        augmented(pictures, **often, **sizes, strength=2.0), augmented(pictures, **often, **doubled)
    )
    flipped = augmented(pictures, **often | {"flip_probability": 1.0}, **sizes, strength=0.0)
    np.testing.assert_allclose(flipped, pictures[:, :, ::-1], atol=1e-2)


def test_what_comes_into_view_at_the_border_is_a_reflection():
    pale = np.full((20, 24, 24, 3), 180, "uint8")
    changed = augmented(pale, shift=0.2, scale=0.2, rotation_degrees=40, geometry_probability=1.0)
    np.testing.assert_allclose(changed, 180, atol=1e-2)


def test_the_same_seed_changes_pictures_in_the_same_way(pictures):
    options = {"rotation_degrees": 15, "geometry_probability": 0.8}
    np.testing.assert_array_equal(augmented(pictures, **options), augmented(pictures, **options))


def test_the_layer_comes_back_from_its_config():
    layer = Augmentation(**dict.fromkeys(STILL, 0.1), seed=5)
    assert Augmentation.from_config(layer.get_config()).get_config() == layer.get_config()
