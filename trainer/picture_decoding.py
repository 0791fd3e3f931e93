"""Picture files to pixels, inside TensorFlow's graph: in training and wherever a model is asked.

The pixels are those of the contract in `schema.pictures`. A picture that is too large is refused by
what its header says, before memory is taken for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from schema import pictures
from trainer import costly_pictures, other_formats
from trainer.file_bytes import big, little
from trainer.shared_functions import traced_once

_REDUCTIONS = [0] * 4 + [1] * 4 + [2] * 8 + [3]
"""How many times to halve a JPEG that is so many times as long as needed, by whole times."""

_RATIOS = (1, 2, 4, 8)

_DECODED_IN_TURN = 4
"""Up to so many pictures are decoded one after the other: starting threads would take longer."""

_PARALLEL_DECODINGS = 2
"""Decoders at work for one request; more would only make requests wait for one another."""

_MOST_TIMES_PLAIN = 2
"""Both sides of a JPEG that is decoded in the short way are at most so many times as long as
wanted, up to which the resizing leaves no pixel out."""

_LARGE_PIXELS = 4_000_000
"""Pictures of which one has more, and is no JPEG, are decoded in turn, too: TensorFlow never gives
the memory back that it has needed at a time."""

DAMAGED = "the file is damaged"

_HEADER_BYTES = 70
_JPEG_HEAD_BYTES = 128 * 1024
_MOST_TAGS = 64
_ORIENTATION_TAG = 0x0112

# Where EXIF begins: in a JPEG's segment, a PNG's chunk, or a WebP's, which names its length and may
# repeat the JPEG's mark. \C is any byte.
_EXIF = r"(?:Exif\x00\x00|eXIf|EXIF\C\C\C\C)((?:II\*\x00|MM\x00\*)\C*)"


def decode_pictures(
    encoded: tf.Tensor, image_height: int, image_width: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes and resizes a batch of pictures; one that cannot be used costs nothing but itself.

    Args:
        encoded: JPEG, PNG, GIF, BMP or WebP files, string (N), N may be 0.
        image_height: Height of the result in pixels.
        image_width: Width of the result in pixels.

    Returns:
        Pictures as `decode_picture` makes them, uint8 (N, image_height, image_width, 3), black
        where one cannot be used; and for each why it cannot, string (N), empty where it can.
    """
    size = (image_height, image_width)
    encoded = tf.ensure_shape(encoded, [None])
    is_jpeg = tf.equal(tf.strings.substr(encoded, 0, 3), b"\xff\xd8\xff")
    refused, pixels = tf.cond(
        tf.reduce_all(is_jpeg),
        lambda: (tf.fill(tf.shape(encoded), ""), tf.ones(tf.shape(encoded), tf.int64)),
        lambda: _refused_by_header(encoded),
    )
    orientations = _orientations(encoded)

    # A run costs by the number of operations in what it maps over its pictures. Nearly all are
    # upright JPEGs that are small, for which a few will do; whatever else there is, and what fails
    # among these, is looked at in every way afterwards.
    most_pixels = _MOST_TIMES_PLAIN**2 * image_height * image_width
    is_plain = (
        is_jpeg
        & tf.equal(orientations, 1)
        & costly_pictures.is_cheap_jpeg(encoded, tf.constant(most_pixels, tf.int64))
    )
    is_decoded, (decoded,) = _mapped_where(
        is_plain,
        lambda file: (_plain_jpeg(file, size),),
        (encoded,),
        (tf.TensorSpec([*size, 3], tf.uint8),),
    )
    is_left = tf.equal(refused, "") & ~is_decoded

    def with_others():
        succeeded, (others, reasons) = _mapped_where(
            is_left,
            lambda file, orientation: _decoded(file, orientation, size),
            (encoded, orientations),
            (tf.TensorSpec([*size, 3], tf.uint8), tf.TensorSpec([], tf.string)),
            parallel=tf.where(
                tf.reduce_any(is_left & (pixels > _LARGE_PIXELS)),
                tf.constant(1, tf.int64),
                _PARALLEL_DECODINGS,
            ),
        )
        return (
            tf.where(is_decoded[:, tf.newaxis, tf.newaxis, tf.newaxis], decoded, others),
            tf.where(succeeded, reasons, tf.where(is_left, DAMAGED, refused)),
        )

    found, reasons = tf.cond(tf.reduce_any(is_left), with_others, lambda: (decoded, refused))
    return tf.ensure_shape(found, [None, *size, 3]), reasons


