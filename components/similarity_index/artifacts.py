"""The artifact type that holds a catalog's index."""

from __future__ import annotations

from pathlib import PurePosixPath

from tfx.types import artifact

from schema import features

INDEX_FOLDER = PurePosixPath(features.INDEX_FOLDER).name
"""What is pushed with the model."""


QUALITY_FILE = "quality.json"
"""How good the search is: the columns `alike`, and `quality`, see `judging.judged`."""


class SimilarityIndex(artifact.Artifact):
    """A folder with `INDEX_FOLDER`, see `serving.search.catalog`, and `QUALITY_FILE`."""

    TYPE_NAME = "SimilarityIndex"
