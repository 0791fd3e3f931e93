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


def sources(height=24, width=40, count=60, **changes):
    """Where each picture's pixels come from, by an affine map fitted to a ramp each way.

    Returns:
        The matrices (count, 2, 2) from (x, y) less the center to the place it comes from less the
        center, and what is added, (count, 2).
    """
    y, x = np.indices((height, width)).astype("float32")
    ramps = np.stack([x, y, x + y], axis=-1)
    moved = augmented(np.repeat(ramps[None], count, axis=0), **changes)
    center = np.array([(width - 1) / 2, (height - 1) / 2])
    # Around the center nothing comes from beyond the border, nor does a shift of some pixels.
    near = (np.abs(x - center[0]) < 5) & (np.abs(y - center[1]) < 5)
    places = np.stack([x[near] - center[0], y[near] - center[1], np.ones(near.sum())], axis=1)
    fitted = [np.linalg.lstsq(places, of[near][:, :2] - center, rcond=None) for of in moved]
    assert max(residuals.max() for _, residuals, *_ in fitted) < 1e-3, "the map is affine"
    maps = np.stack([solution for solution, *_ in fitted])
    return maps[:, :2].transpose(0, 2, 1), maps[:, 2]


def test_rotation_and_scale_turn_about_the_center_and_keep_angles():
    matrices, added = sources(rotation_degrees=10, scale=0.1, geometry_probability=1.0)
    np.testing.assert_allclose(added, 0, atol=1e-3)
    # A turn by an angle, over the scale: [[c, s], [-s, c]].
    np.testing.assert_allclose(matrices[:, 0, 0], matrices[:, 1, 1], atol=1e-3)
    np.testing.assert_allclose(matrices[:, 0, 1], -matrices[:, 1, 0], atol=1e-3)
    angles = np.degrees(np.arctan2(matrices[:, 0, 1], matrices[:, 0, 0]))
    scales = 1 / np.hypot(matrices[:, 0, 1], matrices[:, 0, 0])
    assert 8 < np.abs(angles).max() <= 10.01 and angles.min() < 0 < angles.max()
    assert 0.9 <= scales.min() < 0.93 and 1.07 < scales.max() <= 1.1


def test_a_shifted_picture_is_turned_about_its_own_center():
    matrices, added = sources(
        rotation_degrees=10, scale=0.1, shift=0.05, geometry_probability=1.0, count=200
    )
    # Where the picture's center is afterwards: the map of which is 0.
    centers = np.linalg.solve(matrices, -added[..., None])[..., 0]
    for axis, side in ((0, 40), (1, 24)):
        assert np.abs(centers[:, axis]).max() <= 0.05 * side + 0.02
        assert centers[:, axis].min() < -0.04 * side and 0.04 * side < centers[:, axis].max()


def test_of_all_changes_of_place_the_flip_is_the_last_that_is_taken_back():
    changes = {"rotation_degrees": 10, "scale": 0.1, "shift": 0.05, "geometry_probability": 1.0}
    matrices, added = sources(**changes)
    flipped, added_flipped = sources(**changes, flip_probability=1.0)
    np.testing.assert_allclose(flipped, matrices * [[-1], [1]], atol=1e-3)
    np.testing.assert_allclose(added_flipped, added * [-1, 1], atol=1e-2)


def test_each_change_comes_as_often_as_its_probability_says():
    pictures = np.random.default_rng(1).integers(60, 190, (1500, 6, 6, 3)).astype("uint8")
    for change, sizes in {
        "contrast": {"contrast": 0.3},
        "brightness": {"brightness": 0.3},
        "geometry": {"shift": 0.4, "scale": 0.2, "rotation_degrees": 20},
    }.items():
        changed = augmented(pictures, **sizes, **{f"{change}_probability": 0.3})
        share = np.mean(np.abs(changed - pictures).max(axis=(1, 2, 3)) > 0.05)
        assert share == pytest.approx(0.3, abs=0.05)


def test_contrast_and_brightness_together_change_light_by_one_factor_each():
    pictures = np.random.default_rng(1).integers(90, 120, (50, 6, 6, 3)).astype("uint8")
    both = {"contrast": 0.2, "contrast_probability": 1.0}
    both |= {"brightness": 0.2, "brightness_probability": 1.0}
    changed = augmented(pictures, **both)
    means = pictures.mean((1, 2, 3), keepdims=True)
    brightness = changed.mean((1, 2, 3), keepdims=True) / means
    contrast = (
        changed.std((1, 2, 3), keepdims=True)
        / brightness
        / pictures.std((1, 2, 3))[:, None, None, None]
    )
    expected = brightness * (means + contrast * (pictures - means))
    np.testing.assert_allclose(changed, expected, rtol=1e-4)
    for factor in (brightness, contrast):
        assert 0.8 <= factor.min() < 0.85 and 1.15 < factor.max() <= 1.2


def test_light_stays_within_what_a_picture_can_have():
    pictures = np.array([0, 255], "uint8").reshape(1, 2, 1, 1).repeat(3, axis=-1)
    changed = augmented(
        pictures.repeat(40, axis=0),
        **{"contrast": 0.5, "contrast_probability": 1.0},
        **{"brightness": 0.5, "brightness_probability": 1.0},
    )
    assert changed.min() == 0 and changed.max() == 255


def test_the_shape_stays_in_a_model_too():
    inputs = keras.Input((20, 16, 3), dtype="uint8")
    outputs = Augmentation(**STILL)(inputs)
    assert outputs.shape == (None, 20, 16, 3) and outputs.dtype == "float32"


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
