"""When a request that failed in passing is sent again, and when it is not."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Retries:
    """How a client deals with a server that is away or too busy.

    Attributes:
        first_s: the pause before the first retry, in seconds; each next one is twice as long, and
            each is shortened by chance to at least half.
        longest_s: the longest pause.
        share: retries allowed for every request that was made: with 0.2, a server that is down
            for good is not asked more than 1.2 times as often as one that is well.
        per_second: retries that are allowed besides, so that a lone request can go on.
        at_once: retries that may come in a burst before share and rate count.
    """

    first_s: float = 0.05
    longest_s: float = 1.0
    share: float = 0.2
    per_second: float = 1.0
    at_once: int = 10


class RetryBudget:
    """The retries that all threads of one client share; a bucket of tokens.

    A retry beyond the budget is put off, not given up: whether it still comes in time, the
    request's own deadline says.

    Args:
        retries: the rules.
        clock: gives the time in seconds.
    """

    def __init__(self, retries: Retries, clock: Callable[[], float] = time.monotonic):
        self._retries = retries
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens = float(retries.at_once)
        self._seen = clock()

    def earn(self) -> None:
        """Counts a request."""
        with self._lock:
            self._add(self._retries.share)

    def spend(self) -> float:
        """Counts a retry; gives the seconds that it must be put off."""
        with self._lock:
            now = self._clock()
            self._add((now - self._seen) * self._retries.per_second)
            self._seen = now
            self._tokens -= 1
            return max(0.0, -self._tokens / self._retries.per_second)

    def refund(self) -> None:
        """Takes back a retry that is not made after all."""
        with self._lock:
            self._add(1)

    def _add(self, tokens: float) -> None:
        self._tokens = min(self._tokens + tokens, float(self._retries.at_once))


_CHANCE = random.Random()
"""Its own: what a program draws after it has set Python's seed is not to depend on who is asked."""


def pauses(
    retries: Retries, chance: Callable[[float, float], float] = _CHANCE.uniform
) -> Iterator[float]:
    """The pauses between one request's attempts, in seconds, without end.

    Clients that were cut off together must not come back together, hence the chance.

    Args:
        retries: the rules.
        chance: draws between two bounds.
    """
    pause_s = retries.first_s
    while True:
        yield pause_s * chance(0.5, 1)
        pause_s = min(2 * pause_s, retries.longest_s)
