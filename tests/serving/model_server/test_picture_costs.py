"""Requests that take long are known by what their pictures say of themselves."""

import io
import struct

import grpc
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from benchmarks import _bombs
from schema import features, pictures
from serving.model_server import picture_costs
from serving.model_server.errors import RequestError
from serving.model_server.picture_costs import MANY_PIXELS, pixels_to_decode, takes_long


def inputs(*values: bytes) -> dict[str, np.ndarray]:
    array = np.empty(len(values), object)
    array[:] = values
    return {"image_bytes": array}


def encoded(width: int, height: int, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (9, 99, 199)).save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize("form", ["PNG", "GIF", "WEBP"])
@pytest.mark.parametrize("options", [{}, {"lossless": True}])
def test_a_picture_counts_with_its_pixels(form, options):
    assert pixels_to_decode(inputs(encoded(300, 200, form, **options))) == 60_000


def test_an_extended_webp_counts_with_its_canvas():
    assert pixels_to_decode(inputs(_bombs.extended_webp(300, 200))) == 60_000


def test_a_jpeg_counts_with_a_part_of_them_unless_it_is_progressive():
    assert pixels_to_decode(inputs(encoded(800, 600, "JPEG"))) == 60_000
    assert pixels_to_decode(inputs(encoded(800, 600, "JPEG", progressive=True))) == 480_000


def test_a_bmp_counts_with_what_is_there_and_not_with_what_it_claims():
    assert pixels_to_decode(inputs(encoded(300, 200, "BMP"))) == pytest.approx(60_000, rel=0.01)
    assert pixels_to_decode(inputs(_bombs.bmp(20_000, 20_000))) < 100


def test_many_pictures_count_together_in_any_shape():
    file = encoded(300, 200, "PNG")
    many = {"image_bytes": np.full((3, 2), file, object), "more": np.full((), file, object)}
    assert pixels_to_decode(many) == 7 * 60_000


def test_what_is_refused_in_any_case_counts_as_much_as_the_largest_that_is_not():
    assert pixels_to_decode(inputs(_bombs.claiming_png(40_000, 40_000))) == pictures.MOST_PIXELS
    assert pixels_to_decode(inputs(_bombs.webp(16_383, 16_383))) == pictures.MOST_PIXELS


def test_a_jpeg_that_cannot_be_told_counts_as_a_large_one():
    whole = encoded(80, 60, "JPEG")
    most = pictures.MOST_PIXELS_DECODED_WHOLE
    for file in (whole[:30], whole[:2] + b"\xff\x00" * 50, b"\xff\xd8" + b"\xff\xfe\0\2" * 10_000):
        assert pixels_to_decode(inputs(file)) == most


def test_a_picture_within_an_example_counts():
    example = tf.train.Example()
    example.features.feature["title"].bytes_list.value.append(b"x" * 5000)
    example.features.feature[features.IMAGE].bytes_list.value.append(encoded(300, 200, "PNG"))
    assert pixels_to_decode(inputs(example.SerializeToString())) == 60_000


def test_numbers_and_texts_have_no_pixels():
    many = {"x": np.zeros((10, 10)), "word": np.array([b"RIFF", b"", b"GIF8"], object)}
    assert pixels_to_decode(many) == 0
    assert pixels_to_decode(inputs(b"RIFF" + bytes(40), b"some text or other, no picture")) == 0
    assert pixels_to_decode({"x": np.full((1,) * 40 + (0,), b"", object)}) == 0


def test_photographs_do_not_take_long_and_large_pngs_do():
    assert not takes_long(inputs(_bombs.jpeg(6000, 4000, components=3)))
    assert takes_long(inputs(_bombs.claiming_png(6000, 4000)))
    assert not takes_long(inputs(*[encoded(150, 150, "PNG")] * 64))


def test_very_many_texts_take_long_whatever_they_are():
    few, many = np.full(100, b"", object), np.full(1000, b"", object)
    assert not takes_long({"text": few})
    assert takes_long({"text": many})
    assert not takes_long({"x": np.zeros(MANY_PIXELS)})


def test_more_than_any_request_may_is_refused():
    with pytest.raises(RequestError, match="1,250 megapixels to decode; at most 1,000") as refusal:
        takes_long(inputs(*[_bombs.claiming_png(5000, 5000)] * 50))
    assert refusal.value.code is grpc.StatusCode.INVALID_ARGUMENT


def png_head(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height)


