"""How a product's vector is made of a model's answers and the picture: which blocks, of what.

The blocks follow the model's levels: `kind`, of its sub-categories; one of each extra label and of
each group of attributes, by its name; `features`, of its embedding; `colour`, of the picture alone.
A label's block that would be called like one of ours is called `<name> label`.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from schema import features
from schema.search_blocks import COLOR, FEATURES, KIND, label_blocks
from serving.search import folder
from serving.search.blocks import COLORS, Whitening, color_block, label_block
from serving.search.errors import BadSearch, DamagedIndex
from serving.search.space import Floats, Space

WEIGHTS = {KIND: 1.8, FEATURES: 0.7, COLOR: 1.2}
"""Of our own blocks, where nobody says otherwise; see `benchmarks/search_quality.py`."""

EXTRA_WEIGHT, GROUP_WEIGHT = 0.7, 0.0
"""Of an extra label's block, and of a group of attributes'."""

LIKELIEST = 10
"""So many of a level's scores make its block; the others count as none.

As many as the tables of answers keep, so that a product's vector is the same of its answers there
and of the model's own.
"""

_WHITENING = "whitening.npz"
_UNREADABLE = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, BadSearch),
    zipfile.BadZipFile,
)


@dataclass(frozen=True)
class Answers:
    """What a model says of N pictures, as numbers.

    Attributes:
        scores: of every level float (N, C), of the labels in their order; may lack the levels of
            a model that knows no labels.
        embedding: float (N, E), of unit length.
    """

    scores: Mapping[str, np.ndarray]
    embedding: np.ndarray

    @classmethod
    def of_outputs(cls, outputs: Mapping[str, np.ndarray]) -> tuple[Answers, dict[str, list[str]]]:
        """The answers, and the levels' labels, of the outputs of the signature `everything`."""
        ending = features.labels("")
        names = {
            output.removesuffix(ending): (output, features.scores(output.removesuffix(ending)))
            for output in outputs
            if output.endswith(ending)
        }
        if features.ATTRIBUTES in outputs:
            names[features.ATTRIBUTES] = features.ATTRIBUTES, features.ATTRIBUTE_SCORES
        labels = {
            level: [label.decode() for label in outputs[named][0]]
            for level, (named, _) in names.items()
            if len(outputs[named])
        }
        scores = {level: outputs[of] for level, (_, of) in names.items()}
        return cls(scores, outputs[features.EMBEDDING]), labels


@dataclass(frozen=True)
class LabelBlock:
    """A block of a level's scores, or of those of one group of attributes.

    Attributes:
        level: the level.
        columns: the places of its labels among the level's, int (B); all of them where None.
    """

    level: str
    columns: tuple[int, ...] | None = None


