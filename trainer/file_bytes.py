"""Bytes of a file as numbers, and back, inside a graph: what headers of picture files hold."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

_EVERY_BYTE = [bytes([value]) for value in range(256)]


def numbers(file: tf.Tensor, place: tf.Tensor | int, count: int) -> tf.Tensor:
    """Bytes of a file, string (), from a place on, int64 (count); zeros past the end.

    Raises:
        tf.errors.InvalidArgumentError: when run, where the place is past the end.
    """
    part = tf.strings.substr(file, place, count)
    return tf.cast(tf.io.decode_raw([part], tf.uint8, fixed_length=count)[0], tf.int64)


def little(values: tf.Tensor) -> tf.Tensor:
    """The whole numbers that bytes (..., count) are, the least byte first; of shape (...)."""
    return tf.reduce_sum(values * 256 ** np.arange(values.shape[-1]), axis=-1)


def big(values: tf.Tensor) -> tf.Tensor:
    """The whole numbers that bytes (..., count) are, the least byte last; of shape (...)."""
    return tf.reduce_sum(values * 256 ** np.arange(values.shape[-1])[::-1], axis=-1)


def little_bytes(value: tf.Tensor, count: int) -> tf.Tensor:
    """A whole number, int64 (), as so many bytes, the least first; string ()."""
    values = value // 256 ** np.arange(count) % 256
    return tf.strings.reduce_join(tf.gather(tf.constant(_EVERY_BYTE), values))
