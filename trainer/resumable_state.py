"""What a training keeps on disk, so that a kill costs an epoch at most."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import keras

from trainer.callbacks import CHOOSING_FIGURE


class ResumableState(keras.callbacks.Callback):
    """Keeps on disk what is needed to go on after a kill, and says when to stop.

    After every epoch one file holds weights, optimizer and random state, and `state.json`, replaced
    in one move, names it together with the history. The file of the best epoch is kept as well.

    Args:
        directory: Where to keep it; belongs to this one training.
        patience: Stop after so many epochs without a better `val_mean`; 0 for never.
    """

    def __init__(self, directory: Path, patience: int):
        super().__init__()
        self._directory = directory
        self._patience = patience
        self._epoch_began = time.monotonic()
        self.epochs: list[dict[str, float]] = []
        self.best_epoch = 0
        self.stopped_early = False

    @property
    def finished_epochs(self) -> int:
        """Number of epochs done, those of earlier processes counted in."""
        return len(self.epochs)

    def has_ended(self, epochs: int) -> bool:
        """Whether there is nothing left to fit."""
        return self.stopped_early or self.finished_epochs >= epochs

    def restore(self, model: keras.Model) -> None:
        """Sets model, optimizer and history to the last finished epoch, if there is one."""
        if not self._state_file.exists():
            return
        state = json.loads(self._state_file.read_text())
        self.epochs = state["epochs"]
        self.best_epoch = state["best_epoch"]
        self.stopped_early = state["stopped_early"]
        model.optimizer.build(model.trainable_variables)
        model.load_weights(self._weights_file(self.finished_epochs))

    def load_best(self, model: keras.Model) -> None:
        """Gives the model the weights of its best epoch."""
        model.load_weights(self._weights_file(self.best_epoch))

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
        self.stopped_early = 0 < self._patience <= epoch + 1 - self.best_epoch
        self._write()
        if self.stopped_early:
            self.model.stop_training = True

    def _write(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        kept = {self._weights_file(self.finished_epochs), self._weights_file(self.best_epoch)}
        # Keras wants the suffix .weights.h5, of the unfinished file too.
        unfinished = self._directory / "unfinished.weights.h5"
        self.model.save_weights(unfinished)
        os.replace(unfinished, self._weights_file(self.finished_epochs))
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
        for file in self._directory.glob("epoch-*.weights.h5"):
            if file not in kept:
                file.unlink()

    @property
    def _state_file(self) -> Path:
        return self._directory / "state.json"

    def _weights_file(self, epoch: int) -> Path:
        return self._directory / f"epoch-{epoch:04d}.weights.h5"
