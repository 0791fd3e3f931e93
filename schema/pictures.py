"""The decoded picture: which pictures are taken, wherever one is decoded.

Ingest and the serving graph refuse the same pictures, each in its own words; but anybody may ask
the graph, so that it is stricter about what takes long.
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
