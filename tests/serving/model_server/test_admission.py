"""Whose turn it is when more is asked than can be computed."""

import asyncio
import threading

import grpc
import pytest

from serving.model_server.admission import Admission, TakesLong, may_be_put_off
from serving.model_server.errors import RequestError
from serving.model_server.joint_runs import Batching, Computation, Kind


def of(function, *args):
    """A request that calls a function, and needs no model."""

    def work():
        yield from ()
        return function(*args)

    return work


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

        await asyncio.gather(*(admission.run("somebody", of(work)) for _ in range(30)))
        assert most == 3
        assert (admission.in_flight, admission.queued) == (0, 0)

    run(scenario())


def test_a_caller_of_few_requests_is_not_kept_waiting_by_one_of_many():
    async def scenario():
        admission = Admission(in_flight=1, queued=100, queued_bytes=1000)
        order, begin = [], threading.Event()
        first = asyncio.create_task(admission.run("many", of(begin.wait)))
        await asyncio.sleep(0)
        calls = [
            asyncio.create_task(admission.run(caller, of(order.append, caller)))
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
        first = asyncio.create_task(admission.run("many", of(begin.wait)))
        await asyncio.sleep(0)
        many = [asyncio.create_task(admission.run("many", of(int))) for _ in range(3)]
        await asyncio.sleep(0)
        few = asyncio.create_task(admission.run("few", of(int)))
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
        first = asyncio.create_task(admission.run("a", of(begin.wait)))
        await asyncio.sleep(0)
        large = asyncio.create_task(admission.run("b", of(int), size=90))
        await asyncio.sleep(0)
        small = asyncio.create_task(admission.run("c", of(int), size=20))
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
        first = asyncio.create_task(admission.run("a", of(begin.wait)))
        await asyncio.sleep(0)
        given_up = asyncio.create_task(admission.run("b", of(called.append, "given up")))
        other = asyncio.create_task(admission.run("b", of(called.append, "other")))
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
        first = asyncio.create_task(admission.run("a", of(begin.wait)))
        await asyncio.sleep(0)
        first.cancel()
        second = asyncio.create_task(admission.run("a", of(int)))
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
                await admission.run("a", of(lambda: 1 // 0))
        assert admission.in_flight == 0

    run(scenario())


def slowly(function):
    """A request that takes long: put off where that is possible."""

    def called():
        if may_be_put_off():
            raise TakesLong
        return function()

    return of(called)


def test_what_takes_long_is_computed_in_a_lane_of_its_own():
    async def scenario():
        admission = Admission(in_flight=1, queued=10, queued_bytes=1000, slow=1)
        begin = threading.Event()
        slow = [
            asyncio.create_task(
                admission.run("a", slowly(lambda: begin.wait() and may_be_put_off()))
            )
            for _ in range(3)
        ]
        await asyncio.sleep(0.05)
        assert (admission.in_flight, admission.queued) == (1, 2)
        assert [await admission.run("b", of(may_be_put_off)) for _ in range(5)] == [True] * 5
        begin.set()
        assert await asyncio.gather(*slow) == [False] * 3
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
        assert await admission.run("a", slowly(may_be_put_off)) is False

    run(scenario())
    assert not may_be_put_off()


PREDICT = Kind("predict", b"m")


class Model:
    """Doubles numbers, all that are asked together at a time; each run waits to be told to end."""

    def __init__(self, waits=True):
        self.sizes = []
        self._waits = waits
        self._lock = threading.Lock()
        self._ends = [threading.Event() for _ in range(100)]

    def end(self, *runs):
        for run in runs:
            self._ends[run].set()

    def run(self, inputs, outputs, timeout_s=None, signature_name=""):
        return self.run_together([inputs], outputs)[0]

    def run_together(self, requests, outputs, timeout_s=None, signature_name=""):
        with self._lock:
            end = self._ends[len(self.sizes)]
            self.sizes.append(len(requests))
        assert not self._waits or end.wait(20)
        return [[2 * inputs["x"]] for inputs in requests]

    def double(self, x):
        def work():
            (y,) = yield Computation(self, {"x": x}, ("y",), None, "")
            return y

        return work


async def until(condition):
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it does not come to that")


def batching(in_flight=8, threads=2, batching=None, **settings):
    return Admission(
        in_flight, 100, 10_000, threads=threads,
        batching=lambda kind: Batching(**settings), slow=1,
    )  # fmt: skip


def begun(admission, model, *numbers, kind=PREDICT, caller="a"):
    return [asyncio.create_task(admission.run(caller, model.double(x), kind=kind)) for x in numbers]


def test_what_waits_and_is_of_a_kind_is_computed_together():
    async def scenario():
        admission, model = batching(threads=1), Model()
        calls = begun(admission, model, 0)
        await until(lambda: model.sizes == [1])
        calls += begun(admission, model, 1, 2, 3) + begun(admission, model, 4, caller="b")
        calls += begun(admission, model, 5, kind=Kind("predict", b"another"))
        calls += begun(admission, model, 6, kind=None)
        await until(lambda: admission.queued == 6)
        model.end(0, 1, 2, 3)
        assert await asyncio.gather(*calls) == [0, 2, 4, 6, 8, 10, 12]
        # The callers in turn; of each kind at once as far as it waits first with its caller.
        assert sorted(model.sizes) == [1, 1, 1, 4]
        assert (admission.in_flight, admission.queued, admission._kinds) == (0, 0, {})
        admission.close()

    run(scenario())


def test_a_second_group_begins_when_it_is_as_large_as_the_one_that_is_computed():
    async def scenario():
        admission, model = batching(in_flight=32), Model()
        calls = begun(admission, model, 0)
        await until(lambda: model.sizes == [1])
        # As large as the first, which is one.
        calls += begun(admission, model, 1)
        await until(lambda: model.sizes == [1, 1])
        calls += begun(admission, model, 2, 3, 4)
        await until(lambda: admission.queued == 3)
        model.end(0)
        await until(lambda: model.sizes == [1, 1, 3])
        model.end(1)
        await until(lambda: admission.in_flight == 3)
        # A thread is free, but two are fewer than three.
        calls += begun(admission, model, 5, 6)
        await asyncio.sleep(0.05)
        assert (model.sizes, admission.queued) == ([1, 1, 3], 2)
        # Another kind does not wait for them.
        other = begun(admission, model, 7, kind=Kind("predict", b"another"))
        await until(lambda: model.sizes == [1, 1, 3, 1])
        model.end(2, 3)
        assert await other[0] == 14
        await until(lambda: model.sizes == [1, 1, 3, 1, 2])
        model.end(4)
        assert await asyncio.gather(*calls) == [0, 2, 4, 6, 8, 10, 12]
        admission.close()

    run(scenario())


def test_no_group_is_larger_than_a_batch_or_than_its_part_of_what_may_be_computed():
    async def scenario():
        for settings, largest in (
            ({"in_flight": 8, "threads": 1, "max_batch_size": 3}, 3),
            ({"in_flight": 8, "threads": 2}, 4),
        ):
            admission, model = batching(**settings), Model(waits=False)
            calls = begun(admission, model, *range(50))
            assert await asyncio.gather(*calls) == [2 * x for x in range(50)]
            assert max(model.sizes) == largest
            admission.close()

    run(scenario())


def test_a_group_that_is_not_full_waits_as_long_as_it_is_told_to():
    async def scenario():
        admission = batching(max_batch_size=3, batch_timeout_micros=600_000)
        model = Model(waits=False)
        loop = asyncio.get_running_loop()
        began = loop.time()
        calls = begun(admission, model, 0)
        await asyncio.sleep(0.02)
        calls += begun(admission, model, 1)
        assert await asyncio.gather(*calls) == [0, 2]
        assert model.sizes == [2]
        assert loop.time() - began >= 0.6
        began = loop.time()
        assert await asyncio.gather(*begun(admission, model, 0, 1, 2)) == [0, 2, 4]
        assert loop.time() - began < 0.6, "one that is full does not wait"
        admission.close()

    run(scenario())


def test_of_more_than_may_wait_for_batches_the_newest_is_unavailable():
    async def scenario():
        admission, model = batching(threads=1, max_batch_size=2, max_enqueued_batches=2), Model()
        calls = begun(admission, model, 0)
        await until(lambda: model.sizes == [1])
        calls += begun(admission, model, 1, 2, 3, 4)
        await until(lambda: admission.queued == 4)
        with pytest.raises(RequestError, match="queue to which this task was submitted") as full:
            await admission.run("b", model.double(5), kind=PREDICT)
        assert full.value.code is grpc.StatusCode.UNAVAILABLE
        model.end(*range(100))
        assert await asyncio.gather(*calls) == [0, 2, 4, 6, 8]
        admission.close()

    run(scenario())


def test_one_of_a_group_that_takes_long_is_computed_in_the_slow_lane():
    async def scenario():
        admission, model = batching(threads=1), Model()
        calls = begun(admission, model, 0)
        await until(lambda: model.sizes == [1])
        calls += begun(admission, model, 1)
        slow = asyncio.create_task(admission.run("a", slowly(may_be_put_off), kind=PREDICT))
        calls += begun(admission, model, 2)
        await until(lambda: admission.queued == 3)
        model.end(0, 1)
        assert await asyncio.gather(*calls) == [0, 2, 4]
        assert await slow is False
        assert model.sizes == [1, 2]
        admission.close()

    run(scenario())


def test_a_thread_that_writes_answers_is_not_in_the_way_of_the_next_group():
    async def scenario():
        admission, model = batching(in_flight=1, threads=1), Model(waits=False)
        write, writing = threading.Event(), threading.Event()

        def long_answer():
            yield from model.double(1)()
            writing.set()
            return write.wait(20)

        first = asyncio.create_task(admission.run("a", long_answer))
        await until(writing.is_set)
        assert await admission.run("b", model.double(3)) == 6
        assert admission.in_flight == 1
        write.set()
        assert await first
        admission.close()

    run(scenario())
