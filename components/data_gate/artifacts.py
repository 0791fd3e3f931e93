"""The artifact type that the gate adds to TFX's."""

from __future__ import annotations

from tfx.types import artifact


class DataGateVerdict(artifact.Artifact):
    """A folder with verdict.json: what was found, and which severity would have stopped the run."""

    TYPE_NAME = "components.DataGateVerdict"