class Recipe:
    """How vectors are made.

    Args:
        labels: the model's labels of every level, in the order of their indices; empty for a model
            that knows none.
        whitening: of the embedding.
        weights: of blocks, where they differ from the default.

    Attributes:
        labels: as given.
        whitening: as given.
        space: of the vectors.

    Raises:
        BadSearch: a weight is of no block, or cannot be one.
    """

    FILE = "recipe.json"
    """Its file in a folder."""

    def __init__(
        self,
        labels: Mapping[str, Sequence[str]],
        whitening: Whitening,
        weights: Mapping[str, float] | None = None,
    ):
        self.labels = {level: list(of) for level, of in labels.items()}
        self.whitening = whitening
        self._of_labels = _label_blocks(self.labels)
        sizes = {
            name: len(self.labels[block.level] if block.columns is None else block.columns)
            for name, block in self._of_labels.items()
        }
        sizes |= {FEATURES: whitening.matrix.shape[1], COLOR: COLORS}
        usual = {
            name: EXTRA_WEIGHT if block.columns is None else GROUP_WEIGHT
            for name, block in self._of_labels.items()
        }
        usual |= {name: weight for name, weight in WEIGHTS.items() if name in sizes}
        self.space = Space(sizes, usual | dict(weights or {}))

    @property
    def mark(self) -> str:
        """A SHA-256 that tells it from those which make other vectors of the same answers."""
        digest = hashlib.sha256(json.dumps([self.labels, self.space.weights]).encode())
        for array in (self.whitening.mean, self.whitening.matrix):
            digest.update(repr((array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def vectors(self, answers: Answers, pictures: Iterable[Image.Image]) -> Floats:
        """The vectors of N pictures, float32 (N, D).

        Args:
            answers: the model's about them; see `check` where they come from afar.
            pictures: each decoded by the contract in `schema.pictures`.
        """
        return self.joined(answers, np.stack([color_block(picture) for picture in pictures]))

    def joined(self, answers: Answers, colors: np.ndarray) -> Floats:
        """As `vectors`, of blocks of colors, float (N, COLORS), that were made before."""
        parts = [
            label_block(_likeliest(answers.scores[block.level], block.columns))
            for block in self._of_labels.values()
        ]
        parts += [self.whitening(answers.embedding), colors]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def check(self, labels: Mapping[str, Sequence[str]]) -> None:
        """Makes sure that a model which answers is the one whose answers are indexed.

        Raises:
            DamagedIndex: it knows other labels.
        """
        for level, of in self.labels.items():
            if list(labels.get(level, ())) != of:
                raise DamagedIndex(
                    f"The model that answers knows other labels of {level} than the one that the "
                    "index was made with; ask the version of the model that the index belongs to."
                )

    def feature_maps(self, regions: np.ndarray, other: np.ndarray) -> np.ndarray:
        """What each place of a picture adds to the block `features` of a score, float64 (H, W).

        Their sum is the inner product of the picture's block with the other's: the block is a
        linear map of the embedding, brought to unit length, and the embedding is the regions' sum.

        Args:
            regions: the picture's, float (H, W, E), whose sum is its embedding.
            other: the other picture's block, float (S), of unit length.
        """
        exact = regions.astype(np.float64)
        matrix, mean = self.whitening.matrix.astype(np.float64), self.whitening.mean
        size = exact.shape[0] * exact.shape[1]
        block = (exact.sum((0, 1)) - mean) @ matrix
        length = np.linalg.norm(block)
        toward = matrix @ other.astype(np.float64) / (length if length > 0 else 1)
        return (exact - mean / size) @ toward

    def save(self, path: Path) -> None:
        """Writes it into a folder."""
        np.savez(path / _WHITENING, mean=self.whitening.mean, matrix=self.whitening.matrix)
        text = json.dumps(
            {"labels": self.labels, "weights": self.space.weights}, ensure_ascii=False
        )
        folder.replace(path / self.FILE, text.encode())

    @classmethod
    def open(cls, path: Path) -> Recipe:
        """Reads what `save` wrote.

        Raises:
            DamagedIndex: it is missing, or is not what was saved.
        """
        try:
            told: Any = json.loads((path / cls.FILE).read_text(encoding="utf-8"))
            with np.load(path / _WHITENING, allow_pickle=False) as arrays:
                whitening = Whitening(arrays["mean"], arrays["matrix"])
            return cls(told["labels"], whitening, told["weights"])
        except _UNREADABLE as error:
            raise DamagedIndex(
                f"How the vectors in {path} were made cannot be read ({error}); build the index "
                "anew, or bring the folder back from a copy."
            ) from error


def _label_blocks(labels: Mapping[str, Sequence[str]]) -> dict[str, LabelBlock]:
    # A sub-category says its category.
    extras = [level for level, of in labels.items() if level not in features.LEVELS and of]
    groups: dict[str, list[int]] = {}
    for column, label in enumerate(labels.get(features.ATTRIBUTES, ())):
        groups.setdefault(features.split_attribute_label(label)[0], []).append(column)
    blocks = [
        *(LabelBlock(level) for level in extras),
        *(LabelBlock(features.ATTRIBUTES, tuple(columns)) for columns in groups.values()),
    ]
    kind = {KIND: LabelBlock(features.SUBCATEGORY)} if labels.get(features.SUBCATEGORY) else {}
    return kind | dict(zip(label_blocks([*extras, *groups]), blocks, strict=True))


def _likeliest(scores: np.ndarray, columns: tuple[int, ...] | None) -> np.ndarray:
    """A block's scores, float32 (N, B), with zeros for all but the likeliest of a row."""
    if columns is not None:
        return np.asarray(scores, np.float32)[:, list(columns)]
    scores = np.asarray(scores, np.float32)
    if scores.shape[1] <= LIKELIEST:
        return scores
    # As in the tables of answers, of equal ones those of the lower index.
    best = np.argsort(-scores, axis=1, kind="stable")[:, :LIKELIEST]
    kept = np.zeros_like(scores)
    np.put_along_axis(kept, best, np.take_along_axis(scores, best, axis=1), axis=1)
    return kept
