"""A model small enough to reckon by hand, with the signatures that a search needs, and its index.

It looks at a picture's four quarters and nothing else: each one's mean color. The embedding is
their sum, so that what a quarter adds to it is its color.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from schema import features
from schema.picture_figures import opened, upright_rgb
from serving.search import FaissIndex
from serving.search.blocks import Whitening
from serving.search.catalog import MODEL_KEY, IndexedCatalog, model_mark
from serving.search.recipe import Answers, Recipe
from trainer import picture_decoding

CATEGORIES = ("red", "green", "blue")
SUBCATEGORIES = tuple(f"{tone} {color}" for color in CATEGORIES for tone in ("dark", "bright"))
GENDERS = ("Men", "Women")
ATTRIBUTES = ("tone=dark", "tone=bright", "season=Summer")

WEIGHTS = {
    "kind": 1.8,
    "gender": 0.7,
    "tone": 0.0,
    "season": 0.0,
    "features": 0.7,
    "colour": 1.2,
}
"""Of the blocks of its vectors, in their order."""

_PICTURES = tf.TensorSpec([None], tf.string, "image_bytes")
_LABELS = tf.TensorSpec([None], tf.string, "label")


class SearchModel(tf.Module):
    """The model.

    Args:
        sharpness: sets its scores apart from another version's.
        explains: whether it has the signature `explain`.
    """

    def __init__(self, sharpness: float = 4.0, explains: bool = True):
        super().__init__()
        self._sharpness = sharpness
        self._explains = explains

    def save(self, folder: Path) -> None:
        """Exports it."""
        signatures = {features.EVERYTHING_SIGNATURE: self.everything}
        if self._explains:
            signatures[features.EXPLAIN_SIGNATURE] = self.explain
        tf.saved_model.save(self, str(folder), signatures=signatures)

    @tf.function(input_signature=[_PICTURES])
    def everything(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """All answers, labels in the same order in every row."""
        regions = self._regions(image_bytes)
        color = tf.reduce_mean(regions, (1, 2))
        tone = tf.sigmoid(self._sharpness * (2 * tf.reduce_max(color, 1) - 1))
        tones = tf.stack([1 - tone, tone], 1)
        categories = tf.nn.softmax(self._sharpness * color)
        count = tf.shape(color)[0]
        subcategories = tf.reshape(categories[:, :, None] * tones[:, None, :], [count, 6])
        left = tf.reduce_mean(regions[:, :, 0], (1, 2))
        right = tf.reduce_mean(regions[:, :, 1], (1, 2))
        women = tf.sigmoid(self._sharpness * (left - right))
        return {
            **_level(features.CATEGORY, CATEGORIES, categories),
            **_level(features.SUBCATEGORY, SUBCATEGORIES, subcategories),
            **_level("gender", GENDERS, tf.stack([1 - women, women], 1)),
            features.ATTRIBUTES: _rows(ATTRIBUTES, count),
            features.ATTRIBUTE_SCORES: tf.concat([tones, color[:, :1]], 1),
            features.EMBEDDING: tf.reduce_sum(_parts(regions), (1, 2)),
        }

    @tf.function(input_signature=[_PICTURES, _LABELS])
    def explain(self, image_bytes: tf.Tensor, label: tf.Tensor) -> dict[str, tf.Tensor]:
        """What each quarter adds to the embedding; how red it is, times the length of the label."""
        regions = self._regions(image_bytes)
        parts = _parts(regions)
        length = tf.cast(tf.strings.length(label), tf.float32)
        return {
            features.EMBEDDING: tf.reduce_sum(parts, (1, 2)),
            features.REGIONS: parts,
            features.LABEL_MAP: regions[:, :, :, 0] * length[:, tf.newaxis, tf.newaxis],
        }

    def _regions(self, image_bytes: tf.Tensor) -> tf.Tensor:
        """The quarters' mean colors, (N, 2, 2, 3) in [0, 1]."""
        pictures, reasons = picture_decoding.decode_pictures(image_bytes, 8, 8)
        first = tf.argmin(tf.cast(tf.concat([tf.equal(reasons, ""), [False]], 0), tf.int32))
        said = tf.strings.join(
            ["picture at index ", tf.as_string(first), " cannot be decoded: ",
             tf.concat([reasons, [""]], 0)[first]]
        )  # fmt: skip
        good = tf.debugging.Assert(tf.reduce_all(tf.equal(reasons, "")), [said])
        with tf.control_dependencies([good]):
            return tf.nn.avg_pool2d(tf.cast(pictures, tf.float32) / 255, 4, 4, "VALID")


