"""Measures a training step as a run makes it against a bare loop over arrays, in turns.

    python benchmarks/training_step.py                                 a drawn catalog
    python benchmarks/training_step.py CONFIG --set catalog.folder=DIR  a catalog of your own

The candidate is `trainer.fitting.fit` with everything a run gives it: pictures from the input
pipeline, augmentation, weighted losses, metrics, TensorBoard, the resumable state. The yardstick is
Keras' `train_on_batch` on float pictures in memory: the same backbone and heads, plain
cross-entropies and Adam, no augmentation and no metrics. Both take `--steps` steps in turn, in one
process, `--rounds` times; the best turn of each and the median ratio of neighbors are printed. What
comes once an epoch (validation, saving) is in neither. Leave the machine alone meanwhile.

    --set model.backbone=mobilenetv3small --set model.image_height=224 --set model.image_width=224
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks._prepared import parser, prepared
from schema import features
from trainer import objective
from trainer.callbacks import EpochLogs, MeanOfLevels
from trainer.fitting import compiled_for_training, fit
from trainer.network import network
from trainer.options import SECTIONS, Options
from trainer.resumable_state import ResumableState
from trainer.splits import Splits
from trainer.stages import stages_of

import keras  # isort: skip
import numpy as np  # isort: skip

WARM_UP_STEPS = 3
BATCHES_IN_MEMORY = 16


class Turns(keras.callbacks.Callback):
    """Stops the clock of a training after so many steps, and times the bare loop for as many."""

    def __init__(self, bare_step: Callable[[], object], steps: int, rounds: int):
        super().__init__()
        self._bare_step = bare_step
        self._steps = steps
        self._rounds = rounds
        self._since = 0
        self._started = 0.0
        self.seconds: list[tuple[float, float]] = []

    def on_epoch_begin(self, epoch: int, logs=None):
        """Leaves out the first steps, in which queues fill."""
        self._since = -WARM_UP_STEPS

    def on_train_batch_end(self, batch: int, logs=None):
        """Ends the training's turn, if it is time to, and gives the bare loop one."""
        self._since += 1
        if self._since == 0:
            self._started = time.perf_counter()
        if self._since < self._steps:
            return
        candidate = time.perf_counter() - self._started
        started = time.perf_counter()
        for _ in range(self._steps):
            self._bare_step()
        self.seconds.append((candidate, time.perf_counter() - started))
        self.model.stop_training = len(self.seconds) == self._rounds
        self._since = 0
        self._started = time.perf_counter()


def bare_step(splits: Splits, options: Options) -> Callable[[], object]:
    """One step of a loop over batches in memory; has run, so that nothing is left to compile."""
    whole = network(options, splits.labels)
    levels = objective.levels_of(splits.train)
    model = keras.Model(whole.inputs, {level: whole.output[level] for level in levels})
    model.compile(
        keras.optimizers.Adam(options["training"]["learning_rate"]),
        loss={
            level: "binary_crossentropy"
            if level == features.ATTRIBUTES
            else "sparse_categorical_crossentropy"
            for level in levels
        },
    )
    batches = cycle(
        [
            (
                pictures.numpy().astype(np.float32),
                {level: labels[level].numpy() for level in levels},
            )
            for pictures, labels in splits.training_batches(options, 0, 1).take(BATCHES_IN_MEMORY)
        ]
    )

    def step():
        return model.train_on_batch(*next(batches))

    for _ in range(WARM_UP_STEPS):
        step()
    return step


def main() -> None:
    common = parser(__doc__)
    common.add_argument("--steps", type=int, default=20, help="steps of a turn")
    arguments = common.parse_args()
    with prepared(arguments) as (config, splits), TemporaryDirectory() as scratch:
        options = {name: getattr(config, name).model_dump() for name in SECTIONS}
        in_an_epoch = splits.steps_per_epoch(options) - WARM_UP_STEPS
        steps = min(arguments.steps, in_an_epoch)
        # Of a training in stages the free one is measured, whose steps are on pictures; they never
        # take the mirror average, nor must the bare loop.
        options["training"]["frozen_epochs"] = 0
        options["model"]["mirror_average"] = False
        options["training"]["epochs"] = -(-arguments.rounds // (in_an_epoch // steps))
        turns = Turns(bare_step(splits, options), steps, arguments.rounds)
        whole = network(options, splits.labels)
        stage = stages_of(options)[-1]
        model = compiled_for_training(whole, options, splits, stage)
        state = ResumableState(Path(scratch) / "state", whole, patience=0)
        state.begin(stage, model)
        fit(
            model,
            options,
            splits,
            stage,
            [
                turns,
                MeanOfLevels(),
                state,
                EpochLogs(f"{scratch}/log"),
            ],
            report=lambda message, done: None,
            first_epoch=stage.first_epoch,
        )

    pictures = steps * options["training"]["batch_size"]
    settings = options["model"]
    print(
        f"{settings['backbone']} at {settings['image_height']}x{settings['image_width']}, "
        f"{model.count_params():,} parameters, batches of {options['training']['batch_size']}"
    )
    candidate, bare = (min(seconds) for seconds in zip(*turns.seconds, strict=True))
    print(f"bare loop: {pictures / bare:,.1f} pictures/s, the yardstick")
    ratio = median(bare / candidate for candidate, bare in turns.seconds)
    print(
        f"training: {pictures / candidate:,.1f} pictures/s, {bare / candidate:.2f} of the bare "
        f"loop's best; {ratio:.2f} in the median of {len(turns.seconds)} turns"
    )


if __name__ == "__main__":
    main()
