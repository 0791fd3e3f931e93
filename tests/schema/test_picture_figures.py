"""What pictures measure, against hand arithmetic; the ingest's tests look at every kind of file."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from components.catalog_example_gen.pictures import measured
from components.catalog_example_gen.rejects import IN_WORDS, Reason
from schema import features
from schema.picture_figures import (
    REASONS,
    PictureError,
    PictureFigures,
    cropped,
    opened,
    picture_figures,
    upright_rgb,
)

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


def turned(pixels, orientation):
    """What a camera stores of pixels that it holds so (EXIF 2.3, section 4.6.4, tag 274)."""
    # Row 0 and column 0 of what is stored are these sides of what is seen.
    return {
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.transpose(1, 0, 2),
        6: lambda x: x.transpose(1, 0, 2)[::-1],
        7: lambda x: x.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda x: x.transpose(1, 0, 2)[:, ::-1],
    }[orientation](pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(turned(NOISE, orientation), exif=exif)
    np.testing.assert_array_equal(np.asarray(upright_rgb(opened(content))), NOISE)


@pytest.mark.parametrize("said", [0, 9, 300])
def test_an_orientation_that_there_is_not_turns_nothing(said):
    exif = Image.Exif()
    exif[0x0112] = said
    content = encoded(NOISE, exif=exif)
    np.testing.assert_array_equal(np.asarray(upright_rgb(opened(content))), NOISE)


def test_exif_that_cannot_be_read_turns_nothing():
    content = encoded(NOISE, "jpeg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff", quality=100)
    assert upright_rgb(opened(content)).size == (24, 30)


def saved(image, suffix, **options):
    buffer = io.BytesIO()
    image.save(buffer, suffix, **options)
    return buffer.getvalue()


def test_of_16_bits_the_upper_8_are_taken():
    gray = np.arange(0, 65_536, 256, dtype=np.uint16).reshape(16, 16) + 255
    found = upright_rgb(opened(saved(Image.fromarray(gray), "png")))
    expected = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(np.asarray(found), np.stack([expected] * 3, axis=2))


def test_what_is_transparent_lies_on_white():
    pixels = np.zeros((10, 10, 4), np.uint8)
    pixels[:, 5:] = (200, 100, 0, 255)
    found = np.asarray(upright_rgb(opened(saved(Image.fromarray(pixels), "png"))))
    assert (found[:, :5] == 255).all() and (found[:, 5:] == (200, 100, 0)).all()


def test_inks_let_light_through_with_adobes_mark_and_without():
    def stored(*inks):
        return saved(Image.new("CMYK", (16, 16), inks), "jpeg", quality=100)

    # Pillow stores inks inverted, as Adobe does; without the mark they are read as they stand.
    with_mark, inverted = stored(0, 255, 255, 0), stored(255, 0, 0, 255)
    mark = inverted.index(b"\xff\xee")
    for content in (with_mark, inverted[:mark] + inverted[mark + 16 :]):
        found = np.asarray(upright_rgb(opened(content)))[8, 8].astype(int)
        np.testing.assert_allclose(found, (255, 0, 0), atol=3)


def gif(canvas, place, size, color=(10, 20, 200)):
    """A GIF whose one frame lies at a place of its canvas."""
    content = saved(Image.new("RGB", size, color).quantize(2), "gif")
    at = content.index(b"\x2c", 13)
    return (
        content[:6]
        + struct.pack("<HH", *canvas)
        + content[10 : at + 1]
        + struct.pack("<HH", *place)
        + content[at + 5 :]
    )


@pytest.mark.parametrize(
    ("canvas", "place", "size"),
    [((20, 30), (0, 0), (20, 30)), ((20, 30), (4, 5), (10, 11)), ((20, 30), (0, 19), (20, 11))],
)
def test_around_a_first_frame_is_white(canvas, place, size):
    found = np.asarray(upright_rgb(opened(gif(canvas, place, size))))
    expected = np.full((canvas[1], canvas[0], 3), 255, np.uint8)
    expected[place[1] : place[1] + size[1], place[0] : place[0] + size[0]] = (10, 20, 200)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("place", [(1, 0), (0, 1)])
def test_a_first_frame_larger_than_its_canvas_is_refused(place):
    with pytest.raises(PictureError, match="larger than it says") as refused:
        opened(gif((20, 30), place, (20, 30)))
    assert refused.value.reason == "unread_form"


@pytest.mark.parametrize(
    ("height", "width", "reason"),
    [
        (8, 8, None),
        (7, 8, "too_small"),
        (8, 7, "too_small"),
        (8, 20_000, None),
        (8, 20_001, "too_large"),
        (20_001, 8, "too_large"),
        (5_000, 10_000, None),
        (5_001, 10_000, "too_large"),
    ],
)
def test_the_bounds_themselves_are_in_bounds(height, width, reason):
    content = saved(Image.new("1", (width, height)), "png")
    if reason is None:
        assert opened(content).size == (width, height)
        return
    with pytest.raises(PictureError) as refused:
        opened(content)
    assert refused.value.reason == reason
    assert f"{width:,} x {height:,} pixels" in refused.value.found


@pytest.mark.parametrize(
    ("box", "size"),
    [
        (None, (24, 30)),
        ((0, 0, 24, 30), (24, 30)),
        ((-5, -6, 99, 98), (24, 30)),
        ((3, 4, 11, 12), (8, 8)),
        ((10, 20, 99, 99), (14, 10)),
        ((3, 4, 10, 12), "too_small"),
        ((3, 4, 12, 11), "too_small"),
        ((5, 5, 5, 20), "empty_box"),
        ((5, 20, 20, 20), "empty_box"),
        ((20, 5, 5, 20), "empty_box"),
        ((24, 0, 40, 30), "empty_box"),
        ((0, 30, 24, 50), "empty_box"),
        ((-9, 0, 0, 30), "empty_box"),
    ],
)
def test_boxes_are_cut_to_the_picture(box, size):
    image = Image.fromarray(NOISE.astype(np.uint8))
    if isinstance(size, str):
        with pytest.raises(PictureError) as refused:
            cropped(image, box)
        assert refused.value.reason == size
        assert f"box {' '.join(map(str, box))} in 24 x 30 pixels" in refused.value.found
        return
    found = cropped(image, box)
    assert found.size == size
    left, upper = (max(box[0], 0), max(box[1], 0)) if box else (0, 0)
    expected = NOISE[upper : upper + size[1], left : left + size[0]]
    np.testing.assert_array_equal(np.asarray(found), expected)
