"""How much faster an epoch of stage one is on kept features than on pictures.

    python benchmarks/frozen_features.py [--backbone resnet50] [--side 224] [--products 64]

Both train the same heads on the same frozen backbone, without augmentation, through the functions
that training uses; the pictures are drawn. Printed is the ratio of the epochs' times: for each way
the fastest of several epochs after a first one, in which TensorFlow builds its graphs.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline import config
from schema import features
from trainer import input_pipeline, training
from trainer.fitting import compiled_for_training, fit
from trainer.label_space import LabelCounts
from trainer.network import network
from trainer.options import Options
from trainer.splits import Splits
from trainer.stages import Stage, stages_of

CATEGORIES, SUBCATEGORIES, ATTRIBUTES = 45, 141, 12


class DrawnSplits(Splits):
    """`Splits` with drawn pictures in memory instead of Examples.

    Args:
        products: Number of products of either split.
        labels: The labels of every level.
        options: All sections of options.
    """

    def __init__(self, products: int, labels: dict[str, list[str]], options: Options):
        generator = np.random.default_rng(0)
        shape = [options["model"][side] for side in ("image_height", "image_width")]
        pictures = generator.integers(0, 256, (products, *shape, 3), dtype=np.uint8)
        sizes = {level: len(of) for level, of in labels.items()}
        self._kept = (
            pictures,
            {
                features.CATEGORY: generator.integers(0, sizes[features.CATEGORY], products),
                features.SUBCATEGORY: generator.integers(0, sizes[features.SUBCATEGORY], products),
                features.ATTRIBUTES: generator.integers(
                    0, 2, (products, sizes[features.ATTRIBUTES])
                ).astype(np.float32),
            },
        )
        counts = LabelCounts(
            products,
            {level: np.ones(size, np.int64) for level, size in sizes.items()},
            pairs=np.ones((CATEGORIES, SUBCATEGORIES), np.int64),
        )
        super().__init__([], [], None, labels, train=counts, eval=counts)

    def training_batches(
        self, options: Options, first_epoch: int, end_epoch: int
    ) -> tf.data.Dataset:
        """The drawn pictures in an order that depends on the epoch."""
        return input_pipeline.batches_in_memory(
            self._kept, **self.order(options, first_epoch, end_epoch)
        )

    def once(self, name: str, options: Options) -> tf.data.Dataset:
        """The drawn pictures, of either split."""
        examples = tf.data.Dataset.from_tensor_slices(self._kept)
        return examples.batch(self.evaluation_batch_size(options))


class EpochTimes(keras.callbacks.Callback):
    """Notes how long each epoch took, evaluation included."""

    def __init__(self):
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs=None):
        """Starts the clock."""
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs=None):
        """Stops it."""
        self.seconds.append(time.perf_counter() - self._began)


def seconds_an_epoch(
    stage: Stage, model: keras.Model, options: Options, splits: Splits, epochs: int
) -> float:
    """The fastest epoch of a stage but the first, in seconds."""
    times = EpochTimes()
    stage = dataclasses.replace(stage, end_epoch=epochs)
    fitted = compiled_for_training(model, options, splits, stage)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        batches = training.batches_of(
            stage, model, options, splits, Path(folder), report=lambda message, done: None
        )
        if stage.on_features:
            print(f"features of both splits, once: {time.perf_counter() - began:.2f} s")
    fit(
        *(fitted, options, batches, stage, [times]),
        report=lambda message, done: None,
        first_epoch=0,
    )
    return min(times.seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--side", type=int, default=224, help="of the pictures, in pixels")
    parser.add_argument("--products", type=int, default=64, help="of train, and as many of eval")
    parser.add_argument("--dense-units", type=int, default=1024)
    arguments = parser.parse_args()
    options = {
        "model": config.Model(
            backbone=arguments.backbone,
            image_height=arguments.side,
            image_width=arguments.side,
            dense_units=arguments.dense_units,
        ).model_dump(),
        "augmentation": config.Augmentation(
            flip_probability=0,
            contrast_probability=0,
            brightness_probability=0,
            geometry_probability=0,
        ).model_dump(),
        "training": config.Training(epochs=1, frozen_epochs=1).model_dump(),
    }
    splits = DrawnSplits(
        arguments.products,
        {
            features.CATEGORY: [f"c{index}" for index in range(CATEGORIES)],
            features.SUBCATEGORY: [f"s{index}" for index in range(SUBCATEGORIES)],
            features.ATTRIBUTES: [f"a=v{index}" for index in range(ATTRIBUTES)],
        },
        options,
    )
    model = network(options, splits.labels)
    (on_features,) = stages_of(options)
    on_pictures = dataclasses.replace(on_features, on_features=False)
    kept = seconds_an_epoch(on_features, model, options, splits, epochs=5)
    not_kept = seconds_an_epoch(on_pictures, model, options, splits, epochs=2)
    print(
        f"{arguments.backbone} at {arguments.side}x{arguments.side}, {arguments.products} products "
        f"and as many of eval: {not_kept:.2f} s an epoch on pictures, {kept:.2f} s on kept "
        f"features: {not_kept / kept:.1f} times faster"
    )


if __name__ == "__main__":
    main()
