"""The blocks of a vector say what they are called after, and nothing else."""

import colorsys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.decomposition import PCA

from serving.search import blocks


def test_labels_are_as_alike_as_their_distributions():
    scores = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [0.9, 0.1, 0.0]])
    block = blocks.label_block(scores)
    likeness = block @ block.T
    assert likeness[0, 1] == pytest.approx(1)
    assert likeness[0, 2] == pytest.approx(0)
    # Bhattacharyya: sqrt(.5 x .9) + sqrt(.5 x .1).
    assert likeness[0, 3] == pytest.approx(0.45**0.5 + 0.05**0.5)


def test_scores_of_the_likeliest_labels_alone_still_have_unit_length():
    block = blocks.label_block(np.array([[0.6, 0.1, 0.0], [0.0, 0.0, 0.0], [-1e-9, 0.2, 0.1]]))
    np.testing.assert_allclose(np.linalg.norm(block, axis=1), [1, 0, 1], rtol=1e-6)


def test_whitened_features_are_scikit_learns():
    random = np.random.default_rng(3)
    features = blocks.unit(random.normal(size=(400, 12)) * np.arange(1, 13))
    whitening = blocks.Whitening.fit(features, 5)
    reference = PCA(5, whiten=True).fit(features).transform(features)
    ours = (features - whitening.mean) @ whitening.matrix
    np.testing.assert_allclose(np.abs(ours), np.abs(reference), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(whitening(features), axis=1), 1, rtol=1e-5)


def test_without_power_a_whitening_only_turns():
    random = np.random.default_rng(3)
    features = random.normal(size=(50, 6))
    whitening = blocks.Whitening.fit(features, 6, power=0)
    turned = (features - whitening.mean) @ whitening.matrix
    np.testing.assert_allclose(
        turned @ turned.T,
        (features - features.mean(0)) @ (features - features.mean(0)).T,
        atol=1e-3,
    )


def test_more_directions_than_there_are_are_as_many_as_there_are():
    features = np.random.default_rng(3).normal(size=(50, 6))
    assert blocks.Whitening.fit(features, 128)(features).shape == (50, 6)


def plain(color, ground="white", size=(60, 80)):
    image = Image.new("RGB", size, ground)
    image.paste(color, (15, 20, 45, 60))
    return image


def test_colors_are_alike_as_people_see_them():
    of = {
        name: blocks.color_block(plain(name))
        for name in ("red", "#f01010", "blue", "black", "gray")
    }
    likeness = {name: of["red"] @ block for name, block in of.items()}
    assert likeness["red"] == pytest.approx(1)
    assert likeness["#f01010"] > 0.9 > likeness["blue"]
    assert likeness["black"] < 0.1 and likeness["gray"] < 0.1


def test_the_white_ground_does_not_count_and_neither_do_places_of_one_color_or_size():
    red = blocks.color_block(plain("red"))
    moved = Image.new("RGB", (60, 80), "white")
    moved.paste("red", (0, 0, 30, 40))
    assert blocks.color_block(moved) @ red > 0.9
    assert blocks.color_block(Image.new("RGB", (600, 800), "red")) @ red > 0.85
    # A white product has its ground as its color.
    white = blocks.color_block(Image.new("RGB", (60, 80), "white"))
    assert np.linalg.norm(white) == pytest.approx(1)
    assert white @ red < 0.15


def test_what_is_in_the_middle_counts_most():
    both = Image.new("RGB", (60, 80), "blue")
    both.paste("red", (15, 20, 45, 60))
    red, blue = (blocks.color_block(Image.new("RGB", (60, 80), of)) for of in ("red", "blue"))
    # A quarter of the area.
    assert blocks.color_block(both) @ red > blocks.color_block(both) @ blue


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0.2, 1), st.floats(0.2, 0.9))
def test_every_color_has_a_block_and_a_slightly_other_one_is_close(hue, saturation, value):
    def block(shift):
        rgb = colorsys.hsv_to_rgb(hue, saturation, value + shift)
        return blocks.color_block(Image.new("RGB", (8, 8), tuple(round(255 * of) for of in rgb)))

    one, other = block(0), block(0.02)
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-5)
    assert one @ other > 0.8


def test_lab_of_known_colors():
    # Bruce Lindbloom's values, D65, to a hundredth.
    known = {
        (255, 0, 0): (53.24, 80.09, 67.20),
        (0, 255, 0): (87.73, -86.18, 83.18),
        (0, 0, 255): (32.30, 79.19, -107.86),
        (255, 255, 255): (100, 0, 0),
        (0, 0, 0): (0, 0, 0),
        (119, 119, 119): (50.03, 0, 0),
    }
    lab = blocks.cielab(np.array(list(known), np.uint8))
    np.testing.assert_allclose(lab, list(known.values()), atol=0.02)
