"""Whose turn it is: limits on what waits and what is computed, and fairness between callers.

What takes long has a lane of its own, where it waits for its like, and nobody else for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import grpc

from serving.model_server.errors import RequestError

_Arguments = ParamSpec("_Arguments")
_Answer = TypeVar("_Answer")


class TakesLong(Exception):
    """Raised by a function that would keep others waiting, to be called again in the slow lane.

    Only where `may_be_put_off` says so: nobody else knows what to do about it.
    """


class _Lane(threading.local):
    """What the thread is for."""

    is_fast = False
    is_slow = False


_lane = _Lane()


def may_be_put_off() -> bool:
    """Whether what this thread computes may raise `TakesLong`."""
    return _lane.is_fast


def takes_long() -> bool:
    """Whether this thread computes what has raised `TakesLong`."""
    return _lane.is_slow


@contextlib.contextmanager
def slow_lane() -> Iterator[None]:
    """Within it `takes_long` is true of this thread."""
    before = _lane.is_slow
    _lane.is_slow = True
    try:
        yield
    finally:
        _lane.is_slow = before


@dataclass
class _Waiting:
    """A request that waits: what wakes it, and how many bytes it holds."""

    turn: asyncio.Future[None]
    size: int


class Admission:
    """Runs requests in threads, so many at a time, each caller in turn.

    A caller who sends a thousand requests at once waits for them himself: the requests of others
    are computed between his. When the queue is full, the newest request of the caller with the
    most waiting is turned away, be it the one that just came or an older one.

    Used from one asyncio loop; nothing here is for other threads.

    Args:
        in_flight: requests that are computed at a time, each in a thread.
        queued: requests that may wait for their turn.
        queued_bytes: how much memory waiting requests may hold together.
        slow: how many of those that take long are computed at a time, besides. As many of them may
            wait as of the others. 0 has no lane for them.
    """

    def __init__(self, in_flight: int, queued: int, queued_bytes: int, slow: int = 0):
        self._slow = _SlowLane(slow, queued, queued_bytes) if slow else None
        self._free = in_flight
        self._most_queued = queued
        self._most_bytes = queued_bytes
        # Callers with something waiting, in the order of their turns.
        self._callers: OrderedDict[str, deque[_Waiting]] = OrderedDict()
        self._bytes = 0
        self._running = 0
        self._waiting = 0
        self._threads = ThreadPoolExecutor(
            in_flight, thread_name_prefix="requests", initializer=self._join_lane
        )

    @property
    def in_flight(self) -> int:
        """Requests that are computed."""
        return self._running + (self._slow.in_flight if self._slow else 0)

    @property
    def queued(self) -> int:
        """Requests that wait for their turn."""
        return self._waiting + (self._slow.queued if self._slow else 0)

    async def run(
        self,
        caller: str,
        function: Callable[_Arguments, _Answer],
        *args: _Arguments.args,
        size: int = 0,
        **kwargs: _Arguments.kwargs,
    ) -> _Answer:
        """Calls a blocking function in a thread when it is the caller's turn.

        Args:
            caller: Who asks, e.g. an address or the name of a key.
            function: What to call.
            *args: Its arguments.
            size: Bytes that the request holds while it waits.
            **kwargs: The function's arguments by name.

        A function that raises `TakesLong` is called once more, in the slow lane.

        Returns:
            What the function returns.

        Raises:
            RequestError: too many requests wait (RESOURCE_EXHAUSTED).
            asyncio.CancelledError: nobody waits for the answer any more. A function that has begun
                goes on, and its place stays taken until it ends.
        """
        if self._free:
            self._free -= 1
        else:
            await self._wait(caller, size)
        self._running += 1

        def called() -> _Answer | type[TakesLong]:
            try:
                return function(*args, **kwargs)
            except TakesLong:
                # Not passed on, because its traceback holds all that the function had.
                return TakesLong

        try:
            call = asyncio.get_running_loop().run_in_executor(self._threads, called)
        except BaseException:
            self._ended(None)
            raise
        call.add_done_callback(self._ended)
        answer = await asyncio.shield(call)
        if answer is TakesLong:
            return await self._slow.run(caller, function, *args, size=size, **kwargs)
        return answer

    def close(self) -> None:
        """Waits for the calls that run; further ones are refused."""
        self._threads.shutdown()
        if self._slow:
            self._slow.close()

    def _join_lane(self) -> None:
        _lane.is_fast = self._slow is not None

    async def _wait(self, caller: str, size: int) -> None:
        loop = asyncio.get_running_loop()
        waiting = _Waiting(loop.create_future(), size)
        self._callers.setdefault(caller, deque()).append(waiting)
        self._waiting += 1
        self._bytes += size
        while self._waiting > self._most_queued or self._bytes > self._most_bytes:
            self._turn_away_one()
        try:
            await waiting.turn
        except asyncio.CancelledError:
            if waiting.turn.done() and not waiting.turn.cancelled():
                # The turn came at the same moment: it goes to the next one.
                self._pass_on()
            else:
                self._forget(caller, waiting)
            raise

    def _turn_away_one(self) -> None:
        """Refuses the newest request of the caller who has the most waiting."""
        full_of_bytes = self._bytes > self._most_bytes
        greediest = max(
            self._callers,
            key=lambda caller: (
                sum(waiting.size for waiting in self._callers[caller])
                if full_of_bytes
                else len(self._callers[caller])
            ),
        )
        waiting = self._callers[greediest][-1]
        self._forget(greediest, waiting)
        waiting.turn.set_exception(
            RequestError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{self._most_queued} requests or {self._most_bytes >> 20} MB of them wait already;"
                " ask again later",
            )
        )

    def _forget(self, caller: str, waiting: _Waiting) -> None:
        queue = self._callers[caller]
        queue.remove(waiting)
        if not queue:
            del self._callers[caller]
        self._waiting -= 1
        self._bytes -= waiting.size

    def _ended(self, call: asyncio.Future | None) -> None:
        self._running -= 1
        # Where nobody awaits the call any more, nobody else looks at how it ended.
        if call is not None and not call.cancelled():
            call.exception()
        self._pass_on()

    def _pass_on(self) -> None:
        """Gives a free place to the caller whose turn it is."""
        if not self._callers:
            self._free += 1
            return
        caller, queue = next(iter(self._callers.items()))
        waiting = queue[0]
        self._forget(caller, waiting)
        if queue:
            self._callers.move_to_end(caller)
        waiting.turn.set_result(None)


class _SlowLane(Admission):
    """Where what takes long waits for its like."""

    def _join_lane(self) -> None:
        _lane.is_slow = True
