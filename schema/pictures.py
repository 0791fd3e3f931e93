"""The decoded picture: which pictures are taken, wherever one is decoded.

Ingest and the serving graph refuse the same pictures, each in its own words.
"""

SMALLEST_SIDE = 8
LARGEST_SIDE = 20_000
"""Pixels; the same bounds as `image_height` and `image_width` have in `schema/catalog.pbtxt`."""

MOST_PIXELS = 50_000_000
"""Decoded, a larger picture takes more than 150 MB: a camera's mistake, or an attack."""

MOST_BYTES = 64 * 1024 * 1024
"""Size of a picture's file."""
