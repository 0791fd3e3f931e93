"""Fits one stage of a training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import keras

from trainer import objective
from trainer.callbacks import EpochReport, RandomnessByEpoch, StopWithoutNumbers
from trainer.label_space import LabelCounts
from trainer.options import Options
from trainer.stages import Stage, optimizer
from trainer.training_model import training_model
from trainer.weight_averages import EvaluationOfAverages


class Learned(Protocol):
    """What a stage learns from, as far as it must be known before: see `Splits`."""

    @property
    def train(self) -> LabelCounts:
        """Counts of the train split."""

    def steps_per_epoch(self, options: Options) -> int:
        """Training steps of an epoch."""


class Batches(Protocol):
    """What a stage is fitted on: `Splits`, or `FrozenFeatures` of them.

    Either method gives what Keras fits on, with pictures or features and the dict of labels.
    """

    def training_batches(self, options: Options, first_epoch: int, end_epoch: int) -> Any:
        """The batches of some epochs, one after another, as many in each."""

    def evaluation_batches(self, options: Options) -> Any:
        """The eval split in its order; None where nothing is evaluated."""


def compiled_for_training(
    model: keras.Model, options: Options, splits: Learned, stage: Stage
) -> keras.Model:
    """Makes of a model what a stage fits, with new losses and a new optimizer."""
    of_outputs = objective.level_losses(options, splits.train)
    fitted = training_model(model, options, stage, list(of_outputs))
    fitted.compile(
        optimizer(stage, options, splits.steps_per_epoch(options), fitted.trainable_variables),
        loss=of_outputs,
        loss_weights=objective.level_loss_weights(options, splits.train),
        # Only where several machines evaluate do products have weights.
        weighted_metrics=objective.level_metrics(splits.train),
    )
    return fitted


def fit(
    fitted: keras.Model,
    options: Options,
    batches: Batches,
    stage: Stage,
    callbacks: list[keras.callbacks.Callback],
    *,
    report: Callable[[str, float], None],
    first_epoch: int,
) -> dict[str, list[float]]:
    """Fits a stage.

    Args:
        fitted: From `compiled_for_training`.
        options: Sections `model` and `training` are used.
        batches: From `training.batches_of`.
        stage: The stage.
        callbacks: Called in this order.
        report: Is told, about once a second, a sentence and how many epochs are done.
        first_epoch: Epochs that are done already.

    Returns:
        Keras' history: for each figure its value after each epoch.

    Raises:
        UserError: the loss became infinite or not a number.
    """
    training_batches = batches.training_batches(options, first_epoch, stage.end_epoch)
    _build_figures(fitted, training_batches)
    steps = len(training_batches) // (stage.end_epoch - first_epoch)
    return fitted.fit(
        training_batches,
        validation_data=batches.evaluation_batches(options),
        epochs=stage.end_epoch,
        initial_epoch=first_epoch,
        steps_per_epoch=steps,
        shuffle=False,
        callbacks=[
            RandomnessByEpoch(),
            EvaluationOfAverages(),
            StopWithoutNumbers(),
            *callbacks,
            EpochReport(report, options["training"]["epochs"], steps),
        ],
        verbose=0,
    ).history


def _build_figures(fitted: keras.Model, batches: Any) -> None:
    """Makes the variables of losses and metrics before the first step.

    On TensorFlow, Keras makes them within that step, while it is traced, and TensorFlow traces a
    function that made variables once more. Elsewhere, and on several devices, Keras does as we do.
    """
    strategy = getattr(fitted, "distribute_strategy", None)
    if strategy is None or strategy.num_replicas_in_sync > 1:
        return
    pictures, labels = keras.tree.map_structure(
        lambda of_batch: keras.ops.zeros((1, *of_batch.shape[1:]), of_batch.dtype.name),
        batches.element_spec,
    )
    answers = fitted(pictures)
    fitted.compute_loss(None, labels, answers, training=False)
    fitted.compute_metrics(None, labels, answers)
    fitted.reset_metrics()
