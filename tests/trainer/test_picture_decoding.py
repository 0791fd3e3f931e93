"""Picture files become the same pixels everywhere, upright, or are refused with a reason."""

import io
import itertools
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from schema import pictures
from trainer import picture_decoding


def encoded(pixels, form="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def decode():
    """(pixels, reasons) of files at 24 x 32 pixels, out of a graph as it is served."""
    graph = tf.function(
        lambda files: picture_decoding.decode_pictures(files, 24, 32),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )

    def decoded(files):
        pixels, reasons = graph(tf.constant(files, tf.string))
        return pixels.numpy(), [reason.decode() for reason in reasons.numpy()]

    return decoded


def test_a_picture_of_the_right_size_is_passed_on_bit_by_bit():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype("uint8")
    np.testing.assert_array_equal(picture_decoding.decode_picture(encoded(pixels), 9, 7), pixels)


def test_a_gray_picture_becomes_rgb():
    gray = np.random.default_rng(0).integers(0, 256, (9, 7)).astype("uint8")
    decoded = picture_decoding.decode_picture(encoded(gray), 9, 7)
    np.testing.assert_array_equal(decoded, np.stack([gray] * 3, -1))


def test_shrinking_averages_over_areas():
    """A chessboard of single pixels turns gray; without antialiasing it would not."""
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype("uint8")
    pixels = np.stack([board] * 3, -1)
    shrunk = picture_decoding.decode_picture(encoded(pixels), 8, 8).numpy()
    np.testing.assert_allclose(shrunk[1:-1, 1:-1], 127.5, atol=2)
    by_pillow = np.asarray(Image.fromarray(pixels).resize((8, 8), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(shrunk.astype(int), by_pillow, atol=2)


def test_shrinking_leaves_no_pixel_out():
    """Whichever pixel of a black picture is lit, the small picture shows it."""
    lit = 255 * np.eye(12 * 10, dtype="uint8").reshape(-1, 12, 10, 1).repeat(3, axis=-1)
    for size in ((6, 5), (7, 6), (11, 9), (3, 9)):
        shrunk, _ = picture_decoding.decode_pictures([encoded(picture) for picture in lit], *size)
        assert (shrunk.numpy().max((1, 2, 3)) > 0).all(), size


def photo(height, width):
    """Smooth shapes and some noise, as a JPEG."""
    generator = np.random.default_rng(height)
    coarse = Image.fromarray(generator.integers(0, 256, (9, 7, 3)).astype("uint8"))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype("int16")
    pixels += generator.integers(-8, 9, pixels.shape).astype("int16")
    return encoded(pixels.clip(0, 255).astype("uint8"), "JPEG")


@pytest.mark.parametrize("times", [4, 8, 16, 20])
def test_a_large_jpeg_looks_as_if_decoded_whole(times):
    file = photo(32 * times, 24 * times)
    whole = Image.open(io.BytesIO(file)).resize((24, 32), Image.Resampling.BOX)
    decoded = picture_decoding.decode_picture(file, 32, 24).numpy()
    assert np.abs(decoded.astype(int) - np.asarray(whole)).mean() < 1.5


def test_a_large_jpeg_is_not_decoded_whole(monkeypatch):
    """Run eagerly, only the branch that is taken decodes."""
    ratios = []
    decode_jpeg = tf.io.decode_jpeg

    def noted(contents, ratio, **options):
        decoded = decode_jpeg(contents, ratio=ratio, **options)
        ratios.append(ratio)
        return decoded

    monkeypatch.setattr(tf.io, "decode_jpeg", noted)
    for times in (1, 3, 4, 7, 8, 15, 16):
        picture_decoding.decode_picture(photo(32 * times, 24 * (times + 2)), 32, 24)
    assert ratios == [1, 1, 2, 2, 4, 4, 8]


@pytest.mark.parametrize("form", ["PNG", "GIF", "BMP"])
def test_what_is_no_jpeg_is_decoded_whole_and_shrunk(form):
    with Image.open(io.BytesIO(photo(256, 192))) as image:
        pixels = np.asarray(image.quantize().convert("RGB"))
    shrunk = Image.fromarray(pixels).resize((24, 32), Image.Resampling.BOX)
    decoded = picture_decoding.decode_picture(encoded(pixels, form), 32, 24).numpy()
    np.testing.assert_allclose(decoded.astype(int), np.asarray(shrunk), atol=1)


def test_a_small_picture_is_enlarged_without_blocks():
    ramp = np.broadcast_to(np.arange(0, 160, 10)[:, None, None], (16, 16, 3)).astype("uint8")
    enlarged = picture_decoding.decode_picture(encoded(ramp), 64, 64).numpy()[:, 32, 0]
    assert np.abs(np.diff(enlarged.astype(int))).max() <= 3


def test_a_batch_keeps_its_order_and_may_be_empty():
    pixels = np.random.default_rng(0).integers(0, 256, (30, 9, 8, 3)).astype("uint8")
    files = tf.constant([encoded(x, "PNG" if i % 2 else "BMP") for i, x in enumerate(pixels)])
    decoded, reasons = picture_decoding.decode_pictures(files, 9, 8)
    np.testing.assert_array_equal(decoded, pixels)
    assert set(reasons.numpy()) == {b""}
    nothing, no_reasons = picture_decoding.decode_pictures(files[:0], 9, 8)
    assert nothing.shape == (0, 9, 8, 3)
    assert no_reasons.shape == (0,)


@pytest.mark.parametrize(
    "sides", [(8, 8), (24, 32), (47, 63), (48, 64), (48, 65), (49, 64), (97, 9)]
)
def test_a_small_jpeg_is_the_same_served_and_trained_on(decode, sides):
    """The short way for what is at most twice as long, and the long way of one by itself."""
    for mode in ("RGB", "L"):
        pixels = np.random.default_rng(1).integers(0, 256, (*sides, 3)).astype("uint8")
        file = encoded(np.asarray(Image.fromarray(pixels).convert(mode)), "JPEG")
        found, reasons = decode([file])
        assert reasons == [""]
        np.testing.assert_array_equal(found[0], picture_decoding.decode_picture(file, 24, 32))


@given(order=st.lists(st.integers(0, 11), max_size=20))
@settings(deadline=None, max_examples=40)
def test_pictures_of_a_batch_have_nothing_to_do_with_one_another(decode, every_kind, order):
    pixels, reasons = decode([every_kind[place][0] for place in order])
    assert reasons == [every_kind[place][2] for place in order]
    for found, place in zip(pixels, order, strict=True):
        np.testing.assert_array_equal(found, every_kind[place][1])


@pytest.fixture(scope="module")
def every_kind(decode, scene):
    """Files that are decoded in different ways or refused, each with what it gives by itself."""
    small, large = photo(30, 40), photo(24 * 9, 32 * 8)
    files = [
        small,
        photo(48, 64),
        large,
        encoded(scene),
        encoded(scene, "BMP"),
        encoded(scene, "WEBP"),
        with_orientation(np.ascontiguousarray(scene.transpose(1, 0, 2)), 6, "JPEG", True),
        small[: len(small) // 2],
        large[: len(large) // 2],
        encoded(scene)[:60],
        b"",
        b"GIF89a",
    ]
    alone = [decode([file]) for file in files]
    return [(file, pixels[0], *why) for file, (pixels, why) in zip(files, alone, strict=True)]


@pytest.fixture(scope="module")
def scene():
    """24 x 32 pixels, unlike itself however it is turned or mirrored."""
    corners = np.random.default_rng(3).integers(0, 256, (3, 4, 3)).astype("uint8")
    return corners.repeat(8, axis=0).repeat(8, axis=1)


def with_orientation(pixels, orientation, form, big_endian):
    """The file of a camera that was held so that `pixels` must be turned to be upright."""
    order = ">" if big_endian else "<"
    head = b"MM\0*" if big_endian else b"II*\0"
    other = struct.pack(order + "HHII", 0x010F, 2, 4, 0x41424300)
    tag = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff = head + struct.pack(order + "IH", 8, 2) + other + tag + bytes(4)
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    return encoded(pixels, form, exif=b"Exif\0\0" + tiff, **options.get(form, {}))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("big_endian", [False, True])
def test_a_picture_comes_upright(decode, scene, form, big_endian):
    files = []
    for orientation in range(1, 9):
        stored = scene if orientation < 5 else scene.transpose(1, 0, 2)
        files.append(with_orientation(np.ascontiguousarray(stored), orientation, form, big_endian))
    pixels, reasons = decode(files)
    assert reasons == [""] * 8
    for file, found in zip(files, pixels, strict=True):
        upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB"))
        assert upright.shape == found.shape
        assert np.abs(upright.astype(int) - found).max() <= 3


def test_an_upright_picture_and_one_that_is_turned_when_shrunk_are_the_same(decode):
    large = np.random.default_rng(5).integers(0, 256, (12, 16, 3)).astype("uint8")
    large = large.repeat(8, axis=0).repeat(8, axis=1)
    turned = np.ascontiguousarray(np.rot90(large))
    pixels, _ = decode([encoded(large), with_orientation(turned, 6, "PNG", False)])
    np.testing.assert_array_equal(*pixels)


@pytest.mark.parametrize("orientation", [0, 9, 255, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(decode, scene, orientation):
    pixels, reasons = decode([with_orientation(scene, orientation, "PNG", False)])
    assert reasons == [""]
    np.testing.assert_array_equal(pixels[0], scene)


@pytest.mark.parametrize(
    "tiff",
    [
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"MM\0*\xff\xff\xff\xff" + bytes(40),
        b"II*\0\x08\0\0\0\xff\xff" + b"\x12\x01" * 30,
        b"II*\0\0\0\0\0",
    ],
)
def test_damaged_exif_turns_nothing(decode, scene, tiff):
    options = {"quality": 100, "subsampling": 0}
    pixels, reasons = decode([encoded(scene, "JPEG", exif=b"Exif\0\0" + tiff, **options)])
    assert reasons == [""]
    assert np.abs(pixels[0].astype(int) - scene).max() <= 3


def png_that_claims(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0"))


def jpeg_that_claims(width, height):
    file = encoded(np.zeros((16, 16, 3), "uint8"), "JPEG")
    place = file.index(b"\xff\xc0") + 5
    return file[:place] + struct.pack(">HH", height, width) + file[place + 4 :]


def webp_that_claims(width, height):
    lossless = struct.pack("<BI", 0x2F, width - 1 | height - 1 << 14) + bytes(8)
    body = b"WEBPVP8L" + struct.pack("<I", len(lossless)) + lossless
    return b"RIFF" + struct.pack("<I", len(body)) + body


def extended_webp_that_claims(width, height):
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<II", 10, 0) + sides
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif_that_claims(width, height):
    file = encoded(np.zeros((16, 16, 3), "uint8"), "GIF")
    return file[:6] + struct.pack("<HH", width, height) + file[10:]


def bmp_that_claims(width, height):
    file = encoded(np.zeros((16, 16, 3), "uint8"), "BMP")
    return file[:18] + struct.pack("<ii", width, height) + file[26:]


@pytest.mark.parametrize(
    "claims",
    [
        png_that_claims,
        jpeg_that_claims,
        webp_that_claims,
        extended_webp_that_claims,
        gif_that_claims,
        bmp_that_claims,
    ],
)
def test_a_picture_too_large_is_refused_by_its_header(decode, scene, claims):
    is_jpeg = claims is jpeg_that_claims
    most = pictures.MOST_PIXELS if is_jpeg else pictures.MOST_PIXELS_DECODED_WHOLE
    said = "" if is_jpeg else "as anything but a JPEG, "
    for width, height in ((10_000, most // 10_000 + 1), (16_000, 16_000)):
        pixels, reasons = decode([encoded(scene), claims(width, height), encoded(scene)])
        assert reasons[::2] == ["", ""]
        assert reasons[1].startswith(f"{width} x {height} pixels: {said}at most {most:,} are taken")
        np.testing.assert_array_equal(pixels[0], scene)
        np.testing.assert_array_equal(pixels[2], scene)
        assert not pixels[1].any()


def test_a_bmp_from_top_to_bottom_is_as_high_as_it_says(decode):
    (reason,) = decode([bmp_that_claims(10_000, -10_000)])[1]
    assert reason.startswith("10000 x 10000 pixels")


@pytest.mark.parametrize("side", [1, 7])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_a_picture_with_hardly_any_pixels_is_refused(decode, side, form):
    (reason,) = decode([encoded(np.zeros((20, side, 3), "uint8"), form)])[1]
    assert reason == f"{side} x 20 pixels: each side must have at least 8"


def test_every_broken_file_costs_itself_alone(decode, scene):
    generator = np.random.default_rng(11)
    good = encoded(scene)
    files, broken = [], []
    for form in ("PNG", "JPEG", "GIF", "BMP", "WEBP"):
        whole = encoded(
            np.random.default_rng(1).integers(0, 256, (40, 40, 3)).astype("uint8"), form
        )
        for cut in generator.integers(1, len(whole) // 2, 8):
            broken.append(len(files) + 1)
            files += [good, whole[:cut]]
    files += [b"", b"no picture", b"\xff\xd8\xff"]
    broken += range(len(files) - 3, len(files))
    pixels, reasons = decode(files)
    for index, (found, reason) in enumerate(zip(pixels, reasons, strict=True)):
        if index in broken:
            assert reason
            assert not found.any()
        else:
            assert reason == ""
            np.testing.assert_array_equal(found, scene)


def test_no_mutilated_file_breaks_the_batch(decode, scene):
    generator = np.random.default_rng(13)
    good, files = encoded(scene), []
    for form in ("PNG", "JPEG", "GIF", "BMP", "WEBP"):
        for _ in range(60):
            file = bytearray(encoded(scene, form))
            for place in generator.integers(0, len(file), generator.integers(1, 9)):
                file[place] = generator.integers(0, 256)
            files.append(bytes(file))
    pixels, reasons = decode([good, *files, good])
    assert reasons[0] == reasons[-1] == ""
    np.testing.assert_array_equal(pixels[0], pixels[-1])
    assert sum(map(bool, reasons)) > 50


def lossy_webp_that_claims(width, height):
    """RFC 6386, section 9.1: the two highest bits of each side say how to scale it."""
    key_frame = b"\x10\x00\x00\x9d\x01\x2a" + struct.pack("<HH", width | 1 << 14, height | 2 << 14)
    body = b"WEBPVP8 " + struct.pack("<I", len(key_frame) + 8) + key_frame + bytes(8)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    ("claims", "width", "height"),
    [
        (lossy_webp_that_claims, 16_383, 8_190),
        (lossy_webp_that_claims, 8_190, 16_383),
        (webp_that_claims, 16_384, 8_191),
        (webp_that_claims, 8_191, 16_384),
        (extended_webp_that_claims, 2**24, 66_051),
        (extended_webp_that_claims, 66_051, 2**24),
        (gif_that_claims, 65_534, 515),
        (gif_that_claims, 515, 65_534),
        (png_that_claims, 0x0102_0304, 0x7FFF_FFFE),
        (bmp_that_claims, 0x0102_0304, 0x7FFF_FFFE),
        (bmp_that_claims, 0x7FFF_FFFE, -0x0102_0304),
    ],
)
def test_a_header_is_read_with_all_of_its_digits(decode, claims, width, height):
    (reason,) = decode([claims(width, height)])[1]
    assert reason.startswith(f"{width} x {abs(height)} pixels: as anything but a JPEG")


@pytest.mark.parametrize("most", [pictures.MOST_PIXELS, pictures.MOST_PIXELS_DECODED_WHOLE])
def test_a_picture_may_have_as_many_pixels_and_sides_as_long_as_the_bounds(most):
    sides = [(8, 8), (8, 20_000), (20_000, most // 20_000), (most // 5000, 5000)]
    bad = {(7, 8): "at least 8", (8, 20_001): "20,000 on a side"}
    bad |= {(20_000, most // 20_000 + 1): f"at most {most:,}", (most // 5000 + 1, 5000): "at most"}
    both = [*sides, *bad]
    both += [(width, height) for height, width in both]
    heights, widths = (tf.constant(of, tf.int64) for of in zip(*both, strict=True))
    reasons = picture_decoding._out_of_bounds(heights, widths, most).numpy()
    for (height, width), reason in zip(both, reasons, strict=True):
        said = bad.get((height, width)) or bad.get((width, height))
        assert (reason == b"") == (said is None), (height, width)
        if said:
            assert reason.decode().startswith(f"{width} x {height} pixels: ")
            assert said in reason.decode()


def bmp_head(header_bytes, bits, compression, masks=pictures.BMP_MASKS, alpha=0):
    """A BMP's first 70 bytes, of which those of the image's size and resolution are not 0."""
    head = b"BM" + struct.pack("<IHHI", 0, 0, 0, 54)
    head += struct.pack("<IiiHHI", header_bytes, 9, 9, 1, bits, compression) + b"\x5a" * 20
    return (head + masks).ljust(66, b"\0") + struct.pack("<I", alpha)


def test_a_bmp_is_read_or_not_as_by_the_ingest():
    masks = [pictures.BMP_MASKS, pictures.BMP_MASKS[::-1]]
    masks += [pictures.BMP_MASKS[:i] + b"\1" + pictures.BMP_MASKS[i + 1 :] for i in range(12)]
    files = [
        bmp_head(*header)
        for header in itertools.product(
            (12, 40, 52, 55, 56, 64, 108, 124),
            (1, 2, 4, 8, 16, 24, 32, 256 + 24),
            (0, 1, 2, 3, 4, 256, 3 << 24),
            masks,
            (0, 1, 0xFF000000, 0xFE000000, 0xFF000001),
        )
    ]
    reasons, pixels = picture_decoding._refused_by_header(tf.constant(files))
    assert {reason.decode() for reason in reasons.numpy()} == {"", pictures.UNREAD_BMP}
    for file, reason in zip(files, reasons.numpy(), strict=True):
        assert reason.decode() == pictures.unread(file)
    assert set(pixels.numpy()) == {81}


@pytest.mark.parametrize("big_endian", [False, True])
def test_the_orientation_is_one_of_a_directorys_first_64_tags(big_endian):
    order, mark = (">", b"MM\0*") if big_endian else ("<", b"II*\0")
    other = struct.pack(order + "HHII", 0x010F, 2, 4, 0x41424300)
    tag = struct.pack(order + "HHIHH", 0x0112, 3, 1, 6, 0)
    cases = [(0, 1, 6), (63, 64, 6), (64, 65, 1), (2, 3, 6), (2, 2, 1), (0, 0, 1), (300, 301, 1)]
    files, expected = [], []
    for before, count, found in cases:
        for place in (8, 70_000):
            tiff = mark + struct.pack(order + "I", place) + bytes(place - 8)
            directory = struct.pack(order + "H", count) + other * before + tag + other * 3
            files.append(b"\x89PNG\r\n\x1a\n....eXIf" + tiff + directory)
            expected.append(found)
    assert picture_decoding._orientations(tf.constant(files)).numpy().tolist() == expected


def test_the_orientation_of_a_jpeg_stands_within_its_first_128_kib():
    exif = b"Exif\0\0II*\0\x08\0\0\0\1\0" + struct.pack("<HHIHH", 0x0112, 3, 1, 3, 0)
    files, expected = [], []
    for length, found in ((131_072 - len(exif), 3), (131_072 - 4, 1)):
        files.append((b"\xff\xd8\xff" + bytes(length - 3) + exif).ljust(140_000, b"\0"))
        files.append((b"RIFF" + bytes(length - 4) + exif).ljust(140_000, b"\0"))
        expected += [found, 3]
    assert picture_decoding._orientations(tf.constant(files)).numpy().tolist() == expected
