"""The artifact types that the ingest adds to TFX's."""

from __future__ import annotations

from tfx.types import artifact


class Rejects(artifact.Artifact):
    """A folder with rejects.csv, one line for each rejected row, and summary.json, the counts."""

    TYPE_NAME = "Rejects"
