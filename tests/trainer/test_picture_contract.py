"""Ingest and serving see the same pixels of a picture, however it is encoded, or both refuse it."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from components.catalog_example_gen import pictures as ingest
from schema.picture_figures import PictureError, opened, upright_rgb
from trainer import picture_decoding

HEIGHT, WIDTH = 24, 32


@pytest.fixture(scope="module")
def served():
    """(pixels or None, why not) out of a graph as it is served."""
    graph = tf.function(
        lambda files: picture_decoding.decode_pictures(files, HEIGHT, WIDTH),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )

    def decoded(file):
        pixels, (reason,) = graph(tf.constant([file]))
        return (pixels[0].numpy().astype(int) if not reason.numpy() else None), reason.numpy()

    return decoded


def taken_in(file):
    """The pixels that the ingest sees, or None, and why not."""
    try:
        return np.asarray(upright_rgb(opened(file))).astype(int), b""
    except PictureError as error:
        return None, error.found.encode()


def drawn(seed):
    """Smooth RGBA of 24 x 32 pixels, with opaque and with transparent parts."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 4)).astype("uint8")
    coarse[:2, :, 3], coarse[-1:, :, 3] = 255, 0
    return np.asarray(
        Image.fromarray(coarse, "RGBA").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    )


def saved(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def exif(orientation, big_endian=False):
    order, head = (">", b"MM\0*") if big_endian else ("<", b"II*\0")
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return head + struct.pack(order + "IH", 8, 1) + entry + bytes(4)


def chunk(kind, content):
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)]
ADAM7 += [(1, 0, 2, 1)]
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def png(samples, bits, color_type, *chunks, interlaced=False):
    """A PNG of samples (H, W, C) by hand: Pillow writes neither interlaced ones nor every depth."""

    def scanlines(part):
        for row in part:
            if bits == 16:
                yield b"\0" + row.astype(">u2").tobytes()
            else:
                in_bits = np.unpackbits(row.astype("uint8").reshape(-1, 1), axis=1)[:, 8 - bits :]
                yield b"\0" + np.packbits(in_bits).tobytes()

    height, width = samples.shape[:2]
    passes = [samples]
    if interlaced:
        passes = [samples[top::rows, left::columns] for top, left, rows, columns in ADAM7]
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, interlaced)
    data = b"".join(line for part in passes if part.size for line in scanlines(part))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + b"".join(chunks)
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


@st.composite
def pngs(draw):
    """Every color type and depth, interlaced or not, with a palette, a transparent color, EXIF."""
    color_type = draw(st.sampled_from(list(CHANNELS)))
    depths = {0: [1, 2, 4, 8, 16], 3: [1, 2, 4, 8]}.get(color_type, [8, 16])
    bits = draw(st.sampled_from(depths))
    orientation = draw(st.integers(1, 8))
    rgba = drawn(draw(st.integers(0, 20)))
    if orientation >= 5:
        rgba = rgba.transpose(1, 0, 2)
    samples = rgba[:, :, [[0], [0, 1, 2], [0], [0, 3], [0, 1, 2, 3]][[*CHANNELS].index(color_type)]]
    samples = samples >> (8 - bits) if bits < 8 else samples
    if bits == 16:
        samples = samples.astype(int) * 256 + draw(st.integers(0, 255))
    chunks = []
    if color_type == 3:
        colors = draw(st.integers(1, 2**bits))
        samples = samples.astype(int) % colors
        palette = np.random.default_rng(colors).integers(0, 256, (colors, 3)).astype("uint8")
        chunks.append(chunk(b"PLTE", palette.tobytes()))
        if draw(st.booleans()):
            chunks.append(chunk(b"tRNS", palette.tobytes()[:colors]))
    elif color_type in (0, 2) and draw(st.booleans()):
        chunks.append(chunk(b"tRNS", samples[5, 5].astype(">u2").tobytes()))
    if draw(st.booleans()):
        chunks.insert(0, chunk(b"gAMA", struct.pack(">I", 100_000)))
    if orientation > 1:
        chunks.append(chunk(b"eXIf", exif(orientation, draw(st.booleans()))))
    return png(samples, bits, color_type, *chunks, interlaced=draw(st.booleans()))


