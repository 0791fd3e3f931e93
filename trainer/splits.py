"""What a training learns from and is judged by: two splits of Examples and their labels."""

from __future__ import annotations

import dataclasses

import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs

from trainer import input_pipeline, preprocessing
from trainer.options import Options


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
    """

    train_files: list[str]
    eval_files: list[str]
    transform_output: tft.TFTransformOutput
    labels: dict[str, list[str]]
    train: input_pipeline.LabelCounts
    eval: input_pipeline.LabelCounts

    @classmethod
    def read(cls, fn_args: FnArgs) -> Splits:
        """Counts the labels of both splits.

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
        )

    def training_batches(self, options: Options, first_epoch: int = 0) -> tf.data.Dataset:
        """See `input_pipeline.training_batches`."""
        return input_pipeline.training_batches(
            self.train_files,
            self.transform_output,
            products=self.train.products,
            image_height=options["model"]["image_height"],
            image_width=options["model"]["image_width"],
            batch_size=options["training"]["batch_size"],
            seed=options["training"]["seed"],
            first_epoch=first_epoch,
            epochs=options["training"]["epochs"],
        )

    def evaluation_batches(self, options: Options) -> tf.data.Dataset:
        """The eval split, see `input_pipeline.evaluation_batches`."""
        return input_pipeline.evaluation_batches(
            self.eval_files,
            self.transform_output,
            products=self.eval.products,
            image_height=options["model"]["image_height"],
            image_width=options["model"]["image_width"],
            batch_size=max(64, options["training"]["batch_size"]),
        )

    def steps_per_epoch(self, options: Options) -> int:
        """Training steps of an epoch."""
        return input_pipeline.steps_per_epoch(
            self.train.products, options["training"]["batch_size"]
        )
