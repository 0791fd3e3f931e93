"""One trial of a search: a training with the trial's values, judged by its best epoch."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

from trainer import training
from trainer.callbacks import CHOOSING_FIGURE, MeanOfLevels
from trainer.fitting import compiled_for_training, fit
from trainer.network import network
from trainer.options import SECTIONS, override, tuned_options
from trainer.splits import Splits
from trainer.stages import stages_of

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs


@dataclasses.dataclass(frozen=True)
class Trial:
    """What a search wants tried.

    Attributes:
        id: Its name in the search.
        values: Its values by "section.option", and what Hyperband notes for itself.
        total: Trials at most; None where nobody knows.
    """

    id: str
    values: dict[str, Any]
    total: int | None

    @property
    def number(self) -> int:
        """Its number, from 1."""
        return int(self.id) + 1

    def __str__(self) -> str:
        of_all = f" of at most {self.total}" if self.total else ""
        return f"trial {self.number}{of_all}"


_OF_THE_RUN = ("enabled", "workers", "listen", "worker_timeout_s")
"""Options of `tuning` that say how a search is run, and leave what it finds as it is."""


def search_name(fn_args: FnArgs) -> str:
    """A name for what is searched: another space, other data or other code are another search."""
    config = fn_args.custom_config
    searched = {section: config[section] for section in SECTIONS}
    searched["tuning"] = {
        name: value for name, value in config["tuning"].items() if name not in _OF_THE_RUN
    }
    return training.state_name(fn_args, searched)


def score(
    trial: Trial, config: dict[str, Any], splits: Splits, report: Callable[[str, float], None]
) -> float:
    """The best `val_mean` of a model trained with a trial's values, as `training.train` trains it.

    Args:
        trial: The trial.
        config: The sections of a training, and the section `tuning`.
        splits: The Examples.
        report: Is told a sentence and which part of the trial is done, 0 to 1.
    """
    options = override(config, tuned_options(trial.values))
    # Hyperband gives each trial its own number of epochs.
    epochs = trial.values.get("tuner/epochs", config["tuning"]["epochs"])
    options["training"]["epochs"] = epochs

    keras.backend.clear_session()
    keras.utils.set_random_seed(options["training"]["seed"])
    model = network(options, splits.labels)

    def report_epochs(message: str, epochs_done: float) -> None:
        report(f"{trial}, {message}", epochs_done / epochs)

    means = []
    for stage in stages_of(options):
        fitted = compiled_for_training(model, options, splits, stage)
        with tempfile.TemporaryDirectory() as directory:
            batches = training.batches_of(
                stage, model, options, splits, Path(directory), report_epochs
            )
        history = fit(
            *(fitted, options, batches, stage, [MeanOfLevels()]),
            report=report_epochs,
            first_epoch=stage.first_epoch,
        )
        means += history[CHOOSING_FIGURE]
    return max(means)
