"""A worker's side of a job on several machines."""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import time
from typing import TYPE_CHECKING, Any

import grpc
import tensorflow as tf

from schema.errors import UserError
from schema.version import VERSION
from trainer.chief import Message, service_of

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs

PATIENCE_S = 600.0
"""So long a worker waits for a chief that does not answer."""

ASK_AGAIN_S = 1.0

_CALL_TIMEOUT_S = 30

_AWAY = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
)

_progress = logging.getLogger("seamline.progress")


class ChiefClient:
    """Asks a chief, which may be away for a while.

    Args:
        kind: What sort of job it has, see `trainer.chief.Chief`.
        option: The option that says where it listens.
        chief: HOST:PORT of it.
        code: The fingerprint of this machine's package `trainer`, which must be the chief's.
        name: Unlike every other worker's; made up by default.
        patience_s: So long it waits for a chief that does not answer.

    Attributes:
        job: The name of the job that was joined.
    """

    def __init__(
        self,
        kind: str,
        option: str,
        chief: str,
        code: str | None,
        name: str | None = None,
        patience_s: float = PATIENCE_S,
    ):
        self._kind = kind
        self._option = option
        self._chief = chief
        self._about = {"worker": name or _made_up_name(), "version": VERSION, "code": code}
        self._patience_s = patience_s
        self._channel = grpc.insecure_channel(
            chief,
            # A chief that is started again is found at once.
            options=[("grpc.max_reconnect_backoff_ms", 2000), ("grpc.enable_http_proxy", 0)],
        )
        self.job: str | None = None

    def call(self, method: str, **what: Any) -> Message:
        """The chief's answer, for which it waits.

        Raises:
            UserError: there is none for too long, or it is a refusal.
        """
        began = time.monotonic()
        told = False
        while True:
            try:
                return self.call_once(method, **what)
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.FAILED_PRECONDITION:
                    raise UserError(error.details()) from None
                if error.code() not in _AWAY:
                    raise UserError(
                        f"What answers at {self._chief} is no {self._kind} of Seamline's. Give "
                        f"--chief the address that {self._option} names."
                    ) from None
            if time.monotonic() - began > self._patience_s:
                raise UserError(
                    f"No {self._kind} has answered at {self._chief} for {self._patience_s:g} s. "
                    f"See that a run with {self._option} has come so far and can be reached from "
                    "here, and start the worker again."
                )
            if not told:
                told = True
                _progress.info(
                    f"waiting for a {self._kind} at {self._chief}, {self._patience_s:g} s at most"
                )
            time.sleep(ASK_AGAIN_S)

    def call_once(self, method: str, **what: Any) -> Message:
        """The chief's answer.

        Raises:
            grpc.RpcError: there is none.
        """
        ask = self._channel.unary_unary(
            f"/{service_of(self._kind)}/{method}", lambda of: json.dumps(of).encode(), json.loads
        )
        joined = {"job": self.job} if self.job else {}
        return ask({**self._about, **joined, **what}, timeout=_CALL_TIMEOUT_S)


def check_files(fn_args: FnArgs) -> None:
    """Raises UserError where this machine has no files at the places of the chief's."""
    places = [*fn_args.train_files, *fn_args.eval_files, fn_args.transform_graph_path]
    for place in places:
        if not tf.io.gfile.glob(place):
            raise UserError(
                f"{place} cannot be read on this machine. Mount the storage of the run's workspace "
                "here, under the same path."
            )


def other_files(fn_args: FnArgs) -> UserError:
    """What is said where the files at these places are not the chief's."""
    return UserError(
        f"What is at {fn_args.train_files[0]} on this machine is not what the run reads there. "
        "Mount the storage of the run's workspace here, under the same path."
    )


def _made_up_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
