"""Searches for better hyperparameters inside a TFX Tuner, with KerasTuner's algorithms.

The search is kept on disk, so that a killed one goes on with the trials that are left. With
`tuning.workers` above 1 the trials run in so many processes, and with `tuning.listen` on other
machines too: this process deals them out.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import secrets
import shutil
import threading
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import keras_tuner
import tensorflow as tf
from keras_tuner.src.engine import base_tuner, stateful
from keras_tuner.src.engine import trial as trial_module
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.components.tuner.component import TunerFnResult

from schema.errors import UserError
from trainer import tuning_trial, tuning_worker
from trainer.callbacks import CHOOSING_FIGURE
from trainer.chief import transferable
from trainer.options import override
from trainer.splits import Splits
from trainer.tuning_chief import SearchChief

_progress = logging.getLogger("seamline.progress")

_LOOPBACK = "127.0.0.1"
_EVERYWHERE = ("0.0.0.0", "[::]")
_LOOK_INTERVAL_S = 0.5


def tuner_fn(fn_args: FnArgs) -> TunerFnResult:
    """Prepares the search; TFX's Tuner calls this and then searches.

    Args:
        fn_args: As for `training.run_fn`; `custom_config` also has the section `tuning`.

    Raises:
        UserError: `tuning.space` names what is no option, or values that do not go together; or a
            split is empty.
    """
    config = fn_args.custom_config
    space = _space(config["tuning"])
    # Once with the first values, so that a typing slip is found before anything is trained.
    options = override(config, {each.name: each.default for each in space.space})
    directory = Path(config["resume_dir"]) / f"search-{tuning_trial.search_name(fn_args)}"
    for other in directory.parent.glob("search-*"):
        if other != directory:
            shutil.rmtree(other)
    tuner = TrainingTuner(fn_args, _oracle(config["tuning"], space, options), str(directory))
    # KerasTuner would print tables; what matters goes to the progress logger.
    return TunerFnResult(tuner=tuner, fit_kwargs={"verbose": 0})


class TrainingTuner(base_tuner.BaseTuner):
    """Trains a model a trial, as `training.run_fn` does, and judges it by its best epoch.

    Args:
        fn_args: What `tuner_fn` got.
        oracle: Chooses the values of each trial.
        directory: Where KerasTuner keeps its books.
    """

    def __init__(self, fn_args: FnArgs, oracle: keras_tuner.Oracle, directory: str):
        super().__init__(oracle=oracle, directory=directory, project_name="tuning")
        self._fn_args = fn_args
        self._config = fn_args.custom_config
        self._splits = Splits.read(fn_args)

    def search(self, *args, **kwargs) -> None:
        """Runs all trials.

        Raises:
            UserError: not one trial came to its end, so that there is no result; `tuning.listen`
                is no address to listen on; or all processes of this machine's ended too early.
        """
        settings = self._config["tuning"]
        if settings["workers"] > 1 or settings["listen"]:
            self._deal_out(settings)
        else:
            super().search(*args, **kwargs)
        trials = list(self.oracle.trials.values())
        if not any(each.status == trial_module.TrialStatus.COMPLETED for each in trials):
            # KerasTuner itself goes on with an empty result when every trial fails.
            reasons = {each.message.strip().splitlines()[-1] for each in trials if each.message}
            raise UserError(
                f"None of the {len(trials)} trials of the hyperparameter search came to its end: "
                f"{'; '.join(sorted(reasons))}. Change tuning.space, or turn tuning.enabled off."
            )

    def run_trial(self, trial: trial_module.Trial, *args, **kwargs) -> dict[str, float]:
        """The best `val_mean` of a model trained with the trial's values."""
        total = getattr(self.oracle, "max_trials", None)
        tried = tuning_trial.Trial(trial.trial_id, trial.hyperparameters.values, total)

        def report(message: str, part: float) -> None:
            _progress.info(message, extra={"completed": tried.number - 1 + part, "total": total})

        return {CHOOSING_FIGURE: tuning_trial.score(tried, self._config, self._splits, report)}

    def _deal_out(self, settings: dict[str, Any]) -> None:
        """Deals the trials out to processes, here and elsewhere, until none is left."""
        self.save()
        self.oracle.verbose = 0
        chief = SearchChief(
            self.oracle,
            tuning_trial.search_name(self._fn_args),
            transferable(self._fn_args),
            settings["worker_timeout_s"],
        )
        listen = settings["listen"]
        with chief.served(listen or f"{_LOOPBACK}:0") as address:
            host, _, port = address.rpartition(":")
            near = f"{_LOOPBACK}:{port}" if host in _EVERYWHERE else address
            processes = _Processes(settings["workers"], near, self._config.get("code"))
            told = ""
            try:
                while not chief.is_over():
                    if not processes.look_after(chief) and not listen:
                        raise UserError(
                            "All processes of the search ended before its trials did, the last "
                            f"with exit status {processes.last_status}; the log says more. Run "
                            "again to go on with the trials that are left, with fewer "
                            "tuning.workers if it was memory that they had too little of."
                        )
                    told = self._tell(chief, f" at {address}" if listen else "", told)
                    time.sleep(_LOOK_INTERVAL_S)
                self._tell(chief, "", told)
            finally:
                processes.end()

    def _tell(self, chief: SearchChief, where: str, told: str) -> str:
        """Tells how far the search is, unless that was told; gives the sentence."""
        done = [each for each in self.oracle.trials.values() if each.score is not None]
        total = self.oracle.max_trials
        so_far = f", best mean {max(each.score for each in done):.3f}" if done else ""
        workers = f"{chief.workers} worker{'' if chief.workers == 1 else 's'}{where}"
        sentence = f"{len(done)} of at most {total} trials, {workers}{so_far}"
        if sentence != told:
            _progress.info(sentence, extra={"completed": len(done), "total": total})
        return sentence


