"""One picture of each kind that a catalog holds, made by hand."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from components.catalog_example_gen.pictures import PictureError, measured, stored
from components.catalog_example_gen.rejects import Reason

HEIGHT, WIDTH = 40, 30


def gradient(height: int = HEIGHT, width: int = WIDTH) -> Image.Image:
    """Dark on the left, bright on the right, reddish at the top."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., :] = np.linspace(0, 250, width, dtype=np.uint8)[None, :, None]
    pixels[: height // 4, :, 0] = 255
    return Image.fromarray(pixels)


def saved(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def shown(content: bytes) -> np.ndarray:
    """What an Example's picture looks like to a decoder, float."""
    image = Image.open(io.BytesIO(content))
    assert (image.format, image.mode) == ("JPEG", "RGB")
    return np.asarray(image, dtype=float)


def taken_in(content: bytes, longest_side: int = 512) -> bytes:
    return stored(content, measured(content), longest_side)


def rejection(content: bytes) -> PictureError:
    with pytest.raises(PictureError) as raised:
        measured(content)
    return raised.value


def test_a_plain_jpeg_is_kept_byte_for_byte() -> None:
    content = saved(gradient(), quality=70)
    assert taken_in(content) == content


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP"])
def test_other_formats_become_jpeg_that_looks_the_same(kind: str) -> None:
    original = gradient()
    seen = shown(taken_in(saved(original, kind)))
    assert np.abs(seen - np.asarray(original)).mean() < 4


def test_a_progressive_jpeg_becomes_a_baseline_one() -> None:
    content = saved(gradient(), progressive=True)
    kept = taken_in(content)
    assert not Image.open(io.BytesIO(kept)).info.get("progressive")
    assert np.abs(shown(kept) - shown(content)).mean() < 3


def test_a_large_picture_is_shrunk_to_the_longest_side_and_keeps_its_shape() -> None:
    content = saved(gradient(600, 300))
    assert shown(taken_in(content, longest_side=100)).shape == (100, 50, 3)
    assert (measured(content).height, measured(content).width) == (600, 300)


def test_shrinking_averages_fine_stripes_instead_of_dropping_them() -> None:
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    seen = shown(taken_in(saved(Image.fromarray(stripes), "PNG"), longest_side=50))
    assert np.abs(seen - 127.5).max() < 10


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (3, Image.Transpose.ROTATE_180),
        (6, Image.Transpose.ROTATE_270),
        (8, Image.Transpose.ROTATE_90),
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
    ],
)
def test_a_picture_is_turned_as_its_exif_says(orientation: int, upright: Image.Transpose) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(gradient(), quality=95, exif=exif)
    expected = np.asarray(gradient().transpose(upright), dtype=float)
    seen = shown(taken_in(content))
    assert seen.shape == expected.shape
    assert np.abs(seen - expected).mean() < 4
    assert (measured(content).height, measured(content).width) == expected.shape[:2]


def test_cmyk_gray_and_palette_pictures_become_rgb() -> None:
    original = gradient()
    for content in (
        saved(original.convert("CMYK"), quality=95),
        saved(original.quantize(256), "PNG"),
    ):
        assert np.abs(shown(taken_in(content)) - np.asarray(original)).mean() < 12
    gray = original.convert("L")
    seen = shown(taken_in(saved(gray)))
    assert np.abs(seen - np.asarray(gray, dtype=float)[..., None]).mean() < 3


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_become_white(mode: str) -> None:
    image = Image.new("RGBA", (WIDTH, HEIGHT), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, WIDTH, HEIGHT // 2))
    content = saved(image.convert(mode) if mode == "LA" else image, "PNG")
    if mode == "P":
        content = saved(image.quantize(4), "PNG")
        assert Image.open(io.BytesIO(content)).mode == "P"
    seen = shown(taken_in(content))
    assert seen[: HEIGHT // 2 - 4].mean() < 6
    assert seen[HEIGHT // 2 + 4 :].mean() > 249


def test_a_16_bit_picture_keeps_its_brightness() -> None:
    deep = (np.asarray(gradient().convert("L")).astype(np.uint16) << 8) + 128
    content = saved(Image.fromarray(deep), "PNG")
    seen = shown(taken_in(content))
    assert np.abs(seen[..., 0] - deep / 256).mean() < 2


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (20, 20), color) for color in ("black", "white")]
    content = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert shown(taken_in(content)).max() < 5


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n", "git lfs pull"),
        (b"../../.git/annex/objects/Xq/7K/MD5E-s9.jpg/MD5E-s9.jpg\n", "git annex get"),
        (b"/annex/objects/MD5E-s9.jpg\n", "git annex get"),
        (b"../cache/b1000", "the path ../cache/b1000, as of a link"),
        (b"<a href='/x.jpg'>", "begins with"),
        (b"moved to /x.jpg", "begins with"),
        (b"a/" + 2000 * b"b", "begins with"),
        (b"a/\xff", "begins with"),
    ],
)
def test_what_stands_for_a_picture_kept_elsewhere_is_named(content: bytes, said: str) -> None:
    error = rejection(content)
    assert error.reason == Reason.NOT_A_PICTURE
    assert said in error.found


def test_an_empty_file_is_told_from_one_that_is_no_picture() -> None:
    assert rejection(b"").reason == Reason.EMPTY_FILE
    assert rejection(b"<html>404</html>").reason == Reason.NOT_A_PICTURE
    assert "<html>404" in rejection(b"<html>404</html>").found


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_a_truncated_picture_is_rejected(kind: str, part: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = saved(Image.fromarray(noise), kind)
    assert rejection(content[: int(len(content) * part)]).reason == Reason.TRUNCATED


def bomb(width: int, height: int) -> bytes:
    """A PNG of 60 bytes whose header claims any size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(10_000, 9_000), (60_000, 60_000), (30_000, 10)])
def test_a_decompression_bomb_is_refused_from_its_header(
    width: int, height: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoded(image: Image.Image) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    assert rejection(bomb(width, height)).reason == Reason.TOO_LARGE


def test_a_picture_of_a_few_pixels_is_too_small() -> None:
    assert measured(saved(gradient(8, 8))).height == 8
    error = rejection(saved(gradient(40, 7), "PNG"))
    assert (error.reason, error.found) == (Reason.TOO_SMALL, "7 x 40 pixels")


def test_one_color_has_its_luminance_and_no_sharpness() -> None:
    measures = measured(saved(Image.new("RGB", (30, 60), (51, 51, 51)), "PNG"))
    assert measures.brightness == pytest.approx(0.2)
    assert measures.sharpness == 0
    assert measures.aspect == 0.5


def test_sharpness_is_the_mean_absolute_laplacian() -> None:
    rng = np.random.default_rng(2)
    gray = rng.integers(0, 256, (12, 17), dtype=np.uint8)
    light = gray / 255
    by_hand = np.mean(
        [
            abs(
                4 * light[y, x]
                - light[y - 1, x]
                - light[y + 1, x]
                - light[y, x - 1]
                - light[y, x + 1]
            )
            for y in range(1, 11)
            for x in range(1, 16)
        ]
    )
    measures = measured(saved(Image.fromarray(gray), "PNG"))
    assert measures.sharpness == pytest.approx(by_hand)
    assert measures.brightness == pytest.approx(light.mean())
