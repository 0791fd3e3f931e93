"""A catalog's train and eval split in one file, read and decoded without TensorFlow.

The file is NumPy's `.npz` without pickles: the pictures' JPEGs one after another, a checksum of
what TensorFlow makes of each, the labels' indices, how often each label occurs, the values of
further columns, and, as JSON, vocabularies and options.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

from trainer.label_space import LabelCounts
from trainer.options import Options

EVALUATED_AT_ONCE = 512
"""Products at once, at most, where nothing is learned."""

_CHUNK = 64
_AHEAD = 8
"""Batches that are put together while earlier ones are used."""


@dataclasses.dataclass(frozen=True)
class Products:
    """A split in memory.

    Attributes:
        inputs: Pictures uint8 (N, H, W, 3), or their features (N, D).
        labels: Of each level the indices int64 (N), negative for unknown; of the attributes zeros
            and ones, float32 (N, A).
    """

    inputs: np.ndarray
    labels: dict[str, np.ndarray]


class Batches(keras.utils.PyDataset):
    """Batches of products in a given order, put together in threads ahead of their use.

    Args:
        products: The products.
        order: The places of each batch's products.

    Attributes:
        order: The same.
    """

    def __init__(self, products: Products, order: Sequence[np.ndarray]):
        super().__init__()
        self._products = products
        self.order = order
        self._pool = ThreadPoolExecutor(_AHEAD)
        self._coming: dict[int, Future] = {}

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """A batch's inputs and labels; quick where batches are asked for one after another."""
        for ahead in range(index, min(index + _AHEAD, len(self))):
            if ahead not in self._coming:
                self._coming[ahead] = self._pool.submit(self._batch, ahead)
        return self._coming.pop(index).result()

    def _batch(self, index: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        places = self.order[index]
        labels = {level: of[places] for level, of in self._products.labels.items()}
        return self._products.inputs[places], labels


@dataclasses.dataclass(frozen=True)
class Packed:
    """What `trainer.splits.Splits` is for Examples: two splits, their labels and batches.

    Attributes:
        options: All sections.
        labels: The labels of every level, in the order of their indices.
        train: Counts of the whole train split.
        eval: Counts of the eval split.
        products: The products of `train` and `eval`.
        columns: Of both splits and each further column the products' values, str (N).
        differing: Number of pictures that are not point for point what TensorFlow makes of them.
    """

    options: Options
    labels: dict[str, list[str]]
    train: LabelCounts
    eval: LabelCounts
    products: dict[str, Products]
    columns: dict[str, dict[str, np.ndarray]]
    differing: int

    @classmethod
    def read(cls, file: Path, most_products: int | None = None) -> Packed:
        """Reads a file that `write` wrote, and decodes its pictures, of train at most so many."""
        with np.load(file) as archive:
            arrays = dict(archive)
        facts = read_facts(file)
        size = [facts["options"]["model"][side] for side in ("image_height", "image_width")]
        counts, products, columns, differing = {}, {}, {}, 0
        for split in ("train", "eval"):
            first = slice(most_products if split == "train" else None)
            ends = np.cumsum(arrays[f"{split}/lengths"])
            files = np.split(arrays[f"{split}/files"], ends[:-1])[first]
            pictures = decoded([file.tobytes() for file in files], *size)
            differing += int((checksums(pictures) != arrays[f"{split}/checksums"][first]).sum())
            products[split] = Products(
                pictures,
                {
                    level: arrays[f"{split}/labels/{level}"][first]
                    for level, of in facts["labels"].items()
                    if of
                },
            )
            prefix = f"{split}/columns/"
            columns[split] = {
                name.removeprefix(prefix): of[first]
                for name, of in arrays.items()
                if name.startswith(prefix)
            }
            counts[split] = LabelCounts(
                len(ends),
                {level: arrays[f"{split}/counts/{level}"] for level in facts["labels"]},
                arrays[f"{split}/pairs"],
            )
        return cls(
            facts["options"],
            facts["labels"],
            **counts,
            products=products,
            columns=columns,
            differing=differing,
        )

    def training_batches(self, options: Options, first_epoch: int, end_epoch: int) -> Batches:
        """As `trainer.input_pipeline.training_batches`, in NumPy's order of seed and epoch."""
        products = self.products["train"]
        batch_size = options["training"]["batch_size"]
        steps = self.steps_per_epoch(options)
        order: list[np.ndarray] = []
        for epoch in range(first_epoch, end_epoch):
            generator = np.random.default_rng((options["training"]["seed"], epoch))
            # Over and over where there are fewer than a batch.
            places = np.resize(generator.permutation(len(products.inputs)), steps * batch_size)
            order.extend(places.reshape(steps, batch_size))
        return Batches(products, order)

    def evaluation_batches(self, options: Options) -> Batches:
        """The eval split in its order, in batches of one size where they can be."""
        products = self.products["eval"]
        count = len(products.inputs)
        # A last batch of another size would have to be compiled for.
        sizes = range(EVALUATED_AT_ONCE, EVALUATED_AT_ONCE // 2, -1)
        size = next((size for size in sizes if count % size == 0), EVALUATED_AT_ONCE)
        return Batches(products, np.split(np.arange(count), range(size, count, size)))

    def steps_per_epoch(self, options: Options) -> int:
        """Training steps of an epoch."""
        return max(1, len(self.products["train"].inputs) // options["training"]["batch_size"])


def read_facts(file: Path) -> dict[str, Any]:
    """The `options` of all sections and the `labels` of every level in a file."""
    with np.load(file) as archive:
        return json.loads(archive["facts"].tobytes())


def write(
    file: Path,
    options: Options,
    labels: dict[str, list[str]],
    counts: dict[str, LabelCounts],
    arrays: dict[str, np.ndarray],
) -> None:
    """Writes what `Packed.read` reads.

    Args:
        file: Where to write; its name ends in `.npz`.
        options: All sections.
        labels: The labels of every level, in the order of their indices.
        counts: Of `train` and `eval`.
        arrays: Of both, by names that begin with `train/` or `eval/`: `files`, the JPEGs one after
            another, uint8; `lengths` of each; `checksums` of their pictures; `labels/` with each
            level that has labels, as in `Products`; `columns/` with each further column.
    """
    facts = json.dumps({"options": options, "labels": labels}).encode()
    # Any, for by its names NumPy could be given its own arguments, which are no arrays.
    named: dict[str, Any] = arrays | {"facts": np.frombuffer(facts, np.uint8)}
    for split, counted in counts.items():
        named[f"{split}/pairs"] = counted.pairs
        for level, of in counted.labels.items():
            named[f"{split}/counts/{level}"] = of
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, **named)


def checksums(pictures: Iterable[np.ndarray]) -> np.ndarray:
    """CRC-32 of each picture's points, uint32 (N)."""
    return np.array([zlib.crc32(picture.tobytes()) for picture in pictures], np.uint32)


def decoded(files: Sequence[bytes], image_height: int, image_width: int) -> np.ndarray:
    """JPEGs as `trainer.picture_decoding.decode_picture` makes pictures of them, if they are small.

    Returns:
        uint8 (N, image_height, image_width, 3).

    Raises:
        ValueError: a picture is more than twice as long as wanted, which is scaled otherwise.
    """
    pictures = np.empty((len(files), image_height, image_width, 3), np.uint8)

    def decode(start: int) -> None:
        for place, file in enumerate(files[start : start + _CHUNK], start):
            picture = Image.open(io.BytesIO(file)).convert("RGB")
            pictures[place] = resized(np.asarray(picture), image_height, image_width)

    with ThreadPoolExecutor() as pool:
        list(pool.map(decode, range(0, len(files), _CHUNK)))
    return pictures


def resized(picture: np.ndarray, image_height: int, image_width: int) -> np.ndarray:
    """A picture scaled bilinearly, in the order in which TensorFlow's kernel computes it."""
    found = picture.shape[:2]
    if found == (image_height, image_width):
        return picture
    if found[0] > 2 * image_height or found[1] > 2 * image_width:
        raise ValueError(f"Pictures must be at most twice as long as wanted. Received: {found}")
    above, below, down = _neighbors(found[0], image_height)
    left, right, across = _neighbors(found[1], image_width)
    picture = picture.astype(np.float32)
    beside = picture[:, left]
    rows = beside + (picture[:, right] - beside) * across[:, None]
    upper = rows[above]
    scaled = upper + (rows[below] - upper) * down[:, None, None]
    return (scaled + np.float32(0.5)).astype(np.uint8)


@lru_cache
def _neighbors(found: int, wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each wanted point both neighbors and how far it is from the first to the second."""
    half = np.float32(0.5)
    places = (np.arange(wanted, dtype=np.float32) + half) * np.float32(found / wanted) - half
    before = np.floor(places)
    first = np.maximum(before, 0).astype(int)
    second = np.minimum(np.ceil(places), found - 1).astype(int)
    return first, second, places - before
