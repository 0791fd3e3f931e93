"""What a product's picture is compared by: named blocks, each of unit length.

A block says one thing of a picture: its kind, a label, what its features are like, its colors. The
similarity of two pictures is the sum of their blocks' inner products, each times a weight that only
the query carries, so that other weights need no other index, and the sum says what made two
pictures alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

COLOR_SIDE = 40
"""Pixels of the longer side of a picture whose colors are counted."""

_LIGHTNESS = np.linspace(8, 92, 6)
_HUES = np.array([-64.0, -36.0, -18.0, -7.0, 0.0, 7.0, 18.0, 36.0, 64.0])

COLORS = len(_LIGHTNESS) * len(_HUES) ** 2
"""Numbers of a block of colors."""

_MIDDLE = 0.22
"""How far from the middle, in the picture's sides, a pixel counts for .61 of the middle's."""

_WHITE = 96.5
"""CIELAB lightness from which on a pixel without hue is the ground that products lie on."""


def label_block(scores: np.ndarray) -> np.ndarray:
    """Roots of the scores of labels of which one is true, float (N, C), of unit length.

    The inner product of two is the Bhattacharyya coefficient of their distributions: 1 for the
    same, 0 for those that share no label.
    """
    positive = np.maximum(np.asarray(scores, np.float32), 0)
    return unit(np.sqrt(positive))


@dataclass(frozen=True)
class Whitening:
    """A projection after which features of the pictures that it was fitted on vary alike.

    Jegou and Chum 2012. `power` 1 makes all directions vary alike, 0 leaves them as they are.

    Attributes:
        mean: float (E,).
        matrix: float (E, S).
    """

    mean: np.ndarray
    matrix: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray, size: int, power: float = 1.0) -> Whitening:
        """Fits it to features, float (N, E), of unit length."""
        features = np.asarray(features, np.float32)
        mean = features.mean(0)
        covariance = np.cov(features - mean, rowvar=False)
        values, vectors = np.linalg.eigh(covariance)
        size = min(size, len(values))
        values, vectors = values[::-1][:size], vectors[:, ::-1][:, :size]
        scale = np.maximum(values, 1e-9 * values[0]) ** (-power / 2)
        return cls(mean.astype(np.float32), (vectors * scale).astype(np.float32))

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """The block of features, float (N, E): float32 (N, S) of unit length."""
        return unit((np.asarray(features, np.float32) - self.mean) @ self.matrix)


def color_block(picture: Image.Image) -> np.ndarray:
    """How much of which color a picture has, float32 (COLORS,), of unit length.

    Roots of a CIELAB histogram of what is not the white ground. Every pixel is shared by the bins
    around its color, so that a slightly other light moves little, and counts the more the nearer it
    is to the middle, where products are and their wearers' faces, hands and other clothes are not.
    """
    small = picture.convert("RGB")
    small.thumbnail((COLOR_SIDE, COLOR_SIDE))
    lab = cielab(np.asarray(small).reshape(-1, 3))
    middle = _nearness_to_the_middle(small.width, small.height)
    ground = (lab[:, 0] > _WHITE) & (np.abs(lab[:, 1:]).max(1) < 3)
    if not ground.all():
        lab, middle = lab[~ground], middle[~ground]
    below, share = zip(
        *(
            _shared(lab[:, axis], centers)
            for axis, centers in enumerate((_LIGHTNESS, _HUES, _HUES))
        ),
        strict=True,
    )
    counts = np.zeros(COLORS, np.float64)
    for corner in np.ndindex(2, 2, 2):
        weight = middle.copy()
        place = np.zeros(len(lab), np.int64)
        for axis, up in enumerate(corner):
            weight *= share[axis] if up else 1 - share[axis]
            place = place * (len(_LIGHTNESS) if axis == 0 else len(_HUES)) + below[axis] + up
        counts += np.bincount(place, weight, COLORS)
    return unit(np.sqrt(counts)[None].astype(np.float32))[0]


def cielab(pixels: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of sRGB pixels, uint8 (N, 3): float64 (N, 3)."""
    rgb = np.asarray(pixels, np.float64) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _TO_XYZ.T / _D65
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
_D65 = np.array([0.95047, 1.0, 1.08883])


def unit(vectors: np.ndarray) -> np.ndarray:
    """The vectors, float (N, D), at unit length; one of zeros stays."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)


def _nearness_to_the_middle(width: int, height: int) -> np.ndarray:
    """What each pixel counts, float64 (height x width,), 1 in the middle."""
    x = (np.arange(width) + 0.5) / width - 0.5
    y = (np.arange(height) + 0.5) / height - 0.5
    return np.exp(-(x**2 + y[:, None] ** 2) / (2 * _MIDDLE**2)).ravel()


def _shared(values: np.ndarray, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bin below each value, and how much of it belongs to the next one."""
    inside = np.clip(values, centers[0], centers[-1])
    below = np.clip(np.searchsorted(centers, inside, side="right") - 1, 0, len(centers) - 2)
    width = centers[below + 1] - centers[below]
    return below, (inside - centers[below]) / width
