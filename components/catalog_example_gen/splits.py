"""Which products are learned from, which choose, and which judge.

Pictures of equal perceptual hash form a group, and a group is never divided: a model must not be
judged on a picture that it has learned. A group's side depends on the seed and the group alone, so
a catalog that grows keeps its old products where they were. The one exception: of every label, the
group with the highest draw is always learned from, because what was never seen cannot be known.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from PIL import Image

from schema import features

_FLAT = 3
"""Steps of brightness (of 255) below which two neighbors count as equal.

Backdrops of one color differ by a step or two after each JPEG compression; without this margin
that noise would give two copies of a picture different hashes.
"""


def perceptual_hash(luminance: Image.Image) -> str:
    """The 64-bit difference hash of a picture in mode `L`, as 16 hex digits.

    The picture is shrunk to 9 x 8; a bit says whether a cell is clearly brighter than its left
    neighbor (dHash; N. Krawetz, "Kind of Like That", 2013, with a margin). A copy in another size,
    format or quality has the same hash or one that differs in a few bits: of photos saved again in
    a lower quality about two thirds keep theirs.
    """
    cells = np.asarray(luminance.resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    return np.packbits(cells[:, 1:] - cells[:, :-1] > _FLAT).tobytes().hex()


def draw(key: object, text: str) -> float:
    """A number in [0, 1) that depends on nothing but `key` and `text`, and looks random."""
    digest = blake2b(text.encode(), key=str(key).encode()[:64], digest_size=8).digest()
    # 53 bits: all that a float holds, so that the result stays below 1.
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def side(drawn: float, eval_part: float, test_part: float) -> str:
    """The split of a group whose draw is `drawn`; the highest draws are `train`."""
    if drawn < test_part:
        return features.TEST
    return features.EVAL if drawn < test_part + eval_part else features.TRAIN
