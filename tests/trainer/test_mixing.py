"""Pictures are mixed as in the papers, and losses count both products' labels in the same parts."""

import keras
import numpy as np
import pytest

from trainer.mixing import Mixing


def mixed(mixup_alpha=0.0, cutmix_alpha=0.0, count=400, seed=1):
    """Gray pictures, each of its own gray; mixed ones; and the own part of each."""
    grays = np.linspace(0, 255, count, dtype="float32")[:, None, None, None]
    pictures = np.broadcast_to(grays, (count, 20, 12, 3))
    layer = Mixing(mixup_alpha=mixup_alpha, cutmix_alpha=cutmix_alpha, seed=seed)
    out, own = layer(pictures, training=True)
    return pictures, keras.ops.convert_to_numpy(out), keras.ops.convert_to_numpy(own)


def test_mixup_adds_a_smaller_part_of_the_one_before_by_a_beta_distribution():
    pictures, out, own = mixed(mixup_alpha=0.3)
    parts = own[:, None, None, None]
    expected = parts * pictures + (1 - parts) * np.roll(pictures, 1, axis=0)
    np.testing.assert_allclose(out, expected, atol=1e-3)
    # The larger part is as far from 1/2 as what was drawn; Beta(a, a) has the mean 1/2 and the
    # variance 1 / (4 (2 a + 1)).
    assert own.min() >= 0.5
    assert np.mean((own - 0.5) ** 2) == pytest.approx(1 / (4 * 1.6), abs=0.015)


def test_cutmix_replaces_one_box_whose_area_is_the_others_part():
    pictures, out, own = mixed(cutmix_alpha=1.0)
    from_other = np.isclose(out, np.roll(pictures, 1, axis=0)) & ~np.isclose(out, pictures)
    assert (np.isclose(out, pictures) | from_other).all(), "every pixel is of one of the two"
    boxes = from_other[..., 0]
    np.testing.assert_allclose(1 - boxes.mean(axis=(1, 2)), own, atol=1e-6)
    rows, columns = boxes.any(axis=2), boxes.any(axis=1)
    np.testing.assert_array_equal(boxes, rows[:, :, None] & columns[:, None, :])
    for side in (rows, columns):
        starts = np.diff(side.astype(int), axis=1, prepend=0) == 1
        assert starts.sum(axis=1).max() == 1, "a box has no gap"
    # The larger part of Beta(1, 1) is uniform above 1/2; the border makes the boxes smaller, whole
    # pixels a few a little larger.
    assert 0.75 < own.mean() < 0.9 and 0.45 < own.min() < 0.6


def test_with_both_a_picture_is_mixed_in_one_way_by_chance():
    pictures, out, own = mixed(mixup_alpha=0.3, cutmix_alpha=1.0)
    blended = out.reshape(len(out), -1).std(axis=1) < 1e-4
    assert 0.35 < blended[own < 0.99].mean() < 0.65


def test_the_same_seed_mixes_in_the_same_way_and_inference_does_not_mix():
    np.testing.assert_array_equal(mixed(0.2, 1.0)[1], mixed(0.2, 1.0)[1])
    assert not np.array_equal(mixed(0.2, 1.0)[1], mixed(0.2, 1.0, seed=2)[1])
    pictures = np.ones((2, 4, 4, 3), "uint8")
    out, own = Mixing(mixup_alpha=1.0, cutmix_alpha=0.0)(pictures, training=False)
    np.testing.assert_array_equal(out, pictures)
    np.testing.assert_array_equal(own, 1)


def test_cutmix_centers_its_boxes_evenly_over_the_picture():
    pictures, out, _ = mixed(cutmix_alpha=1.0, count=3000)
    from_other = ~np.isclose(out, pictures)[..., 0]
    # 3,000 boxes of at most half the picture: none of the rows or columns is preferred.
    for axis, mirrored in ((2, from_other[:, ::-1]), (1, from_other[:, :, ::-1])):
        shares = from_other.any(axis=axis).mean(axis=0)
        assert np.abs(shares - mirrored.any(axis=axis).mean(axis=0)).max() < 0.05
        assert shares[0] < shares[len(shares) // 2]


def test_a_box_is_as_long_a_part_of_either_side():
    """Yun et al. 2019, equation 2: each side times the root of the other's part."""
    pictures, out, own = mixed(cutmix_alpha=1.0, count=2000)
    boxes = ~np.isclose(out, pictures)[..., 0]
    heights, widths = boxes.any(axis=2).sum(axis=1), boxes.any(axis=1).sum(axis=1)
    inside = (
        ~boxes[:, [0, -1]].any(axis=(1, 2)) & ~boxes[:, :, [0, -1]].any(axis=(1, 2)) & (own < 1)
    )
    assert inside.sum() > 100
    assert np.abs(heights / 20 - widths / 12)[inside].max() <= 1 / 20 + 1 / 12


def test_in_a_model_the_pictures_keep_their_shape_beside_one_part_each():
    inputs = keras.Input((6, 5, 3))
    layer = Mixing(mixup_alpha=0.5, cutmix_alpha=1.0, seed=4)
    out, own = layer(inputs)
    assert out.shape == (None, 6, 5, 3) and own.shape == (None,)
    again = Mixing.from_config(layer.get_config())
    pictures = np.random.default_rng(0).uniform(0, 255, (40, 6, 5, 3)).astype("float32")
    for one, other in zip(
        layer(pictures, training=True), again(pictures, training=True), strict=True
    ):
        np.testing.assert_array_equal(one, other)
