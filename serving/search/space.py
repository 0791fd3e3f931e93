"""What a vector consists of, and how near two of them are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from serving.search.errors import BadSearch

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Distance = Literal["cosine", "dot", "euclidean"]


@dataclass(frozen=True)
class Space:
    """Named blocks that lie one after another in a vector, and the distance between two vectors.

    With w the weight of block b, q and x the query's and the product's part of it, the score is

    - `cosine`: sum of w * cos(q, x). Blocks are brought to unit length; one of zeros stays so and
      adds nothing to any score, as for a product without a picture;
    - `dot`: sum of w * (q . x), blocks as they come;
    - `euclidean`: -sqrt(sum of w * |q - x|^2), blocks as they come. Between blocks of unit length
      its order is the cosine's, for |q - x|^2 = 2 - 2 cos; it is for vectors whose length counts.

    Weights go with the query alone, so that others need no other index: all three scores have the
    order of an inner product, of `query` with `rows`.

    Attributes:
        sizes: dimensions of each block, in order, at least 1.
        weights: of each block where a search names none, finite and at least 0, not all 0; 1 for a
            block that is not named.
        distance: which of the three.

    Raises:
        BadSearch: at the start, of sizes, weights or a distance that cannot be.
    """

    sizes: Mapping[str, int]
    weights: Mapping[str, float]
    distance: Distance

    def __init__(
        self,
        sizes: Mapping[str, int],
        weights: Mapping[str, float] | None = None,
        distance: Distance = "cosine",
    ):
        if not sizes or any(not name or int(size) < 1 for name, size in sizes.items()):
            raise BadSearch(
                f"A vector has one block or more, each with a name and at least 1 dimension; found "
                f"{dict(sizes)}."
            )
        if distance not in get_args(Distance):
            known = ", ".join(get_args(Distance))
            raise BadSearch(f'There is no distance "{distance}"; there are: {known}.')
        object.__setattr__(self, "sizes", {name: int(size) for name, size in sizes.items()})
        object.__setattr__(self, "distance", distance)
        object.__setattr__(self, "weights", dict.fromkeys(sizes, 1.0))
        checked = self.weights_for(weights)
        object.__setattr__(self, "weights", dict(zip(sizes, checked.tolist(), strict=True)))

    @property
    def dimensions(self) -> int:
        """Of a vector: the sum of the blocks' sizes."""
        return sum(self.sizes.values())

    @property
    def columns(self) -> int:
        """Of `rows` and `query`: a Euclidean one has each block's squared length beside."""
        return self.dimensions + (len(self.sizes) if self.distance == "euclidean" else 0)

    def weights_for(self, weights: Mapping[str, float] | None) -> Doubles:
        """Each block's weight, float64 (B): those named, and the space's own for the others.

        Raises:
            BadSearch: there is no such block, or a weight is negative, not finite, or all are 0.
        """
        named = {} if weights is None else weights
        for name, weight in named.items():
            if name not in self.sizes:
                blocks = ", ".join(self.sizes)
                raise BadSearch(f'There is no block "{name}" to weigh; there are: {blocks}.')
            if not (math.isfinite(weight) and weight >= 0):
                raise BadSearch(
                    f'The weight of "{name}" is {weight}; it must be a number of at least 0.'
                )
        made = np.array([named.get(name, self.weights[name]) for name in self.sizes], np.float64)
        if not made.any():
            raise BadSearch("The weights of all blocks are 0; one at least must be more.")
        return made

    def stored(self, vectors: npt.ArrayLike, names: Sequence[str] | None = None) -> Floats:
        """Vectors as they are kept and compared, float32 (N, D): checked, of unit length a block.

        Args:
            vectors: numbers (N, D), or one vector (D).
            names: what each is called in an error; its number where left out.

        Raises:
            BadSearch: they are not of D dimensions, or one is not finite.
        """
        made = np.atleast_2d(np.asarray(vectors, np.float32))
        if made.ndim != 2 or made.shape[1] != self.dimensions:
            blocks = ", ".join(f"{name} {size}" for name, size in self.sizes.items())
            raise BadSearch(
                f"A vector here has {self.dimensions} dimensions ({blocks}); found an array of "
                f"{np.shape(vectors)}. Was it made by another model?"
            )
        finite = np.isfinite(made).all(axis=1)
        if not finite.all():
            first = int(np.argmin(finite))
            name = f'of "{names[first]}"' if names is not None else f"number {first}"
            raise BadSearch(f"The vector {name} holds what is no finite number.")
        if self.distance != "cosine":
            return made
        lengths = np.sqrt(np.add.reduceat(made.astype(np.float64) ** 2, self._starts, axis=1))
        lengths[lengths == 0] = 1
        return (made / np.repeat(lengths, self._block_sizes, axis=1)).astype(np.float32)

    def rows(self, stored: npt.NDArray[Any]) -> Floats:
        """What `query` is multiplied with, float32 (N, columns), of vectors as stored."""
        floats = stored.astype(np.float32, copy=False)
        if self.distance != "euclidean":
            return floats
        squares = np.add.reduceat(floats.astype(np.float64) ** 2, self._starts, axis=1)
        return np.concatenate([floats, squares.astype(np.float32)], axis=1)

    def query(self, stored: Floats, weights: Doubles) -> Floats:
        """Query vectors with their weights, float32 (Q, columns).

        Its inner product with `rows` orders products as the score does: it is the score where that
        is a sum; -|q - x|^2 without the query's own length where Euclidean.
        """
        weighted = stored * np.repeat(weights, self._block_sizes)
        if self.distance == "euclidean":
            lengths = np.broadcast_to(-weights, (len(stored), len(weights)))
            weighted = np.concatenate([2 * weighted, lengths], axis=1)
        return weighted.astype(np.float32)

    def parts(self, query: Floats, weights: Doubles, stored: npt.NDArray[Any]) -> Doubles:
        """What each block adds to each product's score, float64 (N, B); a row's sum is the score.

        Args:
            query: one vector as stored, float32 (D).
            weights: of the blocks, float64 (B).
            stored: products' vectors as stored (N, D).
        """
        wide, asked = stored.astype(np.float64), query.astype(np.float64)
        if self.distance != "euclidean":
            return np.add.reduceat(wide * asked, self._starts, axis=1) * weights
        squares = np.add.reduceat((wide - asked) ** 2, self._starts, axis=1) * weights
        distances = np.sqrt(squares.sum(axis=1, keepdims=True))
        return -np.divide(squares, distances, out=np.zeros_like(squares), where=distances > 0)

    def part(self, vectors: Floats, block: str) -> Floats:
        """A block's numbers of vectors, float32 (N, D): float32 (N, size)."""
        start = sum(self._block_sizes[: list(self.sizes).index(block)])
        return vectors[:, start : start + self.sizes[block]]

    def closeness(self, score: float, weights: Doubles) -> float:
        """A score that other weights leave alike: the mean cosine, the mean distance's opposite.

        It is what a threshold for "nothing close" is held against.
        """
        total = float(weights.sum())
        return score / (math.sqrt(total) if self.distance == "euclidean" else total)

    @property
    def _block_sizes(self) -> list[int]:
        return list(self.sizes.values())

    @property
    def _starts(self) -> npt.NDArray[np.intp]:
        return np.cumsum([0, *self._block_sizes[:-1]])
