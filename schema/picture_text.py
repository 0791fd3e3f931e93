"""What people send, or write into a cell, in the place of a picture's bytes."""

from __future__ import annotations

import re

_MOST_READ_BYTES = 4096

# How base64 of a JPEG, PNG, GIF, WebP and BMP begins.
_BASE64 = re.compile(
    rb"(?:/9j/|_9j_|iVBORw0K|R0lGOD|UklGR|Qk[0-3][A-Za-z0-9+/_-])[A-Za-z0-9+/_\-\s]{12,}={0,2}\s*"
)
# Python's Path makes one slash of two.
_ADDRESS = re.compile(rb"[a-z][a-z0-9+.\-]{1,15}:/\S", re.IGNORECASE)
_FILE = re.compile(rb"[^\x00-\x1f]{0,1000}\.(?:jpe?g|png|gif|bmp|webp|tiff?|heic|avif)", re.I)
_PAGE = re.compile(rb"<(?:!doctype|html|\?xml|svg|body|head)", re.IGNORECASE)


def in_place_of_picture(content: bytes) -> str:
    """What the bytes are that should be an encoded picture's, e.g. "a data URL".

    Args:
        content: all of them, or the first 4,096.

    Returns:
        Words to follow "is"; empty where nothing is recognized, as of a picture.
    """
    head = content[:_MOST_READ_BYTES].strip()
    if head[:5].lower() == b"data:":
        return "a data URL"
    if _ADDRESS.match(head):
        return "an address"
    for quote in (b"b'", b'b"', b"'", b'"'):
        if head.startswith(quote) and _BASE64.match(head[len(quote) :]):
            return "base64 text with quotation marks around it"
    if _BASE64.fullmatch(head):
        return "base64 text"
    if head[:1] in (b"{", b"["):
        return "JSON"
    if _PAGE.match(head):
        return "a web page"
    if _FILE.fullmatch(head):
        return "a file's name"
    return ""
