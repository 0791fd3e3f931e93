"""How the model goes live."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from components.storage import is_url
from pipeline.config.section import Positive, Section


class Serving(Section):
    """How the model goes live."""

    model_name: str = Field("catalog", description="Name under which the model is served.")
    canary_questions: Positive = Field(
        16, description="Test pictures that the candidate must answer from a real server first."
    )
    canary_latency_ms: float | None = Field(
        None,
        gt=0,
        description="The candidate is not blessed if one picture takes longer than so many "
        "milliseconds, in the median; any time by default.",
    )
    canary_binary: str | None = Field(
        None,
        description="A `tensorflow_model_server` for the candidate to be asked on, in place of the "
        "embedded server.",
    )
    canary_address: str | None = Field(
        None,
        description="`host:port` of a model server for the candidate to be asked on, which finds "
        "new versions in `canary_folder`.",
    )
    canary_folder: str | None = Field(
        None,
        description="The folder of the model's versions that the server at `canary_address` looks "
        "into; the candidate is put there, asked, and taken away again.",
    )
    keep_versions: int = Field(
        5,
        ge=2,
        description="How many of the newest versions a push leaves in the serving folder, the live "
        "one among them; at least 2, so that there is one to go back to.",
    )

    push_to: str | None = Field(
        None,
        description="URL of a folder (`s3://`, `gs://`, `minio://`) that versions are pushed to, "
        "in place of the workspace's `serving`; see docs/scale.md.",
    )

    license: str | None = Field(
        None,
        description="License of the model, an SPDX identifier, as its card tells it; not told by "
        "default.",
    )
    contact: str | None = Field(
        None, description="Whom to ask about the model, as its card tells it; not told by default."
    )

    @field_validator("push_to")
    @classmethod
    def _a_url(cls, folder: str | None) -> str | None:
        if folder is not None and not is_url(folder):
            raise ValueError(
                "push_to is the URL of a folder in an object store, as s3://BUCKET/FOLDER; without "
                "it versions go into the workspace's own folder `serving`"
            )
        return folder and folder.rstrip("/")

    @model_validator(mode="after")
    def _canary_has_one_server(self) -> Serving:
        if self.canary_binary and self.canary_address:
            raise ValueError(
                "canary_binary starts a server and canary_address names one; choose one of them"
            )
        if bool(self.canary_address) != bool(self.canary_folder):
            raise ValueError(
                "canary_address and canary_folder go together: the server there serves that folder"
            )
        return self
