"""A small catalog of drawn pictures, as Examples on disk with the Transform graph over them."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam import Pipeline
from tensorflow_transform.tf_metadata import dataset_metadata
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx_bsl.public import tfxio

from pipeline import config
from schema import features
from schema.catalog import catalog_schema
from trainer import preprocessing
from trainer.options import override

COLORS = {"red": (220, 30, 30), "green": (30, 180, 60), "blue": (40, 60, 220)}


@dataclasses.dataclass(frozen=True)
class Product:
    """What a drawn product shows, and the picture's file."""

    id: str
    category: str
    subcategory: str
    attributes: tuple[str, ...]
    image: bytes
    extras: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def serialized(self) -> bytes:
        """The product as an Example."""
        return example(
            id=[self.id],
            image=[self.image],
            category=[self.category],
            subcategory=[self.subcategory],
            attributes=list(self.attributes),
            **{name: [value] for name, value in self.extras.items()},
        )


@dataclasses.dataclass(frozen=True)
class Catalog:
    """Examples of the three splits and a Transform graph."""

    folder: Path
    splits: dict[str, list[Product]]

    @property
    def transform_output(self) -> tft.TFTransformOutput:
        """The Transform graph."""
        return tft.TFTransformOutput(str(self.folder / "transform"))

    def pattern(self, split: str) -> str:
        """Glob of a split's files."""
        return str(self.folder / f"Split-{split}" / "*")

    def fn_args(self, output: Path, **custom_config) -> FnArgs:
        """What TFX's Trainer would pass to run_fn."""
        return FnArgs(
            working_dir=str(output / "work"),
            train_files=[self.pattern("train")],
            eval_files=[self.pattern("eval")],
            transform_graph_path=str(self.folder / "transform"),
            serving_model_dir=str(output / "serving"),
            model_run_dir=str(output / "run"),
            custom_config={
                **small_options(),
                "resume_dir": str(output / "resume"),
                **custom_config,
            },
        )


def example(**values: list) -> bytes:
    """A serialized Example with bytes features; text is encoded."""
    return tf.train.Example(
        features=tf.train.Features(
            feature={
                name: tf.train.Feature(
                    bytes_list=tf.train.BytesList(
                        value=[x.encode() if isinstance(x, str) else x for x in items]
                    )
                )
                for name, items in values.items()
            }
        )
    ).SerializeToString()


def small_options() -> dict:
    """Options of a model that a test can train in seconds."""
    return {
        "model": config.Model(
            image_height=32, image_width=24, filters=8, dense_units=32, dropout=0.1
        ).model_dump(),
        "augmentation": config.Augmentation().model_dump(),
        "training": config.Training(epochs=3, batch_size=16, patience=0).model_dump(),
    }