class _Processes:
    """Workers on this machine.

    Args:
        count: How many.
        chief: The address of what deals the trials out.
        code: The fingerprint of the package `trainer`.
    """

    def __init__(self, count: int, chief: str, code: str | None):
        self._count = count
        self._chief = chief
        self._code = code
        self.last_status = 0
        self._alive: dict[int, BaseProcess] = {}
        for number in range(count):
            self._start(number)

    def look_after(self, chief: SearchChief) -> bool:
        """Gives up who is lost, and starts one anew that ended in a trial; whether any is left."""
        chief.give_up_lost_workers()
        for number, process in list(self._alive.items()):
            if process.is_alive():
                continue
            del self._alive[number]
            # Who ends when the search is over has asked for a trial and got none.
            if process.exitcode:
                self.last_status = process.exitcode
                reason = f"its process ended with exit status {process.exitcode}"
                if chief.lose(process.name, reason):
                    self._start(number)
        return bool(self._alive)

    def end(self) -> None:
        """Ends all of them."""
        for process in self._alive.values():
            process.terminate()

    def _start(self, number: int) -> None:
        # Unlike that of a process which an earlier run left.
        name = f"{number + 1} of this machine, {secrets.token_hex(2)}"
        # Not forked: TensorFlow's threads would not live in a fork.
        process = multiprocessing.get_context("spawn").Process(
            target=_work,
            args=(self._chief, self._code, name, number, self._count),
            name=name,
            daemon=True,
        )
        process.start()
        self._alive[number] = process


def _work(chief: str, code: str | None, name: str, number: int, workers: int) -> None:
    """The life of a worker process, on a part of the machine."""
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        tf.config.set_visible_devices(gpus[number % len(gpus)], "GPU")
    else:
        threads = max(1, (os.cpu_count() or 1) // workers)
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    tuning_worker.work(chief, code, name)


def _leave_with_parent() -> None:
    """Ends the process where the one that began it was killed."""
    multiprocessing.parent_process().join()
    os._exit(1)


class _WrittenWhole(keras_tuner.Oracle):
    """An oracle whose books are whole whenever it is killed."""

    def save(self) -> None:
        """Writes all but the trials."""
        name = self._get_oracle_fname()
        stateful.Stateful.save(self, f"{name}.unfinished")
        os.replace(f"{name}.unfinished", name)

    def _save_trial(self, trial: trial_module.Trial) -> None:
        name = os.path.join(self._get_trial_dir(trial.trial_id), "trial.json")
        trial.save(f"{name}.unfinished")
        os.replace(f"{name}.unfinished", name)


class _Random(_WrittenWhole, keras_tuner.oracles.RandomSearchOracle):
    """Draws values evenly."""


class _Bayesian(_WrittenWhole, keras_tuner.oracles.BayesianOptimizationOracle):
    """Draws values where a Gaussian process expects the most."""


class _Hyperband(_WrittenWhole, keras_tuner.oracles.HyperbandOracle):
    """Gives the best of many short trainings more epochs."""


def _oracle(
    settings: dict[str, Any], space: keras_tuner.HyperParameters, options: dict[str, Any]
) -> keras_tuner.Oracle:
    common = {
        "objective": keras_tuner.Objective(CHOOSING_FIGURE, "max"),
        "hyperparameters": space,
        "allow_new_entries": False,
        "tune_new_entries": False,
        "seed": options["training"]["seed"],
        # Values that cannot be trained with are a finding; only a search without any result fails.
        "max_consecutive_failed_trials": 1_000_000,
    }
    if settings["search"] == "hyperband":
        oracle = _Hyperband(max_epochs=settings["epochs"], **common)
        # Nobody says how many trials there will be, and TFX's Tuner asks for as many results.
        oracle.max_trials = _planned_trials(oracle)
        return oracle
    if settings["search"] == "bayesian":
        return _Bayesian(max_trials=settings["trials"], **common)
    return _Random(max_trials=settings["trials"], **common)


def _planned_trials(oracle: keras_tuner.oracles.HyperbandOracle) -> int:
    """Trials of all rounds of all brackets; fewer where the space has fewer values."""
    return sum(
        oracle._get_size(bracket, number)
        for bracket in range(oracle._get_num_brackets())
        for number in range(oracle._get_num_rounds(bracket))
    )


def _space(settings: dict[str, Any]) -> keras_tuner.HyperParameters:
    """The values of each option: a list of one type, as KerasTuner wants them, or a range."""
    space = keras_tuner.HyperParameters()
    for name, values in settings["space"].items():
        if isinstance(values, dict):
            _add_range(space, name, **values)
            continue
        types = {type(value) for value in values}
        if types == {int, float}:
            values = [float(value) for value in values]
        elif len(types) != 1 or not types <= {int, float, str, bool}:
            raise UserError(
                f"tuning.space has {values} for {name}. Give a list of one or more values, all of "
                "them numbers, all text, or all true/false."
            )
        space.Choice(name, values)
    if not space.space:
        raise UserError("tuning.space is empty. Name an option and the values to try for it.")
    return space


def _add_range(
    space: keras_tuner.HyperParameters,
    name: str,
    *,
    min: float,  # noqa: A002 - the names of the config's options
    max: float,  # noqa: A002
    step: float | None,
    log: bool,
) -> None:
    add = space.Int if isinstance(min, int) and isinstance(max, int) else space.Float
    add(name, min, max, step=step, sampling="log" if log else "linear", default=min)
