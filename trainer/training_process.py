"""One machine's part of a training on several, in a process of its own, on Keras' JAX back end.

Keras 3 does not train on several machines with TensorFlow, and has one back end a process. JAX
computes over all devices of all machines as if they were one; each machine reads its part of every
batch. `python -m trainer.training_process` reads its task as JSON and writes a line of JSON for
whatever there is to tell.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from schema.errors import UserError

INITIAL_WEIGHTS_FILE = "initial.npz"
"""Weights that all machines begin with, in the training's directory."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A machine's part.

    Attributes:
        fn_args: Of TFX, as from `trainer.chief.transferable`.
        options: All sections.
        directory: Keeps the state of the training; the same storage for all machines.
        log_directory: For TensorBoard's logs.
        rank: The machine's number, from 0; the first one writes.
        machines: How many there are.
        coordinator: HOST:PORT where JAX's first process listens for the others.
    """

    fn_args: dict[str, Any]
    options: dict[str, dict[str, Any]]
    directory: str
    log_directory: str
    rank: int
    machines: int
    coordinator: str


def require_jax() -> None:
    """Raises UserError where JAX is not installed."""
    if not find_spec("jax"):
        raise UserError(
            "A training on several machines needs JAX on each of them. Install the one for this "
            'machine\'s devices, e.g. `pip install "jax[cuda13]"`, or `pip install jax` for '
            "processors."
        )


class TrainingProcess:
    """A process that does one machine's part.

    Args:
        task: What to do.
        report: Is told a sentence and how many epochs are done, from another thread.
    """

    def __init__(self, task: Task, report: Callable[[str, float], None]):
        self._error = ""
        self._report = report
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trainer.training_process"],
            env={
                **os.environ,
                "KERAS_BACKEND": "jax",
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        # Left open: its end tells the process that this one is gone.
        self._process.stdin.write(json.dumps(dataclasses.asdict(task)) + "\n")
        self._process.stdin.flush()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def status(self) -> int | None:
        """Its exit status; None as long as it is at work.

        Raises:
            UserError: it ended with one.
        """
        status = self._process.poll()
        if status is not None:
            self._listener.join()
            if self._error:
                raise UserError(self._error)
        return status

    def kill(self) -> None:
        """Ends it at once, if it has not ended."""
        self._process.kill()
        self._process.wait()
        self._listener.join()
        self._process.stdin.close()

    def _listen(self) -> None:
        for line in self._process.stdout:
            told = json.loads(line)
            if "error" in told:
                self._error = told["error"]
            else:
                self._report(told["message"], told["done"])


def _work(task: Task, report: Callable[[str, float], None]) -> None:
    """Fits the model in all stages that are left."""
    import tensorflow as tf

    # TensorFlow reads the pictures, and would take the GPUs' memory.
    tf.config.set_visible_devices([], "GPU")
    import jax
    import keras

    from trainer import training
    from trainer.callbacks import EpochLogs
    from trainer.chief import transferred
    from trainer.input_pipeline import Share
    from trainer.network import network
    from trainer.resumable_state import ResumableState, load_arrays
    from trainer.splits import Splits

    if task.machines > 1:
        # What processors add up with; GPUs have NCCL.
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        keras.distribution.initialize(task.coordinator, task.machines, task.rank)
    devices = jax.device_count()
    if devices > 1:
        # Each machine reads its own part already.
        keras.distribution.set_distribution(
            keras.distribution.DataParallel(auto_shard_dataset=False)
        )
    splits = Splits.read(transferred(task.fn_args), Share(task.rank, task.machines, devices))
    _check_batch_size(task, splits.train.products, devices)
    keras.utils.set_random_seed(task.options["training"]["seed"])
    model = network(task.options, splits.labels)
    load_arrays(Path(task.directory) / INITIAL_WEIGHTS_FILE, model.weights)
    writes = task.rank == 0
    state = ResumableState(
        Path(task.directory), model, task.options["training"]["patience"], writes=writes
    )
    training.fit_stages(
        *(model, task.options, splits, Path(task.directory), state, report),
        callbacks=[EpochLogs(task.log_directory)] if writes else [],
    )
    if task.machines > 1:
        # Whoever leaves early takes the others down.
        jax.distributed.shutdown()


def _check_batch_size(task: Task, products: int, devices: int) -> None:
    batch_size = task.options["training"]["batch_size"]
    if min(batch_size, products) % devices:
        few = f", of which the train part fills {products}" if products < batch_size else ""
        raise UserError(
            f"training.batch_size is {batch_size}{few}, which cannot be divided evenly over the "
            f"{devices} devices of {task.machines} machines. Make it a multiple of {devices}."
        )


def main() -> None:
    """Does the task that is read."""
    told = os.fdopen(os.dup(1), "w", buffering=1)
    # Whatever libraries print goes where their errors go.
    os.dup2(2, 1)
    task = Task(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_leave_with_parent, daemon=True).start()

    def report(message: str, done: float) -> None:
        told.write(json.dumps({"message": message, "done": done}) + "\n")

    try:
        _work(task, report)
    except UserError as error:
        told.write(json.dumps({"error": str(error)}) + "\n")
        _leave(1)
    except Exception:  # noqa: BLE001 - said and left
        traceback.print_exc()
        _leave(1)
    _leave(0)


def _leave_with_parent() -> None:
    """Ends the process where the one that began it was killed, which may be begun again."""
    # Not by `sys.stdin`, whose lock Python would want at its end.
    while os.read(0, 1):
        pass
    _leave(1)


def _leave(status: int) -> NoReturn:
    """Ends the process at once; JAX would wait for the others."""
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
