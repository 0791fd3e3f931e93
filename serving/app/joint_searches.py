"""Searches of callers that ask at the same time, done together.

One search reads every vector once, and takes as long as memory does; several at a time are a
product of matrices, and take little longer than one. So what comes while as many searches are under
way as may be waits for an end, and all who then ask for the same filters, weights and so on are
answered by one. A caller alone waits for nobody. Where others' pictures are with the model, whose
answers come several at a time, a search waits a moment for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field

from serving.search import Answer, Expansion, ProductIndex
from serving.search.space import Floats

_TOGETHER = 32

_MOMENT_S = 0.003
"""As long as the answers to one batch of the model's take to come."""


@dataclass(frozen=True)
class Question:
    """What is asked of an index besides the vector: see `ProductIndex.search`."""

    k: int = 15
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exclude: frozenset[str] = frozenset()
    exclude_doubles: bool = False
    weights: Mapping[str, float] = field(default_factory=dict)
    fold: bool = True
    exact: bool = False
    expand: bool = False

    @property
    def key(self) -> object:
        """Equal for questions that one search answers."""
        return (
            *(self.k, self.exclude, self.exclude_doubles, self.fold, self.exact, self.expand),
            frozenset(self.where.items()),
            frozenset(self.weights.items()),
        )


@dataclass(frozen=True)
class _Waiting:
    vector: Floats
    question: Question
    answer: asyncio.Future[Answer]


class JointSearches:
    """Belongs to the event loop that it is used in.

    Args:
        index: what is searched.
        work: where it is waited for.
        at_once: searches that may be under way; more than one where the processors are others'.
    """

    def __init__(self, index: ProductIndex, work: Executor, at_once: int = 1):
        self._index = index
        self._work = work
        self._at_once = at_once
        self._waiting: list[_Waiting] = []
        self._searching: set[asyncio.Task[None] | None] = set()
        self._coming = 0

    @contextmanager
    def coming(self) -> Iterator[None]:
        """While a picture's vector is made, which is to be searched for next."""
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1

    async def search(self, vector: Floats, question: Question) -> Answer:
        """The answer for one vector, float32 (D).

        Raises:
            BadSearch: see `ProductIndex.search`.
        """
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(vector, question, answer))
        if len(self._searching) < self._at_once:
            self._searching.add(asyncio.create_task(self._search_all()))
        return await answer

    async def _search_all(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                if self._coming and len(self._waiting) < _TOGETHER:
                    await asyncio.sleep(_MOMENT_S)
                together = self._taken()
                if not together:
                    continue
                try:
                    answers = await loop.run_in_executor(self._work, self._answers, together)
                except BaseException as error:
                    for one in together:
                        if not one.answer.done():
                            one.answer.set_exception(error)
                    if not isinstance(error, Exception):
                        raise
                    continue
                for one, answer in zip(together, answers, strict=True):
                    if not one.answer.done():
                        one.answer.set_result(answer)
        finally:
            # At once, not when the loop comes to it: who asks in between would wait for ever.
            self._searching.discard(asyncio.current_task())

    def _taken(self) -> list[_Waiting]:
        """The one that has waited longest, and those that ask the same; nobody who has left."""
        there = [one for one in self._waiting if not one.answer.done()]
        together: list[_Waiting] = []
        self._waiting = []
        for one in there:
            fits = not together or one.question.key == together[0].question.key
            (together if fits and len(together) < _TOGETHER else self._waiting).append(one)
        return together

    def _answers(self, together: list[_Waiting]) -> list[Answer]:
        question = together[0].question
        return self._index.search(
            [one.vector for one in together],
            question.k,
            where=question.where,
            exclude=question.exclude,
            exclude_doubles=question.exclude_doubles,
            fold=question.fold,
            exact=question.exact,
            weights=question.weights,
            expansion=Expansion() if question.expand else None,
        )
