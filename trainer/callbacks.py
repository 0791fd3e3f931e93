"""What happens beside the steps of a training: figures, randomness, a stop, and reports."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import keras

from schema.errors import UserError

CHOOSING_FIGURE = "val_mean"
"""The mean of the levels' figures on the eval split, by which the best epoch is chosen."""


class MeanOfLevels(keras.callbacks.Callback):
    """Adds `val_mean`, the mean of the levels' eval figures, to each epoch's logs."""

    def on_epoch_end(self, epoch: int, logs=None):
        """Must come before every callback that reads `val_mean`."""
        figures = [value for name, value in logs.items() if is_level_figure(name)]
        logs[CHOOSING_FIGURE] = sum(figures) / len(figures)


def is_level_figure(name: str) -> bool:
    """Whether a name in Keras' logs is a level's figure on the eval split."""
    return name.startswith("val_") and name.endswith(("_accuracy", "_f1"))


class RandomnessByEpoch(keras.callbacks.Callback):
    """Makes augmentation and dropout depend on seed and epoch alone, as the products' order does.

    Keras saves no random state with a model, and a resumed training would draw otherwise.
    """

    _DRAWS_PER_EPOCH = 2**20

    def on_epoch_begin(self, epoch: int, logs=None):
        """Sets the counter of every random generator in the model."""
        for variable in self.model.variables:
            if variable.name == "seed_generator_state":
                seed, _ = keras.ops.convert_to_numpy(variable)
                variable.assign([seed, epoch * self._DRAWS_PER_EPOCH])


class StopWithoutNumbers(keras.callbacks.Callback):
    """Ends a training whose loss is not finite any more, with a message that says what helps."""

    def on_epoch_end(self, epoch: int, logs=None):
        """Looks at the epoch's mean loss."""
        if not math.isfinite(logs["loss"]):
            raise UserError(
                f"The loss became {logs['loss']} in epoch {epoch + 1}. Lower "
                "training.learning_rate, or turn training.mixed_precision off."
            )


class EpochReport(keras.callbacks.Callback):
    """Tells of every epoch, and about once a second of the part of it that is done.

    Args:
        report: Is told a sentence and how many epochs are done.
        epochs: Epochs at most.
        steps: Steps of an epoch.
    """

    _INTERVAL_S = 1.0

    def __init__(self, report: Callable[[str, float], None], epochs: int, steps: int):
        super().__init__()
        self._report = report
        self._epochs = epochs
        self._steps = steps
        self._epoch = 0
        self._reported_at = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs=None):
        """Notes the epoch."""
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs=None):
        """Tells the part of the epoch that is done, if it is time to.

        Not at a batch's end, for which Keras would wait before it begins another on a GPU.
        """
        if time.monotonic() - self._reported_at < self._INTERVAL_S:
            return
        self._reported_at = time.monotonic()
        part = batch / self._steps
        self._report(f"epoch {self._epoch + 1} of {self._epochs}", self._epoch + part)

    def on_epoch_end(self, epoch: int, logs=None):
        """Tells the eval figures."""
        figures = ", ".join(
            f"{name.removeprefix('val_').replace('_', ' ')} {value:.3f}"
            for name, value in logs.items()
            if is_level_figure(name)
        )
        self._report(f"epoch {epoch + 1} of {self._epochs}: {figures}", epoch + 1)


class EpochLogs(keras.callbacks.TensorBoard):
    """TensorBoard's logs of every epoch's figures.

    Keras' own would look at the figures of every step, which nobody reads, and wait for them.

    Args:
        directory: Where to write them.
    """

    async_safe = True

    def __init__(self, directory: str):
        super().__init__(directory, write_graph=False)

    def on_train_batch_end(self, batch: int, logs=None):
        """Writes nothing."""
