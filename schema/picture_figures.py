"""What a picture measures: the same figures of what is learned from and of what is asked about."""

from __future__ import annotations

import io
import struct
import warnings
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageFile

from schema.pictures import (
    LARGER_THAN_IT_SAYS,
    LARGEST_SIDE,
    MOST_PIXELS,
    SMALLEST_SIDE,
    unread,
)

EMPTY_FILE = "empty_file"
NOT_A_PICTURE = "not_a_picture"
TRUNCATED = "truncated"
TOO_LARGE = "too_large"
TOO_SMALL = "too_small"
EMPTY_BOX = "empty_box"
UNREAD_FORM = "unread_form"

REASONS = (EMPTY_FILE, NOT_A_PICTURE, TRUNCATED, TOO_LARGE, TOO_SMALL, EMPTY_BOX, UNREAD_FORM)
"""Why a picture cannot be used."""

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")

_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture of each EXIF orientation but 1 upright."""


class PictureError(Exception):
    """A picture that cannot be used: `reason`, e.g. one of `REASONS`, and what was `found`."""

    def __init__(self, reason: str, found: str) -> None:
        super().__init__(f"{reason}: {found}")
        self.reason = reason
        self.found = found


class PictureFigures(NamedTuple):
    """A picture's `features.PICTURE_STATISTICS`, by name and in their order."""

    image_height: int
    image_width: int
    image_aspect: float
    image_brightness: float
    image_sharpness: float


def picture_figures(content: bytes) -> PictureFigures:
    """Decodes a picture file completely and measures it, upright.

    Raises:
        PictureError: as `opened` and `upright_rgb`.
    """
    return figures_of(upright_rgb(opened(content)).convert("L"))


def figures_of(luminance: Image.Image) -> PictureFigures:
    """Measures a picture that is upright and in mode `L`, at least 3 pixels a side."""
    width, height = luminance.size
    # int16 holds four times a difference of bytes.
    light = np.asarray(luminance, dtype=np.int16)
    laplacian = 4 * light[1:-1, 1:-1]
    laplacian -= light[:-2, 1:-1]
    laplacian -= light[2:, 1:-1]
    laplacian -= light[1:-1, :-2]
    laplacian -= light[1:-1, 2:]
    return PictureFigures(
        image_height=height,
        image_width=width,
        image_aspect=width / height,
        image_brightness=float(light.mean()) / 255,
        image_sharpness=float(np.abs(laplacian).mean()) / 255,
    )


def opened(content: bytes) -> Image.Image:
    """The picture with its header read, not yet decoded.

    Raises:
        PictureError: the file is empty, no picture, of a form that is not read, damaged, too small
            or too large. A picture too large is refused from its header and never decoded.
    """
    if not content:
        raise PictureError(EMPTY_FILE, "0 bytes")
    if form := unread(content):
        raise PictureError(UNREAD_FORM, form)
    try:
        with warnings.catch_warnings():
            # The size is judged below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=_FORMATS)
    except Image.UnidentifiedImageError:
        raise PictureError(NOT_A_PICTURE, f"begins with {content[:16]!r}") from None
    except Image.DecompressionBombError as error:
        raise PictureError(TOO_LARGE, str(error)) from error
    except Exception as error:
        # Pillow's readers raise whatever their parsing stumbles over.
        raise PictureError(TRUNCATED, f"{type(error).__name__}: {error}") from error
    width, height = image.size
    size = f"{width:,} x {height:,} pixels"
    if width * height > MOST_PIXELS or max(width, height) > LARGEST_SIDE:
        raise PictureError(TOO_LARGE, size)
    if min(width, height) < SMALLEST_SIDE:
        raise PictureError(TOO_SMALL, size)
    # Pillow enlarges the canvas for a frame that does not fit.
    if image.format == "GIF" and (width, height) != struct.unpack("<HH", content[6:10]):
        raise PictureError(UNREAD_FORM, LARGER_THAN_IT_SAYS)
    return image


def orientation(image: Image.Image) -> int:
    """EXIF's orientation of an opened picture, 1 to 8; 1 where it says nothing sensible.

    Pillow's own look-up goes on to other metadata, which the serving graph does not read.
    """
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        said = exif.get(_ORIENTATION_TAG)
    except Exception:
        # As in `opened`: there is no closed list of what damaged bytes make Pillow raise.
        return 1
    return said if said in _TURNS else 1


def upright_rgb(image: Image.Image) -> Image.Image:
    """Decodes the first frame, and gives it by the contract in `schema.pictures`, mode RGB.

    Raises:
        PictureError: the picture is damaged.
    """
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
    drawn = tiles[0][1] if image.format == "GIF" and tiles else None
    try:
        image.load()
    except Exception as error:
        # As above.
        raise PictureError(TRUNCATED, f"{type(error).__name__}: {error}") from error
    rgb = _rgb_on_white(image)
    if drawn and drawn != (0, 0, *image.size):
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(rgb.crop(drawn), drawn)
        rgb = canvas
    turn = _TURNS.get(orientation(image))
    return rgb if turn is None else rgb.transpose(turn)


def _rgb_on_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit gray. Pillow's own conversion would clip at 255 and leave it nearly white.
        gray = np.asarray(image).astype(np.int64) >> 8
        return Image.fromarray(gray.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    if image.mode == "CMYK" and "adobe" not in image.info:
        # Pillow inverts what it reads of every JPEG, which Adobe's alone want.
        image = ImageChops.invert(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def cropped(image: Image.Image, box: tuple[int, int, int, int] | None) -> Image.Image:
    """What of the picture lies in the box; boxes reach over the picture's edges at times.

    Args:
        image: The picture.
        box: Left, upper, right and lower edge in pixels, the last two outside; None takes it all.

    Raises:
        PictureError: nothing does, or too little.
    """
    if box is None:
        return image
    left, upper = max(box[0], 0), max(box[1], 0)
    right, lower = min(box[2], image.width), min(box[3], image.height)
    found = f"box {' '.join(map(str, box))} in {image.width:,} x {image.height:,} pixels"
    if left >= right or upper >= lower:
        raise PictureError(EMPTY_BOX, found)
    if min(right - left, lower - upper) < SMALLEST_SIDE:
        raise PictureError(TOO_SMALL, found)
    return image.crop((left, upper, right, lower))
