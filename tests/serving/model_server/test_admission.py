"""Whose turn it is when more is asked than can be computed."""

import asyncio
import threading

import grpc
import pytest

from serving.model_server.admission import Admission, TakesLong, may_be_put_off, takes_long
from serving.model_server.errors import RequestError


def run(scenario):
    return asyncio.run(asyncio.wait_for(scenario, 30))


def test_no_more_requests_than_allowed_are_computed_at_a_time():
    async def scenario():
        admission = Admission(in_flight=3, queued=100, queued_bytes=1000)
        lock, at_work, most = threading.Lock(), 0, 0

        def work():
            nonlocal at_work, most
            with lock:
                at_work += 1
                most = max(most, at_work)
            threading.Event().wait(0.01)
            with lock:
                at_work -= 1

        await asyncio.gather(*(admission.run("somebody", work) for _ in range(30)))
        assert most == 3
        assert (admission.in_flight, admission.queued) == (0, 0)

    run(scenario())


def test_a_caller_of_few_requests_is_not_kept_waiting_by_one_of_many():
    async def scenario():
        admission = Admission(in_flight=1, queued=100, queued_bytes=1000)
        order, begin = [], threading.Event()
        first = asyncio.create_task(admission.run("many", begin.wait))
        await asyncio.sleep(0)
        calls = [
            asyncio.create_task(admission.run(caller, order.append, caller))
            for caller in ["many"] * 5 + ["few"] * 2
        ]
        await asyncio.sleep(0)
        begin.set()
        await asyncio.gather(first, *calls)
        assert order == ["many", "few", "many", "few", "many", "many", "many"]

    run(scenario())


def test_a_full_queue_turns_the_caller_away_who_has_the_most_waiting():
    async def scenario():
        admission = Admission(in_flight=1, queued=3, queued_bytes=1000)
        begin = threading.Event()
        first = asyncio.create_task(admission.run("many", begin.wait))
        await asyncio.sleep(0)
        many = [asyncio.create_task(admission.run("many", int)) for _ in range(3)]
        await asyncio.sleep(0)
        few = asyncio.create_task(admission.run("few", int))
        await asyncio.sleep(0)
        begin.set()
        assert await few == 0
        results = await asyncio.gather(first, *many, return_exceptions=True)
        refused = [result for result in results if isinstance(result, RequestError)]
        assert [error.code for error in refused] == [grpc.StatusCode.RESOURCE_EXHAUSTED]
        assert isinstance(results[-1], RequestError), "the newest one is turned away"

    run(scenario())


def test_waiting_requests_hold_no_more_bytes_than_allowed():
    async def scenario():
        admission = Admission(in_flight=1, queued=100, queued_bytes=100)
        begin = threading.Event()
        first = asyncio.create_task(admission.run("a", begin.wait))
        await asyncio.sleep(0)
        large = asyncio.create_task(admission.run("b", int, size=90))
        await asyncio.sleep(0)
        small = asyncio.create_task(admission.run("c", int, size=20))
        await asyncio.sleep(0)
        begin.set()
        with pytest.raises(RequestError):
            await large
        assert await small == 0
        await first

    run(scenario())


def test_a_request_that_nobody_waits_for_leaves_the_queue():
    async def scenario():
        admission = Admission(in_flight=1, queued=10, queued_bytes=1000)
        begin, called = threading.Event(), []
        first = asyncio.create_task(admission.run("a", begin.wait))
        await asyncio.sleep(0)
        given_up = asyncio.create_task(admission.run("b", called.append, "given up"))
        other = asyncio.create_task(admission.run("b", called.append, "other"))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.sleep(0)
        assert admission.queued == 1
        begin.set()
        await asyncio.gather(first, other)
        assert called == ["other"]
        assert (admission.in_flight, admission.queued) == (0, 0)

    run(scenario())


def test_what_has_begun_keeps_its_place_until_it_ends_though_nobody_waits():
    async def scenario():
        admission = Admission(in_flight=1, queued=10, queued_bytes=1000)
        begin = threading.Event()
        first = asyncio.create_task(admission.run("a", begin.wait))
        await asyncio.sleep(0)
        first.cancel()
        second = asyncio.create_task(admission.run("a", int))
        await asyncio.sleep(0.05)
        assert not second.done()
        begin.set()
        assert await second == 0

    run(scenario())


def test_errors_of_the_function_reach_the_caller_and_free_the_place():
    async def scenario():
        admission = Admission(in_flight=1, queued=10, queued_bytes=1000)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await admission.run("a", lambda: 1 // 0)
        assert admission.in_flight == 0

    run(scenario())


def slowly(function):
    """A function as it is that takes long: put off where that is possible."""

    def called():
        if may_be_put_off():
            raise TakesLong
        return function()

    return called


def test_what_takes_long_is_computed_in_a_lane_of_its_own():
    async def scenario():
        admission = Admission(in_flight=1, queued=10, queued_bytes=1000, slow=1)
        begin = threading.Event()
        slow = [
            asyncio.create_task(admission.run("a", slowly(lambda: begin.wait() and takes_long())))
            for _ in range(3)
        ]
        await asyncio.sleep(0.05)
        assert (admission.in_flight, admission.queued) == (1, 2)
        assert [await admission.run("b", takes_long) for _ in range(5)] == [False] * 5
        begin.set()
        assert await asyncio.gather(*slow) == [True] * 3
        assert (admission.in_flight, admission.queued) == (0, 0)
        admission.close()

    run(scenario())


def test_in_the_slow_lane_each_caller_has_his_turn_and_the_limits_hold():
    async def scenario():
        admission = Admission(in_flight=2, queued=3, queued_bytes=1000, slow=1)
        begin, order = threading.Event(), []
        first = asyncio.create_task(admission.run("a", slowly(begin.wait)))
        await asyncio.sleep(0.05)
        others = []
        for caller in ("a", "a", "a", "b"):
            done = slowly(lambda caller=caller: order.append(caller))
            others.append(asyncio.create_task(admission.run(caller, done)))
            await asyncio.sleep(0.02)
        begin.set()
        await first
        ends = await asyncio.gather(*others, return_exceptions=True)
        assert order == ["a", "b", "a"]
        (refused,) = (end for end in ends if isinstance(end, RequestError))
        assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED

    run(scenario())


def test_without_a_slow_lane_nothing_is_put_off():
    async def scenario():
        admission = Admission(in_flight=1, queued=10, queued_bytes=1000)
        assert await admission.run("a", slowly(takes_long)) is False

    run(scenario())
    assert not may_be_put_off()
