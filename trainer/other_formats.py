"""PNG, GIF, BMP and WebP to pixels by the contract in `schema.pictures`, inside a graph.

TensorFlow's decoders drop transparency, take a BMP's palette for grays, and do not tell what lies
around an animation's first frame. What it takes to mend that is in bytes that a graph can read.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from schema import pictures
from trainer.costly_pictures import FirstFrame, first_frame_of_gif
from trainer.file_bytes import big, little, little_bytes, numbers
from trainer.shared_functions import traced_once

_ROWS_AT_ONCE = 256
"""Rows of a transparent picture that are laid on white at a time: it takes 30 times their bytes."""

_MOST_CHUNKS = 1_000
_WHITE = 255


@traced_once(tf.TensorSpec([], tf.string))
def decoded(file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes a picture that is no JPEG and was not refused by its header.

    Args:
        file: PNG, GIF, BMP or WebP, string ().

    Returns:
        RGB, uint8 (H, W, 3), and why it is refused, string (), empty text where it is not. A
        picture that is refused is one black pixel.

    Raises:
        tf.errors.InvalidArgumentError: when run on a damaged file, or on something else.
    """

    def begins(text: bytes) -> tf.Tensor:
        return tf.equal(tf.strings.substr(file, 0, len(text)), text)

    return tf.case(
        [
            (begins(b"\x89PNG"), lambda: _png(file)),
            (begins(b"RIFF"), lambda: _webp(file)),
            (begins(b"GIF8"), lambda: _first(first_frame_of_gif(file), _gif)),
        ],
        default=lambda: (_bmp(file), tf.constant("")),
    )


def _refused(reason: tf.Tensor | str) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.zeros((1, 1, 3), tf.uint8), tf.convert_to_tensor(reason)