def gif_head(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\xff" * 20


def lossy_webp_head(width: int, height: int) -> bytes:
    """RFC 6386, section 9.1: the two highest bits of each side say how to scale it."""
    key_frame = b"\x10\xff\xff\x9d\x01\x2a" + struct.pack("<HH", width | 3 << 14, height | 2 << 14)
    return b"RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\xff" + key_frame + b"\xff" * 8


def lossless_webp_head(width: int, height: int) -> bytes:
    """The WebP lossless format, section 3: 14 bits of each side less one, then others."""
    sides = (width - 1 | height - 1 << 14 | 1 << 28).to_bytes(4, "little")
    return b"RIFF\xff\xff\xff\xffWEBPVP8L\xff\xff\xff\xff\x2f" + sides + b"\xff" * 8


def extended_webp_head(width: int, height: int) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\xff\xff\xff\xffWEBPVP8X\xff\xff\xff\xff\x10\xff\xff\xff" + sides + b"\xff" * 8


@pytest.mark.parametrize(
    ("head", "width", "height"),
    [
        (png_head, 0x01020304, 0x05060708),
        (gif_head, 0x0102, 0xFEDC),
        (lossy_webp_head, 0x3FFF, 0x1234),
        (lossy_webp_head, 0x1234, 0x3FFF),
        (lossless_webp_head, 0x4000, 0x1234),
        (lossless_webp_head, 0x1235, 0x4000),
        (extended_webp_head, 0x010203, 0xFEDCBA),
        (extended_webp_head, 0xFEDCBA, 0x010203),
    ],
)
def test_sides_are_read_with_all_of_their_digits(head, width, height):
    assert picture_costs._sides(head(width, height)) == (width, height)
    for place in (0, 3000):
        inside = bytes(place) + head(40, 30) + bytes(20)
        assert pixels_to_decode(inputs(inside)) == 1200


def segment(marker: int, body: bytes = b"") -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


@pytest.mark.parametrize("marker", range(0xC0, 0xD0))
def test_a_jpegs_sides_stand_in_its_frame_of_whatever_kind(marker):
    """T.81, table B.1: C4, C8 and CC are no frames, and C0 and C1 are sequential."""
    frame = segment(marker, struct.pack(">BHHB", 8, 0x0304, 0x0102, 3) + bytes(9))
    progressive = segment(0xC2, struct.pack(">BHHB", 8, 20, 10, 3) + bytes(9))
    file = b"\xff\xd8" + segment(0xE0, b"x" * 700) + segment(0xDB, bytes(65)) + frame + progressive
    expected = 0x0304 * 0x0102 if marker not in (0xC4, 0xC8, 0xCC) else 200
    if marker <= 0xC1:
        expected //= 8
    assert pixels_to_decode(inputs(file, b"some text before " + file)) == 2 * expected


@pytest.mark.parametrize(
    ("between", "is_told"),
    [
        (segment(0xFE) * 511, True),
        (segment(0xFE) * 512, False),
        (segment(0xDB), True),
        (segment(0xEF), True),
        (segment(0xBF), False),
        (segment(0xD0), False),
        (segment(0xD7), False),
        (segment(0xDA), False),
        (segment(0xFE) + b"\xfe" + segment(0xE0)[1:], False),
    ],
)
def test_a_jpeg_is_followed_from_segment_to_segment_up_to_its_scan(between, is_told):
    frame = segment(0xC0, struct.pack(">BHHB", 8, 80, 60, 1) + bytes(3))
    expected = 80 * 60 // 8 if is_told else pictures.MOST_PIXELS_DECODED_WHOLE
    assert pixels_to_decode(inputs(b"\xff\xd8" + between + frame + bytes(9))) == expected


def test_a_jpeg_that_ends_with_its_sides_is_told():
    file = b"\xff\xd8" + segment(0xFE, b"x" * 20) + b"\xff\xc0\0\x0b\x08\0\x50\0\x3c"
    assert pixels_to_decode(inputs(file)) == 80 * 60 // 8
    assert pixels_to_decode(inputs(file[:-1])) == pictures.MOST_PIXELS_DECODED_WHOLE


def test_a_file_of_24_bytes_is_the_shortest_that_may_be_a_picture():
    file = png_head(30, 20)
    assert len(file) == 24
    assert pixels_to_decode(inputs(file)) == 600
    assert pixels_to_decode(inputs(file[:-1])) == 0


def test_a_bmp_counts_three_bytes_a_pixel_and_nothing_within_it():
    assert pixels_to_decode(inputs(b"BM" + png_head(3000, 3000) + bytes(34))) == 20


def test_of_several_pictures_in_a_text_the_first_of_each_format_counts():
    example = b"text" + png_head(30, 20) + gif_head(20, 10) + png_head(900, 900)
    assert pixels_to_decode(inputs(example)) == 600 + 200


def test_from_four_megapixels_on_a_request_takes_long():
    # A text costs as much as 20,000 pixels: 1000 x 3980 + 20,000 are not more than 4 million.
    assert not takes_long(inputs(png_head(1000, 3980)))
    assert takes_long(inputs(png_head(1001, 3980)))
    assert not takes_long({"text": np.full((10, 20), b"", object)})
    assert takes_long({"text": np.full((3, 67), b"", object)})


def test_a_request_may_have_a_thousand_megapixels_to_decode():
    assert takes_long(inputs(*[png_head(5000, 5000)] * 40))
    with pytest.raises(RequestError, match="1,000 megapixels to decode; at most 1,000"):
        takes_long(inputs(*[png_head(5000, 5000)] * 40, png_head(8, 8)))
