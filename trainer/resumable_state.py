"""What a training keeps on disk, so that a kill costs an epoch, or a few short ones, at most."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import keras
import numpy as np

from trainer.callbacks import CHOOSING_FIGURE
from trainer.stages import Stage
from trainer.weight_averages import averaged_weights

TIMES_A_SAVE = 20
"""What is trained between two savings takes at least so many times as long as saving it."""


class ResumableState(keras.callbacks.Callback):
    """Keeps on disk what is needed to go on after a kill, and says when to stop.

    After an epoch one file holds the fitted model's weights, their averages and the optimizer, and
    `state.json`, replaced in one move, names it together with the history. Of the best epoch the
    weights are kept that were evaluated. It is saved after the first and the last epoch of a stage,
    and between them as often as costs a twentieth of the time: after each, unless they are short.

    Args:
        directory: Where to keep it; belongs to this one training.
        network: The model that all stages train, without what only training needs.
        patience: Stop after so many epochs of the last stage without a better `val_mean`; 0 for
            never.
        writes: Whether it is this process that writes; of several that train together one does.
    """

    def __init__(
        self, directory: Path, network: keras.Model, patience: int, *, writes: bool = True
    ):
        super().__init__()
        self._writes = writes
        self._directory = directory
        self._network = network
        self._patience = patience
        self._epoch_began = time.monotonic()
        self._next_save = 0.0
        self._best_weights: list[np.ndarray] | None = None
        self._stage: Stage | None = None
        self.epochs: list[dict[str, float]] = []
        self.best_epoch = 0
        self.stopped_early = False
        if self._state_file.exists():
            state = json.loads(self._state_file.read_text())
            self.epochs = state["epochs"]
            self.best_epoch = state["best_epoch"]
            self.stopped_early = state["stopped_early"]

    @property
    def finished_epochs(self) -> int:
        """Number of epochs done, those of earlier processes counted in."""
        return len(self.epochs)

    def begin(self, stage: Stage, fitted: keras.Model) -> None:
        """Begins a stage, or sets its model and built optimizer to its last finished epoch."""
        self._stage = stage
        if self.finished_epochs > stage.first_epoch:
            load_arrays(self._last_file(self.finished_epochs), _variables(fitted))

    def load_best(self) -> None:
        """Gives the network the weights of its best epoch, averaged where averages were kept."""
        if self._best_weights is None:
            load_arrays(self._best_file(self.best_epoch), self._network.weights)
        else:
            self._network.set_weights(self._best_weights)

    def remove(self) -> None:
        """Deletes the state of a finished training."""
        shutil.rmtree(self._directory)

    def on_epoch_begin(self, epoch: int, logs=None):
        """Starts the epoch's clock."""
        self._epoch_began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs=None):
        """Writes the state and judges the epoch."""
        record = {"epoch": epoch + 1, "seconds": round(time.monotonic() - self._epoch_began, 3)}
        self.epochs.append(record | {name: float(value) for name, value in logs.items()})
        best = self.epochs[self.best_epoch - 1] if self.best_epoch else None
        if best is None or logs[CHOOSING_FIGURE] > best[CHOOSING_FIGURE]:
            self.best_epoch = epoch + 1
            with averaged_weights(self.model):
                self._best_weights = self._network.get_weights()
        since = epoch + 1 - max(self.best_epoch, self._stage.first_epoch)
        self.stopped_early = self._stage.is_last and 0 < self._patience <= since
        began = time.monotonic()
        is_end = self.stopped_early or self.finished_epochs == self._stage.end_epoch
        if self._writes and (is_end or began >= self._next_save):
            self._write()
            ended = time.monotonic()
            self._next_save = ended + TIMES_A_SAVE * (ended - began)
        if self.stopped_early:
            self.model.stop_training = True

    def _write(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        last, best = self._last_file(self.finished_epochs), self._best_file(self.best_epoch)
        save_arrays(
            last, [keras.ops.convert_to_numpy(variable) for variable in _variables(self.model)]
        )
        if not best.exists():
            save_arrays(best, self._best_weights)
        unfinished = self._state_file.with_suffix(".unfinished")
        unfinished.write_text(
            json.dumps(
                {
                    "epochs": self.epochs,
                    "best_epoch": self.best_epoch,
                    "stopped_early": self.stopped_early,
                }
            )
        )
        os.replace(unfinished, self._state_file)
        for file in self._directory.glob("*-*.npz"):
            if file not in (last, best):
                file.unlink()

    @property
    def _state_file(self) -> Path:
        return self._directory / "state.json"

    def _last_file(self, epoch: int) -> Path:
        return self._directory / f"epoch-{epoch:04d}.npz"

    def _best_file(self, epoch: int) -> Path:
        return self._directory / f"best-{epoch:04d}.npz"


def _variables(fitted: keras.Model) -> list[keras.Variable]:
    """All that a step of training reads and writes: weights, seeds, and the optimizer's."""
    return [*fitted.variables, *fitted.optimizer.variables]


def save_arrays(file: Path, values: list[np.ndarray]) -> None:
    """Writes a file that is there whole or not at all."""
    # Not as Keras saves weights: HDF5's library crashes where the disk is full.
    unfinished = file.with_name("unfinished.npz")
    np.savez(unfinished, *values)
    os.replace(unfinished, file)


def load_arrays(file: Path, variables: list[keras.Variable]) -> None:
    """Sets variables to what was saved of as many of them, in the same order."""
    with np.load(file) as archive:
        for variable, name in zip(variables, archive.files, strict=True):
            variable.assign(archive[name])