def _png(file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    depth, color_type = tf.unstack(numbers(file, 24, 2))
    # Of a gray or an RGB picture one color may mean transparency. The decoder heeds that when asked
    # for an alpha channel, which it gets wrong in pictures of fewer than 8 bits.
    has_key = tf.cond(
        tf.equal(color_type, 0) | tf.equal(color_type, 2),
        lambda: _has_transparent_color(file),
        lambda: False,
    )

    def read():
        picture = tf.cond(
            has_key,
            lambda: tf.io.decode_png(file, channels=4),
            lambda: tf.io.decode_png(file, channels=0),
        )
        return _on_white(picture), tf.constant("")

    return tf.cond(has_key & tf.not_equal(depth, 8), lambda: _refused(pictures.UNREAD_PNG), read)


def _has_transparent_color(file: tf.Tensor) -> tf.Tensor:
    """Whether a PNG has a chunk `tRNS` before its pixels, bool ()."""

    def kind(place: tf.Tensor) -> tf.Tensor:
        return tf.strings.substr(file, place + 4, 4)

    place, _ = tf.while_loop(
        lambda place, step: (
            tf.reduce_all(tf.not_equal(kind(place), ["tRNS", "IDAT"])) & (step < _MOST_CHUNKS)
        ),
        lambda place, step: (place + 12 + big(numbers(file, place, 4)), step + 1),
        (tf.constant(8, tf.int64), tf.constant(0)),
    )
    return tf.equal(kind(place), "tRNS")


def _gif(still: tf.Tensor) -> tf.Tensor:
    return tf.ensure_shape(tf.io.decode_gif(still)[0], (None, None, 3))


def _webp(file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    is_animated = tf.equal(tf.strings.substr(file, 12, 4), "VP8X") & (
        numbers(file, 20, 1)[0] & 2 > 0
    )
    return tf.cond(
        is_animated,
        lambda: _first(_first_frame_of_webp(file), _still_webp),
        lambda: (_still_webp(file), tf.constant("")),
    )


def _still_webp(file: tf.Tensor) -> tf.Tensor:
    return _on_white(tf.io.decode_webp(file)[0])


def _first_frame_of_webp(file: tf.Tensor) -> FirstFrame:
    """The first frame of an animation, of which the decoder would read all frames.

    Google, "WebP Container Specification", sections "Extended File Format" and "Animation".
    """
    place, _ = tf.while_loop(
        lambda place, step: (
            tf.not_equal(tf.strings.substr(file, place, 4), "ANMF") & (step < _MOST_CHUNKS)
        ),
        lambda place, step: (
            place + 8 + (little(numbers(file, place + 4, 4)) + 1) // 2 * 2,
            step + 1,
        ),
        (tf.constant(12, tf.int64), tf.constant(0)),
    )
    head = numbers(file, place, 24)
    left, top, width, height = tf.unstack(
        little(tf.reshape(head[8:20], [4, 3])) * [2, 2, 1, 1] + [0, 0, 1, 1]
    )
    canvas = tf.reverse(little(tf.reshape(numbers(file, 24, 6), [2, 3])) + 1, [0])
    data = tf.strings.substr(file, place + 24, little(head[4:8]) - 16)
    # The frame in a file of its own, whose header says what the decoder checks: its sides, and
    # whether it is transparent, which a lossless frame says behind its sides.
    kind, lossless = tf.strings.substr(data, 0, 4), numbers(data, 12, 1)[0]
    has_alpha = tf.equal(kind, "ALPH") | (tf.equal(kind, "VP8L") & (lossless & 16 > 0))
    flags = tf.where(has_alpha, 16, 0)
    content = tf.strings.join(
        [
            b"WEBPVP8X",
            *(little_bytes(tf.cast(value, tf.int64), 4) for value in (10, flags)),
            *(little_bytes(side - 1, 3) for side in (width, height)),
            data,
        ]
    )
    length = little_bytes(tf.cast(tf.strings.length(content), tf.int64), 4)
    return FirstFrame(
        tf.strings.join([b"RIFF", length, content]),
        tf.stack([top, left]),
        canvas,
        tf.where(
            tf.reduce_any(tf.stack([top + height, left + width]) > canvas),
            pictures.LARGER_THAN_IT_SAYS,
            "",
        ),
    )


def _first(
    frame: FirstFrame, decode: Callable[[tf.Tensor], tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """An animation's first frame at its place on a white canvas, or why it is refused."""

    def read():
        picture = decode(frame.still)
        place, canvas = tf.cast(frame.place, tf.int32), tf.cast(frame.canvas, tf.int32)
        after = canvas - place - tf.shape(picture)[:2]
        around = tf.concat([tf.stack([place, after], axis=1), tf.zeros([1, 2], tf.int32)], axis=0)
        return tf.cond(
            tf.reduce_any(around > 0),
            lambda: tf.pad(picture, around, constant_values=tf.constant(_WHITE, tf.uint8)),
            lambda: picture,
        )

    return tf.cond(
        tf.equal(frame.reason, ""),
        lambda: (read(), frame.reason),
        lambda: _refused(frame.reason),
    )


def _bmp(file: tf.Tensor) -> tf.Tensor:
    """A BMP of 1, 4, 8, 24 or 32 bits a pixel without compression, in RGB on white."""
    head = numbers(file, 0, 70)
    header_bytes = little(head[14:18])
    width = tf.cast(little(head[18:22]), tf.int32)
    signed = little(head[22:26])
    is_from_top = signed >= 1 << 31
    height = tf.cast(tf.where(is_from_top, (1 << 32) - signed, signed), tf.int32)
    bits = little(head[28:30])
    said = little(head[46:50])
    all_colors = tf.bitwise.left_shift(tf.ones_like(bits), bits)
    colors = tf.where(bits <= 8, tf.where(said > 0, said, all_colors), 0)
    start = little(head[10:14])
    # Some writers leave the palette out of where they say that the pixels begin.
    start += tf.where(tf.equal(start, 14 + header_bytes), 4 * colors, 0)
    row_bytes = (tf.cast(width, tf.int64) * bits + 31) // 32 * 4
    pixels = tf.io.decode_raw(
        tf.strings.substr(file, start, row_bytes * tf.cast(height, tf.int64)), tf.uint8
    )
    rows = tf.reshape(pixels, tf.stack([tf.cast(height, tf.int64), row_bytes]))
    rows = tf.cond(is_from_top, lambda: rows, lambda: tf.reverse(rows, [0]))

    def of_palette(bits: int) -> tf.Tensor:
        shifts = tf.constant([*range(8 - bits, -1, -bits)], tf.uint8)
        indices = tf.bitwise.right_shift(rows[:, :, tf.newaxis], shifts) & (1 << bits) - 1
        indices = tf.reshape(indices, [height, -1])[:, :width]
        palette = numbers(file, 14 + header_bytes, 4 << bits)
        return tf.gather(
            tf.cast(tf.reshape(palette, [-1, 4])[:, 2::-1], tf.uint8), tf.cast(indices, tf.int32)
        )

    def of_channels(count: int) -> tf.Tensor:
        return tf.reshape(rows[:, : count * width], tf.stack([height, width, count]))

    def with_alpha() -> tf.Tensor:
        # Only masks say that the fourth byte is an alpha channel.
        is_alpha = tf.equal(little(head[30:34]), 3) & (little(head[66:70]) > 0)
        return tf.cond(
            is_alpha & (header_bytes >= 56),
            lambda: _on_white(tf.gather(of_channels(4), [2, 1, 0, 3], axis=2)),
            lambda: of_channels(4)[:, :, 2::-1],
        )

    return tf.case(
        [
            (tf.equal(bits, 24), lambda: of_channels(3)[:, :, ::-1]),
            (tf.equal(bits, 32), with_alpha),
            (tf.equal(bits, 1), lambda: of_palette(1)),
            (tf.equal(bits, 4), lambda: of_palette(4)),
        ],
        default=lambda: of_palette(8),
    )


def _on_white(picture: tf.Tensor) -> tf.Tensor:
    """A picture uint8 (H, W, C) of 1 to 4 channels, the last of 2 or 4 alpha, as RGB on white."""
    picture = tf.ensure_shape(picture, (None, None, None))
    count = tf.shape(picture)[2]
    has_alpha = tf.equal(count % 2, 0)

    def colors(part: tf.Tensor) -> tf.Tensor:
        # Of a gray the first channel stands for all three.
        chosen = tf.where(count > 2, [0, 1, 2], [0, 0, 0])
        return tf.gather(part, chosen, axis=2)

    def laid(index: tf.Tensor, collected: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        part = picture[index * _ROWS_AT_ONCE : (index + 1) * _ROWS_AT_ONCE]
        alpha = tf.cast(part[:, :, -1:], tf.int32)
        sums = alpha * tf.cast(colors(part), tf.int32) + _WHITE * (_WHITE - alpha)
        rounded = (sums + _WHITE // 2) // _WHITE
        return index + 1, collected.write(index, tf.cast(rounded, tf.uint8))

    def on_white() -> tf.Tensor:
        parts = -(-tf.shape(picture)[0] // _ROWS_AT_ONCE)
        _, collected = tf.while_loop(
            lambda index, _: index < parts,
            laid,
            (
                tf.constant(0),
                tf.TensorArray(tf.uint8, parts, infer_shape=False, element_shape=(None, None, 3)),
            ),
            parallel_iterations=1,
        )
        return collected.concat()

    def opaque() -> tf.Tensor:
        return tf.cond(tf.equal(count, 3), lambda: picture, lambda: colors(picture))

    found = tf.cond(has_alpha & tf.reduce_any(picture[:, :, -1] < _WHITE), on_white, opaque)
    return tf.ensure_shape(found, (None, None, 3))
