"""Whose turn it is: limits on what waits and what is computed, and fairness between callers.

What takes long has a lane of its own, where it waits for its like, and nobody else for it.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc

from serving.model_server.errors import RequestError
from serving.model_server.joint_runs import Asking, Batching, Kind, finish_together

_Answer = TypeVar("_Answer")


class TakesLong(Exception):
    """Raised by a request that would keep others waiting, to be made again in the slow lane.

    Only where `may_be_put_off` says so: nobody else knows what to do about it.
    """


class _Lane(threading.local):
    """What the thread is for."""

    is_fast = False


_lane = _Lane()


def may_be_put_off() -> bool:
    """Whether what this thread computes may raise `TakesLong`."""
    return _lane.is_fast


@dataclass(eq=False)
class _Waiting:
    """A request on its way.

    Attributes:
        caller: who asks.
        work: makes it.
        kind: what it may be computed together with: its like; None with nothing.
        size: how many bytes it holds while it waits.
        end: how it ends.
        came: by `time.monotonic`.
    """

    caller: str
    work: Callable[[], Asking[Any]]
    kind: Kind | None
    size: int
    end: asyncio.Future[Any]
    came: float = field(default_factory=time.monotonic)


@dataclass
class _Alike:
    """Requests that may be computed together.

    Attributes:
        batching: how.
        waiting: how many wait.
        running: how many are computed.
        groups: in so many groups.
    """

    batching: Batching
    waiting: int = 0
    running: int = 0
    groups: int = 0


class Admission:
    """Runs requests in threads, so many at a time, each caller in turn.

    A caller who sends a thousand requests at once waits for them himself: the requests of others
    are computed between his. When the queue is full, the newest request of the caller with the
    most waiting is turned away, be it the one that just came or an older one.

    Requests of a kind that is batched are computed in groups (see `joint_runs`), each of what waits
    when a thread is free. While groups of the kind are computed, a further one begins only when it
    is as large as those are: a run takes much the same time for one as for a few, so that ever
    smaller groups would take the processors from the others.

    Used from one asyncio loop; nothing here is for other threads.

    Args:
        in_flight: requests that are computed at a time, besides those that take long.
        queued: requests that may wait for their turn.
        queued_bytes: how much memory waiting requests may hold together.
        threads: groups that are computed at a time; as many as requests if None.
        batching: how requests of a kind are computed together; None: each by itself.
        slow: how many of those that take long are computed at a time, besides. As many of them may
            wait as of the others. 0 has no lane for them.
    """

    def __init__(
        self,
        in_flight: int,
        queued: int,
        queued_bytes: int,
        *,
        threads: int | None = None,
        batching: Callable[[Kind], Batching | None] = lambda kind: None,
        slow: int = 0,
    ):
        self._slow = Admission(slow, queued, queued_bytes) if slow else None
        self._most_queued = queued
        self._most_bytes = queued_bytes
        self._batching = batching
        # Callers with something waiting, in the order of their turns.
        self._callers: OrderedDict[str, deque[_Waiting]] = OrderedDict()
        # Those of which something waits or is computed.
        self._kinds: dict[Kind, _Alike] = {}
        self._bytes = 0
        self._running = 0
        self._waiting = 0
        self._free = min(threads or in_flight, in_flight)
        self._most_together = in_flight // self._free
        self._timer: asyncio.TimerHandle | None = None
        # A thread that still writes answers is not in the way of the next group.
        self._threads = ThreadPoolExecutor(
            2 * self._free, thread_name_prefix="requests", initializer=self._join_lane
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
        work: Callable[[], Asking[_Answer]],
        size: int = 0,
        kind: Kind | None = None,
    ) -> _Answer:
        """Computes a request in a thread when it is the caller's turn.

        Args:
            caller: Who asks, e.g. an address or the name of a key.
            work: Makes the request, in the thread. One that raises `TakesLong` is made once more,
                in the slow lane.
            size: Bytes that the request holds while it waits.
            kind: Requests of the same kind may be computed together; None by itself.

        Returns:
            The request's answer.

        Raises:
            RequestError: too many requests wait (RESOURCE_EXHAUSTED, or UNAVAILABLE where that is
                by the parameters of batching).
            asyncio.CancelledError: nobody waits for the answer any more. What has begun goes on,
                and its place stays taken until it ends.
        """
        waiting = _Waiting(caller, work, kind, size, asyncio.get_running_loop().create_future())
        self._wait(waiting)
        self._begin_what_can()
        while self._waiting > self._most_queued or self._bytes > self._most_bytes:
            self._turn_away_one()
        try:
            answer = await waiting.end
        except asyncio.CancelledError:
            self._forget(waiting)
            raise
        if answer is TakesLong:
            assert self._slow is not None
            return await self._slow.run(caller, work, size)
        return answer

    def close(self) -> None:
        """Waits for the calls that run; further ones are refused."""
        self._threads.shutdown()
        if self._slow:
            self._slow.close()

    def _join_lane(self) -> None:
        _lane.is_fast = self._slow is not None

    def _wait(self, waiting: _Waiting) -> None:
        if waiting.kind is not None and waiting.kind not in self._kinds:
            batching = self._batching(waiting.kind) if self._most_together > 1 else None
            if batching is None:
                waiting.kind = None
            else:
                self._kinds[waiting.kind] = _Alike(batching)
        if waiting.kind is not None:
            kind = self._kinds[waiting.kind]
            most = kind.batching.max_enqueued_batches * kind.batching.max_batch_size
            if kind.waiting >= most:
                raise RequestError(
                    grpc.StatusCode.UNAVAILABLE,
                    "The batch scheduling queue to which this task was submitted is full; "
                    f"{kind.waiting} requests wait in it",
                )
        self._callers.setdefault(waiting.caller, deque()).append(waiting)
        self._count(waiting, 1)

    def _count(self, waiting: _Waiting, one: int) -> None:
        """Counts a request that waits, or does no more."""
        self._waiting += one
        self._bytes += one * waiting.size
        if waiting.kind is not None:
            self._kinds[waiting.kind].waiting += one

    def _forget(self, waiting: _Waiting) -> None:
        """Takes a request out of the queue, if it is there."""
        queue = self._callers.get(waiting.caller)
        if queue is None or waiting not in queue:
            return
        queue.remove(waiting)
        if not queue:
            del self._callers[waiting.caller]
        self._count(waiting, -1)
        self._forget_kind(waiting.kind)

    def _forget_kind(self, kind: Kind | None) -> None:
        if kind is not None and not (self._kinds[kind].waiting or self._kinds[kind].running):
            del self._kinds[kind]

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
        self._forget(waiting)
        waiting.end.set_exception(
            RequestError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{self._most_queued} requests or {self._most_bytes >> 20} MB of them wait already;"
                " ask again later",
            )
        )

    def _begin_what_can(self) -> None:
        """Gives free threads to the callers whose turn it is, and to others of their kinds."""
        while self._free and self._waiting:
            held_back: set[Kind] = set()
            first = next(
                (
                    waiting
                    for waiting in self._in_turn()
                    if waiting.kind not in held_back and self._may_begin(waiting, held_back)
                ),
                None,
            )
            if first is None:
                return
            self._begin(self._group(first))

    def _in_turn(self) -> Iterator[_Waiting]:
        """All that wait, the caller first whose turn it is."""
        return itertools.chain.from_iterable(self._callers.values())

    def _may_begin(self, waiting: _Waiting, held_back: set[Kind]) -> bool:
        if waiting.kind is None:
            return True
        kind = self._kinds[waiting.kind]
        if kind.waiting >= self._most_of(kind):
            return True
        if kind.groups and kind.waiting * kind.groups < kind.running:
            held_back.add(waiting.kind)
            return False
        left_s = waiting.came + kind.batching.batch_timeout_micros / 1e6 - time.monotonic()
        if left_s > 0:
            self._look_again(left_s)
            return False
        return True

    def _most_of(self, kind: _Alike) -> int:
        """Requests in a group."""
        return min(self._most_together, kind.batching.max_batch_size)

    def _look_again(self, after_s: float) -> None:
        """Looks whether something can begin, in so many seconds or before."""
        loop = asyncio.get_running_loop()
        if self._timer and self._timer.when() <= loop.time() + after_s:
            return
        if self._timer:
            self._timer.cancel()

        def look() -> None:
            self._timer = None
            self._begin_what_can()

        self._timer = loop.call_later(after_s, look)

    def _group(self, first: _Waiting) -> list[_Waiting]:
        """Takes a request out of the queue, and those that may be computed together with it."""
        group = [first]
        if first.kind is None:
            self._forget_in_turn(first)
            return group
        kind = self._kinds[first.kind]
        kind.groups += 1
        # Counted first: a kind of which nothing waits and runs is forgotten.
        kind.running += 1
        self._forget_in_turn(first)
        while kind.waiting and len(group) < self._most_of(kind):
            waiting = next(other for other in self._in_turn() if other.kind == first.kind)
            group.append(waiting)
            kind.running += 1
            self._forget_in_turn(waiting)
        return group

    def _forget_in_turn(self, waiting: _Waiting) -> None:
        self._forget(waiting)
        if waiting.caller in self._callers:
            self._callers.move_to_end(waiting.caller)

    def _begin(self, group: list[_Waiting]) -> None:
        """Computes requests in a thread."""
        loop = asyncio.get_running_loop()
        self._free -= 1
        self._running += len(group)

        def compute() -> None:
            finish_together(
                [waiting.work() for waiting in group],
                lambda: loop.call_soon_threadsafe(self._computed, group),
                lambda ends: loop.call_soon_threadsafe(self._ended, group, ends),
            )

        self._threads.submit(compute)

    def _computed(self, group: list[_Waiting]) -> None:
        """Frees the place of requests whose answers are only to be written."""
        self._free += 1
        if group[0].kind is not None:
            kind = self._kinds[group[0].kind]
            kind.groups -= 1
            kind.running -= len(group)
            self._forget_kind(group[0].kind)
        self._begin_what_can()

    def _ended(
        self, group: list[_Waiting], ends: list[tuple[int, Any, BaseException | None]]
    ) -> None:
        self._running -= len(ends)
        for number, answer, error in ends:
            end = group[number].end
            if end.done():
                # Nobody waits any more.
                continue
            if isinstance(error, TakesLong) and self._slow:
                # Not passed on, because its traceback holds all that the request had.
                end.set_result(TakesLong)
            elif error is not None:
                end.set_exception(error)
            else:
                end.set_result(answer)
