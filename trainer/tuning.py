"""Searches for better hyperparameters inside a TFX Tuner, with KerasTuner's algorithms."""

from __future__ import annotations

import logging
from typing import Any

import keras
import keras_tuner
from keras_tuner.engine import base_tuner, trial
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.components.tuner.component import TunerFnResult

from schema.errors import UserError
from trainer import training
from trainer.callbacks import CHOOSING_FIGURE, MeanOfLevels
from trainer.options import override, tuned_options
from trainer.splits import Splits

_progress = logging.getLogger("seamline.progress")


def tuner_fn(fn_args: FnArgs) -> TunerFnResult:
    """Prepares the search; TFX's Tuner calls this and then searches.

    Args:
        fn_args: As for `training.run_fn`; `custom_config` also has the section `tuning`.

    Raises:
        UserError: `tuning.space` names what is no option, or values that do not go together; or a
            split is empty.
    """
    settings = fn_args.custom_config["tuning"]
    # Once with the first values, so that a typing slip is found before anything is trained.
    override(fn_args.custom_config, {name: values[0] for name, values in _space(settings).items()})
    tuner = TrainingTuner(
        fn_args.custom_config,
        Splits.read(fn_args),
        oracle=_oracle(settings, fn_args.custom_config["training"]["seed"]),
        directory=fn_args.working_dir,
    )
    # KerasTuner would print tables; what matters goes to the progress logger.
    return TunerFnResult(tuner=tuner, fit_kwargs={"verbose": 0})


class TrainingTuner(base_tuner.BaseTuner):
    """Trains a model a trial, as `training.run_fn` does, and judges it by its best epoch.

    Args:
        custom_config: The sections `model`, `augmentation`, `training` and `tuning`.
        splits: The Examples.
        oracle: Chooses the values of each trial.
        directory: Where KerasTuner keeps its books.
    """

    def __init__(
        self,
        custom_config: dict[str, Any],
        splits: Splits,
        oracle: keras_tuner.Oracle,
        directory: str,
    ):
        super().__init__(oracle=oracle, directory=directory, project_name="tuning")
        self._config = custom_config
        self._splits = splits

    def search(self, *args, **kwargs) -> None:
        """Runs all trials.

        Raises:
            UserError: not one trial came to its end, so that there is no result.
        """
        super().search(*args, **kwargs)
        trials = list(self.oracle.trials.values())
        if not any(each.status == trial.TrialStatus.COMPLETED for each in trials):
            # KerasTuner itself goes on with an empty result when every trial fails.
            reasons = {each.message.strip().splitlines()[-1] for each in trials if each.message}
            raise UserError(
                f"None of the {len(trials)} trials of the hyperparameter search came to its end: "
                f"{'; '.join(sorted(reasons))}. Change tuning.space, or turn tuning.enabled off."
            )

    def run_trial(self, trial: trial.Trial, *args, **kwargs) -> dict[str, float]:
        """The best `val_mean` of a model trained with the trial's values."""
        values = trial.hyperparameters.values
        options = override(self._config, tuned_options(values))
        # Hyperband gives each trial its own number of epochs.
        epochs = values.get("tuner/epochs", self._config["tuning"]["epochs"])
        options["training"]["epochs"] = epochs

        keras.backend.clear_session()
        keras.utils.set_random_seed(options["training"]["seed"])
        model = training.compiled_for_training(
            training.network(options, self._splits), options, self._splits
        )
        number = len(self.oracle.trials)
        total = getattr(self.oracle, "max_trials", None)
        of_all = f" of at most {total}" if total else ""

        def report(message: str, epochs_done: float) -> None:
            _progress.info(
                f"trial {number}{of_all}, {message}",
                extra={"completed": number - 1 + epochs_done / epochs, "total": total},
            )

        history = training.fit(model, options, self._splits, [MeanOfLevels()], report=report)
        return {CHOOSING_FIGURE: max(history[CHOOSING_FIGURE])}


def _oracle(settings: dict[str, Any], seed: int) -> keras_tuner.Oracle:
    space = keras_tuner.HyperParameters()
    for name, values in _space(settings).items():
        space.Choice(name, values)
    common = {
        "objective": keras_tuner.Objective(CHOOSING_FIGURE, "max"),
        "hyperparameters": space,
        "allow_new_entries": False,
        "tune_new_entries": False,
        "seed": seed,
        # Values that cannot be trained with are a finding; only a search without any result fails.
        "max_consecutive_failed_trials": 1_000_000,
    }
    if settings["search"] == "hyperband":
        return keras_tuner.oracles.HyperbandOracle(max_epochs=settings["epochs"], **common)
    if settings["search"] == "bayesian":
        return keras_tuner.oracles.BayesianOptimizationOracle(
            max_trials=settings["trials"], **common
        )
    return keras_tuner.oracles.RandomSearchOracle(max_trials=settings["trials"], **common)


def _space(settings: dict[str, Any]) -> dict[str, list[Any]]:
    """The values of each option, of one type each, as KerasTuner wants them."""
    space = {}
    for name, values in settings["space"].items():
        types = {type(value) for value in values}
        if types == {int, float}:
            values = [float(value) for value in values]
        elif len(types) != 1 or not types <= {int, float, str, bool}:
            raise UserError(
                f"tuning.space has {values} for {name}. Give a list of one or more values, all of "
                "them numbers, all text, or all true/false."
            )
        space[name] = values
    if not space:
        raise UserError("tuning.space is empty. Name an option and the values to try for it.")
    return space
