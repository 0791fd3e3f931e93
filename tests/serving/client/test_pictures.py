"""Pictures on their way into requests: what is one, what is refused, and how many go together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from serving.client import MAX_PICTURES_PER_REQUEST, Refused, UserError, pictures
from serving.client.pictures import Picture
from tests.serving import color_model

RED = color_model.picture(255, 0, 0)
MEBIBYTE = 1 << 20


async def nothing() -> AsyncIterator[bytes]:
    yield b""


@pytest.mark.parametrize(
    "given", ["red.jpg", b"red", bytearray(b"red"), Path("red.jpg"), Refused("is none")]
)
def test_texts_bytes_and_paths_are_one_picture(given):
    assert pictures.is_one(given)


@pytest.mark.parametrize(
    "given",
    [
        *([], [b"red"], (b"red",), {b"red"}, iter([b"red"]), nothing()),
        *(np.array([b"red"]), np.array(["red.jpg"]), np.array([b"red"], object)),
    ],
    ids=lambda given: f"{type(given).__name__}-{getattr(given, 'dtype', '')}",
)
def test_lists_iterators_and_arrays_of_texts_are_several(given):
    assert not pictures.is_one(given)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (None, "NoneType"),
        (7, "int"),
        ({"image": b"red"}, "dict"),
        (np.zeros((4, 4, 3), np.uint8), "numpy.ndarray"),
        (np.zeros(4), "numpy.ndarray"),
        (object(), "object"),
    ],
)
def test_what_is_neither_is_named_by_its_kind(given, kind):
    with pytest.raises(UserError, match=f"^A {kind} is neither a picture nor a list of them"):
        pictures.is_one(given)


def test_a_picture_is_called_by_its_place_or_its_path(tmp_path):
    file = tmp_path / "red.png"
    file.write_bytes(RED)
    assert pictures.read(RED, 4, 1 << 20) == Picture(RED, "Picture 4, given as bytes,")
    assert pictures.read(bytearray(RED), 0, 1 << 20) == Picture(RED, "Picture 0, given as bytes,")
    for given in (file, str(file)):
        assert pictures.read(given, 4, 1 << 20) == Picture(RED, str(file))
    refused = Refused("has no file", "shoe")
    assert pictures.read(refused, 4, 1 << 20) is refused


@pytest.mark.parametrize(
    ("given", "name", "reason"),
    [
        (b"shoe.jpg", "Picture 3, given as bytes,", "is a file's name, not a picture; give"),
        (7, "Picture 3", "is a int, not a picture; give the bytes of its file"),
        (np.zeros(3), "Picture 3", "is a numpy.ndarray, not a picture; give"),
        ("https://shop.example/1.jpg", "https://shop.example/1.jpg", "is an address, not the path"),
        ("data:image/png;base64," + 38 * "A", "data:image/png;base64," + 38 * "A", "is a data URL"),
        (
            *("data:image/png;base64," + 39 * "A", "data:image/png;base64," + 38 * "A" + "..."),
            "is a data URL, not the path of a picture; give",
        ),
        ("none.jpg", "none.jpg", "cannot be read: No such file or directory"),
        ("none", "none", "cannot be read: No such file or directory"),
        ("a\0b", "a\0b", "cannot be read: embedded null byte"),
        ("/", "/", "is no file"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_cannot_be_read_is_refused_with_the_reason(given, name, reason):
    refused = pictures.read(given, 3, 1 << 20)
    assert isinstance(refused, Refused)
    assert refused.picture == name
    assert refused.reason.startswith(reason)


def test_a_picture_fills_a_message_up_to_a_kibibyte(tmp_path):
    file = tmp_path / "large.png"
    content = b"\x89PNG".ljust(5000, b"\0")
    file.write_bytes(content)
    for given in (content, file):
        assert isinstance(pictures.read(given, 0, 6024), Picture)
        refused = pictures.read(given, 0, 6023)
        assert refused.reason == "has 5,000 bytes, and a message holds at most 6,023"
        assert refused.picture == (str(file) if given is file else "Picture 0, given as bytes,")


def test_a_request_has_at_most_64_pictures_and_eight_mebibytes():
    assert MAX_PICTURES_PER_REQUEST == 64
    for size, most in ((10, 64), (MEBIBYTE, 8), (MEBIBYTE + 1, 7), (9 * MEBIBYTE, 1)):
        given = [b"\x89PNG".ljust(size, b"\0")] * 130
        found = list(pictures.batches(given[: 2 * most + 1], 5, 64 * MEBIBYTE))
        assert [len(batch) for batch in found] == [most, most, 1]
        names = [picture.name for batch in found for picture in batch]
        assert names == [f"Picture {5 + i}, given as bytes," for i in range(2 * most + 1)]


def test_a_refused_picture_takes_a_place_and_no_bytes():
    given = [b"shoe.jpg", *[b"\x89PNG".ljust(4 * MEBIBYTE, b"\0")] * 2, b"shoe.jpg"]
    (batch,) = pictures.batches(given, 0, 64 * MEBIBYTE)
    assert [isinstance(picture, Refused) for picture in batch] == [True, False, False, True]
    assert list(pictures.batches([], 0, 64 * MEBIBYTE)) == []


@pytest.mark.parametrize(
    ("sizes", "most", "starts"),
    [
        ([], 3, []),
        ([1, 1], 3, [0]),
        ([1] * 3, 3, [0]),
        ([1] * 7, 3, [0, 3, 6]),
        # Of bytes at most eight mebibytes, but one at least.
        ([MEBIBYTE] * 9, 32, [0, 8]),
        ([MEBIBYTE] * 8 + [0, 1], 32, [0, 9]),
        ([5, 9 * MEBIBYTE, 5, 6], 32, [0, 1, 2]),
    ],
)
def test_unread_pictures_wait_in_groups_of_bounded_number_and_bytes(sizes, most, starts):
    given = [bytes(size) for size in sizes]

    async def later():
        for picture in given:
            yield picture

    async def grouped(of):
        return [group async for group in pictures.achunks(of, most)]

    for found in (
        list(pictures.chunks(given, most)),
        asyncio.run(grouped(later())),
        asyncio.run(grouped(iter(given))),
    ):
        assert [start for start, _ in found] == starts
        assert [picture for _, group in found for picture in group] == given


def test_paths_wait_unread_and_count_no_bytes():
    given = ["x" * MEBIBYTE] * 20 + [Path("x")] * 12
    assert [start for start, _ in pictures.chunks(given, 16)] == [0, 16]


@pytest.mark.parametrize(
    ("concurrency", "per_request", "problem"),
    [
        (0, 1, "concurrency is 0; it must be at least 1"),
        (1, 0, "pictures_per_request is 0; it must be from 1 to 64"),
        (1, 65, "pictures_per_request is 65; it must be from 1 to 64"),
    ],
)
def test_bounds_that_cannot_be_kept_are_refused(concurrency, per_request, problem):
    with pytest.raises(UserError, match=problem):
        pictures.check_bounds(concurrency, per_request)


def test_the_least_and_the_most_are_within_the_bounds():
    pictures.check_bounds(1, 1)
    pictures.check_bounds(1, 64)
