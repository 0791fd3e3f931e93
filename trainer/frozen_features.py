"""Features of a backbone that stays as it is: computed once, then read in place of pictures."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import keras
import numpy as np
import tensorflow as tf

from trainer import input_pipeline
from trainer.options import Options
from trainer.splits import Splits

_Arrays: TypeAlias = tuple[np.ndarray, dict[str, np.ndarray]]
"""Features (N, D), and the labels of each level."""


class FrozenFeatures:
    """Batches as those of `Splits`, with features (N, D) instead of pictures.

    All features are held in memory: 4 D bytes a product, e.g. 320 MB for 40,000 of ResNet-50's.

    Args:
        backbone: From pictures (N, H, W, 3), 0 to 255, to features (N, D).
        splits: The Examples.
        options: Their section `model` gives the pictures' size.
        directory: Where features are kept, a file a split. What is there already must be of the
            same backbone, options and Examples.
        report: Is told a sentence while features are computed.
    """

    def __init__(
        self,
        backbone: keras.Model,
        splits: Splits,
        options: Options,
        directory: Path,
        report: Callable[[str], None],
    ):
        self._splits = splits

        def kept(name: str) -> _Arrays:
            def compute() -> _Arrays:
                return _computed(backbone, splits.once(name, options), name, report)

            return _kept(directory / f"{name}.npz", compute)

        self._train, self._eval = kept("train"), kept("eval")

    def training_batches(self, options: Options, first_epoch: int, end_epoch: int):
        """See `input_pipeline.training_batches`."""
        return input_pipeline.batches_in_memory(
            self._train, **self._splits.order(options, first_epoch, end_epoch)
        )

    def evaluation_batches(self, options: Options):
        """See `input_pipeline.evaluation_batches`."""
        return input_pipeline.evaluation_in_memory(
            self._eval, self._splits.evaluation_batch_size(options), self._splits.share
        )


def _kept(file: Path, compute: Callable[[], _Arrays]) -> _Arrays:
    """What a file holds, or what is computed and then written to it."""
    if file.exists():
        with np.load(file) as archive:
            levels = archive["levels"].tolist()
            return archive["arr_0"], {
                level: archive[f"arr_{number}"] for number, level in enumerate(levels, 1)
            }
    features, labels = compute()
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".unfinished.npz")
    # By their places: a level may be called like an argument of NumPy's.
    np.savez(unfinished, features, *labels.values(), levels=list(labels))
    os.replace(unfinished, file)
    return features, labels


def _computed(
    backbone: keras.Model, batches: tf.data.Dataset, name: str, report: Callable[[str], None]
) -> _Arrays:
    # Keras' own prediction would answer each picture once a device where there are several. In 32
    # bits, because NumPy's files know no bfloat16.
    compute = tf.function(lambda pictures: tf.cast(backbone(pictures, training=False), tf.float32))
    features: list[np.ndarray] = []
    of_levels: defaultdict[str, list[np.ndarray]] = defaultdict(list)
    for number, (pictures, labels) in enumerate(batches, 1):
        features.append(compute(pictures).numpy())
        for level, of in labels.items():
            of_levels[level].append(of.numpy())
        report(f"features of the {name} pictures, batch {number} of {len(batches)}")
    return np.concatenate(features), {
        level: np.concatenate(parts) for level, parts in of_levels.items()
    }
