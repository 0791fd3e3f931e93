"""Pictures that cost far more than they weigh are refused before anything is decoded."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from benchmarks import _bombs
from schema import pictures
from trainer import costly_pictures, picture_decoding

WHOLE = pictures.MOST_PIXELS_DECODED_WHOLE


@pytest.fixture(scope="module")
def reason():
    """Why one picture is refused, out of a graph as it is served; empty if it is not."""
    graph = tf.function(
        lambda files: picture_decoding.decode_pictures(files, 8, 8),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    return lambda file: graph(tf.constant([file]))[1].numpy()[0].decode()


@pytest.fixture(scope="module")
def pixels():
    """One picture at 8 x 8 pixels."""
    return lambda file: picture_decoding.decode_pictures([file], 8, 8)[0].numpy()[0]


def gif_of(*frames, **options):
    """An animated GIF of arrays (H, W) of 0 to 255."""
    file = io.BytesIO()
    first, *others = (Image.fromarray(frame).convert("P") for frame in frames)
    first.save(file, "GIF", save_all=True, append_images=others, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "make", [_bombs.png, _bombs.claiming_png, _bombs.gif, _bombs.bmp, _bombs.webp]
)
def test_what_is_no_jpeg_is_decoded_whole_and_so_has_fewer_pixels(reason, make):
    assert reason(make(WHOLE // 5000 + 1, 5000)) == (
        "5001 x 5000 pixels: as anything but a JPEG, at most 25,000,000 are taken, and 20,000 on a "
        "side"
    )


@pytest.mark.parametrize("components", [1, 3])
def test_a_jpeg_of_one_scan_may_be_larger(reason, components):
    assert reason(_bombs.jpeg(7000, 7000, components=components)) == ""


@pytest.mark.parametrize("components", [1, 3])
def test_a_large_jpeg_that_is_progressive_is_refused(reason, components):
    said = "7000 x 7000 pixels: at most 25,000,000 are taken of a progressive JPEG"
    assert reason(_bombs.jpeg(7000, 7000, scans=1, components=components)) == said
    assert reason(_bombs.jpeg(2000, 2000, scans=10, components=components)) == ""


def test_a_large_sequential_jpeg_whose_colors_come_one_after_the_other_is_refused(reason):
    """The decoder holds the whole of it as well."""
    one = _bombs.jpeg(7000, 7000, components=3)
    scan = one.index(b"\xff\xda")
    header = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    assert "progressive" in reason(one[:scan] + header + one[scan + 14 :])


def test_an_irregular_segment_hides_no_progressive_jpeg(reason):
    file = _bombs.jpeg(7000, 7000, scans=2)
    for hidden in (b"\xff\xc0\x00\x0b\x08\x1b\x58\x1b\x58\x01\x01\x11\x00", b"\0", b"\xff\xd8"):
        assert reason(file[:2] + hidden + file[2:]) != ""


def test_a_small_file_of_many_scans_is_refused(reason):
    file = _bombs.jpeg(3000, 3000, scans=900)
    assert len(file) < 60_000
    assert reason(file) == "3000 x 3000 pixels: too many for a JPEG of so many scans"
    assert reason(_bombs.jpeg(3000, 3000, scans=100)) == ""
    assert "so many scans" in reason(_bombs.jpeg(64, 64, scans=20_000))


def test_a_video_behind_a_photograph_is_no_scan(reason):
    """Phones put one there."""
    video = np.random.default_rng(0).integers(0, 256, 16 << 20, "uint8").tobytes()
    assert video.count(b"\xff\xda") > 100
    assert reason(_bombs.jpeg(7000, 7000) + video) == ""


@pytest.mark.parametrize("frames", [1, 2, 500])
def test_only_the_first_frame_of_a_gif_is_read(reason, pixels, frames):
    file = _bombs.gif(2000, 2000, frames=frames)
    assert reason(file) == ""
    np.testing.assert_array_equal(pixels(file), np.zeros((8, 8, 3)))


def test_a_first_frame_of_many_blocks_is_whole(pixels):
    noise = np.random.default_rng(1).integers(0, 256, (400, 300), "uint8")
    file = gif_of(noise, noise[::-1], noise.T[:, :300])
    assert len(file) > 4 * 65536
    first = np.asarray(Image.open(io.BytesIO(file)).convert("RGB").reduce((300 // 8, 400 // 8)))
    np.testing.assert_allclose(pixels(file), first[:8, :8], atol=20)
    whole = picture_decoding.decode_pictures([file], 400, 300)[0].numpy()[0]
    np.testing.assert_array_equal(whole, np.asarray(Image.open(io.BytesIO(file)).convert("RGB")))


def test_comments_before_the_first_frame_are_passed_over(reason, pixels):
    gray = np.full((20, 20), 128, "uint8")
    file = gif_of(gray, gray[::-1] // 2, comment=b"x" * 3000, loop=0)
    assert reason(file) == ""
    np.testing.assert_allclose(pixels(file), np.full((8, 8, 3), 128), atol=1)


def test_a_frame_larger_than_its_canvas_is_refused(reason):
    file = _bombs.gif(6000, 6000, canvas=(64, 64))
    assert reason(file) == "its first frame is larger than it says"


def test_a_gif_in_tiny_blocks_is_not_followed_for_long(reason):
    file = _bombs.gif(4000, 4000, block=1)
    assert reason(file) == ""
    head = file[: file.index(b",") + 11]
    assert "too many pieces" in reason(head + b"\x01\x00" * 30_000 + b"\x00;")


def test_a_gif_that_ends_early_is_damaged(reason):
    file = _bombs.gif(64, 64)
    for length in (6, 10, 14, 20, 28):
        assert reason(file[:length]) != ""


@pytest.mark.parametrize("pixels", [1, 99_999, 100_001, 1_000_000, WHOLE, WHOLE + 1])
def test_the_longest_cheap_jpeg_is_cheap_and_no_longer_one_is(pixels):
    # A scan is 10 bytes at least, and goes over 100,000 pixels or more; 2.5 billion are allowed.
    longest = 10 * 2_500_000_000 // max(pixels, 100_000) if pixels <= WHOLE else -1
    for length, expected in ((longest, longest >= 0), (longest + 1, False)):
        file = tf.constant(bytes(max(length, 0)))
        assert bool(costly_pictures.is_cheap_jpeg(file, tf.constant(pixels, tf.int64))) == expected
