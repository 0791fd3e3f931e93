"""One picture: whether it can be used, what it measures, and how it is stored."""

from __future__ import annotations

import io
import re
from hashlib import blake2b
from typing import NamedTuple

from PIL import Image

from components.catalog_example_gen.near_duplicates import HASH_BYTES, perceptual_hash
from components.catalog_example_gen.rows import Box
from schema.picture_figures import (
    NOT_A_PICTURE,
    PictureError,
    cropped,
    figures_of,
    opened,
    orientation,
    upright_rgb,
)

__all__ = ["SUFFIXES", "Measured", "PictureError", "measured", "stored"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
"""Of several files for one product, the earliest suffix in this order is its picture."""

_JPEG_QUALITY = 95

_LONGEST_POINTER = 1024
_PATH = re.compile(r"[!#-;=?-~]*/[!#-;=?-~]+")


class Measured(NamedTuple):
    """What a picture is like as found, but upright and cut to its box.

    Attributes:
        height, width, aspect, brightness, sharpness: As in `features.PICTURE_STATISTICS`.
        look: The picture's `near_duplicates.perceptual_hash`, or, of a blank picture, a hash of the
            file's bytes, which has as many bits and is like no other's.
        is_plain: Whether it is an upright baseline RGB JPEG, which any decoder reads as it is, and
            nothing is to be cut off.
    """

    height: int
    width: int
    aspect: float
    brightness: float
    sharpness: float
    look: bytes
    is_plain: bool


def measured(content: bytes, box: Box | None = None) -> Measured:
    """Decodes a picture file completely and measures it, or the part of it in `box`.

    Raises:
        PictureError: The file is empty, no picture, damaged, too small or too large; or nothing of
            it is in the box. A picture too large is refused from its header and never decoded.
    """
    try:
        image = opened(content)
    except PictureError as error:
        if error.reason == NOT_A_PICTURE and (pointer := _pointer(content)):
            raise PictureError(NOT_A_PICTURE, pointer) from None
        raise
    is_plain = (
        box is None
        and image.format == "JPEG"
        and image.mode == "RGB"
        and not image.info.get("progressive")
        and orientation(image) == 1
    )
    luminance = cropped(upright_rgb(image), box).convert("L")
    height, width, aspect, brightness, sharpness = figures_of(luminance)
    return Measured(
        height=height,
        width=width,
        aspect=aspect,
        brightness=brightness,
        sharpness=sharpness,
        look=perceptual_hash(luminance) or blake2b(content, digest_size=HASH_BYTES).digest(),
        is_plain=is_plain,
    )


def _pointer(content: bytes) -> str | None:
    """What a file holds that stands for a picture kept elsewhere; None for any other file."""
    if content.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS: fetch the pictures with `git lfs pull`"
    text = content[:_LONGEST_POINTER].decode("ascii", "replace").strip()
    if len(content) > _LONGEST_POINTER or not _PATH.fullmatch(text):
        return None
    if "annex/objects/" in text:
        return "a pointer of git-annex: fetch the pictures with `git annex get`"
    return f"the path {text}, as of a link that was copied without what it leads to"


def stored(content: bytes, measures: Measured, longest_side: int, box: Box | None = None) -> bytes:
    """The picture as an Example holds it: an RGB JPEG of at most `longest_side` pixels a side.

    A plain picture that is small enough is kept byte for byte; compressing it again would only blur
    it. Transparent parts become white.

    Args:
        content: The picture file.
        measures: What `measured` says about it.
        longest_side: In pixels.
        box: What `measured` was told.
    """
    if measures.is_plain and max(measures.height, measures.width) <= longest_side:
        return content
    image = cropped(upright_rgb(opened(content)), box)
    image.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()
