"""Where and how Kubeflow Pipelines runs the steps."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field, field_validator, model_validator

from pipeline.config.section import Section
from pipeline.steps import LOOK_UPS, STEPS

EVERY_STEP = "every"
"""In place of a step's name: what holds for all steps that say nothing else."""

_ROOT = re.compile(r"(?:s3|gs|minio)://[^/]+(?:/[^/]+)*/?")
_QUANTITY = re.compile(r"\d+(?:\.\d+)?(?:m|[kMGTP]i?)?")
_SECRET = re.compile(r"[^/]+/[^/]+")


class StepPod(Section):
    """What the pod of a step needs."""

    cpu: str | None = Field(
        None, description='Processors, as Kubernetes writes them: `"4"`, `500m`.'
    )
    memory: str | None = Field(None, description="Memory, as Kubernetes writes it: `16Gi`.")
    gpus: int = Field(0, ge=0, description="How many GPUs.")
    gpu_type: str = Field("nvidia.com/gpu", description="What the cluster calls such a GPU.")
    node_selector: dict[str, str] = Field({}, description="Labels of the nodes that it may run on.")
    tolerations: list[dict[str, Any]] = Field(
        [], description="Taints of nodes that it bears, as in a pod's `spec.tolerations`."
    )
    env: dict[str, str] = Field({}, description="Environment variables.")

    @field_validator("cpu", "memory", mode="before")
    @classmethod
    def _quantity(cls, value: Any) -> Any:
        text = str(value) if isinstance(value, (int, float)) else value
        if isinstance(text, str) and not _QUANTITY.fullmatch(text):
            raise ValueError("Kubernetes writes such a quantity as 4, 500m or 16Gi")
        return text


class Kubeflow(Section):
    """Where and how Kubeflow Pipelines runs the steps."""

    root: str | None = Field(
        None,
        description="`s3://`, `gs://` or `minio://` URL of the folder that holds everything of "
        "these runs: artifacts, ledger, pushed models.",
    )
    image: str | None = Field(
        None, description="Container image with Seamline in it, that all steps run in."
    )
    host: str = Field(
        "http://ml-pipeline.kubeflow:8888",
        description="Address of Kubeflow Pipelines inside the cluster, for runs that start again "
        "and again.",
    )
    scratch: str = Field(
        "/tmp/seamline",
        description="Folder in the pods for what a killed step goes on from. Below a volume, a "
        "training that lost its pod goes on; else it begins anew.",
    )
    volumes: dict[str, str] = Field(
        {}, description="Persistent volume claims, each with the path that steps see it at."
    )
    env: dict[str, str] = Field({}, description="Environment variables of all steps.")
    secrets: dict[str, str] = Field(
        {},
        description="Environment variables of all steps that a secret of the cluster holds: the "
        "variable's name, and `SECRET/KEY`.",
    )
    steps: dict[str, StepPod] = Field(
        {}, description="What the pod of a step needs, by its name; `every` stands for the others."
    )

    @field_validator("root")
    @classmethod
    def _a_bucket(cls, root: str | None) -> str | None:
        if root is not None and not _ROOT.fullmatch(root):
            raise ValueError(
                "Kubeflow Pipelines keeps artifacts in object stores: name s3://BUCKET/FOLDER, "
                "gs://BUCKET/FOLDER or minio://BUCKET/FOLDER"
            )
        return root and root.rstrip("/")

    @field_validator("secrets")
    @classmethod
    def _secret_and_key(cls, secrets: dict[str, str]) -> dict[str, str]:
        for name, place in secrets.items():
            if not _SECRET.fullmatch(place):
                raise ValueError(f"{name} must name a secret and its key, as SECRET/KEY")
        return secrets

    @field_validator("steps")
    @classmethod
    def _known(cls, steps: dict[str, StepPod]) -> dict[str, StepPod]:
        known = [EVERY_STEP, *(step for step in STEPS if step not in LOOK_UPS)]
        if unknown := [step for step in steps if step not in known]:
            raise ValueError(f"there is no step {unknown[0]}; there are {', '.join(known)}")
        return steps

    @model_validator(mode="after")
    def _absolute(self) -> Kubeflow:
        for path in (self.scratch, *self.volumes.values()):
            if not path.startswith("/"):
                raise ValueError(f"{path} is a path in the pods, and must begin with /")
        return self
