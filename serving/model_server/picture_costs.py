"""What it takes to decode the pictures of a request, by what their headers say.

A picture of a few KB may take a second to decode, and many of them hold up everybody whose requests
are computed after them or in one batch with them. So requests that take long are known before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import grpc
import numpy as np

from schema import pictures
from serving.model_server.errors import RequestError

MANY_PIXELS = 4_000_000
"""A request that must decode more takes long: 40 to 140 ms. A photograph of 24 megapixels, being a
JPEG, does not."""

MOST_PIXELS = 1_000_000_000
"""No request may have more to decode: some 10 s, in which no other of its kind is computed."""

_JPEG, _PNG, _GIF, _RIFF = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"RIFF"
_BEGINNINGS = (_JPEG, _PNG, _GIF, _RIFF)
# What comes after decoding takes about as long as decoding so many, or longer.
_PIXELS_A_TEXT = 20_000
# A JPEG that is much too large is decoded at an eighth of its sides, which takes so much less.
_JPEG_IS_CHEAPER = 8
_MOST_SEGMENTS = 512
_SMALLEST_FILE = 24


def takes_long(inputs: Mapping[str, np.ndarray]) -> bool:
    """Whether a request takes so long that others should not wait for it.

    Args:
        inputs: values by their alias; those of text are object arrays of bytes.

    Raises:
        RequestError: INVALID_ARGUMENT, if it takes longer than any request may.
    """
    pixels = pixels_to_decode(inputs)
    if pixels > MOST_PIXELS:
        raise RequestError(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"The pictures have {pixels / 1e6:,.0f} megapixels to decode; at most "
            f"{MOST_PIXELS / 1e6:,.0f} are taken. Send fewer at a time",
        )
    texts = sum(value.size for value in inputs.values() if value.dtype == object)
    return pixels + texts * _PIXELS_A_TEXT > MANY_PIXELS


def pixels_to_decode(inputs: Mapping[str, np.ndarray]) -> int:
    """How many pixels the pictures in a request's inputs have, as far as they must be decoded.

    Pictures are looked for wherever there is text: as a value, or within one, as in a serialized
    Example, of which the first of each format counts. A JPEG counts with an eighth of its pixels
    unless it is progressive. What cannot be told counts as if it were large.

    Args:
        inputs: values by their alias; those of text are object arrays of bytes.
    """
    return sum(
        pixels
        for value in inputs.values()
        if value.dtype == object
        for content in value.ravel()
        if len(content) >= _SMALLEST_FILE
        for pixels in _pixels(content)
    )


def _pixels(content: bytes) -> Iterator[int]:
    if content.startswith(_BEGINNINGS):
        places: Iterable[int] = (0,)
    elif content.startswith(b"BM"):
        # All its pixels are in the file.
        yield len(content) // 3
        return
    else:
        places = (place for place in map(content.find, _BEGINNINGS) if place >= 0)
    for place in places:
        if content.startswith(_JPEG, place):
            pixels = _jpeg_pixels(content, place)
        else:
            width, height = _sides(content[place : place + 32].ljust(32, b"\0"))
            pixels = width * height
        yield min(pixels, pictures.MOST_PIXELS)


def _sides(head: bytes) -> tuple[int, int]:
    """Width and height that a PNG, GIF or WebP claims."""

    def little(place: int, count: int) -> int:
        return int.from_bytes(head[place : place + count], "little")

    if head.startswith(_PNG):
        return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if head.startswith(_GIF):
        return little(6, 2), little(8, 2)
    match head[12:16]:
        case b"VP8 ":
            return little(26, 2) & 0x3FFF, little(28, 2) & 0x3FFF
        case b"VP8L":
            return 1 + (little(21, 2) & 0x3FFF), 1 + (little(22, 3) // 64 & 0x3FFF)
        case b"VP8X":
            return 1 + little(24, 3), 1 + little(27, 3)
    # Sound, perhaps.
    return 0, 0


def _jpeg_pixels(content: bytes, place: int) -> int:
    place += 2
    for _ in range(_MOST_SEGMENTS):
        head = content[place : place + 9]
        if len(head) < 9 or head[0] != 0xFF:
            break
        marker = head[1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            pixels = int.from_bytes(head[5:7], "big") * int.from_bytes(head[7:9], "big")
            return pixels // _JPEG_IS_CHEAPER if marker <= 0xC1 else pixels
        if marker < 0xC0 or 0xD0 <= marker <= 0xDA:
            break
        place += 2 + int.from_bytes(head[2:4], "big")
    return pictures.MOST_PIXELS_DECODED_WHOLE
