"""The artifact types that the ingest adds to TFX's."""

from __future__ import annotations

from tfx.types import artifact


class Rejects(artifact.Artifact):
    """A folder with rejects.csv, one line for each rejected row, and summary.json, the counts."""

    TYPE_NAME = "components.Rejects"


class Conflicts(artifact.Artifact):
    """A folder with conflicts.csv, one line for each, and conflicts.json, how many of each kind."""

    TYPE_NAME = "components.Conflicts"


class Corrections(artifact.Artifact):
    """A folder with corrections.csv, what became of every decision, and corrections.json, counts.

    Empty where `catalog.corrections` names no file.
    """

    TYPE_NAME = "components.Corrections"