def _parts(regions: tf.Tensor) -> tf.Tensor:
    total = tf.reduce_sum(regions, (1, 2), keepdims=True) + 1e-6
    return regions / tf.norm(total, axis=-1, keepdims=True)


def _level(name: str, labels: Sequence[str], scores: tf.Tensor) -> dict[str, tf.Tensor]:
    return {
        name: tf.gather(labels, tf.argmax(scores, 1)),
        features.score(name): tf.reduce_max(scores, 1),
        features.labels(name): _rows(labels, tf.shape(scores)[0]),
        features.scores(name): scores,
    }


def _rows(labels: Sequence[str], count: tf.Tensor) -> tf.Tensor:
    return tf.tile(tf.constant(labels)[tf.newaxis], [count, 1])


@dataclass(frozen=True)
class Product:
    """A product of the catalog that is searched."""

    id: str
    picture: bytes
    fields: dict[str, Any] = field(default_factory=dict)
    group: str | None = None


def picture(
    left: tuple[int, int, int], right: tuple[int, int, int] | None = None, suffix: str = "png"
) -> bytes:
    """32 x 48 pixels: a left and a right half of one color each, encoded."""
    image = Image.new("RGB", (32, 48), left)
    image.paste(right or left, (16, 0, 32, 48))
    buffer = io.BytesIO()
    image.save(buffer, suffix)
    return buffer.getvalue()


def catalog(count: int = 60, seed: int = 0) -> list[Product]:
    """Products of many colors: two of them doubles, some with ids that make trouble."""
    rng = np.random.default_rng(seed)
    odd = ["a/b", "../up", "ä ö?#%&=+", "line\nbreak", "with,comma", 'quote"', "/slash/"]
    made = []
    for number in range(count):
        colors = rng.integers(0, 256, (2, 3)).tolist()
        tags = ["new", "sale", "basic"][: int(rng.integers(0, 4))]
        made.append(
            Product(
                odd[number] if number < len(odd) else f"p{number}",
                picture(*map(tuple, colors)),
                {
                    "gender": GENDERS[number % 2],
                    "season": ("Summer", "Winter", None)[number % 3],
                    "tags": tags,
                    "name": f"Product number {number}",
                },
            )
        )
    twin = made[10]
    made[11] = Product(made[11].id, twin.picture, made[11].fields, twin.id)
    made[12] = Product(made[12].id, twin.picture, made[12].fields, twin.id)
    return made


def vectors_of(model: SearchModel, pictures: Sequence[bytes]) -> tuple[Recipe, np.ndarray]:
    """How vectors of the model's answers are made, and those of some pictures."""
    outputs = {
        name: value.numpy() for name, value in model.everything(tf.constant(pictures)).items()
    }
    answers, labels = Answers.of_outputs(outputs)
    recipe = Recipe(labels, Whitening.fit(answers.embedding, 3, 0.5), WEIGHTS)
    return recipe, recipe.vectors(answers, [upright_rgb(opened(one)) for one in pictures])


def write_index(
    model: SearchModel,
    version: Path,
    products: Sequence[Product],
    threshold: float | None = 0.5,
    mark: str | None = None,
) -> None:
    """Writes the products' index into the folder of a version of the model."""
    recipe, vectors = vectors_of(model, [product.picture for product in products])
    made_by = {MODEL_KEY: mark or model_mark(version)}
    index = FaissIndex(recipe.space, threshold=threshold, made_by=made_by)
    names = list(dict.fromkeys(name for product in products for name in product.fields))
    index.upsert(
        [product.id for product in products],
        vectors,
        {name: [product.fields.get(name) for product in products] for name in names},
        [product.group for product in products],
    )
    IndexedCatalog.write(
        version / features.INDEX_FOLDER,
        index,
        recipe,
        [(product.id, product.picture) for product in products],
    )


def of_folder(folder: Path) -> list[Product]:
    """The products of a catalog that `seamline demo-catalog` drew."""
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["id"]]
    made = {}
    for row in rows:
        path = folder / "images" / f"{row['id']}.jpg"
        if path.is_file():
            fields = {name: value or None for name, value in row.items() if name != "id"}
            made[row["id"]] = Product(row["id"], path.read_bytes(), fields)
    return list(made.values())
