"""Takes part in a training on several machines."""

from __future__ import annotations

import dataclasses
import logging
import time
from contextlib import suppress

import grpc

from trainer import training
from trainer.chief import Message, transferred
from trainer.chief_client import (
    ASK_AGAIN_S,
    PATIENCE_S,
    ChiefClient,
    check_files,
    other_files,
)
from trainer.training_chief import TrainingChief
from trainer.training_process import Task, TrainingProcess, require_jax

_progress = logging.getLogger("seamline.progress")


def work(
    chief: str, code: str | None, name: str | None = None, patience_s: float = PATIENCE_S
) -> None:
    """Does this machine's part of a training until that is over.

    Args:
        chief: HOST:PORT of the training.
        code: The fingerprint of this machine's package `trainer`, which must be the chief's.
        name: Unlike every other worker's; made up by default.
        patience_s: So long it waits for a chief that does not answer.

    Raises:
        UserError: the chief does not answer, or refuses; the Examples here are not its own; or JAX
            is not installed.
    """
    require_jax()
    client = ChiefClient(TrainingChief.KIND, "training.listen", chief, code, name, patience_s)
    joined = client.call("join")
    task = Task(**joined["task"])
    fn_args = transferred(task.fn_args)
    check_files(fn_args)
    if training.state_name(fn_args, task.options) != joined["job"]:
        raise other_files(fn_args)
    client.job = joined["job"]
    part = _Part(task, chief.rpartition(":")[0])
    try:
        while not (answer := client.call("next", **part.so_far())).get("over"):
            part.follow(answer)
            time.sleep(ASK_AGAIN_S)
    except BaseException:
        with suppress(grpc.RpcError):
            client.call_once("leave")
        raise
    finally:
        part.end()


class _Part:
    """This machine's part in the attempt that is under way.

    Args:
        task: The first machine's part.
        host: The first machine.
    """

    def __init__(self, task: Task, host: str):
        self._task = task
        self._host = host
        self._attempt: str | None = None
        self._process: TrainingProcess | None = None

    def so_far(self) -> Message:
        """Which attempt it is, and how its process ended, if it did.

        Raises:
            UserError: with one, which the first machine's process has as well.
        """
        if not self._process:
            return {}
        return {"attempt": self._attempt, "status": self._process.status()}

    def follow(self, answer: Message) -> None:
        """Begins or ends what the chief says."""
        attempt = answer.get("attempt")
        if attempt == self._attempt:
            return
        self.end()
        self._attempt = attempt
        if attempt is None:
            return
        rank, machines = answer["rank"], self._task.machines
        _progress.info(f"this is machine {rank + 1} of {machines}")
        self._process = TrainingProcess(
            dataclasses.replace(
                self._task, rank=rank, coordinator=f"{self._host}:{answer['port']}"
            ),
            lambda message, done: _progress.info(message),
        )

    def end(self) -> None:
        """Ends the process, if there is one."""
        if self._process:
            self._process.kill()
            self._process = None
