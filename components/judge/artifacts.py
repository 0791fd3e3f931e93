"""The artifact type that holds a verdict."""

from __future__ import annotations

from tfx.types import artifact


class Judgement(artifact.Artifact):
    """A folder with judgement.json: what each gate says of the candidate."""

    TYPE_NAME = "components.Judgement"
