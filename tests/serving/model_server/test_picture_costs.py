"""Requests that take long are known by what their pictures say of themselves."""

import io

import grpc
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from benchmarks import _bombs
from schema import features, pictures
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
