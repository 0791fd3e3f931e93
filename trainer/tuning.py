"""Searches for better hyperparameters inside a TFX Tuner, with KerasTuner's algorithms.

The search is kept on disk, so that a killed one goes on with the trials that are left. With
`tuning.workers` above 1 the trials run in so many processes, to which this one deals them out
through KerasTuner's own oracle service.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import grpc
import keras
import keras_tuner
import tensorflow as tf
from keras_tuner.src import protos
from keras_tuner.src.distribute.oracle_chief import OracleServicer
from keras_tuner.src.engine import base_tuner, trial
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.components.tuner.component import TunerFnResult

from schema.errors import UserError
from trainer import training
from trainer.callbacks import CHOOSING_FIGURE, MeanOfLevels
from trainer.fitting import compiled_for_training, fit
from trainer.network import network
from trainer.options import override, tuned_options
from trainer.splits import Splits
from trainer.stages import stages_of

_progress = logging.getLogger("seamline.progress")

_HOST = "127.0.0.1"
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
    # Another space, other data or other code are another search.
    searched = {section: config[section] for section in (*options, "tuning")}
    directory = Path(config["resume_dir"]) / f"search-{training.fingerprint(fn_args, searched)}"
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
            UserError: not one trial came to its end, so that there is no result.
        """
        if _is_worker():
            super().search(*args, **kwargs)
            return
        if self._config["tuning"]["workers"] > 1:
            self._search_in_workers()
        else:
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
        model = network(options, self._splits.labels)
        number = int(trial.trial_id) + 1
        total = getattr(self.oracle, "max_trials", None)
        of_all = f" of at most {total}" if total else ""

        def report(message: str, epochs_done: float) -> None:
            _progress.info(
                f"trial {number}{of_all}, {message}",
                extra={"completed": number - 1 + epochs_done / epochs, "total": total},
            )

        means = []
        for stage in stages_of(options):
            fitted = compiled_for_training(model, options, self._splits, stage)
            with tempfile.TemporaryDirectory() as directory:
                batches = training.batches_of(
                    stage, model, options, self._splits, Path(directory), report
                )
            history = fit(
                *(fitted, options, batches, stage, [MeanOfLevels()]),
                report=report,
                first_epoch=stage.first_epoch,
            )
            means += history[CHOOSING_FIGURE]
        return {CHOOSING_FIGURE: max(means)}

    def _search_in_workers(self) -> None:
        """Deals the trials out to processes until none is left."""
        self.save()
        with _oracle_service(self.oracle) as port:
            # Not forked: TensorFlow's threads would not live in a fork.
            context = multiprocessing.get_context("spawn")
            workers: dict[str, BaseProcess] = {}
            count = self._config["tuning"]["workers"]
            for number in range(count):
                name = f"worker{number}"
                workers[name] = context.Process(
                    target=_work,
                    args=(_transferable(self._fn_args), name, port, number, count),
                    daemon=True,
                )
                workers[name].start()
            try:
                self._watch(workers)
            finally:
                for worker in workers.values():
                    worker.terminate()

    def _watch(self, workers: dict[str, BaseProcess]) -> None:
        """Waits for the workers, gives up the trial of one that dies, and tells the progress."""
        total = self.oracle.max_trials
        told = -1
        while workers:
            time.sleep(_LOOK_INTERVAL_S)
            for name, worker in list(workers.items()):
                if worker.is_alive():
                    continue
                del workers[name]
                if lost := self.oracle.ongoing_trials.get(name):
                    lost.status = trial.TrialStatus.FAILED
                    lost.message = f"its process ended with exit status {worker.exitcode}"
                    self.oracle.end_trial(lost)
            done = [each for each in self.oracle.trials.values() if each.score is not None]
            if len(done) > told:
                told = len(done)
                best = max((each.score for each in done), default=None)
                so_far = f", best mean {best:.3f}" if done else ""
                _progress.info(
                    f"{told} of at most {total} trials in {len(workers)} processes{so_far}",
                    extra={"completed": told, "total": total},
                )


def _work(fn_args: FnArgs, name: str, port: int, number: int, workers: int) -> None:
    """The life of a worker process: takes trials from the oracle until there are no more."""
    os.environ |= {
        "KERASTUNER_TUNER_ID": name,
        "KERASTUNER_ORACLE_IP": _HOST,
        "KERASTUNER_ORACLE_PORT": str(port),
    }
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        tf.config.set_visible_devices(gpus[number % len(gpus)], "GPU")
    else:
        threads = max(1, (os.cpu_count() or 1) // workers)
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    result = tuner_fn(fn_args)
    result.tuner.search(**result.fit_kwargs)


def _is_worker() -> bool:
    return "KERASTUNER_ORACLE_IP" in os.environ


def _transferable(fn_args: FnArgs) -> FnArgs:
    """What a worker needs of `fn_args`; TFX puts functions among them that cannot travel."""
    names = ("working_dir", "train_files", "eval_files", "transform_graph_path", "custom_config")
    return FnArgs(**{name: getattr(fn_args, name) for name in names})


@contextmanager
def _oracle_service(oracle: keras_tuner.Oracle) -> Iterator[int]:
    """Serves an oracle to workers on this machine; gives the port."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    grpc_code = protos.get_service_grpc()
    grpc_code.add_OracleServicer_to_server(OracleServicer(oracle), server)
    port = server.add_insecure_port(f"{_HOST}:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(grace=None)


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
        oracle = keras_tuner.oracles.HyperbandOracle(max_epochs=settings["epochs"], **common)
        # Nobody says how many trials there will be, and TFX's Tuner asks for as many results.
        oracle.max_trials = _planned_trials(oracle)
        return oracle
    if settings["search"] == "bayesian":
        return keras_tuner.oracles.BayesianOptimizationOracle(
            max_trials=settings["trials"], **common
        )
    return keras_tuner.oracles.RandomSearchOracle(max_trials=settings["trials"], **common)


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