@st.composite
def jpegs(draw):
    """Gray, color and inks, baseline and progressive, subsampled or not, turned."""
    mode = draw(st.sampled_from(["L", "RGB", "CMYK"]))
    orientation = draw(st.integers(1, 8))
    pixels = drawn(draw(st.integers(0, 20)))[:, :, :3]
    if orientation >= 5:
        pixels = np.ascontiguousarray(pixels.transpose(1, 0, 2))
    options = {
        "quality": draw(st.sampled_from([60, 90, 100])),
        "progressive": draw(st.booleans()),
        "exif": b"Exif\0\0" + exif(orientation, draw(st.booleans())),
    }
    if mode == "RGB":
        options["subsampling"] = draw(st.sampled_from([0, 1, 2]))
    file = saved(Image.fromarray(pixels).convert(mode), "JPEG", **options)
    if mode == "CMYK" and draw(st.booleans()):
        # Without Adobe's mark the inks are stored as they are.
        place = file.index(b"\xff\xee")
        (length,) = struct.unpack_from(">H", file, place + 2)
        file = file[:place] + file[place + 2 + length :]
    return file


@st.composite
def bmps(draw):
    """Every depth, from either end, of every header; also what is not read."""
    mode = draw(st.sampled_from(["1", "L", "P", "RGB", "RGBA"]))
    image = Image.fromarray(drawn(draw(st.integers(0, 20))))
    if mode == "P":
        image = image.convert("RGB").quantize(draw(st.sampled_from([2, 9, 16, 200])))
    else:
        image = image.convert("RGB" if mode in "1L" else mode).convert(mode)
    file = saved(image, "BMP")
    change = draw(st.sampled_from(["none", "top down", "16 bits", "run lengths", "old header"]))
    if change == "top down":
        return file[:22] + struct.pack("<i", -HEIGHT) + file[26:]
    place, value = {"16 bits": (28, 16), "run lengths": (30, 1), "old header": (14, 64)}.get(
        change, (0, None)
    )
    return file if value is None else file[:place] + bytes([value]) + file[place + 1 :]


@st.composite
def gifs(draw):
    """Stills and animations, with and without transparency, of a first frame of any place."""
    image = Image.fromarray(drawn(draw(st.integers(0, 20))))
    options = {"interlace": draw(st.integers(0, 1))}
    if draw(st.booleans()):
        image = image.convert("RGB").quantize(draw(st.sampled_from([2, 5, 64, 200])))
        if draw(st.booleans()):
            options["transparency"] = draw(st.integers(0, 3))
    if draw(st.booleans()):
        later = Image.fromarray(drawn(99)).convert("RGB")
        options |= {"save_all": True, "append_images": [later], "comment": b"x" * 300}
    top, left = draw(st.integers(0, 9)), draw(st.integers(0, 9))
    framed = image.crop((left, top, WIDTH - draw(st.integers(0, 9)), HEIGHT))
    file = bytearray(saved(framed, "GIF", **options))
    file[6:10] = struct.pack("<HH", WIDTH, HEIGHT)
    frame = frame_place(file)
    if not options.get("save_all") or draw(st.booleans()):
        # Beyond the canvas now and then.
        struct.pack_into("<HH", file, frame + 1, left + draw(st.sampled_from([0, 0, 0, 9])), top)
    return bytes(file)


def frame_place(file):
    """Where a GIF's first frame begins."""
    place = 13 + (3 * 2 ** ((file[10] & 7) + 1) if file[10] & 128 else 0)
    while file[place] == ord("!"):
        place += 2
        while file[place]:
            place += 1 + file[place]
        place += 1
    return place


