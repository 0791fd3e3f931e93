"""Deals the trials of a search out to workers, on this machine and on others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import keras_tuner
from keras_tuner.src.engine import trial as trial_module

from trainer.callbacks import CHOOSING_FIGURE
from trainer.chief import Chief, Message

BEATS_A_TIMEOUT = 6
"""A worker is heard of so many times in the time after which it is given up."""

_TRIES = 3
"""A trial in which so many workers were lost is given up: it may be what they are lost of."""

_progress = logging.getLogger("seamline.progress")


class SearchChief(Chief):
    """The one who knows the trials, and which worker has which.

    Args:
        oracle: Chooses the values of each trial, and keeps the books on disk.
        search: The search's name; who was in another one is refused.
        fn_args: What workers need to build the same trainings.
        timeout_s: A worker of which nothing is heard so many seconds is given up, and its trial
            becomes another one's.
    """

    KIND = "search"

    def __init__(self, oracle: keras_tuner.Oracle, search: str, fn_args: Message, timeout_s: float):
        super().__init__(search, fn_args, "tuning.listen")
        self._oracle = oracle
        self._timeout_s = timeout_s
        self._over = False
        # A kill between two of the files leaves a trial that the queue does not have, or still has.
        oracle._retry_queue = [
            each.trial_id
            for each in oracle.trials.values()
            if each.status == trial_module.TrialStatus.RUNNING
        ]

    def is_over(self) -> bool:
        """Whether no trial is left, and every worker was told so.

        Raises:
            Exception: what kept a trial's result from being written, such as a full disk.
        """
        with self._books():
            # Nobody may be there to ask for a trial, and find that there is none.
            left_alone = not (self._over or self._heard_of or self._unfinished())
            if left_alone and self._drawn("chief"):
                self._put_back("chief")
        return self._over and not self._heard_of

    def give_up_lost_workers(self) -> None:
        """Puts the trials of workers back that nothing was heard of."""
        for worker in self._silent(self._timeout_s):
            self.lose(worker, f"nothing was heard of it for {self._timeout_s:g} s")

    def lose(self, worker: str, reason: str) -> bool:
        """Puts a lost worker's trial back; gives whether it had one."""
        with self._books():
            self._heard_of.pop(worker, None)
            lost = self._oracle.ongoing_trials.get(worker)
            if not lost:
                return False
            self._oracle._run_times[lost.trial_id] += 1
            number = int(lost.trial_id) + 1
            if self._oracle._run_times[lost.trial_id] < _TRIES:
                self._put_back(worker)
                _progress.info(f"worker {worker} is lost, {reason}: trial {number} goes to another")
            else:
                self._end(lost, failure=f"{_TRIES} workers were lost in it; of the last, {reason}")
                _progress.info(f"trial {number} is given up, {lost.message}")
            return True

    def _answers(self) -> dict[str, Callable[[str, Message], Message]]:
        return {
            "join": self._answer_join,
            "next": self._answer_next,
            "beat": self._answer_beat,
            "end": self._answer_end,
            "leave": self._answer_leave,
        }

    def _answer_join(self, worker: str, request: Message) -> Message:
        return {
            "job": self._job,
            "fn_args": self._fn_args,
            "beat_s": self._timeout_s / BEATS_A_TIMEOUT,
        }

    def _answer_next(self, worker: str, request: Message) -> Message:
        trial = self._drawn(worker)
        if trial:
            return {
                "trial": trial.trial_id,
                "values": trial.hyperparameters.values,
                "total": self._oracle.max_trials,
            }
        if self._over:
            del self._heard_of[worker]
        return {"over": self._over}

    def _answer_beat(self, worker: str, request: Message) -> Message:
        return {"has": self._has(worker, request.get("trial"))}

    def _answer_end(self, worker: str, request: Message) -> Message:
        # An answer may be lost, and a worker be given up too early.
        if self._has(worker, request.get("trial")):
            trial = self._oracle.trials[request["trial"]]
            self._end(trial, score=request.get("score"), failure=request.get("failure"))
        return {}

    def _answer_leave(self, worker: str, request: Message) -> Message:
        del self._heard_of[worker]
        if worker in self._oracle.ongoing_trials:
            self._put_back(worker)
        return {}

    def _drawn(self, worker: str) -> trial_module.Trial | None:
        """A trial for a worker; None where there is none, at present or, if `_over`, at all."""
        trial = self._oracle.create_trial(worker)
        if trial.status == trial_module.TrialStatus.RUNNING:
            return trial
        # One that is running may come back.
        stopped = trial.status == trial_module.TrialStatus.STOPPED
        self._over = stopped and not self._unfinished()
        return None

    def _unfinished(self) -> bool:
        """Whether a trial is being run or waits to be run again."""
        return bool(self._oracle.ongoing_trials or self._oracle._retry_queue)

    def _has(self, worker: str, trial_id: Any) -> bool:
        """Whether a trial is a worker's; one that a restart put back is, if it says so."""
        trial = self._oracle.ongoing_trials.get(worker)
        if trial:
            return trial.trial_id == trial_id
        if trial_id not in self._oracle._retry_queue:
            return False
        self._oracle._retry_queue.remove(trial_id)
        self._oracle.ongoing_trials[worker] = self._oracle.trials[trial_id]
        self._oracle.save()
        return True

    def _put_back(self, worker: str) -> None:
        self._oracle._retry_queue.append(self._oracle.ongoing_trials.pop(worker).trial_id)
        self._oracle.save()

    def _end(
        self, trial: trial_module.Trial, score: float | None = None, failure: str | None = None
    ) -> None:
        if isinstance(score, (int, float)):
            self._oracle.update_trial(trial.trial_id, {CHOOSING_FIGURE: score})
            trial.status = trial_module.TrialStatus.COMPLETED
        else:
            trial.status = trial_module.TrialStatus.FAILED
            trial.message = str(failure)
        self._oracle.end_trial(trial)
        # KerasTuner writes down what is running before it strikes this one out.
        self._oracle.save()
