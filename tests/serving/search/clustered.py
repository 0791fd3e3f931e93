"""Vectors that lie in clusters, as pictures' do, for what depends on there being many."""

from __future__ import annotations

import numpy as np

SIZES = {"kind": 16, "features": 32, "colour": 16}


def clustered(count: int, dimensions: int = 64, clusters: int = 60, seed: int = 0) -> np.ndarray:
    """Float32 (count, dimensions)."""
    rng = np.random.default_rng(seed)
    centers = 2 * np.random.default_rng(1).standard_normal((clusters, dimensions))
    made = centers[rng.integers(clusters, size=count)] + rng.standard_normal((count, dimensions))
    return made.astype(np.float32)
