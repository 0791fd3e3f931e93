"""Groups of pictures and their sides."""

import io

import numpy as np
import pytest
from PIL import Image

from components.catalog_example_gen.splits import draw, perceptual_hash, side

DRAWS = [draw(42, str(number)) for number in range(20_000)]


def luminance(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels.astype(np.uint8))


def test_draws_are_uniform_and_depend_on_the_seed() -> None:
    counts, _ = np.histogram(DRAWS, bins=10, range=(0, 1))
    # Ten cells of 2,000 with a standard deviation of 42.
    assert np.abs(counts - 2_000).max() < 200
    others = [draw(43, str(number)) for number in range(20_000)]
    assert abs(np.corrcoef(DRAWS, others)[0, 1]) < 0.03
    assert DRAWS[:3] == [draw(42, "0"), draw(42, "1"), draw(42, "2")]


def test_the_sides_get_their_parts() -> None:
    sides = [side(drawn, eval_part=0.2, test_part=0.1) for drawn in DRAWS]
    parts = {name: sides.count(name) / len(sides) for name in set(sides)}
    assert parts == pytest.approx({"train": 0.7, "eval": 0.2, "test": 0.1}, abs=0.01)


def test_the_highest_draws_are_learned_from() -> None:
    assert [side(drawn, 0.25, 0.25) for drawn in (0.0, 0.249, 0.25, 0.499, 0.5, 0.999)] == [
        "test",
        "test",
        "eval",
        "eval",
        "train",
        "train",
    ]


def test_the_hash_is_one_bit_for_each_step_up_to_the_right() -> None:
    rising = np.tile(np.arange(9) * 20, (8, 1))
    rows = np.array([[row % 2] for row in range(8)])
    assert perceptual_hash(luminance(rising)) == "ff" * 8
    assert perceptual_hash(luminance(rising[:, ::-1])) == "00" * 8
    assert perceptual_hash(luminance(rising * rows)) == "00ff" * 4


def test_noise_of_a_flat_backdrop_does_not_change_the_hash() -> None:
    rng = np.random.default_rng(5)
    garment = np.full((8, 9), 240)
    garment[2:6, 3:6] = 60
    for _ in range(20):
        noisy = garment + rng.integers(-1, 2, garment.shape)
        assert perceptual_hash(luminance(noisy)) == perceptual_hash(luminance(garment))


def test_copies_in_other_sizes_and_qualities_have_the_hash_of_the_original() -> None:
    coarse = np.random.default_rng(6).integers(40, 220, (8, 9))
    # No two neighbors close to the margin, as a picture of clear shapes has them.
    coarse[:, 1:] += np.where(np.abs(np.diff(coarse, axis=1)) < 20, 30, 0)
    original = luminance(np.kron(coarse, np.ones((16, 16))))
    expected = perceptual_hash(original)
    for quality in (30, 95):
        buffer = io.BytesIO()
        original.save(buffer, "JPEG", quality=quality)
        assert perceptual_hash(Image.open(buffer)) == expected
    assert perceptual_hash(original.resize((90, 80))) == expected


def test_other_pictures_have_other_hashes() -> None:
    rng = np.random.default_rng(7)
    hashes = {perceptual_hash(luminance(rng.integers(0, 256, (30, 30)))) for _ in range(200)}
    assert len(hashes) == 200
