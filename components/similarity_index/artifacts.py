"""The artifact type that holds a catalog's index."""

from __future__ import annotations

from pathlib import PurePosixPath

from tfx.types import artifact

from schema import features

INDEX_FOLDER = PurePosixPath(features.INDEX_FOLDER).name
"""What is pushed with the model."""


QUALITY_FILE = "quality.json"
"""What is searched and how good the search is: `products`, their number; the blocks' `weights`; the
`threshold` of `serving.search.ProductIndex`; `approximation`, null where all products are compared;
the columns `alike`, and `quality`, see `judging.judged`."""

MAP_FILE = "map.json"
"""Test products laid out in two dimensions, see `map.embedding_map`."""


class SimilarityIndex(artifact.Artifact):
    """A folder with `INDEX_FOLDER`, see `serving.search.catalog`, `QUALITY_FILE`, `MAP_FILE`."""

    TYPE_NAME = "components.SimilarityIndex"
