"""The artifact type that holds a verdict."""

from __future__ import annotations

from tfx.types import artifact

JUDGED_MODEL_ID = "current_model_id"
"""Property of a judgement: the id of the model, as a blessing has it."""


class Judgement(artifact.Artifact):
    """A folder with judgement.json: what each gate says of the candidate."""

    TYPE_NAME = "Judgement"
