"""Pictures that cost far more than they weigh, seen before they are decoded, inside a graph.

A file of some hundred bytes may keep a decoder busy for minutes, or take gigabytes: a progressive
JPEG goes over all its pixels once for each of its scans, which may be empty; and all frames of a
GIF are decoded for the sake of the first. TensorFlow cannot stop a decoder that is at work.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from schema import pictures
from trainer.file_bytes import little, little_bytes, numbers

_START_OF_SCAN = b"\xff\xda\x00"
"""A JPEG's marker, and the first byte of the segment's length, or the videos that some cameras put
behind a photograph would seem to have many."""

_SHORTEST_SCAN = 10
_MOST_SCANS = 10_000
_SCAN_PIXELS = 100_000
"""A scan takes as long as this many pixels even over fewer."""

_MOST_SEGMENTS = 512

_BLOCK = 256
"""Bytes of a GIF's blocks of data, with the one that says their length, if they are full."""

_BLOCKS_AT_ONCE = 256
_MOST_STEPS = 20_000


def is_cheap_jpeg(file: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """Whether JPEGs are good without a further look: too small for `jpeg_refused` to refuse them.

    Args:
        file: JPEGs, string of any shape.
        pixels: how many they say they have, or have at most, int64 of a shape that goes with it.

    Returns:
        bool of that shape.
    """
    most = _SHORTEST_SCAN * pictures.MOST_PIXELS_SCANNED
    length = tf.cast(tf.strings.length(file), tf.int64)
    return (tf.maximum(pixels, _SCAN_PIXELS) * length <= most) & (
        pixels <= pictures.MOST_PIXELS_DECODED_WHOLE
    )


def jpeg_refused(file: tf.Tensor, sides: tf.Tensor) -> tf.Tensor:
    """Why a JPEG whose sides are in bounds is refused all the same.

    Args:
        file: the JPEG, string ().
        sides: its height and width, int32 (2).

    Returns:
        The reason, string (); empty text if it is good.
    """
    pixels = tf.reduce_prod(tf.cast(sides, tf.int64))
    parts = tf.raw_ops.StringSplitV2(input=[file], sep=_START_OF_SCAN, maxsplit=_MOST_SCANS)
    scans = parts.shape[1] - 1
    most = tf.minimum(pictures.MOST_PIXELS_SCANNED // tf.maximum(pixels, 1), _MOST_SCANS - 1)
    height, width = tf.unstack(sides)
    says = tf.strings.join([tf.as_string(width), " x ", tf.as_string(height), " pixels: "])

    def too_large():
        whole = f"at most {pictures.MOST_PIXELS_DECODED_WHOLE:,} are taken of a progressive JPEG"
        return tf.cond(
            (pixels <= pictures.MOST_PIXELS_DECODED_WHOLE) | _has_one_scan(file),
            lambda: tf.constant(""),
            lambda: says + whole,
        )

    return tf.cond(scans > most, lambda: says + "too many for a JPEG of so many scans", too_large)


class FirstFrame(NamedTuple):
    """The first frame of an animation.

    Attributes:
        still: A file of that frame alone, string ().
        place: Where it lies on the canvas: the row and the column of its first pixel, int64 (2).
        canvas: Height and width of the animation, int64 (2).
        reason: Why it is refused, string (); empty text if it is good.
    """

    still: tf.Tensor
    place: tf.Tensor
    canvas: tf.Tensor
    reason: tf.Tensor


def first_frame_of_gif(file: tf.Tensor) -> FirstFrame:
    """Cuts a GIF off behind its first frame, in which what was transparent is white.

    The decoder reads all frames before it gives the first, and each may be larger than the canvas.
    Transparent pixels, which it would make black, have a color of the palette for themselves.

    Args:
        file: the GIF, string ().

    Raises:
        tf.errors.InvalidArgumentError: when run on a file that ends before the first frame.
    """

    def bytes_of_colors(flags: tf.Tensor) -> tf.Tensor:
        """Bytes of a table of colors."""
        return tf.where(flags & 128 > 0, 3 * 2 ** ((flags & 7) + 1), 0)

    def past_data(place: tf.Tensor, steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        def past_some(place, steps, _):
            lengths = numbers(file, place, _BLOCK * _BLOCKS_AT_ONCE)[::_BLOCK]
            # Nearly all blocks are full, so that the next ones are where they are thought to be.
            is_full = tf.cast(tf.equal(lengths[:-1], _BLOCK - 1), tf.int64)
            full = tf.reduce_sum(tf.math.cumprod(is_full))
            return place + full * _BLOCK + 1 + lengths[full], steps + 1, lengths[full] > 0

        place, steps, _ = tf.while_loop(
            lambda _, steps, goes_on: goes_on & (steps < _MOST_STEPS),
            past_some,
            (place, steps, tf.constant(True)),
        )
        return place, steps

    def past_extension(place, steps, transparent):
        control = numbers(file, place, 7)
        is_control = tf.equal(control[1], 0xF9)
        says = tf.where(control[3] & 1 > 0, control[6], -1)
        place, steps = past_data(place + 2, steps)
        return place, steps, tf.where(is_control, says, transparent)

    head = numbers(file, 0, 13)
    common = bytes_of_colors(head[10])
    frame_at, steps, transparent = tf.while_loop(
        lambda place, steps, _: (
            tf.equal(numbers(file, place, 1)[0], ord("!")) & (steps < _MOST_STEPS)
        ),
        past_extension,
        (13 + common, tf.constant(0), tf.constant(-1, tf.int64)),
    )
    frame = numbers(file, frame_at, 10)
    own = bytes_of_colors(frame[9])
    end, steps = past_data(frame_at + 11 + own, steps)
    left, top, width, height = tf.unstack(little(tf.reshape(frame[1:9], [4, 2])))
    canvas = tf.stack([little(head[8:10]), little(head[6:8])])
    reason = tf.where(
        steps >= _MOST_STEPS,
        "its first frame is in too many pieces; save it as PNG",
        tf.where(
            tf.reduce_any(tf.stack([top + height, left + width]) > canvas),
            pictures.LARGER_THAN_IT_SAYS,
            "",
        ),
    )

    def with_white(start: tf.Tensor, length: tf.Tensor, is_used: tf.Tensor) -> tf.Tensor:
        """A table of colors, in which the transparent one is white if it is of this table."""
        table = tf.strings.substr(file, start, length)
        color = 3 * transparent
        return tf.cond(
            is_used & (color >= 0) & (color < length),
            lambda: tf.strings.join(
                [
                    tf.strings.substr(table, tf.zeros_like(color), color),
                    b"\xff\xff\xff",
                    tf.strings.substr(table, color + 3, length),
                ]
            ),
            lambda: table,
        )

    still = tf.strings.join(
        [
            tf.strings.substr(file, 0, 6),
            # The canvas is the frame, which then lies at its upper left.
            little_bytes(width, 2),
            little_bytes(height, 2),
            tf.strings.substr(file, 10, 3),
            with_white(tf.constant(13, tf.int64), common, tf.equal(own, 0)),
            b",\0\0\0\0",
            tf.strings.substr(file, frame_at + 5, 5),
            with_white(frame_at + 10, own, own > 0),
            tf.strings.substr(file, frame_at + 10 + own, end - frame_at - 10 - own),
            b";",
        ]
    )
    return FirstFrame(still, tf.stack([top, left]), canvas, reason)


def _has_one_scan(file: tf.Tensor) -> tf.Tensor:
    """Whether a JPEG's first scan is all of it: a sequential one, with all its components.

    Only then does the decoder not hold the whole of it. A file that is not quite regular has not.
    """

    def past_segment(place, step, _, components):
        head = numbers(file, place, 10)
        marker = head[1]
        # Three of the markers from C0 to CF are no frame's.
        is_frame = tf.equal(marker & 0xF0, 0xC0) & ~tf.reduce_any(
            tf.equal(marker, [0xC4, 0xC8, 0xCC])
        )
        components = tf.where(is_frame, tf.where(marker <= 0xC1, head[9], -1), components)
        # What has no length, and what is no marker.
        is_odd = tf.not_equal(head[0], 0xFF) | (marker < 0xC0) | tf.equal(marker & 0xF8, 0xD0)
        is_all = tf.where(tf.equal(head[4], components), 1, 0)
        verdict = tf.where(is_odd, 0, tf.where(tf.equal(marker, 0xDA), is_all, -1))
        return place + 2 + 256 * head[2] + head[3], step + 1, verdict, components

    _, _, verdict, _ = tf.while_loop(
        lambda _, step, verdict, __: (verdict < 0) & (step < _MOST_SEGMENTS),
        past_segment,
        (tf.constant(2, tf.int64), tf.constant(0), tf.constant(-1), tf.constant(-1, tf.int64)),
    )
    return tf.equal(verdict, 1)