@st.composite
def webps(draw):
    """Lossy and lossless, opaque or not, turned, and animations of frames of any place."""
    mode = draw(st.sampled_from(["L", "RGB", "RGBA"]))
    options = {"lossless": draw(st.booleans()), "quality": 80, "exact": True}
    image = Image.fromarray(drawn(draw(st.integers(0, 20)))).convert(mode)
    if not draw(st.booleans()):
        orientation = draw(st.integers(1, 8))
        if orientation >= 5:
            image = image.transpose(Image.Transpose.TRANSPOSE)
        return saved(image, "WEBP", exif=b"Exif\0\0" + exif(orientation), **options)
    # Frames lie at even places.
    left, top = 2 * draw(st.integers(0, 5)), 2 * draw(st.integers(0, 5))
    image = image.crop((left, top, WIDTH - draw(st.integers(0, 9)), HEIGHT))
    beyond = draw(st.sampled_from([0, 0, 0, 10]))
    frames = [saved(image, "WEBP", **options), saved(Image.new("RGB", image.size), "WEBP")]
    return animated_webp(frames, image.size, (left + beyond, top), draw(st.booleans()))


def animated_webp(frames, size, place, with_profile):
    """An animation by hand: Pillow makes every frame as large as the canvas."""

    def padded(kind, content):
        return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)

    def sides(*values):
        return b"".join(value.to_bytes(3, "little") for value in values)

    body = b"WEBP" + padded(
        b"VP8X", bytes([0x12 | 0x20 * with_profile, 0, 0, 0]) + sides(WIDTH - 1, HEIGHT - 1)
    )
    if with_profile:
        body += padded(b"ICCP", b"profile")
    body += padded(b"ANIM", bytes(6))
    for frame in frames:
        data, place_of_chunk = b"", 12
        while place_of_chunk < len(frame):
            kind = frame[place_of_chunk : place_of_chunk + 4]
            (length,) = struct.unpack_from("<I", frame, place_of_chunk + 4)
            if kind in (b"ALPH", b"VP8 ", b"VP8L"):
                data += padded(kind, frame[place_of_chunk + 8 : place_of_chunk + 8 + length])
            place_of_chunk += 8 + length + length % 2
        head = sides(place[0] // 2, place[1] // 2, size[0] - 1, size[1] - 1, 100) + b"\0"
        body += padded(b"ANMF", head + data)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@given(file=st.one_of(pngs(), jpegs(), bmps(), gifs(), webps()))
@settings(deadline=None, max_examples=400)
def test_ingest_and_serving_see_the_same_pixels_or_both_refuse(served, file):
    expected, refused = taken_in(file)
    pixels, reason = served(file)
    assert bool(refused) == bool(reason), (refused, reason)
    if pixels is None:
        return
    np.testing.assert_array_equal(pixels, expected)


@given(file=st.one_of(pngs(), jpegs(), bmps(), gifs(), webps()))
@settings(deadline=None, max_examples=60)
def test_what_training_reads_of_an_example_looks_like_what_is_served(served, file):
    pixels, _ = served(file)
    if pixels is None:
        return
    stored = ingest.stored(file, ingest.measured(file), longest_side=512)
    learned = picture_decoding.decode_picture(stored, HEIGHT, WIDTH).numpy().astype(int)
    # A JPEG of quality 95 keeps light, and takes colors of neighbors together.
    light = [0.299, 0.587, 0.114]
    assert np.abs(learned @ light - pixels @ light).mean() < 12
    assert np.abs(learned.mean((0, 1)) - pixels.mean((0, 1))).max() < 12


def test_other_metadata_than_exif_turns_nothing(served):
    """Pillow heeds an orientation in XMP, which browsers and TensorFlow do not."""
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    file = saved(Image.fromarray(drawn(0)).convert("RGB"), "WEBP", lossless=True, xmp=xmp)
    np.testing.assert_array_equal(taken_in(file)[0], served(file)[0])


@pytest.mark.parametrize("bits", [1, 2, 4, 16])
def test_a_transparent_color_of_another_depth_is_refused_in_the_same_words(served, bits):
    samples = np.zeros((HEIGHT, WIDTH, 1), int)
    file = png(samples, bits, 0, chunk(b"tRNS", b"\0\0"))
    assert taken_in(file)[1] == served(file)[1] != b""


def test_a_large_transparent_picture_is_white_where_nothing_is(served):
    """More rows than are laid on white at a time."""
    pixels = np.zeros((1000, 900, 4), "uint8")
    pixels[500:, :, 3] = 255
    found, _ = served(saved(Image.fromarray(pixels), "PNG"))
    assert (found[: HEIGHT // 2] == 255).all()
    assert (found[HEIGHT // 2 :] == 0).all()
