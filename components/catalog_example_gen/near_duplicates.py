"""Which pictures are the same or nearly the same, found without comparing all pairs.

A picture's hash has 256 bits; two pictures are near-duplicates when few bits differ, and a group is
whatever hangs together through such pairs. To find the pairs, the bits are dealt into one band more
than bits may differ: then at least one band of two near-duplicates is equal (pigeonhole principle),
and only pictures that share a band are compared.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

HASH_BYTES = 32

_SIDE = 32
_BITS = 8 * HASH_BYTES
_FAINT = 3.0
"""Strength of a frequency below which it counts as absent. Backdrops hold hundreds of frequencies
around 0, whose signs each compression would deal anew."""
_FLAT = 2.0
"""Standard deviation of luminance (of 255) below which a picture is a blank: its hash would hold
the noise of its compression only, and group blanks, or part them, by chance."""


def _lowest_frequencies() -> tuple[np.ndarray, np.ndarray]:
    """int64 (256,) each: vertical and horizontal frequency, the lowest sums first, without 0, 0."""
    pairs = [(u, v) for u in range(_SIDE) for v in range(_SIDE) if u + v > 0]
    pairs = sorted(pairs, key=lambda pair: (sum(pair), pair))[:_BITS]
    return np.array([u for u, _ in pairs]), np.array([v for _, v in pairs])


_VERTICAL, _HORIZONTAL = _lowest_frequencies()
_COSINES = np.sqrt(2 / _SIDE) * np.cos(
    np.pi
    * np.arange(max(*_VERTICAL, *_HORIZONTAL) + 1)[:, None]
    * (2 * np.arange(_SIDE) + 1)
    / (2 * _SIDE)
)
"""float64 (frequencies, 32): rows of the DCT-II matrix."""


def perceptual_hash(luminance: Image.Image) -> bytes:
    """The 256-bit hash of a picture in mode `L`: 32 bytes, or none for a blank picture.

    The picture is shrunk to 32 x 32; a bit says whether one of the 256 lowest frequencies of its
    cosine transform is clearly positive (as pHash: C. Zauner, "Implementation and Benchmarking of
    Perceptual Image Hash Functions", 2010; there 64 frequencies against their median, which is too
    coarse to tell garments on white from each other). A copy in another size, format or quality
    differs in few bits.
    """
    small = luminance.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    light = np.asarray(small, dtype=np.float64)
    if light.std() < _FLAT:
        return b""
    spectrum = _COSINES @ light @ _COSINES.T
    return np.packbits(spectrum[_VERTICAL, _HORIZONTAL] > _FAINT).tobytes()


def distance(one: bytes, other: bytes) -> int:
    """In how many bits two hashes differ."""
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def joined(hashes: np.ndarray, most_bits: int, largest: int | None = None) -> np.ndarray:
    """Finds the groups of near-duplicates.

    Chains of pictures, each like the next, could tie a whole catalog of one kind of garment into
    one group, and nothing would be left to judge with. A group that grows too large is therefore
    divided, again and again, with half as many bits.

    Args:
        hashes: uint8 (N, HASH_BYTES), no two rows equal.
        most_bits: Near-duplicates differ in at most so many bits, below 256.
        largest: Rows that a group has at most, except of pictures that hardly differ; by default
            1 % of all, but 100 or more.

    Returns:
        int64 (N,): of each row the lowest index in its group; its own where it stands alone.
    """
    roots = _linked(hashes, most_bits)
    largest = max(100, len(hashes) // 100) if largest is None else largest
    for root in np.flatnonzero(np.bincount(roots, minlength=1) > largest):
        if most_bits > 1:
            members = np.flatnonzero(roots == root)
            roots[members] = members[joined(hashes[members], most_bits // 2, largest)]
    return roots


def _linked(hashes: np.ndarray, most_bits: int) -> np.ndarray:
    """As `joined`, with groups of any size."""
    number = len(hashes)
    roots = np.arange(number)
    if not most_bits or number < 2:
        return roots
    words = np.ascontiguousarray(hashes).view(np.uint64)
    # Dealt at random, or a band would hold neighboring frequencies, which are alike in many
    # pictures. The generator's seed fixes which pairs are compared, never which are found.
    generator = np.random.default_rng(0)
    dealt = generator.permutation(_BITS)
    weights = generator.integers(1, 2**63, _BITS, dtype=np.uint64)
    for band in range(most_bits + 1):
        columns = dealt[band :: most_bits + 1]
        keys = np.zeros(number, dtype=np.uint64)
        for column in columns:
            # Equal bits have equal sums; that others may too costs a comparison and no more.
            bits = hashes[:, column // 8] >> np.uint8(column % 8) & np.uint8(1)
            keys += bits * weights[column]
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        at = np.arange(number)
        step = 0
        while True:
            step += 1
            at = at[at + step < number]
            at = at[keys[at] == keys[at + step]]
            if not len(at):
                break
            one, other = order[at], order[at + step]
            apart = roots[one] != roots[other]
            one, other = one[apart], other[apart]
            differing = np.bitwise_count(words[one] ^ words[other]).sum(axis=1, dtype=np.int64)
            near = differing <= most_bits
            _join(roots, one[near], other[near])
        roots = _flattened(roots)
    return roots


def _join(roots: np.ndarray, ones: np.ndarray, others: np.ndarray) -> None:
    for one, other in zip(ones.tolist(), others.tolist(), strict=True):
        low, high = sorted((_root(roots, one), _root(roots, other)))
        roots[high] = low


def _root(roots: np.ndarray, index: int) -> int:
    while roots[index] != index:
        roots[index] = roots[roots[index]]
        index = int(roots[index])
    return index


def _flattened(roots: np.ndarray) -> np.ndarray:
    while True:
        above = roots[roots]
        if np.array_equal(above, roots):
            return roots
        roots = above
