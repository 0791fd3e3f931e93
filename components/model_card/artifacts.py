"""The artifact type that holds a card."""

from __future__ import annotations

from tfx.types import artifact


class ModelCard(artifact.Artifact):
    """A folder with the files of a card, all of which go into the pushed version."""

    TYPE_NAME = "components.ModelCard"
