"""Features of every picture, by a network that has seen no label of the catalog.

They are computed once: a picture's features are found again by its bytes, whatever the catalog says
of it by now. Beside them stands what the Examples say, and all of it lies in Parquet files, one for
each of the Examples' files.

| column | type | |
| --- | --- | --- |
| `id`, `product`, `group`, `split` | string | as in `components.predictions.table` |
| `<level>/true` | string | null where nobody knows; a list of strings for the attributes |
| `digest` | uint64 | of the picture's bytes |
| `features` | fixed list of float16 | the network's features to the power of 1/2 |
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.label_review.preflight import STAND_IN
from components.parts import Mark, Part
from components.predictions import table
from components.storage import created_whole
from schema import features

DIGEST = "digest"
FEATURES = "features"

_IMAGENET = "imagenet"
_SMALLEST_SIDE = 112
"""Pixels below which a picture's shorter side is too small for a network of ImageNet's pictures."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A backbone with ImageNet's weights; what makes two of its features comparable.

    Attributes:
        backbone: A name of `trainer.backbones`.
        image_height: Height in pixels that pictures are resized to.
        image_width: Width in pixels.
        mirror_average: Whether a picture's features are the mean with those of its mirror image.
    """

    backbone: str
    image_height: int
    image_width: int
    mirror_average: bool

    @classmethod
    def of(cls, model: Mapping[str, Any]) -> Network:
        """The model's own backbone where it begins with ImageNet's weights, else a stand-in.

        Random features tell little, and a weights file may have seen the catalog's labels. The
        stand-in's weights are part of the environment.

        Args:
            model: The config's section `model` as a plain dict.
        """
        own = model["weights"] == _IMAGENET
        height, width = model["image_height"], model["image_width"]
        times = 1 if own else -(-_SMALLEST_SIDE // min(height, width))
        return cls(
            model["backbone"] if own else STAND_IN,
            times * height,
            times * width,
            model["mirror_average"],
        )

    @property
    def fingerprint(self) -> str:
        """A name for all of it."""
        return hashlib.sha256(json.dumps(dataclasses.astuple(self)).encode()).hexdigest()[:12]

    @property
    def in_words(self) -> str:
        """What the features are of, for people."""
        return f"{self.backbone} at {self.image_height} x {self.image_width} pixels"


class Store:
    """Where features are kept from run to run.

    Args:
        folder: Below it there is a folder for each network, and in that one for each run: what the
            last run has, and what an unfinished one has so far.
        network: Whose features.
        run: Names the run.
    """

    def __init__(self, folder: str | Path, network: Network, run: str) -> None:
        self._networks = Path(folder)
        self._runs = self._networks / network.fingerprint
        self.folder = self._runs / run

    @property
    def known(self) -> list[str]:
        """The files that other runs of this network left."""
        files = self._runs.glob("*/*/*.parquet")
        return sorted(str(file) for file in files if self.folder not in file.parents)

    def forget_others(self) -> None:
        """Deletes what is not of this run and network."""
        for kept in (self._runs, self._networks):
            for other in kept.iterdir():
                if other not in (self.folder, self._runs):
                    shutil.rmtree(other, ignore_errors=True)


@dataclasses.dataclass(frozen=True)
class Describe:
    """Writes the features of a part's pictures, and what the Examples say beside.

    Attributes:
        network: Whose features.
        levels: The levels of labels that are read.
        known: Files of earlier features.
    """

    network: Network
    levels: tuple[str, ...]
    known: tuple[str, ...]

    def __call__(self, part: Part, mark: Mark) -> None:
        """Writes `part.output`, whole or not at all; nothing where the part has no product."""
        described = self._described(part)
        first = next(described, None)
        if first is None:
            return
        with (
            created_whole(part.output) as file,
            pq.ParquetWriter(file, first.schema, compression="zstd") as writer,
        ):
            for rows in itertools.chain([first], described):
                writer.write_batch(rows)
                for _ in range(rows.num_rows):
                    mark()

    def _described(self, part: Part) -> Iterator[pa.RecordBatch]:
        # Here, because whoever only wires the pipeline need not wait for TensorFlow.
        import tensorflow as tf

        from components.predictions import answering

        earlier = _earlier(self.known)
        for batch in answering.batches(answering.records(part.examples), answering.AT_ONCE):
            parsed = [tf.train.Example.FromString(record).features.feature for record in batch]
            pictures = [of[features.IMAGE].bytes_list.value[0] for of in parsed]
            digests = np.array([digest(picture) for picture in pictures], np.uint64)
            yield _rows(
                answering.told(parsed, part.split, ()),
                answering.truths(parsed, self.levels),
                digests,
                self._features(pictures, digests, earlier),
            )

    def _features(
        self, pictures: Sequence[bytes], digests: np.ndarray, earlier: Earlier
    ) -> np.ndarray:
        found = [earlier(one) for one in digests.tolist()]
        missing = [place for place, one in enumerate(found) if one is None]
        if missing:
            computed = _computer(self.network)([pictures[place] for place in missing])
            for place, one in zip(missing, computed, strict=True):
                found[place] = one
        return np.stack([one for one in found if one is not None])


def digest(picture: bytes) -> int:
    """Names a picture by its bytes."""
    return int.from_bytes(hashlib.blake2b(picture, digest_size=8).digest(), "little")


class Earlier:
    """Features in earlier files, found by the picture's digest.

    Args:
        files: The files.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self._files = files
        self._places: dict[int, tuple[int, int]] = {}
        for number, file in enumerate(files):
            column = table.read_file(file, [DIGEST])[DIGEST].to_pylist()
            self._places |= {one: (number, row) for row, one in enumerate(column)}
        self._open: tuple[int, np.ndarray] | None = None

    def __call__(self, picture: int) -> np.ndarray | None:
        """The features, float16 (D,), of the picture with this digest, if they are known."""
        if picture not in self._places:
            return None
        number, row = self._places[picture]
        if self._open is None or self._open[0] != number:
            of = table.read_file(self._files[number], [FEATURES])
            self._open = number, table.matrix(of, FEATURES)
        return self._open[1][row]


