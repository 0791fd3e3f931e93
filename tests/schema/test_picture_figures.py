"""What pictures measure, against hand arithmetic; the ingest's tests look at every kind of file."""

import io

import numpy as np
import pytest
from PIL import Image

from components.catalog_example_gen.pictures import measured
from components.catalog_example_gen.rejects import IN_WORDS, Reason
from schema import features
from schema.picture_figures import REASONS, PictureError, PictureFigures, picture_figures

NOISE = np.random.default_rng(3).integers(0, 256, (30, 24, 3))


def encoded(pixels, suffix: str = "png", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(buffer, suffix, **options)
    return buffer.getvalue()


def test_the_figures_are_those_of_the_examples_by_name_and_order():
    assert PictureFigures._fields == features.PICTURE_STATISTICS


def test_a_bright_stripe_is_measured_as_by_hand():
    pixels = np.zeros((10, 20), np.uint8)
    pixels[:, 10] = 255
    found = picture_figures(encoded(pixels))
    assert (found.image_height, found.image_width, found.image_aspect) == (10, 20, 2.0)
    assert found.image_brightness == pytest.approx(1 / 20)
    # Of the 18 inner columns the stripe's has |4 - 2|, its neighbors 1 each, the others 0.
    assert found.image_sharpness == pytest.approx((2 + 1 + 1) / 18)


def test_a_picture_that_lies_is_measured_upright():
    sideways = Image.Exif()
    sideways[0x0112] = 6
    found = picture_figures(encoded(np.zeros((10, 20)), "jpeg", exif=sideways))
    assert (found.image_height, found.image_width) == (20, 10)


def test_the_ingest_measures_the_same():
    content = encoded(NOISE, "jpeg")
    assert measured(content)[:5] == tuple(picture_figures(content))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(content, reason, id=reason)
        for content, reason in (
            (b"", "empty_file"),
            (b"no picture at all", "not_a_picture"),
            (encoded(NOISE)[:900], "truncated"),
            (encoded(np.zeros((4, 30))), "too_small"),
            (encoded(np.zeros((1, 20_001))), "too_large"),
        )
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(content, reason):
    with pytest.raises(PictureError) as refused:
        picture_figures(content)
    assert refused.value.reason == reason


def test_every_reason_is_one_that_the_ingest_has_words_for():
    assert all(Reason(reason) in IN_WORDS for reason in REASONS)