def _mapped_where(
    chosen: tf.Tensor,
    function: Callable[..., tuple[tf.Tensor, ...]],
    arguments: tuple[tf.Tensor, ...],
    outputs: tuple[tf.TensorSpec, ...],
    parallel: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
    """Applies a function to some rows of a batch; one for which it fails costs nothing but itself.

    Args:
        chosen: Which rows, bool (N).
        function: From one row of each of `arguments` to its results.
        arguments: Each of N rows.
        outputs: What the results are of one row.
        parallel: How many rows are at work at a time, int64 (). None for one after the other where
            there are few rows, and two otherwise: faster, and larger by what TensorFlow prepares.

    Returns:
        For which rows it was applied and did not fail, bool (N), and the results, N rows each, of
        zeros or empty text for the other rows.
    """
    places = tf.where(chosen)[:, 0]
    count = tf.size(places, out_type=tf.int64)

    def mapped(parallel: tf.Tensor | int | None):
        # Errors cannot be caught in a graph, but a dataset can leave out what fails. It is closed
        # with an entry of its own, because an empty dataset has no element to get.
        closing = [tf.zeros([1, *of.shape], of.dtype) for of in outputs]
        options = tf.data.Options()
        # Looking for a better form of so short a dataset takes longer than running it.
        options.autotune.enabled = False
        options.experimental_optimization.apply_default_optimizations = False
        dataset = tf.data.Dataset.from_tensor_slices(
            (places, *(tf.gather(argument, places) for argument in arguments))
        )
        return (
            dataset.map(
                lambda place, *row: (place, *function(*row)),
                parallel,
                deterministic=None if parallel is None else False,
            )
            .ignore_errors()
            .concatenate(tf.data.Dataset.from_tensor_slices((tf.zeros([1], tf.int64), *closing)))
            .batch(count + 1)
            .with_options(options)
            .get_single_element()
        )

    if parallel is None:
        succeeded, *results = tf.cond(
            count <= _DECODED_IN_TURN, lambda: mapped(None), lambda: mapped(_PARALLEL_DECODINGS)
        )
    else:
        succeeded, *results = mapped(parallel)
    # Where the results of each row are; of those without, the entry that closed.
    last = tf.size(succeeded) - 1
    found_at = tf.tensor_scatter_nd_update(
        tf.fill(tf.shape(chosen), last), succeeded[:-1, tf.newaxis], tf.range(last)
    )
    return found_at < last, tuple(tf.gather(result, found_at) for result in results)


def _plain_jpeg(file: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """One JPEG, resized; an error unless it is in bounds and at most twice as long as wanted."""
    sides = tf.io.extract_jpeg_shape(file)[:2]
    is_plain = tf.reduce_all(
        (sides >= pictures.SMALLEST_SIDE) & (sides <= _MOST_TIMES_PLAIN * np.array(size))
    )
    with tf.control_dependencies([tf.debugging.Assert(is_plain, [sides])]):
        picture = tf.io.decode_jpeg(file, channels=3, dct_method="INTEGER_ACCURATE")
    return _resized(picture, tf.constant(size))


def decode_picture(encoded: tf.Tensor, image_height: int, image_width: int) -> tf.Tensor:
    """Decodes one picture of a catalog's Examples and resizes it, as `decode_pictures` would.

    A JPEG that is much too large is decoded at a half, a quarter or an eighth of its sides, as far
    as both stay at least twice as long as in the result: a JPEG's blocks of 8 x 8 pixels are sums
    of waves, and without the short ones decoding takes a part of the time.

    Args:
        encoded: A picture as the ingest stores it: upright, and in bounds. String ().
        image_height: Height in pixels of the result.
        image_width: Width in pixels of the result.

    Returns:
        RGB, uint8 (image_height, image_width, 3); the sides are scaled independently, bilinearly
        where neither is more than twice as long as wanted, by averaging over areas otherwise.

    Raises:
        tf.errors.InvalidArgumentError: when run on something that is no picture.
    """
    picture, _ = _decoded(encoded, None, (image_height, image_width))
    return picture


def _decoded(
    file: tf.Tensor, orientation: tf.Tensor | None, size: tuple[int, int]
) -> tuple[tf.Tensor, tf.Tensor]:
    """One picture, upright and resized, and why a JPEG's own header refuses it, or nothing."""
    # What is stored in Examples has been looked at before.
    is_asked = orientation is not None
    # Every operation here costs some microseconds a picture, so that what only a refusal or a
    # turned picture needs is computed for those alone.
    upright_size = tf.constant(size)
    if orientation is None:
        wanted = upright_size
    else:
        wanted = tf.cond(orientation >= 5, lambda: upright_size[::-1], lambda: upright_size)

    def jpeg():
        sides = tf.io.extract_jpeg_shape(file)[:2]
        times_too_large = tf.reduce_min(sides // wanted)
        ratio = tf.gather(_REDUCTIONS, tf.minimum(times_too_large, len(_REDUCTIONS) - 1))
        # Sides of up to 65,535 pixels, whose product needs more than 32 bits.
        pixels = tf.reduce_prod(tf.cast(sides, tf.int64))
        fits = (
            (tf.reduce_max(sides) <= pictures.LARGEST_SIDE)
            & (tf.reduce_min(sides) >= pictures.SMALLEST_SIDE)
            & (pixels <= pictures.MOST_PIXELS)
        )
        if is_asked:
            fits &= costly_pictures.is_cheap_jpeg(file, pixels)

        def reason():
            refused = _jpeg_out_of_bounds(sides)
            if not is_asked:
                return refused
            return tf.cond(
                tf.equal(refused, ""),
                lambda: costly_pictures.jpeg_refused(file, sides),
                lambda: refused,
            )

        refused = tf.cond(fits, lambda: tf.constant(""), reason)
        return tf.switch_case(
            tf.where(tf.equal(refused, ""), ratio, len(_RATIOS)),
            [
                *(
                    lambda ratio=ratio: tf.io.decode_jpeg(
                        file, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE"
                    )
                    for ratio in _RATIOS
                ),
                lambda: tf.zeros((*size, 3), tf.uint8),
            ],
        ), refused

    picture, reason = tf.cond(tf.io.is_jpeg(file), jpeg, lambda: other_formats.decoded(file))
    found = tf.shape(picture)[:2]

    def resized():
        # Up to a half of the sides, two neighbors each way are all there are: no pixel is left out.
        # The antialiased bilinear kernel, which would do for any size, takes twice as long.
        return tf.cond(
            tf.reduce_all(found <= 2 * wanted),
            lambda: _resized(picture, wanted),
            lambda: _resized(picture, wanted, "area"),
        )

    picture = tf.cond(tf.reduce_all(tf.equal(found, wanted)), lambda: picture, resized)
    if is_asked:
        picture = tf.cond(orientation > 1, lambda: _upright(picture, orientation), lambda: picture)
    return tf.ensure_shape(picture, (*size, 3)), reason


def _resized(picture: tf.Tensor, size: tf.Tensor, method: str = "bilinear") -> tf.Tensor:
    """A picture uint8 (H, W, 3) in another size, rounded."""
    return tf.cast(tf.image.resize(picture, size, method=method) + 0.5, tf.uint8)


def _jpeg_out_of_bounds(sides: tf.Tensor) -> tf.Tensor:
    height, width = tf.unstack(tf.cast(sides, tf.int64))
    return _out_of_bounds(height, width, pictures.MOST_PIXELS)


def _upright(picture: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns and mirrors a picture (H, W, 3) so that an orientation of 2 to 8 becomes 1."""

    def one_of(*orientations: int) -> tf.Tensor:
        return tf.reduce_any(tf.equal(orientation, orientations))

    for condition, change in (
        (orientation >= 5, lambda x: tf.transpose(x, [1, 0, 2])),
        (one_of(2, 3, 6, 7), lambda x: tf.reverse(x, [1])),
        (one_of(3, 4, 7, 8), lambda x: tf.reverse(x, [0])),
    ):
        picture = tf.cond(
            condition,
            lambda change=change, picture=picture: change(picture),
            lambda picture=picture: picture,
        )
    return picture


def _out_of_bounds(height: tf.Tensor, width: tf.Tensor, most: int) -> tf.Tensor:
    """Why pictures of these sides, int64, are refused, or empty text; of the same shape."""
    sides = tf.strings.join([tf.as_string(width), " x ", tf.as_string(height), " pixels: "])
    too_small = tf.minimum(height, width) < pictures.SMALLEST_SIDE
    too_large = tf.logical_or(
        tf.maximum(height, width) > pictures.LARGEST_SIDE, height * width > most
    )
    kind = "" if most == pictures.MOST_PIXELS else "as anything but a JPEG, "
    return tf.where(
        too_large,
        sides + f"{kind}at most {most:,} are taken, and {pictures.LARGEST_SIDE:,} on a side",
        tf.where(
            too_small,
            sides + f"each side must have at least {pictures.SMALLEST_SIDE}",
            tf.constant(""),
        ),
    )


@traced_once(tf.TensorSpec([None], tf.string))
def _refused_by_header(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Why pictures are refused by what the first bytes say, string (N); empty: they are not.

    Sides are those that the header claims: a PNG's IHDR, a GIF's logical screen, a BMP's
    information header, a WebP's first chunk. Where a JPEG says its size is known after its tables
    alone, so that one passes here.

    Returns:
        The reasons, and how many pixels there are, int64 (N); few where it is a JPEG.
    """
    head = tf.cast(
        tf.io.decode_raw(
            tf.strings.substr(encoded, 0, _HEADER_BYTES), tf.uint8, fixed_length=_HEADER_BYTES
        ),
        tf.int64,
    )

    def least_first(place: int, count: int) -> tf.Tensor:
        return little(head[:, place : place + count])

    def least_last(place: int, count: int) -> tf.Tensor:
        return big(head[:, place : place + count])

    def says(place: int, text: bytes) -> tf.Tensor:
        return tf.reduce_all(tf.equal(head[:, place : place + len(text)], [*text]), axis=1)

    jpeg, png, gif = says(0, b"\xff\xd8\xff"), says(0, b"\x89PNG\r\n\x1a\n"), says(0, b"GIF8")
    bmp, webp = says(0, b"BM"), says(0, b"RIFF") & says(8, b"WEBP")
    bmp_height = least_first(22, 4)
    height = width = tf.fill(tf.shape(encoded), tf.constant(pictures.SMALLEST_SIDE, tf.int64))
    for kind, its_width, its_height in (
        (png, least_last(16, 4), least_last(20, 4)),
        (gif, least_first(6, 2), least_first(8, 2)),
        # A BMP whose rows go from top to bottom has a negative height.
        (
            bmp,
            least_first(18, 4),
            tf.where(bmp_height < 1 << 31, bmp_height, (1 << 32) - bmp_height),
        ),
        (webp & says(12, b"VP8 "), least_first(26, 2) & 0x3FFF, least_first(28, 2) & 0x3FFF),
        (
            webp & says(12, b"VP8L"),
            1 + (least_first(21, 2) & 0x3FFF),
            1 + (least_first(22, 3) // 64 & 0x3FFF),
        ),
        (webp & says(12, b"VP8X"), 1 + least_first(24, 3), 1 + least_first(27, 3)),
    ):
        width, height = tf.where(kind, its_width, width), tf.where(kind, its_height, height)
    bits, compression = least_first(28, 2), least_first(30, 4)
    alpha = tf.where(least_first(14, 4) >= 56, least_first(66, 4), 0)
    is_read_bmp = _is_one_of(least_first(14, 4), pictures.BMP_HEADER_BYTES) & (
        (_is_one_of(bits, pictures.BMP_BITS) & tf.equal(compression, 0))
        | tf.equal(bits, 32)
        & tf.equal(compression, 3)
        & tf.reduce_all(tf.equal(head[:, 54:66], [*pictures.BMP_MASKS]), axis=1)
        & _is_one_of(alpha, [0, pictures.BMP_ALPHA_MASK])
    )
    kinds = jpeg | png | gif | bmp | webp
    reasons = tf.where(
        tf.equal(encoded, ""),
        "it is empty",
        tf.where(
            ~kinds,
            "it is no JPEG, PNG, GIF, BMP or WebP",
            tf.where(
                bmp & ~is_read_bmp,
                pictures.UNREAD_BMP,
                _out_of_bounds(height, width, pictures.MOST_PIXELS_DECODED_WHOLE),
            ),
        ),
    )
    return reasons, height * width


def _is_one_of(values: tf.Tensor, them: Sequence[int]) -> tf.Tensor:
    """Which of values (N) are among some numbers, bool (N)."""
    return tf.reduce_any(tf.equal(values[:, tf.newaxis], [*them]), axis=1)


@traced_once(tf.TensorSpec([None], tf.string))
def _orientations(encoded: tf.Tensor) -> tf.Tensor:
    """EXIF's orientation of pictures, int32 (N), 1 to 8; 1 where they say nothing sensible."""
    is_jpeg = tf.equal(tf.strings.substr(encoded, 0, 2), b"\xff\xd8")
    searched = tf.where(is_jpeg, tf.strings.substr(encoded, 0, _JPEG_HEAD_BYTES), encoded)
    there = tf.strings.regex_full_match(searched, rf"\C*{_EXIF}")

    def read():
        tiff = tf.strings.regex_replace(searched, rf"^\C*?{_EXIF}$", r"\1")
        # Of what did not match nothing is replaced.
        return tf.where(there, _orientation_tags(tf.where(there, tiff, "")), 1)

    return tf.cond(tf.reduce_any(there), read, lambda: tf.ones(tf.shape(encoded), tf.int32))


def _orientation_tags(tiff: tf.Tensor) -> tf.Tensor:
    """The orientation in the first directory of TIFF headers (TIFF 6.0, section 2), int32 (N)."""
    length = tf.strings.length(tiff)

    def numbers(places: tf.Tensor | int, count: int) -> tf.Tensor:
        """So many bytes from a place on as numbers (N, count), zeros past the end."""
        start = tf.minimum(tf.broadcast_to(places, tf.shape(tiff)), length)
        part = tf.strings.substr(tiff, start, tf.fill(tf.shape(tiff), count))
        return tf.cast(tf.io.decode_raw(part, tf.uint8, fixed_length=count), tf.int32)

    header = numbers(0, 8)
    big_endian = tf.equal(header[:, 0], ord("M"))

    def whole(values: tf.Tensor) -> tf.Tensor:
        """Bytes (N, ..., 2 or 4) as whole numbers (N, ...)."""
        powers = 256 ** np.arange(values.shape[-1])
        first = tf.reshape(big_endian, [-1] + [1] * (values.shape.rank - 2))
        little = tf.reduce_sum(tf.cast(values, tf.int64) * powers, -1)
        big = tf.reduce_sum(tf.cast(values, tf.int64) * powers[::-1], -1)
        return tf.cast(tf.minimum(tf.where(first, big, little), 2**31 - 1), tf.int32)

    directory = whole(header[:, 4:])
    count = whole(numbers(directory, 2))
    entries = numbers(tf.minimum(directory, 2**30) + 2, 12 * _MOST_TAGS)
    entries = tf.reshape(entries, [-1, _MOST_TAGS, 12])
    is_it = tf.equal(whole(entries[:, :, :2]), _ORIENTATION_TAG) & (
        tf.range(_MOST_TAGS) < count[:, tf.newaxis]
    )
    values = whole(entries[:, :, 8:10])
    orientation = tf.reduce_max(tf.where(is_it, values, 0), axis=1)
    return tf.where((orientation >= 1) & (orientation <= 8), orientation, 1)
