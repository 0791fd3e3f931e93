"""One picture: whether it can be used, what it measures, and how it is stored."""

from __future__ import annotations

import io
import warnings
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from components.catalog_example_gen.near_duplicates import HASH_BYTES, perceptual_hash
from components.catalog_example_gen.rejects import Reason
from components.catalog_example_gen.rows import Box

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
"""Of several files for one product, the earliest suffix in this order is its picture."""

SMALLEST_SIDE = 8
LARGEST_SIDE = 20_000
"""Pixels; the same bounds as `image_height` and `image_width` have in `schema/catalog.pbtxt`."""

MOST_PIXELS = 50_000_000
"""Decoded, a larger picture takes more than 150 MB: a camera's mistake, or an attack."""

MOST_BYTES = 64 * 1024 * 1024

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_ORIENTATION_TAG = 0x0112
_JPEG_QUALITY = 95


class PictureError(Exception):
    """A picture that cannot be used: `reason`, and what was `found`."""

    def __init__(self, reason: Reason, found: str) -> None:
        super().__init__(f"{reason}: {found}")
        self.reason = reason
        self.found = found


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
    image = _opened(content)
    is_plain = (
        box is None
        and image.format == "JPEG"
        and image.mode == "RGB"
        and not image.info.get("progressive")
        and image.getexif().get(_ORIENTATION_TAG, 1) == 1
    )
    luminance = _cropped(_upright_rgb(image), box).convert("L")
    width, height = luminance.size
    # int16 holds four times a difference of bytes.
    light = np.asarray(luminance, dtype=np.int16)
    laplacian = 4 * light[1:-1, 1:-1]
    laplacian -= light[:-2, 1:-1]
    laplacian -= light[2:, 1:-1]
    laplacian -= light[1:-1, :-2]
    laplacian -= light[1:-1, 2:]
    return Measured(
        height=height,
        width=width,
        aspect=width / height,
        brightness=float(light.mean()) / 255,
        sharpness=float(np.abs(laplacian).mean()) / 255,
        look=perceptual_hash(luminance) or blake2b(content, digest_size=HASH_BYTES).digest(),
        is_plain=is_plain,
    )


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
    image = _cropped(_upright_rgb(_opened(content)), box)
    image.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _opened(content: bytes) -> Image.Image:
    """The picture with its header read, not yet decoded."""
    if not content:
        raise PictureError(Reason.EMPTY_FILE, "0 bytes")
    try:
        with warnings.catch_warnings():
            # The size is judged below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=_FORMATS)
    except Image.UnidentifiedImageError:
        raise PictureError(Reason.NOT_A_PICTURE, f"begins with {content[:16]!r}") from None
    except Image.DecompressionBombError as error:
        raise PictureError(Reason.TOO_LARGE, str(error)) from error
    except Exception as error:
        # Pillow's readers raise whatever their parsing stumbles over.
        raise PictureError(Reason.TRUNCATED, f"{type(error).__name__}: {error}") from error
    width, height = image.size
    size = f"{width:,} x {height:,} pixels"
    if width * height > MOST_PIXELS or max(width, height) > LARGEST_SIDE:
        raise PictureError(Reason.TOO_LARGE, size)
    if min(width, height) < SMALLEST_SIDE:
        raise PictureError(Reason.TOO_SMALL, size)
    return image


def _upright_rgb(image: Image.Image) -> Image.Image:
    """Decodes the first frame, turns it as its EXIF says, and makes it 8-bit RGB on white."""
    try:
        image.load()
        image = ImageOps.exif_transpose(image)
    except Exception as error:
        # As above: there is no closed list of what a damaged file makes Pillow raise.
        raise PictureError(Reason.TRUNCATED, f"{type(error).__name__}: {error}") from error
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):
        # 16-bit gray. Pillow's own conversion would clip at 255 and leave it nearly white.
        gray = np.asarray(image).astype(np.int64) >> 8
        return Image.fromarray(gray.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _cropped(image: Image.Image, box: Box | None) -> Image.Image:
    """What of the picture lies in the box; boxes reach over the picture's edges at times."""
    if box is None:
        return image
    left, upper = max(box[0], 0), max(box[1], 0)
    right, lower = min(box[2], image.width), min(box[3], image.height)
    found = f"box {' '.join(map(str, box))} in {image.width:,} x {image.height:,} pixels"
    if left >= right or upper >= lower:
        raise PictureError(Reason.EMPTY_BOX, found)
    if min(right - left, lower - upper) < SMALLEST_SIDE:
        raise PictureError(Reason.TOO_SMALL, found)
    return image.crop((left, upper, right, lower))
