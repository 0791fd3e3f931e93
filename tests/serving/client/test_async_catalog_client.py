"""`AsyncCatalogClient` says what `CatalogClient` says, without holding up an event loop."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import time
from collections.abc import Awaitable, Callable

import grpc
import pytest

from serving.client import (
    AsyncCatalogClient,
    CatalogClient,
    PictureRefused,
    Refused,
    RequestFailed,
    UserError,
)
from tests.serving.client.word_server import OLDER, Refusal, WordServer


def asked(
    words: WordServer, ask: Callable[[AsyncCatalogClient], Awaitable], **options: object
) -> object:
    """What comes of it, in an event loop of its own."""

    async def run():
        async with AsyncCatalogClient(words.endpoint, timeout_s=5, **options) as client:
            return await ask(client)

    return asyncio.run(run())


async def collected(results) -> list:
    return [result async for result in results]


def test_both_clients_have_the_same_methods_and_arguments():
    for name, method in inspect.getmembers(CatalogClient, inspect.isfunction):
        if name == "__init__" or not name.startswith("_"):
            of_async = getattr(AsyncCatalogClient, name)
            assert inspect.signature(of_async).parameters.keys() == (
                inspect.signature(method).parameters.keys()
            ), name


def test_both_clients_give_the_same_predictions(words: WordServer):
    with CatalogClient(words.endpoint) as client:
        expected = client.predict([b"red", b"blue"], everything=True)

    assert asked(words, lambda c: c.predict([b"red", b"blue"], everything=True)) == expected
    assert expected[0].embedding == pytest.approx((0.6, 0.8))


def test_both_clients_give_the_same_results_of_many(words: WordServer, tmp_path):
    given = [b"red", b"torn", tmp_path / "none.jpg", Refused("has no picture"), b"green"] * 30
    with CatalogClient(words.endpoint) as client:
        expected = list(client.predict_many(given))

    assert asked(words, lambda c: collected(c.predict_many(given))) == expected
    assert [type(one).__name__ for one in expected[:5]] == [
        *("Prediction", "Refused", "Refused", "Refused", "Prediction")
    ]


def test_pictures_may_come_from_an_async_iterator(words: WordServer):
    async def given():
        for word in itertools.islice(itertools.cycle([b"red", b"green"]), 70):
            await asyncio.sleep(0)
            yield word

    found = asked(words, lambda c: collected(c.predict_many(given())))
    assert [one.category for one in found] == ["red", "green"] * 35


def test_an_older_model_is_asked_as_it_can_be(words: WordServer):
    words.signatures = OLDER
    found = asked(words, lambda c: collected(c.predict_many([b"red", b"x", b"blue"])))
    assert [one.to_dict().get("category") for one in found] == ["red", None, "blue"]


def test_a_picture_that_cannot_be_used_is_named(words: WordServer):
    with pytest.raises(PictureRefused, match="Picture 1, given as bytes, cannot be decoded: x"):
        asked(words, lambda c: c.predict([b"red", b"x"]))


def test_a_busy_server_is_asked_again_while_the_loop_goes_on(words: WordServer):
    def mood(request):
        if len(words.requests) < 3:
            raise Refusal(grpc.StatusCode.UNAVAILABLE, "come again")

    words.mood = mood

    async def ask(client):
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0.001)
                ticks += 1

        ticking = asyncio.create_task(tick())
        (prediction,) = await client.predict([b"red"])
        ticking.cancel()
        return prediction.category, ticks

    category, ticks = asked(words, ask)
    assert (category, len(words.requests)) == ("red", 3)
    assert ticks > 3


def test_so_many_requests_travel_at_a_time_and_no_more(words: WordServer):
    words.mood = lambda request: time.sleep(0.05)
    found = asked(
        words,
        lambda c: collected(c.predict_many([b"red"] * 24, concurrency=3, pictures_per_request=2)),
    )
    assert len(found) == 24
    assert 1 < words.most_at_once <= 3


def test_whoever_stops_in_the_middle_does_not_wait(words: WordServer):
    def mood(request):
        if b"blue" in request.inputs["image_bytes"].string_val:
            time.sleep(3)

    words.mood = mood

    async def ask(client):
        results = client.predict_many([b"red", *[b"blue"] * 9], pictures_per_request=1)
        first = await anext(results)
        began = time.monotonic()
        await results.aclose()
        return first.category, time.monotonic() - began

    category, waited_s = asked(words, ask)
    assert category == "red"
    assert waited_s < 2


def test_a_server_that_does_not_finish_in_time_is_named(words: WordServer):
    words.mood = lambda request: time.sleep(1)
    with pytest.raises(RequestFailed, match="within the time that all pictures together"):
        asked(words, lambda c: c.predict([b"red"], timeout_s=0.2))


def test_one_signature_can_be_asked_as_it_is(words: WordServer):
    outputs = asked(words, lambda c: c.outputs("tolerant", [b"red", b"x"]))
    assert outputs["status"].tolist() == [b"", b"x"]


def test_a_signatures_further_inputs_have_a_text_for_each_picture(words: WordServer):
    asked(words, lambda c: c.outputs("tolerant", [b"red"] * 2, inputs={"label": ["a", "b"]}))
    assert list(words.requests[0].inputs["label"].string_val) == [b"a", b"b"]


def test_a_model_server_without_status_says_so(words: WordServer):
    with pytest.raises(UserError, match="UNIMPLEMENTED"):
        asked(words, lambda c: c.model_status())


def test_a_single_picture_is_answered_by_its_prediction_alone(words: WordServer):
    assert asked(words, lambda c: c.predict(b"red")).category == "red"
    [result] = asked(words, lambda c: collected(c.predict_many(b"blue")))
    assert result.category == "blue"
    assert asked(words, lambda c: c.outputs("tolerant", b"red"))["status"].tolist() == [b""]
