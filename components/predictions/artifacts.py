"""The artifact type that holds a model's answers."""

from __future__ import annotations

from tfx.types import artifact


class Predictions(artifact.Artifact):
    """A folder with `Split-<name>/*.parquet`, see `components.predictions.table`.

    Empty where there was no model to be asked.
    """

    TYPE_NAME = "components.Predictions"
