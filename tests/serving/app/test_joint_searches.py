"""Searches that are done together find what each finds alone."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from serving.app import joint_searches
from serving.app.joint_searches import JointSearches, Question
from serving.search import BadSearch, ExactIndex, Space

RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def index():
    made = ExactIndex(Space({"kind": 8, "colour": 8}))
    count = 500
    made.upsert(
        [f"p{at}" for at in range(count)],
        RNG.standard_normal((count, 16)),
        {"gender": [("Men", "Women")[at % 2] for at in range(count)]},
    )
    return made


def together(index, asked, at_once=1):
    """All asked at once."""

    async def run():
        with ThreadPoolExecutor(4) as work:
            searches = JointSearches(index, work, at_once)
            return await asyncio.gather(
                *(searches.search(vector, question) for vector, question in asked),
                return_exceptions=True,
            )

    return asyncio.run(run())


@pytest.mark.parametrize("at_once", [1, 3])
def test_each_gets_its_own_answer_whatever_the_others_ask(index, at_once):
    questions = [
        Question(k=5),
        Question(k=5, where={"gender": ("Women",)}),
        Question(k=3, weights={"colour": 0.2}),
        Question(k=5, exclude=frozenset(["p3"])),
        Question(k=5, fold=False, exact=True, expand=True),
    ]
    asked = [(RNG.standard_normal(16), questions[at % 5]) for at in range(100)]

    found = together(index, asked, at_once)

    for (vector, question), answer in zip(asked, found, strict=True):
        alone = together(index, [(vector, question)])[0]
        assert [hit.id for hit in answer.hits] == [hit.id for hit in alone.hits]
        assert answer.hits[0].score == pytest.approx(alone.hits[0].score)


OTHERS = {
    "k": 16,
    "where": {"gender": ("Men",)},
    "exclude": frozenset(["p3"]),
    "exclude_doubles": True,
    "weights": {"colour": 0.2},
    "fold": False,
    "exact": True,
    "expand": True,
}


@pytest.mark.parametrize("asked", [field.name for field in dataclasses.fields(Question)])
def test_who_asks_anything_else_is_answered_by_a_search_of_its_own(asked):
    other = dataclasses.replace(Question(), **{asked: OTHERS[asked]})

    assert other.key != Question().key
    assert dataclasses.replace(Question(), **{asked: OTHERS[asked]}).key == other.key


def test_one_search_answers_all_who_ask_the_same(index, monkeypatch):
    counts = []
    search = index.search
    monkeypatch.setattr(
        index,
        "search",
        lambda vectors, *a, **k: counts.append(len(vectors)) or search(vectors, *a, **k),
    )

    together(index, [(RNG.standard_normal(16), Question()) for _ in range(80)])

    assert counts[0] <= 32 and sum(counts) == 80 and len(counts) <= 4


@pytest.mark.parametrize("at_once", [1, 3])
def test_as_many_searches_are_under_way_as_may_be_and_no_more(index, monkeypatch, at_once):
    under_way, most = set(), []
    lock, search = threading.Lock(), index.search

    def slow(vectors, k, **asked):
        with lock:
            under_way.add(k)
            most.append(len(under_way))
        time.sleep(0.02)
        with lock:
            under_way.remove(k)
        return search(vectors, k, **asked)

    monkeypatch.setattr(index, "search", slow)

    asked = [(RNG.standard_normal(16), Question(k=at + 1)) for at in range(12)]
    found = together(index, asked, at_once)

    assert [len(answer.hits) for answer in found] == list(range(1, 13))
    assert max(most) == at_once


def test_one_search_waits_for_the_answers_that_come_with_it(index, monkeypatch):
    counts = []
    search = index.search
    monkeypatch.setattr(
        index,
        "search",
        lambda vectors, *a, **k: counts.append(len(vectors)) or search(vectors, *a, **k),
    )

    async def run():
        with ThreadPoolExecutor(1) as work:
            searches = JointSearches(index, work)

            async def ask(pause_s):
                with searches.coming():
                    await asyncio.sleep(pause_s)
                return await searches.search(RNG.standard_normal(16), Question())

            await asyncio.gather(*(ask(0.0001 * at) for at in range(8)))

    asyncio.run(run())

    assert sum(counts) == 8 and len(counts) <= 2


def test_nobody_waits_for_others_who_are_alone_or_enough(index, monkeypatch):
    monkeypatch.setattr(joint_searches, "_MOMENT_S", 60)

    async def run(searches, count):
        vectors = RNG.standard_normal((count, 16))
        return await asyncio.gather(*(searches.search(one, Question(k=1)) for one in vectors))

    async def alone_and_enough():
        with ThreadPoolExecutor(1) as work:
            searches = JointSearches(index, work)
            found = await asyncio.wait_for(run(searches, 1), 20)
            with searches.coming():
                found += await asyncio.wait_for(run(searches, 32), 20)
            # Whose vector could not be made comes no more.
            with pytest.raises(ZeroDivisionError), searches.coming():
                raise ZeroDivisionError
            return found + await asyncio.wait_for(run(searches, 1), 20)

    assert len(asyncio.run(alone_and_enough())) == 34


def test_what_one_asks_wrongly_only_it_is_told(index):
    wrong = Question(where={"size": ("L",)})
    asked = [(RNG.standard_normal(16), wrong if at % 3 == 0 else Question()) for at in range(20)]

    found = together(index, asked)

    for (_, question), answer in zip(asked, found, strict=True):
        assert isinstance(answer, BadSearch) == (question is wrong)


def test_nobody_searches_for_one_who_has_left(index):
    async def run():
        with ThreadPoolExecutor(1) as work:
            searches = JointSearches(index, work)
            tasks = [
                asyncio.create_task(searches.search(RNG.standard_normal(16), Question(k=at + 1)))
                for at in range(6)
            ]
            await asyncio.sleep(0)
            for task in tasks[2:]:
                task.cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

    found = asyncio.run(run())

    assert [len(answer.hits) for answer in found[:2]] == [1, 2]
    assert all(isinstance(answer, asyncio.CancelledError) for answer in found[2:])
