"""Which pictures look the same, and how the pairs are found."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image
from sklearn.cluster import DBSCAN

from components.catalog_example_gen.near_duplicates import (
    HASH_BYTES,
    distance,
    joined,
    perceptual_hash,
)

DEFAULT_BITS = 12


def garment(seed: int) -> Image.Image:
    """Smooth random shapes on white."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 5)).astype(np.uint8)
    shapes = Image.fromarray(coarse).resize((120, 160), Image.Resampling.BICUBIC)
    backdrop = Image.new("L", (180, 240), 255)
    backdrop.paste(shapes, (30, 40))
    return backdrop


def copies(original: Image.Image) -> list[Image.Image]:
    """The picture saved again, shrunk and enlarged."""
    saved = []
    for size, kind, quality in (
        ((180, 240), "JPEG", 90),
        ((180, 240), "JPEG", 60),
        ((144, 192), "JPEG", 75),
        ((360, 480), "WEBP", 75),
    ):
        buffer = io.BytesIO()
        original.resize(size).save(buffer, kind, quality=quality)
        saved.append(Image.open(buffer).convert("L"))
    return saved


def differing(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def test_copies_differ_in_few_bits_and_other_pictures_in_many() -> None:
    hashes = []
    for seed in range(20):
        hashes.append(perceptual_hash(garment(seed)))
        assert len(hashes[-1]) == HASH_BYTES
        for copy in copies(garment(seed)):
            assert differing(hashes[-1], perceptual_hash(copy)) <= DEFAULT_BITS
    assert min(differing(*pair) for pair in itertools.combinations(hashes, 2)) > 3 * DEFAULT_BITS


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_a_blank_picture_has_no_hash(shade: int) -> None:
    noise = np.random.default_rng(1).integers(-1, 2, (80, 60))
    blank = Image.fromarray((shade + noise).clip(0, 255).astype(np.uint8))
    assert perceptual_hash(blank) == b""


def test_a_hash_does_not_depend_on_brightness() -> None:
    brighter = garment(3).point(lambda value: value * 0.9 + 20)
    assert differing(perceptual_hash(brighter), perceptual_hash(garment(3))) <= DEFAULT_BITS


@pytest.mark.parametrize("most_bits", [0, 1, 5, 12, 64])
def test_groups_are_those_that_comparing_all_pairs_finds(most_bits: int) -> None:
    rng = np.random.default_rng(most_bits)
    bits = [rng.integers(0, 2, 256) for _ in range(12)]
    while len(bits) < 300:
        # Half of them are variants of earlier ones, so that there are chains.
        base = bits[rng.integers(len(bits))].copy()
        base[rng.choice(256, rng.integers(1, 2 * most_bits + 3), replace=False)] ^= 1
        bits.append(base)
    bits = np.unique(np.array(bits), axis=0)
    hashes = np.packbits(bits.astype(np.uint8), axis=1)
    roots = joined(hashes, most_bits, largest=300)
    expected = (
        DBSCAN(eps=(most_bits + 0.5) / 256, min_samples=1, metric="hamming").fit(bits).labels_
    )
    for label in np.unique(expected):
        assert set(roots[expected == label]) == {np.flatnonzero(expected == label)[0]}


def test_a_long_chain_is_divided_and_its_closest_pictures_stay_together() -> None:
    # 30 pairs of rows one bit apart; from pair to pair there are 7 or more.
    bits = np.zeros((60, 256), np.uint8)
    for pair in range(30):
        bits[2 * pair :, 7 * pair : 7 * pair + 7] = 1
        bits[2 * pair + 1, 255 - pair] = 1
    hashes = np.packbits(bits, axis=1)
    assert len(set(joined(hashes, 10))) == 1
    assert joined(hashes, 10, largest=50).tolist() == [row // 2 * 2 for row in range(60)]


def test_no_pictures_have_no_groups() -> None:
    assert joined(np.zeros((0, HASH_BYTES), np.uint8), DEFAULT_BITS).tolist() == []


def test_the_distance_of_two_hashes_counts_the_bits_that_differ() -> None:
    one, other = np.random.default_rng(1).integers(0, 256, (2, HASH_BYTES), dtype=np.uint8)
    expected = np.unpackbits(one ^ other).sum()
    assert distance(one.tobytes(), other.tobytes()) == expected
    assert distance(one.tobytes(), one.tobytes()) == 0
