"""Runs trials that a search's chief deals out, here or on another machine."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import grpc

from trainer import tuning_trial
from trainer.chief import Message, transferred
from trainer.chief_client import (
    ASK_AGAIN_S,
    PATIENCE_S,
    ChiefClient,
    check_files,
    other_files,
)
from trainer.splits import Splits
from trainer.tuning_chief import SearchChief

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs

_progress = logging.getLogger("seamline.progress")


def work(
    chief: str, code: str | None, name: str | None = None, patience_s: float = PATIENCE_S
) -> int:
    """Takes trials from a chief until there are no more; gives how many it ran.

    Args:
        chief: HOST:PORT of the search.
        code: The fingerprint of this machine's package `trainer`, which must be the chief's.
        name: Unlike every other worker's; made up by default.
        patience_s: So long it waits for a chief that does not answer.

    Raises:
        UserError: the chief does not answer, or refuses; or the Examples here are not its own.
    """
    client = SearchClient(chief, code, name, patience_s)
    joined = client.call("join")
    fn_args = transferred(joined["fn_args"])
    check_files(fn_args)
    if tuning_trial.search_name(fn_args) != joined["job"]:
        raise other_files(fn_args)
    client.job = joined["job"]
    splits = Splits.read(fn_args)
    done = 0
    with client.beating(joined["beat_s"]):
        while not (answer := client.call("next")).get("over"):
            if "trial" not in answer:
                time.sleep(ASK_AGAIN_S)
                continue
            trial = tuning_trial.Trial(answer["trial"], answer["values"], answer["total"])
            client.begin(trial.id)
            _progress.info(f"{trial} begins")
            try:
                result: Message = {"score": _score(trial, fn_args, splits, client)}
            except _NotOurs:
                _progress.info(f"{trial} is another worker's now")
                continue
            except Exception:  # noqa: BLE001 - values that cannot be trained with are a finding
                result = {"failure": traceback.format_exc()}
            finally:
                client.begin(None)
            client.call("end", trial=trial.id, **result)
            done += 1
            _progress.info(f"{trial}: {_in_words(result)}")
    return done


class _NotOurs(Exception):
    """The chief gave this worker's trial to another, or deals out another search."""


def _score(
    trial: tuning_trial.Trial, fn_args: FnArgs, splits: Splits, client: SearchClient
) -> float:
    def report(message: str, part: float) -> None:
        if not client.has_trial:
            raise _NotOurs
        _progress.info(message)

    return tuning_trial.score(trial, fn_args.custom_config, splits, report)


def _in_words(result: Message) -> str:
    if "score" in result:
        return f"mean {result['score']:.3f}"
    return f"failed, {result['failure'].strip().splitlines()[-1]}"


class SearchClient(ChiefClient):
    """A worker's side of a search.

    Attributes:
        has_trial: Whether the chief still has the trial that is run down as this worker's.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(SearchChief.KIND, "tuning.listen", *args, **kwargs)
        self._trial: str | None = None
        self.has_trial = True

    def begin(self, trial: str | None) -> None:
        """Notes which trial is run from now on, if any."""
        self._trial, self.has_trial = trial, True

    @contextmanager
    def beating(self, interval_s: float) -> Iterator[None]:
        """Lets the chief hear of this worker; at an error's end, that it leaves."""
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(interval_s):
                trial = self._trial
                try:
                    answer = self.call_once("beat", trial=trial)
                except grpc.RpcError as error:
                    # Whoever is away may come back, and the trial goes on.
                    self.has_trial = error.code() != grpc.StatusCode.FAILED_PRECONDITION
                else:
                    self.has_trial = answer["has"] or trial is None or trial != self._trial

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            with suppress(grpc.RpcError):
                self.call_once("leave")
            raise
        finally:
            stop.set()
