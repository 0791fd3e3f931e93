"""Which forms of a picture file are read, by headers put together by the formats' own texts."""

import struct
import zlib
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from schema import pictures
from schema.pictures import UNREAD_BMP, UNREAD_PNG, unread

SCHEMA = Path(__file__).parents[2] / "schema" / "catalog.pbtxt"
RGB_MASKS = struct.pack("<III", 0xFF0000, 0x00FF00, 0x0000FF)


def bmp(header=40, bits=24, compression=0, masks=RGB_MASKS, alpha=0) -> bytes:
    """A BMP's two headers: what the file is, and what its pixels are (V5 has all 124 bytes)."""
    information = struct.pack("<IiiHHIIiiII", header, 20, 10, 1, bits, compression, *[0] * 5)
    information += masks + struct.pack("<I", alpha) + bytes(header)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + header) + information[: max(header, 56)]


@pytest.mark.parametrize(
    ("file", "is_read"),
    [
        *((bmp(header=header), True) for header in (40, 52, 56, 108, 124)),
        *((bmp(header=header), False) for header in (12, 16, 39, 41, 64, 128)),
        *((bmp(bits=bits), True) for bits in (1, 4, 8, 24, 32)),
        *((bmp(bits=bits), False) for bits in (0, 2, 16, 25, 33)),
        # Run lengths, JPEG and PNG inside; bit fields where there are none.
        *((bmp(bits=8, compression=compression), False) for compression in (1, 2, 4, 5)),
        (bmp(bits=24, compression=3), False),
        (bmp(bits=32, compression=3), True),
        (bmp(bits=32, compression=6), False),
        (bmp(bits=32, compression=3, masks=RGB_MASKS[::-1]), False),
        (bmp(bits=32, compression=3, masks=struct.pack("<III", 0x7C00, 0x3E0, 0x1F)), False),
        *(
            (bmp(header, 32, 3, alpha=alpha), is_read)
            for header in (56, 108, 124)
            for alpha, is_read in ((0, True), (0xFF000000, True), (0xF0000000, False), (1, False))
        ),
        # Before version 3 there is no mask of alpha, and what stands there is something else.
        (bmp(52, 32, 3, alpha=1), True),
        # Cut off, which decoding finds out.
        (bmp()[:30], True),
        (b"BM", False),
    ],
)
def test_bmps_are_read_of_plain_bits_and_of_bytes_in_the_common_order(file, is_read):
    assert unread(file) == ("" if is_read else UNREAD_BMP)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content))


def png(bits: int, color_type: int, *before_pixels: bytes, behind: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", 20, 10, bits, color_type, 0, 0, 0)
    pixels = chunk(b"IDAT", b"never looked at")
    parts = [chunk(b"IHDR", header), *before_pixels, pixels, behind, chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


KEY = chunk(b"tRNS", bytes(6))
GAMMA = chunk(b"gAMA", struct.pack(">I", 45455))


@pytest.mark.parametrize("between", [(), (GAMMA,), (chunk(b"tEXt", b"x" * 700), GAMMA)])
@pytest.mark.parametrize(
    ("bits", "color_type", "is_read"),
    [
        *((bits, 0, bits == 8) for bits in (1, 2, 4, 8, 16)),
        (8, 2, True),
        (16, 2, False),
        # A palette's transparency is another matter, and of these there is an alpha channel.
        *((bits, 3, True) for bits in (1, 4, 8)),
        *((16, color_type, True) for color_type in (4, 6)),
    ],
)
def test_a_transparent_color_is_read_at_8_bits(bits, color_type, is_read, between):
    assert unread(png(bits, color_type, *between, KEY)) == ("" if is_read else UNREAD_PNG)
    assert unread(png(bits, color_type, *between)) == ""
    # Behind the pixels it means nothing.
    assert unread(png(bits, color_type, *between, behind=KEY)) == ""


@pytest.mark.parametrize("length", [8, 12, 25, 26, 33, 40])
def test_a_png_that_is_cut_off_is_not_called_unread(length):
    assert unread(png(16, 2, KEY)[:length]) == ""


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff", b"GIF89a", b"RIFF....WEBP", b"text"])
def test_of_other_files_nothing_is_said(content):
    assert unread(content) == ""


def test_the_bounds_are_those_of_the_schema():
    schema = text_format.Parse(SCHEMA.read_text(), schema_pb2.Schema())
    sides = [of for of in schema.feature if of.name in ("image_height", "image_width")]
    assert len(sides) == 2
    for side in sides:
        domain = side.float_domain if side.HasField("float_domain") else side.int_domain
        assert (domain.min, domain.max) == (pictures.SMALLEST_SIDE, pictures.LARGEST_SIDE)


def test_the_bounds_that_callers_were_promised():
    assert pictures.MOST_PIXELS == 50_000_000
    assert pictures.MOST_PIXELS_DECODED_WHOLE == 25_000_000
    assert pictures.MOST_PIXELS_SCANNED == 50 * pictures.MOST_PIXELS
    assert pictures.MOST_BYTES == 64 << 20
