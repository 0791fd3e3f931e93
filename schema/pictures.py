"""The decoded picture: which are taken, and what their pixels are, wherever one is decoded.

Ingest (`schema.picture_figures`, by Pillow) and the serving graph (`trainer.picture_decoding`, by
TensorFlow's decoders) keep the same contract, so that a picture gets the same answer however it is
encoded:

- JPEG, PNG, GIF, BMP and WebP, told by what they begin with, not by their names.
- RGB of 8 bits. Gray stands for all three channels; a palette is resolved; of 16 bits the upper 8
  are taken; CMYK is light that is let through: of an Adobe JPEG the inks are stored inverted.
- Upright: turned as EXIF says. What other metadata say of it is ignored.
- On white: behind transparent parts, and around a first frame that does not fill its canvas.
- Of an animation the first frame.
- Pixels as they are stored: color profiles and gamma are ignored.

The pixels are the same to the last bit. What of these formats is not read (`unread`) is refused
everywhere, with what to do. Ingest and the serving graph refuse the same pictures, but anybody may
ask the graph, so that it is stricter about what takes long.
"""

SMALLEST_SIDE = 8
LARGEST_SIDE = 20_000
"""Pixels; the same bounds as `image_height` and `image_width` have in `schema/catalog.pbtxt`."""

MOST_PIXELS = 50_000_000
"""Decoded, a larger picture takes more than 150 MB: a camera's mistake, or an attack."""

MOST_BYTES = 64 * 1024 * 1024
"""Size of a picture's file."""

MOST_PIXELS_DECODED_WHOLE = 25_000_000
"""Served, a picture that cannot be decoded at a part of its size: all but the JPEGs of one scan.

It takes up to 75 MB and a second, and a progressive JPEG 200 MB.
"""

MOST_PIXELS_SCANNED = 2_500_000_000
"""Served, a JPEG's pixels times its scans: each scan goes over the whole picture, however short it
is in the file. Progressive JPEGs have some ten."""

BMP_HEADER_BYTES = (40, 52, 56, 108, 124)
BMP_BITS = (1, 4, 8, 24, 32)
BMP_MASKS = b"\0\0\xff\0\0\xff\0\0\xff\0\0\0"
"""Of red, green and blue in 32 bits: bytes come as blue, green, red, and alpha or nothing."""

BMP_ALPHA_MASK = 0xFF000000

UNREAD_BMP = "of BMP, 1, 4, 8, 24 and 32 bits a pixel without compression are read; save it as PNG"
UNREAD_PNG = "of PNG, a transparent color is read at 8 bits a channel only; save it with alpha"
LARGER_THAN_IT_SAYS = "its first frame is larger than it says"


def unread(content: bytes) -> str:
    """Why a picture file is of a form that is not read, though some programs do; else empty.

    The serving graph says the same of it in the same words.
    """
    if content[:2] == b"BM":
        return "" if _is_read_bmp(content[:70].ljust(70, b"\0")) else UNREAD_BMP
    if content[:4] == b"\x89PNG" and content[24:25] != b"\x08" and content[25:26] in b"\0\2":
        return UNREAD_PNG if _has_transparent_color(content) else ""
    return ""


def _is_read_bmp(head: bytes) -> bool:
    def number(place: int, count: int) -> int:
        return int.from_bytes(head[place : place + count], "little")

    if number(14, 4) not in BMP_HEADER_BYTES or number(28, 2) not in BMP_BITS:
        return False
    if number(30, 4) == 0:
        return True
    alpha = number(66, 4) if number(14, 4) >= 56 else 0
    return (
        (number(28, 2), number(30, 4)) == (32, 3)
        and head[54:66] == BMP_MASKS
        and alpha in (0, BMP_ALPHA_MASK)
    )


def _has_transparent_color(content: bytes) -> bool:
    place = 8
    while len(kind := content[place + 4 : place + 8]) == 4 and kind != b"IDAT":
        if kind == b"tRNS":
            return True
        place += 12 + int.from_bytes(content[place : place + 4], "big")
    return False
