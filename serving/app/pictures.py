"""A picture that somebody asks about: decoded by the contract in `schema.pictures`, and cut out."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

from PIL import Image

from schema import picture_figures
from schema.picture_figures import PictureError, cropped, opened, upright_rgb
from schema.pictures import MOST_PIXELS, MOST_PIXELS_SCANNED
from serving.app.errors import BAD_REQUEST, NO_PICTURE, TOO_LARGE, Refused

_START_OF_SCAN = b"\xff\xda"

_MOST_PIXELS_SENT = 2_000_000
"""A part of a picture is made smaller than this before it is sent on: far more than a model sees,
and a few MB as PNG."""

_MEDIA_TYPES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG", "image/png"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)

_SAID = {
    picture_figures.EMPTY_FILE: (NO_PICTURE, "The picture is empty: it has 0 bytes."),
    picture_figures.NOT_A_PICTURE: (
        NO_PICTURE,
        "This is no picture that is read: JPEG, PNG, WebP, GIF and BMP are.",
    ),
    picture_figures.UNREAD_FORM: (NO_PICTURE, "This form of picture is not read: {found}."),
    picture_figures.TOO_LARGE: (
        TOO_LARGE,
        f"The picture is too large ({{found}}); at most {MOST_PIXELS // 1_000_000} million pixels "
        "are taken.",
    ),
    picture_figures.TOO_SMALL: (BAD_REQUEST, "The picture is too small: {found}."),
    picture_figures.TRUNCATED: (BAD_REQUEST, "The picture is damaged and cannot be decoded."),
    picture_figures.EMPTY_BOX: (BAD_REQUEST, "The part to look at lies outside of the picture."),
}


@dataclass(frozen=True)
class Crop:
    """A part of an upright picture, its edges in shares of the picture's width and height.

    Attributes:
        left, top, width, height: each in [0, 1]; it ends within the picture.
    """

    left: float
    top: float
    width: float
    height: float

    @classmethod
    def parse(cls, text: str) -> Crop:
        """Reads `left,top,width,height`.

        Raises:
            Refused: that is not what it is.
        """
        try:
            left, top, width, height = map(float, text.split(","))
        except ValueError:
            raise _no_crop(text) from None
        edges = (left, top, width, height, left + width, top + height)
        # What is computed in a browser may end a rounding error outside.
        if not all(math.isfinite(edge) and 0 <= edge <= 1 + 1e-6 for edge in edges):
            raise _no_crop(text)
        if not (width > 0 and height > 0):
            raise _no_crop(text)
        return cls(left, top, width, height)

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, upper, right and lower edge in pixels of a picture, the last two outside."""
        return (
            round(self.left * width),
            round(self.top * height),
            min(round((self.left + self.width) * width), width),
            min(round((self.top + self.height) * height), height),
        )


def decoded(content: bytes, crop: Crop | None = None) -> Image.Image:
    """The upright picture in RGB, or a part of it.

    Raises:
        Refused: it is no picture, damaged, or too large or small, as is the part.
    """
    image = check(content)
    try:
        upright = upright_rgb(image)
        return cropped(upright, crop.box(*upright.size) if crop else None)
    except PictureError as error:
        raise _refused(error) from error


def check(content: bytes) -> Image.Image:
    """The picture with its header read, if it may be decoded.

    Raises:
        Refused: it is no picture, or too large or small by what its header says.
    """
    try:
        image = opened(content)
    except PictureError as error:
        raise _refused(error) from error
    # Pillow goes over the whole picture for each scan, however short it is in the file.
    if image.format == "JPEG":
        scanned = image.width * image.height * content.count(_START_OF_SCAN)
        if scanned > MOST_PIXELS_SCANNED:
            raise Refused(
                TOO_LARGE, "The picture has more progressive scans than are taken; save it again."
            )
    return image


def encoded(part: Image.Image) -> bytes:
    """A part of a picture as a file, for a model that takes only files."""
    factor = math.ceil(math.sqrt(part.width * part.height / _MOST_PIXELS_SENT))
    if factor > 1:
        part = part.reduce(factor)
    buffer = io.BytesIO()
    part.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def media_type(content: bytes) -> str:
    """What HTTP calls a picture's format."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return next(
        (name for begins, name in _MEDIA_TYPES if content.startswith(begins)),
        "application/octet-stream",
    )


def _refused(error: PictureError) -> Refused:
    status, sentence = _SAID[error.reason]
    return Refused(status, sentence.format(found=error.found))


def _no_crop(text: str) -> Refused:
    return Refused(
        BAD_REQUEST,
        f'The crop is "{text[:80]}"; expected left,top,width,height as shares of the upright '
        "picture, such as 0.25,0.1,0.5,0.8.",
    )
