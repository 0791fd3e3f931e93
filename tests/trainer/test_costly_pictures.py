"""Pictures that cost far more than they weigh are refused before anything is decoded."""

import io
import struct

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


@pytest.mark.parametrize("scans", [0, 1])
def test_a_progressive_jpeg_of_as_many_pixels_as_may_be_is_taken(scans):
    file = _bombs.jpeg(5000, 5001, scans=scans)
    for height, taken in ((5000, True), (5001, scans == 0)):
        sides = tf.constant([height, 5000])
        assert (costly_pictures.jpeg_refused(tf.constant(file), sides).numpy() == b"") == taken


@pytest.mark.parametrize(
    ("height", "width", "most"),
    [
        # 2.5 billion pixels in all scans, at most 9,999 scans.
        (5000, 5000, 100),
        (2000, 1000, 1250),
        (3000, 700, 1190),
        (64, 64, 9999),
    ],
)
def test_as_many_scans_as_may_be_are_taken_and_no_more(height, width, most):
    header = b"\xff\xd8\xff\xda"
    for scans, taken in ((most, True), (most + 1, False)):
        file = header + b"\xff\xda\x00\x08" * scans
        reason = costly_pictures.jpeg_refused(tf.constant(file), tf.constant([height, width]))
        said = f"{width} x {height} pixels: too many for a JPEG of so many scans"
        assert (reason.numpy().decode() == said) == (not taken)


def parts_of(file):
    """(still, place, canvas, reason) of a GIF's first frame."""
    frame = costly_pictures.first_frame_of_gif(tf.constant(file))
    return (
        frame.still.numpy(),
        frame.place.numpy().tolist(),
        frame.canvas.numpy().tolist(),
        frame.reason.numpy().decode(),
    )


def first_frame(
    place=(0, 0), size=(9, 8), canvas=(300, 520), common=1, own=None, transparent=None, data=b"\2\0"
):
    """A GIF's head, its first frame up to the data, and the data, by the specification."""
    tables = [
        b"" if bits is None else bytes(range(3, 3 + 3 * 2 ** (bits + 1))) for bits in (common, own)
    ]
    flags = [0 if bits is None else 128 | bits for bits in (common, own)]
    head = b"GIF89a" + struct.pack("<HH", *canvas[::-1]) + bytes((flags[0], 0, 0)) + tables[0]
    if transparent is not None:
        head += b"!\xf9\4\1\0\0" + bytes((transparent,)) + b"\0"
    frame = b"," + struct.pack("<HHHH", *place[::-1], *size[::-1]) + bytes((flags[1],)) + tables[1]
    return head + frame + data


@pytest.mark.parametrize("common", [None, 0, 1, 4])
@pytest.mark.parametrize("own", [None, 0, 3])
def test_a_first_frame_is_cut_out_whatever_tables_it_has(common, own):
    file = first_frame((260, 3), (40, 517), common=common, own=own, data=b"\2\5hello\3you\0")
    still, place, canvas, reason = parts_of(file + b"!\xf9\4\0\0\0\0\0" + file[13:] + b";")
    assert reason == ""
    assert (place, canvas) == ([260, 3], [300, 520])
    # The canvas is as large as the frame, which lies at its upper left.
    expected = bytearray(file + b";")
    expected[6:10] = struct.pack("<HH", 517, 40)
    at = file.index(b",", 13 + (0 if common is None else 3 * 2 ** (common + 1)))
    expected[at + 1 : at + 5] = bytes(4)
    assert still == bytes(expected)


@pytest.mark.parametrize(("common", "own"), [(1, None), (None, 2), (1, 2)])
def test_the_transparent_color_of_the_table_in_use_is_white(common, own):
    colors = 2 ** ((common if own is None else own) + 1)
    for transparent in range(colors + 1):
        file = first_frame(common=common, own=own, transparent=transparent)
        plain = first_frame(common=common, own=own)
        still, expected = parts_of(file)[0], bytearray(parts_of(plain)[0])
        if transparent < colors:
            used = bytes(range(3, 3 + 3 * colors))
            at = expected.rindex(used) + 3 * transparent
            expected[at : at + 3] = b"\xff\xff\xff"
        assert still == bytes(expected)


