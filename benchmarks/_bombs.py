"""Pictures that cost far more than they weigh, and some that only claim to. Made without a seed.

Each is well formed as far as a decoder looks before it takes memory and time.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator

from PIL import Image

_GIF_TRAILER = b";"


def png(width: int, height: int, bits: int = 8, color: int = 2) -> bytes:
    """A PNG of one color, complete: some thousandth of what it takes decoded.

    Args:
        width: pixels.
        height: pixels.
        bits: of a channel.
        color: PNG's color type: 0 gray, 2 RGB, 6 RGBA.
    """
    channels = {0: 1, 2: 3, 6: 4}[color]
    row_bytes = 1 + (width * channels * bits + 7) // 8
    return _png(width, height, bits, color, _packed_zeros(row_bytes * height))


def claiming_png(width: int, height: int) -> bytes:
    """A PNG that ends after its header."""
    return _png(width, height, 8, 2, zlib.compress(b"\0" * 100))


def jpeg(width: int, height: int, scans: int = 0, components: int = 1) -> bytes:
    """A JPEG of one gray, complete but for its last blocks, which decoders add.

    Args:
        width: pixels.
        height: pixels.
        scans: of a progressive one, each over all blocks in a few bytes; 0 for a sequential one.
        components: 1 or 3 of full resolution.
    """
    numbers = range(1, components + 1)
    frame = struct.pack(">BHHB", 8, height, width, components)
    frame += b"".join(bytes((number, 0x11, 0)) for number in numbers)
    parts = [b"\xff\xd8", _segment(0xDB, b"\0" + b"\1" * 64)]
    parts.append(_segment(0xC2 if scans else 0xC0, frame))
    # One code of one bit in each table: no difference, and the end of blocks for a run of them.
    parts.append(_segment(0xC4, b"\x00" + b"\1" + bytes(15) + b"\0"))
    parts.append(_segment(0xC4, b"\x10" + b"\1" + bytes(15) + (b"\xe0" if scans else b"\0")))
    every = bytes((components,)) + b"".join(bytes((number, 0)) for number in numbers)
    blocks = -(-width // 8) * -(-height // 8)
    if not scans:
        # Two bits a block and component, all zeros.
        zeros = bytes(blocks * components // 4)
        return b"".join([*parts, _segment(0xDA, every + b"\0\x3f\0"), zeros, b"\xff\xd9"])
    parts += [_segment(0xDA, every + b"\0\0\0"), bytes(blocks * components // 8)]
    runs = _bits("0" + "1" * 14 for _ in range(blocks // 32767 + 1))
    for scan in range(scans - 1):
        number = 1 + scan % components
        parts += [_segment(0xDA, bytes((1, number, 0, 1, 63, 0))), runs]
    return b"".join([*parts, b"\xff\xd9"])


def claiming_jpeg(width: int, height: int, progressive: bool) -> bytes:
    """A JPEG of 8 x 8 pixels that says it has other sides."""
    small = io.BytesIO()
    Image.new("RGB", (8, 8), (90, 60, 30)).save(small, "JPEG", progressive=progressive)
    file = bytearray(small.getvalue())
    frame = file.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    file[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(file)


def gif(
    width: int,
    height: int,
    frames: int = 1,
    canvas: tuple[int, int] | None = None,
    block: int = 255,
) -> bytes:
    """A GIF of frames of one color.

    Args:
        width: of every frame, in pixels.
        height: the same.
        frames: how many.
        canvas: what the header says it has, width and height; the frames' by default.
        block: bytes that are sent at a time.
    """
    head = b"GIF89a" + struct.pack("<HH", *(canvas or (width, height))) + b"\x80\0\0"
    colors = b"\0\0\0\xff\xff\xff"
    data = _lzw_zeros(width * height)
    blocks = b"".join(
        bytes((len(part),)) + part
        for part in (data[place : place + block] for place in range(0, len(data), block))
    )
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\2" + blocks + b"\0"
    return head + colors + frame * frames + _GIF_TRAILER


def bmp(width: int, height: int, complete: bool = False) -> bytes:
    """A BMP of 24 bits; incomplete, it ends after some pixels."""
    row = (3 * width + 3) // 4 * 4
    body = bytes(row * abs(height)) if complete else bytes(64)
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(body), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(body), 0, 0, 54) + head + body


def webp(width: int, height: int) -> bytes:
    """A lossless WebP of one color: some dozen bytes for up to 16,383 x 16,383 pixels."""
    small = io.BytesIO()
    Image.new("RGB", (16, 16), (10, 20, 30)).save(small, "WEBP", lossless=True)
    file = bytearray(small.getvalue())
    place = file.index(b"VP8L") + 9
    sides = int.from_bytes(file[place : place + 4], "little") >> 28 << 28
    sides |= (width - 1) | (height - 1) << 14
    file[place : place + 4] = sides.to_bytes(4, "little")
    return bytes(file)


def extended_webp(width: int, height: int) -> bytes:
    """A WebP whose canvas is another one than that of the picture in it."""
    inner = webp(16383, 16383)[12:]
    canvas = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + canvas + inner
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _png(width: int, height: int, bits: int, color: int, packed: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


def _packed_zeros(count: int) -> bytes:
    """What zlib makes of so many zeros, put together from parts."""
    length = 1 << 20
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    part = packer.compress(bytes(length)) + packer.flush(zlib.Z_FULL_FLUSH)
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    rest = packer.compress(bytes(count % length)) + packer.flush()
    checksum = struct.pack(">I", count % 65521 << 16 | 1)
    return b"\x78\xda" + part * (count // length) + rest + checksum


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _bits(codes: Iterable[str]) -> bytes:
    """Codes of zeros and ones as a JPEG's entropy-coded bytes, the last filled up with ones."""
    text = "".join(codes)
    text += "1" * (-len(text) % 8)
    whole = int(text, 2).to_bytes(len(text) // 8, "big") if text else b""
    return whole.replace(b"\xff", b"\xff\0")


def _lzw_zeros(count: int) -> bytes:
    """So many zeros in GIF's LZW of pixels of 2 bits, 8 million of them in some 6 KB."""
    packed, number, filled = bytearray(), 0, 0
    for code, width in _lzw_codes(count):
        number |= code << filled
        filled += width
        while filled >= 8:
            packed.append(number & 255)
            number >>= 8
            filled -= 8
    return bytes(packed) + (bytes((number,)) if filled else b"")


def _lzw_codes(count: int) -> Iterator[tuple[int, int]]:
    """Codes and their widths in bits; each stands for one zero more than the one before."""
    clear, end, first, last = 4, 5, 6, 4095
    left = count
    while left > 0:
        yield clear, 3 if left == count else 12
        yield 0, 3
        left -= 1
        code, zeros = first, 2
        while left >= zeros and code < last:
            yield code, max(3, code.bit_length())
            left -= zeros
            code, zeros = code + 1, zeros + 1
        if code < last:
            width = max(3, code.bit_length())
            if left:
                yield (first + left - 2 if left > 1 else 0), width
                code, left = code + 1, 0
            yield end, max(3, code.bit_length())