def drawn_product(index: int, generator: np.random.Generator) -> Product:
    """A colored shape: boxes and bars (categories), wide and tall ones (sub-categories)."""
    category = ("boxes", "bars")[index % 2]
    form = ("wide", "tall")[index // 2 % 2]
    color = list(COLORS)[generator.integers(3)]
    height, width = {
        ("boxes", "wide"): (14, 18),
        ("boxes", "tall"): (22, 14),
        ("bars", "wide"): (5, 20),
        ("bars", "tall"): (26, 5),
    }[category, form]
    pixels = generator.integers(225, 255, (40, 30, 3))
    top, left = generator.integers(1, 40 - height), generator.integers(1, 30 - width)
    pixels[top : top + height, left : left + width] = COLORS[color]
    return Product(
        id=f"p{index:04d}",
        category=category,
        subcategory=f"{form} {category}",
        attributes=(features.attribute_label("color", color),),
        image=tf.io.encode_jpeg(pixels.astype(np.uint8), quality=95).numpy(),
    )


def write_split(folder: Path, split: str, products: list[Product]) -> None:
    """Writes a split as two gzipped shards."""
    directory = folder / f"Split-{split}"
    directory.mkdir(parents=True)
    for shard in range(2):
        path = directory / f"data_tfrecord-{shard:05d}-of-00002.gz"
        with tf.io.TFRecordWriter(str(path), options="GZIP") as writer:
            for product in products[shard::2]:
                writer.write(product.serialized())


def write_catalog(
    folder: Path, splits: dict[str, list[Product]], extra_labels: Sequence[str] = ()
) -> Catalog:
    """Writes the splits and the Transform graph of the train split."""
    for split, products in splits.items():
        write_split(folder, split, products)
    write_transform_graph(folder, extra_labels)
    return Catalog(folder, splits)


def write_transform_graph(folder: Path, extra_labels: Sequence[str]) -> None:
    """Runs TensorFlow Transform over the train split, as TFX's Transform does."""
    schema = catalog_schema(extra_labels)
    # The drawn products have no picture statistics.
    for feature in [x for x in schema.feature if x.name in features.PICTURE_STATISTICS]:
        schema.feature.remove(feature)
    source = tfxio.TFExampleRecord(
        file_pattern=str(folder / "Split-train" / "*"),
        schema=schema,
        telemetry_descriptors=["test"],
    )
    metadata = dataset_metadata.DatasetMetadata(schema)
    with (
        Pipeline(runner="FnApiRunner") as beam_pipeline,
        tft_beam.Context(temp_dir=str(folder / "temporary")),
    ):
        raw = beam_pipeline | source.BeamSource()
        graph = (raw, source.TensorAdapterConfig()) | tft_beam.AnalyzeDataset(
            functools.partial(
                preprocessing.preprocessing_fn, custom_config={"extra_labels": extra_labels}
            )
        )
        _ = graph | tft_beam.WriteTransformFn(str(folder / "transform"))
        _ = metadata | tft_beam.WriteMetadata(
            str(folder / "transform" / tft.TFTransformOutput.RAW_METADATA_DIR), beam_pipeline
        )


@pytest.fixture(scope="session")
def make_catalog():
    """Writes Examples of products and the Transform graph over those of train."""
    return write_catalog


@pytest.fixture(scope="session")
def catalog_once(made_once):
    """The same, in a folder of that name for all processes that test."""

    def make(name: str, splits: dict[str, list[Product]], extra_labels: Sequence[str] = ()):
        folder = made_once(name, lambda folder: write_catalog(folder, splits, extra_labels))
        return Catalog(folder, splits)

    return make


@pytest.fixture(scope="session")
def catalog(catalog_once) -> Catalog:
    """144 train, 48 eval and 24 test products; eval has one category that train does not know."""
    generator = np.random.default_rng(7)
    products = [drawn_product(index, generator) for index in range(216)]
    stranger = dataclasses.replace(
        products[191], category="rings", subcategory="wide rings", attributes=("color=gold",)
    )
    return catalog_once(
        "catalog",
        {
            "train": products[:144],
            "eval": [*products[144:191], stranger],
            "test": products[192:],
        },
    )


@pytest.fixture(scope="session")
def plain_catalog(catalog_once) -> Catalog:
    """A catalog with one category and no attributes."""
    generator = np.random.default_rng(8)
    products = [
        dataclasses.replace(drawn_product(index, generator), category="all", attributes=())
        for index in range(60)
    ]
    return catalog_once(
        "plain_catalog",
        {"train": products[:40], "eval": products[40:50], "test": products[50:]},
    )


@pytest.fixture(scope="session")
def gendered_catalog(catalog_once) -> Catalog:
    """A catalog with the extra label `gender`, unknown for some, and two types of attributes."""
    generator = np.random.default_rng(9)
    products = [
        dataclasses.replace(
            product,
            attributes=(*product.attributes, f"line={('solid', 'dotted')[index % 2]}"),
            extras={"gender": ("Women", "Men", features.UNKNOWN)[index % 3]},
        )
        for index, product in enumerate(drawn_product(index, generator) for index in range(60))
    ]
    return catalog_once(
        "gendered_catalog",
        {"train": products[:40], "eval": products[40:50], "test": products[50:]},
        extra_labels=["gender"],
    )


@pytest.fixture
def quick_jax(made_once, monkeypatch):
    """Has JAX's processes compile in little time, and only what none of them has compiled yet.

    What is computed stays the same. Else they spend most of a minute on it, for some steps.
    """
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(made_once("jax_cache", lambda _: None)))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


@pytest.fixture(scope="session")
def history():
    """Reads the history that a run of run_fn wrote."""
    return lambda output: json.loads((Path(output) / "run" / "history.json").read_text())


@pytest.fixture(scope="session")
def with_labels(catalog):
    """Makes a product like the first of train, with other labels or another picture."""
    return lambda **changes: dataclasses.replace(catalog.splits["train"][0], **changes)


@pytest.fixture(scope="session")
def options_with():
    """Options of a still smaller model than `small_options`, with some replaced."""
    small = {
        "model.image_height": 16,
        "model.image_width": 16,
        "model.batch_normalization": "block_end",
        "model.filters": 4,
        "model.heads": "plain",
        "training.batch_size": 48,
    }
    return lambda **changes: override(
        small_options(), small | {name.replace("__", "."): value for name, value in changes.items()}
    )
