"""Pictures that people ask about: which are taken, what of them is looked at, what is sent on."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from schema import pictures as contract
from serving.app.errors import Refused
from serving.app.pictures import Crop, check, decoded, encoded, media_type


def file_of(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def noise(width, height):
    rng = np.random.default_rng(width)
    return Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8))


@pytest.mark.parametrize(
    ("form", "type_"),
    [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp"), ("GIF", "image/gif"),
     ("BMP", "image/bmp")],
)  # fmt: skip
def test_a_format_is_told_by_what_it_begins_with(form, type_):
    assert media_type(file_of(noise(9, 9), form)) == type_


@pytest.mark.parametrize(
    "content",
    [b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<html>", b"RIFF0000WAVEfmt ",
     b"0000\0\0\0\0WEBP", b"\xff\xd8"],
)  # fmt: skip
def test_what_is_none_of_them_is_nothing_that_a_browser_opens(content):
    assert media_type(content) == "application/octet-stream"


def test_a_small_part_is_sent_on_as_it_is_and_a_large_one_with_two_million_pixels_at_most():
    part = noise(1000, 1999)
    sent = Image.open(io.BytesIO(encoded(part)))
    assert sent.format == "PNG"
    np.testing.assert_array_equal(np.asarray(sent), np.asarray(part))

    large = Image.new("RGB", (2000, 1004), "red")
    large.paste("blue", (0, 0, 1000, 1004))
    sent = np.asarray(Image.open(io.BytesIO(encoded(large))))
    assert sent.shape == (502, 1000, 3)
    assert (sent[:, :500] == (0, 0, 255)).all() and (sent[:, 500:] == (255, 0, 0)).all()
    for width, height in ((2001, 1000), (3000, 3000), (20_000, 101), (8660, 5773)):
        sent = Image.open(io.BytesIO(encoded(Image.new("RGB", (width, height)))))
        # A row or column that is cut is kept.
        assert 400_000 < sent.width * sent.height < 2_000_000 + sent.width + sent.height
        assert sent.width / sent.height == pytest.approx(width / height, rel=0.02)


def test_a_crop_may_end_a_rounding_error_outside_and_no_further():
    assert Crop.parse("0.5,0,0.5000009,1").box(100, 10) == (50, 0, 100, 10)
    assert Crop.parse("0,0.25,1,0.7500009").box(10, 100) == (0, 25, 10, 100)
    for text in ("0.5,0,0.50001,1", "0,0.5,1,0.50001", "-0.1,0,0.5,1", "0,-0.1,1,1", "0,0,0,1",
                 "0,0,1,0", "0,0,-0.5,1", "nan,0,1,1", "0,0,inf,1", "0,0,1", "0,0,1,1,1", "",
                 "a,b,c,d"):  # fmt: skip
        with pytest.raises(Refused) as refused:
            Crop.parse(text)
        assert refused.value.status == 400 and f'The crop is "{text}"' in str(refused.value)


REFUSED = [
    (b"", 415, "0 bytes"),
    (b"<html>", 415, "no picture that is read"),
    (b"BM" + bytes(60), 415, "form of picture is not read: of BMP"),
    (file_of(Image.new("L", (7, 300))), 400, "too small: 7 x 300 pixels"),
    (file_of(Image.new("1", (8, 20_001))), 413, "at most 50 million pixels"),
    (file_of(Image.new("1", (10_001, 5_000))), 413, "10,001 x 5,000 pixels"),
]


@pytest.mark.parametrize(("content", "status", "said"), REFUSED)
def test_what_its_header_says_is_refused_with_its_status(content, status, said):
    with pytest.raises(Refused) as refused:
        check(content)

    assert refused.value.status == status
    assert said in str(refused.value) and str(refused.value).endswith(".")


def test_what_may_just_be_decoded_is():
    for size in ((8, 8), (8, 20_000), (10_000, 5_000)):
        assert check(file_of(Image.new("1", size))).size == size


def test_a_damaged_picture_and_a_part_without_pixels_are_refused():
    for content, crop, said in (
        (file_of(noise(50, 50))[:3000], None, "damaged"),
        (file_of(noise(50, 50)), Crop(0.5, 0.5, 0.001, 0.5), "outside of the picture"),
        (file_of(noise(50, 50)), Crop(0.5, 0.5, 0.14, 0.5), "too small"),
    ):
        with pytest.raises(Refused) as refused:
            decoded(content, crop)
        assert refused.value.status == 400 and said in str(refused.value)
    assert decoded(file_of(noise(50, 50)), Crop(0.5, 0.5, 0.16, 0.5)).size == (8, 25)


def test_scans_are_counted_in_jpegs_alone(monkeypatch):
    progressive = file_of(noise(64, 64), "JPEG", progressive=True)
    scans = progressive.count(b"\xff\xda")
    assert scans > 2
    for most, is_taken in ((64 * 64 * scans, True), (64 * 64 * scans - 1, False)):
        monkeypatch.setattr("serving.app.pictures.MOST_PIXELS_SCANNED", most)
        if is_taken:
            check(progressive)
            continue
        with pytest.raises(Refused) as refused:
            check(progressive)
        assert refused.value.status == 413 and "scans" in str(refused.value)
    # In other formats these two bytes may be anything.
    check(file_of(noise(64, 64)) + b"\xff\xda" * (scans + 1))
    assert contract.MOST_PIXELS_SCANNED == 50 * contract.MOST_PIXELS
