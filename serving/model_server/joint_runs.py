"""Requests whose computations are run together: what one thread does for many callers.

A request is a generator. It yields each `Computation` that it needs, is sent what came of it, and
returns its answer. So one thread can bring many requests as far as the model, has the model run
once for all of them, and writes their answers, where a thread a request would be woken and put to
sleep several times for each.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from serving.model_server.errors import RequestError

_Answer = TypeVar("_Answer")


class Runs(Protocol):
    """What runs computations; `saved_model.SavedModel` does."""

    def run(
        self,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        timeout_s: float | None = None,
        signature_name: str = ...,
    ) -> list[np.ndarray]:
        """Computes outputs of a signature."""

    def run_together(
        self,
        requests: Sequence[Mapping[str, np.ndarray]],
        outputs: Sequence[str],
        timeout_s: float | None = None,
        signature_name: str = ...,
    ) -> list[list[np.ndarray] | RequestError]:
        """Computes the same outputs for several requests; gives each its own, or why not."""


@dataclass(frozen=True)
class Batching:
    """How requests of several callers are computed together, in TensorFlow Serving's own terms.

    Attributes:
        max_batch_size: Examples that are computed together at most.
        batch_timeout_micros: How long a batch that is not full waits for more, in microseconds,
            even if there is a free thread. One that finds none grows in any case.
        num_batch_threads: Batches that are computed at the same time.
        max_enqueued_batches: Of so many full ones the requests may wait; further ones are
            UNAVAILABLE.
        allowed_batch_sizes: A batch is filled up to the next of these, ascending, the last of them
            `max_batch_size`, so that few shapes are ever computed; any size if there are none.
        max_request_size: A request of more examples than `max_batch_size` is divided, up to so
            many; None refuses it. TensorFlow Serving calls this `max_batch_size`, too, where
            `enable_large_batch_splitting` is set.
    """

    max_batch_size: int = 64
    batch_timeout_micros: int = 0
    num_batch_threads: int = 2
    max_enqueued_batches: int = 100
    allowed_batch_sizes: tuple[int, ...] = ()
    max_request_size: int | None = 1 << 20


class Kind(NamedTuple):
    """What requests are asked of whom, as far as it is known before they are read.

    Attributes:
        method: in lower case, e.g. `predict`.
        model_spec: a serialized `tensorflow.serving.ModelSpec`.
    """

    method: str
    model_spec: bytes


@dataclass(frozen=True, slots=True)
class Computation:
    """What a request waits for.

    Attributes:
        model: what computes it.
        inputs: a value for each input of the signature by its alias.
        outputs: the outputs wanted.
        timeout_s: seconds after which it is given up; None: never.
        signature_name: what is asked of the model.
    """

    model: Runs
    inputs: Mapping[str, np.ndarray]
    outputs: tuple[str, ...]
    timeout_s: float | None
    signature_name: str


Asking = Generator[Computation, list[np.ndarray], _Answer]
"""A request: yields what it wants computed, is sent the outputs, and returns its answer."""


def finish(asking: Asking[_Answer]) -> _Answer:
    """Computes one request by itself."""
    resume: Callable[[Any], Computation] = asking.send
    value: Any = None
    try:
        while True:
            wanted = resume(value)
            try:
                resume, value = asking.send, _run(wanted)
            except Exception as error:
                resume, value = asking.throw, error
    except StopIteration as end:
        return end.value


def finish_together(
    askings: Sequence[Asking[_Answer]],
    on_computed: Callable[[], object],
    on_end: Callable[[list[tuple[int, _Answer | None, BaseException | None]]], object],
) -> None:
    """Computes requests together as far as that can be.

    Args:
        askings: the requests; each runs in a `contextvars.Context` of its own.
        on_computed: is called once when the models have done all they were asked first; what
            follows is the writing of answers.
        on_end: is told of requests that have ended, several at a time: their numbers, and each
            one's answer or what it has raised.
    """
    contexts = [contextvars.copy_context() for _ in askings]
    resumed: list[tuple[int, Callable[[Any], Computation], Any]] = [
        (number, asking.send, None) for number, asking in enumerate(askings)
    ]
    waiting: dict[int, Computation] = {}
    is_computed = False
    while resumed:
        ended: list[tuple[int, _Answer | None, BaseException | None]] = []
        for number, resume, value in resumed:
            try:
                waiting[number] = contexts[number].run(resume, value)
            except StopIteration as end:
                ended.append((number, end.value, None))
            except BaseException as error:
                # Without this function's own frame, which holds the error: that would be a cycle.
                error = error.with_traceback(error.__traceback__.tb_next)  # type: ignore[union-attr]
                ended.append((number, None, error))
        if ended:
            on_end(ended)
        resumed = []
        if waiting:
            group = _alike(waiting)
            outcomes = _outcomes([waiting.pop(number) for number in group])
            for number, outcome in zip(group, outcomes, strict=True):
                asking = askings[number]
                resume = asking.throw if isinstance(outcome, BaseException) else asking.send
                resumed.append((number, resume, outcome))
        if not waiting and not is_computed:
            is_computed = True
            on_computed()


def _alike(waiting: Mapping[int, Computation]) -> list[int]:
    """The numbers of the first that waits, and of those that ask the same of the same model."""
    first = next(iter(waiting.values()))

    def what(computation: Computation) -> tuple[object, ...]:
        return computation.model, computation.signature_name, computation.outputs

    same = what(first)
    return [number for number, computation in waiting.items() if what(computation) == same]


def _outcomes(
    computations: Sequence[Computation],
) -> Sequence[list[np.ndarray] | BaseException]:
    if len(computations) == 1:
        try:
            return [_run(computations[0])]
        except Exception as error:
            return [error]
    first = computations[0]
    timeouts = [one.timeout_s for one in computations if one.timeout_s is not None]
    try:
        return first.model.run_together(
            [computation.inputs for computation in computations],
            first.outputs,
            # Who has less time than others is told by his port that it is over.
            timeout_s=max(timeouts) if len(timeouts) == len(computations) else None,
            signature_name=first.signature_name,
        )
    except Exception as error:
        return [error] * len(computations)


def _run(wanted: Computation) -> list[np.ndarray]:
    return wanted.model.run(
        wanted.inputs,
        wanted.outputs,
        timeout_s=wanted.timeout_s,
        signature_name=wanted.signature_name,
    )
