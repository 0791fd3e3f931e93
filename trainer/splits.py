"""What a training learns from and is judged by: two splits of Examples and their labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from schema import features
from trainer import input_pipeline, preprocessing
from trainer.input_pipeline import ALL, Share
from trainer.label_space import LabelCounts
from trainer.options import Options

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs

_DIVISIBLE_BY = 8


@dataclasses.dataclass(frozen=True)
class Splits:
    """Where the Examples are and what is in them.

    Attributes:
        train_files: Globs of the train split's files.
        eval_files: Globs of the eval split's files.
        transform_output: The Transform graph.
        labels: The labels of every level, in the order of their indices.
        train: Counts of the train split.
        eval: Counts of the eval split.
        share: What of each batch is read here.
        evaluated: The datasets of `evaluation_batches`, for who asks again.
    """

    train_files: list[str]
    eval_files: list[str]
    transform_output: tft.TFTransformOutput
    labels: dict[str, list[str]]
    train: LabelCounts
    eval: LabelCounts
    share: Share = ALL
    evaluated: dict[Hashable, tf.data.Dataset] = dataclasses.field(
        default_factory=dict, repr=False, compare=False
    )

    @classmethod
    def read(cls, fn_args: FnArgs, share: Share = ALL) -> Splits:
        """Counts the labels of both splits.

        Args:
            fn_args: Of TFX.
            share: What of each batch is read here.

        Raises:
            UserError: a split is empty.
        """
        transform_output = tft.TFTransformOutput(fn_args.transform_graph_path)
        return cls(
            fn_args.train_files,
            fn_args.eval_files,
            transform_output,
            preprocessing.vocabularies(transform_output),
            input_pipeline.count_labels(fn_args.train_files, transform_output),
            input_pipeline.count_labels(fn_args.eval_files, transform_output),
            share,
        )

    def training_batches(
        self, options: Options, first_epoch: int, end_epoch: int
    ) -> tf.data.Dataset:
        """See `input_pipeline.training_batches`."""
        return input_pipeline.training_batches(
            self.train_files,
            self.transform_output,
            **self._picture_size(options),
            **self.order(options, first_epoch, end_epoch),
        )

    def evaluation_batches(self, options: Options) -> tf.data.Dataset:
        """The eval split, see `input_pipeline.evaluation_batches`.

        The same dataset for the same options: what fits in memory is decoded once.
        """
        asked = (*self._picture_size(options).values(), self.evaluation_batch_size(options))
        if asked not in self.evaluated:
            self.evaluated[asked] = self.once("eval", options)
        return self.evaluated[asked]

    def once(self, name: str, options: Options) -> tf.data.Dataset:
        """The split `train` or `eval` in the order of its files, as `evaluation_batches`."""
        files = {"train": self.train_files, "eval": self.eval_files}
        counts = {"train": self.train, "eval": self.eval}
        return input_pipeline.evaluation_batches(
            files[name],
            self.transform_output,
            products=counts[name].products,
            **self._picture_size(options),
            batch_size=self.evaluation_batch_size(options),
            share=self.share,
        )

    def order(self, options: Options, first_epoch: int, end_epoch: int) -> dict[str, Any]:
        """What `input_pipeline` wants to know of the order of the train split."""
        settings = options["training"]
        return {
            "products": self.train.products,
            "batch_size": settings["batch_size"],
            "seed": settings["seed"],
            "first_epoch": first_epoch,
            "epochs": end_epoch,
            "draws": self._draws(options),
            "share": self.share,
        }

    def _draws(self, options: Options) -> np.ndarray | None:
        """How often balanced sampling takes the products of each sub-category, mean 1, (C2)."""
        if options["training"]["imbalance"] != "balanced_sampling":
            return None
        counts = self.train.labels[features.SUBCATEGORY]
        draws = np.maximum(counts, 1.0) ** -options["training"]["sampling_exponent"]
        return draws / np.average(draws, weights=counts)

    def evaluation_batch_size(self, options: Options) -> int:
        """Products at once where nothing is learned."""
        size = min(max(64, options["training"]["batch_size"]), self.eval.products)
        # Over several GPUs Keras wants a first batch that can be divided evenly.
        size = size - size % _DIVISIBLE_BY if size > _DIVISIBLE_BY else size
        return self.share.divisible(size)

    def steps_per_epoch(self, options: Options) -> int:
        """Training steps of an epoch."""
        return input_pipeline.steps_per_epoch(
            self.train.products, options["training"]["batch_size"]
        )

    def _picture_size(self, options: Options) -> dict[str, Any]:
        return {side: options["model"][side] for side in ("image_height", "image_width")}
