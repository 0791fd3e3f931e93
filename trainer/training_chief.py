"""Trains on several machines, of which this is the first, and goes on where one is lost."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import keras

from schema.errors import UserError
from trainer import training
from trainer.chief import Chief, Message, transferable
from trainer.network import network
from trainer.options import SECTIONS, Options
from trainer.resumable_state import ResumableState, load_arrays, save_arrays
from trainer.splits import Splits
from trainer.stages import stages_of
from trainer.training_process import (
    INITIAL_WEIGHTS_FILE,
    Task,
    TrainingProcess,
    require_jax,
)
from trainer.warm_start import warm_start

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs

_LOOK_INTERVAL_S = 0.2

_SILENT_S = 30.0
"""A worker asks every second, and is lost if nothing is heard of it so long."""

_PRESENT_S = 5.0
"""Whoever was heard of so shortly before is counted on when an attempt begins."""

_GATHERING_S = 3600.0

_FRUITLESS_ATTEMPTS = 3
"""A training is given up where so many attempts in a row finish no epoch."""

_progress = logging.getLogger("seamline.progress")


class TrainingChief(Chief):
    """Gives each worker its part of the attempt that is under way.

    Args:
        name: The training's name; who was in another one is refused.
        fn_args: What workers need to build the same training.
        task: The first machine's part.
        port: Of this machine, where JAX's processes find one another.
    """

    KIND = "training"

    def __init__(self, name: str, fn_args: Message, task: Task, port: int):
        super().__init__(name, fn_args, "training.listen")
        self._task = task
        self._attempt = ""
        self._ranks: dict[str, int] = {}
        self._port = port
        self._lost = ""
        self._over = False

    def gather(self) -> bool:
        """Begins an attempt if all machines are there; whether they are."""
        with self._books():
            for worker in self._silent(_PRESENT_S):
                del self._heard_of[worker]
            wanted = self._task.machines - 1
            if len(self._heard_of) < wanted:
                return False
            # Unlike those of a chief that was killed.
            self._attempt = secrets.token_hex(4)
            self._ranks = {worker: rank for rank, worker in enumerate(self._heard_of, 1)}
            # More than are wanted wait for another attempt.
            self._ranks = {worker: rank for worker, rank in self._ranks.items() if rank <= wanted}
            self._lost = ""
            return True

    def lost(self) -> str:
        """Why the attempt cannot succeed any more; empty where it may."""
        for worker in self._silent(_SILENT_S):
            if worker in self._ranks:
                self._lost = f"nothing was heard of {worker} for {_SILENT_S:g} s"
        return self._lost

    def end_attempt(self) -> None:
        """Lets the workers end their parts."""
        with self._books():
            self._ranks = {}

    def end(self) -> None:
        """Tells the workers that it is over, and waits until all know, or are lost."""
        self._over = True
        deadline = time.monotonic() + _SILENT_S
        while self._heard_of and time.monotonic() < deadline:
            time.sleep(_LOOK_INTERVAL_S)

    def _answers(self) -> dict[str, Callable[[str, Message], Message]]:
        return {"join": self._answer_join, "next": self._answer_next, "leave": self._answer_leave}

    def _answer_join(self, worker: str, request: Message) -> Message:
        # It has its files still to look at.
        del self._heard_of[worker]
        return {"job": self._job, "task": dataclasses.asdict(self._task)}

    def _answer_next(self, worker: str, request: Message) -> Message:
        if self._over:
            del self._heard_of[worker]
            return {"over": True}
        if worker not in self._ranks:
            return {}
        status = request.get("status")
        if status and request.get("attempt") == self._attempt:
            self._lost = f"the process of {worker} ended with exit status {status}"
        return {"attempt": self._attempt, "rank": self._ranks[worker], "port": self._port}

    def _answer_leave(self, worker: str, request: Message) -> Message:
        del self._heard_of[worker]
        if worker in self._ranks:
            self._lost = f"{worker} left"
        return {}


def train(
    fn_args: FnArgs, options: Options, splits: Splits, directory: Path, base_model: str | None
) -> tuple[keras.Model, ResumableState]:
    """As `training.train`, together with `training.machines` - 1 other machines.

    Args:
        fn_args: Of TFX.
        options: All sections.
        splits: The Examples.
        directory: Keeps the state of this one training, for all machines.
        base_model: The exported model to start from, if any.

    Raises:
        UserError: as `training.train`; or JAX is not installed, the machines do not come, or are
            lost again and again.
    """
    require_jax()
    settings = options["training"]

    def report(message: str, done: float) -> None:
        _progress.info(message, extra={"completed": done, "total": settings["epochs"]})

    model = _prepared(options, splits, directory, base_model, report)
    patience = settings["patience"]
    state = ResumableState(directory, model, patience)
    if not _is_finished(state, options):
        _attempts(fn_args, options, directory, report)
        state = ResumableState(directory, model, patience)
    state.load_best()
    return model, state


def _prepared(
    options: Options,
    splits: Splits,
    directory: Path,
    base_model: str | None,
    report: Callable[[str, float], None],
) -> keras.Model:
    """The model, of which the weights to begin with, and features of frozen stages, are written.

    All of it on this machine, once: others then need no weights from elsewhere.
    """
    keras.utils.set_random_seed(options["training"]["seed"])
    model = network(options, splits.labels)
    initial = directory / INITIAL_WEIGHTS_FILE
    if initial.exists():
        load_arrays(initial, model.weights)
    else:
        if base_model:
            report(warm_start(model, splits.labels, base_model), 0)
        directory.mkdir(parents=True, exist_ok=True)
        save_arrays(initial, model.get_weights())
    for stage in stages_of(options):
        if stage.on_features:
            training.batches_of(stage, model, options, splits, directory, report)
    return model


def _attempts(
    fn_args: FnArgs, options: Options, directory: Path, report: Callable[[str, float], None]
) -> None:
    """Trains until it is done."""
    settings = options["training"]
    listen = settings["listen"]
    sections = {name: options[name] for name in SECTIONS}
    given = transferable(fn_args)
    given["custom_config"] = {"code": fn_args.custom_config.get("code"), **sections}
    port = _coordinator_port(listen)
    task = Task(
        *(given, sections, str(directory), fn_args.model_run_dir),
        rank=0,
        machines=settings["machines"],
        # It listens on every address of this machine.
        coordinator=f"127.0.0.1:{port}",
    )
    chief = TrainingChief(directory.name, given, task, port)
    with chief.served(listen) as address:
        fruitless = 0
        try:
            while True:
                epochs = _finished_epochs(directory)
                _gather(chief, settings["machines"], address, report)
                lost = _attempt(chief, task, report)
                if not lost:
                    return
                fruitless = 0 if _finished_epochs(directory) > epochs else fruitless + 1
                if fruitless == _FRUITLESS_ATTEMPTS:
                    raise UserError(
                        f"The training on {settings['machines']} machines was begun {fruitless} "
                        f"times without finishing an epoch; at last {lost}. The log says more; run "
                        "again to go on from the last finished epoch."
                    )
                report(f"{lost}; going on from the last saved epoch", _finished_epochs(directory))
        finally:
            chief.end()


def _gather(
    chief: TrainingChief, machines: int, address: str, report: Callable[[str, float], None]
) -> None:
    began = time.monotonic()
    told = -1
    while not chief.gather():
        if chief.workers != told:
            told = chief.workers
            report(f"{told + 1} of {machines} machines are there; others join at {address}", 0)
        if time.monotonic() - began > _GATHERING_S:
            raise UserError(
                f"Within {_GATHERING_S / 60:g} minutes {chief.workers + 1} of {machines} machines "
                f"came to train. Start `seamline train-worker --chief HOST:PORT`, which must reach "
                f"{address} here, on the others, or lower training.machines."
            )
        time.sleep(_LOOK_INTERVAL_S)


def _attempt(chief: TrainingChief, task: Task, report: Callable[[str, float], None]) -> str:
    """Does this machine's part; gives why it came to nothing, empty where it did not."""
    process = TrainingProcess(task, report)
    try:
        while (status := process.status()) is None and not chief.lost():
            time.sleep(_LOOK_INTERVAL_S)
    finally:
        process.kill()
        chief.end_attempt()
    if status == 0:
        return ""
    return chief.lost() or f"the process of the first machine ended with exit status {status}"


def _is_finished(state: ResumableState, options: Options) -> bool:
    return state.stopped_early or state.finished_epochs == stages_of(options)[-1].end_epoch


def _finished_epochs(directory: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return len(json.loads((directory / "state.json").read_text())["epochs"])
    return 0


def _coordinator_port(listen: str) -> int:
    """The port after the one that workers ask at, or, where that is any, a free one."""
    port = int(listen.rpartition(":")[2])
    if port:
        return port + 1
    with socket.socket() as free:
        free.bind(("", 0))
        return free.getsockname()[1]