def test_transparency_that_is_said_and_taken_back_is_none():
    """The third byte of a control says whether its last one counts."""
    file = first_frame(transparent=1)
    assert parts_of(file.replace(b"!\xf9\4\1", b"!\xf9\4\0"))[0] == parts_of(first_frame())[0]
    assert parts_of(file.replace(b"!\xf9", b"!\xfe"))[0] == parts_of(first_frame())[0]


@pytest.mark.parametrize(
    ("place", "size", "fits"),
    [
        ((0, 0), (300, 520), True),
        ((260, 500), (40, 20), True),
        ((261, 500), (40, 20), False),
        ((260, 501), (40, 20), False),
        ((0, 0), (301, 8), False),
        ((0, 0), (8, 521), False),
    ],
)
def test_a_first_frame_may_reach_the_border_of_its_canvas(place, size, fits):
    *_, reason = parts_of(first_frame(place, size) + b";")
    assert reason == ("" if fits else "its first frame is larger than it says")


def test_a_first_frame_of_many_full_blocks_is_in_one_piece():
    full = b"\xff" + bytes(255)
    for blocks in (1, 255, 256, 257, 40_000):
        data = b"\2" + full * blocks + b"\7rest of\0"
        still, *_, reason = parts_of(first_frame(data=data) + b"!\xfe\3end\0;")
        assert reason == "" and still.endswith(full + b"\7rest of\0;")
        assert len(still) == len(first_frame(data=data)) + 1


@pytest.fixture(scope="module")
def has_one_scan():
    """Whether the first scan of a JPEG is all of it."""
    graph = tf.function(
        costly_pictures._has_one_scan, input_signature=[tf.TensorSpec([], tf.string)]
    )
    return lambda file: bool(graph(tf.constant(file)))


def segment(marker, body):
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


@pytest.mark.parametrize("marker", range(0xC0, 0xD0))
def test_only_a_sequential_frame_with_all_components_in_its_scan_has_one_scan(has_one_scan, marker):
    """T.81, table B.1: C0 and C1 are sequential; C4, C8 and CC are no frames."""
    tables = segment(0xDB, bytes(65)) * 3
    for components in (1, 3, 4):
        frame = segment(
            marker, b"\x08\x20\x00\x20\x00" + bytes((components,)) + bytes(3 * components)
        )
        for scanned in (1, 3, 4):
            scan = segment(0xDA, bytes((scanned,)) + bytes(2 * scanned + 3))
            file = b"\xff\xd8" + tables + frame + segment(0xC4, bytes(20)) + scan
            assert has_one_scan(file) == (marker in (0xC0, 0xC1) and components == scanned)


@pytest.mark.parametrize(
    "odd", [b"\xff\xbf\0\2", b"\xff\xd0\0\2", b"\xff\xd7\0\2", b"\xfe\xe0\0\2"]
)
def test_what_is_no_segment_of_a_jpeg_is_not_passed_over(has_one_scan, odd):
    frame = segment(0xC0, b"\x08\x20\x00\x20\x00\x01" + bytes(3))
    scan = segment(0xDA, b"\1" + bytes(5))
    for between, found in (
        (segment(0xD8, b""), True),
        (segment(0xFE, b"x" * 700), True),
        (odd, False),
    ):
        assert has_one_scan(b"\xff\xd8" + frame + between + scan) == found


def test_the_segments_before_a_scan_are_followed_for_a_while(has_one_scan):
    frame = segment(0xC0, b"\x08\x20\x00\x20\x00\x01" + bytes(3))
    scan = segment(0xDA, b"\1" + bytes(5))
    for others, found in ((510, True), (511, False)):
        file = b"\xff\xd8" + frame + segment(0xE1, b"") * others + scan
        assert has_one_scan(file) == found