@functools.lru_cache(maxsize=1)
def _earlier(files: tuple[str, ...]) -> Earlier:
    return Earlier(files)


@functools.lru_cache(maxsize=1)
def _computer(network: Network) -> Callable[[Sequence[bytes]], np.ndarray]:
    """From encoded pictures to features, float16 (N, D); built once a process."""
    import tensorflow as tf

    from trainer.backbones import build_backbone
    from trainer.picture_decoding import decode_picture

    size = (network.image_height, network.image_width)
    backbone = build_backbone(
        network.backbone,
        image_height=network.image_height,
        image_width=network.image_width,
        filters=0,
        weights=_IMAGENET,
    )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def compute(encoded: tf.Tensor) -> tf.Tensor:
        decoded = tf.map_fn(
            lambda one: decode_picture(one, *size),
            encoded,
            fn_output_signature=tf.TensorSpec((*size, 3), tf.uint8),
        )
        pictures = tf.cast(decoded, tf.float32)
        found = backbone(pictures, training=False)
        if network.mirror_average:
            found = (found + backbone(pictures[:, :, ::-1], training=False)) / 2
        # Few large features would outweigh all others (Perronnin et al. 2010, "Improving the Fisher
        # Kernel for Large-Scale Image Classification", section 3.2).
        return tf.sign(found) * tf.sqrt(tf.abs(found))

    return lambda pictures: compute(tf.constant(list(pictures))).numpy().astype(np.float16)


def _rows(
    told: dict[str, list], truths: dict[str, list], digests: np.ndarray, found: np.ndarray
) -> pa.RecordBatch:
    columns: dict[str, pa.Array] = {
        name: pa.array(told[name], pa.string())
        for name in (features.ID, features.PRODUCT, features.GROUP, "split")
    }
    for level, values in truths.items():
        several = level == features.ATTRIBUTES
        kind = pa.list_(pa.string()) if several else pa.string()
        columns[f"{level}/true"] = pa.array(values, kind)
    columns[DIGEST] = pa.array(digests)
    columns[FEATURES] = pa.FixedSizeListArray.from_arrays(
        pa.array(found.ravel(), pa.float16()), found.shape[1]
    )
    return pa.RecordBatch.from_pydict(columns)


def described(files: Iterable[str | Path]) -> pa.Table:
    """What the Examples say, of all files, without the features."""
    tables = []
    for file in files:
        names = [name for name in pq.read_schema(file).names if name != FEATURES]
        tables.append(table.read_file(file, names))
    return pa.concat_tables(tables)


def reduced(
    files: Sequence[str | Path], product: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Few numbers a product in place of many features, which are never all in memory.

    Features are standardized and turned to their principal components. A product of several
    pictures has their mean.

    Args:
        files: From `Describe`.
        product: int64 (pictures,): of each row of the files, in their order, its product's number.
        size: How many components.

    Returns:
        float32 (products, size): the components, and (size,): each one's standard deviation.
    """
    count = int(product.max()) + 1
    total, squares, pictures = 0.0, 0.0, 0
    for file in files:
        found = _matrix(file)
        total = total + found.sum(axis=0)
        squares = squares + found.T @ found
        pictures += len(found)
    mean = total / pictures
    covariance = squares / pictures - np.outer(mean, mean)
    deviation = np.sqrt(np.maximum(np.diag(covariance), 0)) + 1e-3
    values, vectors = np.linalg.eigh(covariance / np.outer(deviation, deviation))
    size = min(size, len(values))
    turned = vectors[:, ::-1][:, :size] / deviation[:, None]
    components = np.zeros((count, size), np.float32)
    first = 0
    for file in files:
        found = (_matrix(file) - mean) @ turned
        np.add.at(components, product[first : first + len(found)], found.astype(np.float32))
        first += len(found)
    components /= np.bincount(product, minlength=count)[:, None]
    return components, np.sqrt(np.maximum(values[::-1][:size], 0)).astype(np.float32)


def _matrix(file: str | Path) -> np.ndarray:
    return table.matrix(table.read_file(file, [FEATURES]), FEATURES).astype(np.float64)
