"""From a config to what Kubeflow Pipelines runs: a pipeline spec 2.1 and its platform's half.

TFX compiles the steps. What it leaves out, or what the open-source backend has no use for, is
mended in the compiled documents, so that TFX stays as it is:

- What changes from run to run is a parameter of the run, with the value of this compilation as its
  default: the fingerprints of the catalog and of what was made of it. The backend's cache goes by
  the values of parameters, so a changed picture is noticed.
- Steps whose result must be noted in the ledger, or may be undone outside, are never cached. They
  take seconds.
- Environment, resources, nodes, volumes and secrets of each step.

Sources: `pipeline_spec.proto` and `kubernetes_executor_config.proto` of Kubeflow Pipelines 2.16.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from tfx.dsl.components.common.importer import SOURCE_URI_KEY, Importer
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner
from tfx.orchestration.pipeline import Pipeline

from components.catalog_example_gen.executor import INPUT_FINGERPRINT
from components.catalog_example_gen.sources import source_of
from components.ledger.recording import INPUTS, TRAINING
from components.storage import check_readable, is_file
from pipeline.config import Config
from pipeline.config.kubeflow import EVERY_STEP, Kubeflow, StepPod
from pipeline.pipeline import create_pipeline
from pipeline.workspace import BucketPlaces
from schema.errors import UserError

COMMAND = ("python", "-m", "pipeline.kubeflow.entrypoint")
"""What every step's container starts."""

NEVER_CACHED = ("DataGate", "Judge", "Pusher")

RUN_PARAMETERS = (INPUT_FINGERPRINT, INPUTS, TRAINING)
"""Options of steps that are parameters of the run."""

LONGEST_ARGUMENT = 100 * 1024
"""Bytes of a step's options: Linux takes 128 KiB an argument, which has the artifacts in it too."""


@dataclass(frozen=True)
class Spec:
    """A compiled pipeline.

    Attributes:
        pipeline: The pipeline spec, as YAML would hold it.
        platform: The platform spec of it.
        root: URL below which the backend puts the artifacts of runs.
        parameters: Those of the run, with their values.
        looked_up: The steps that bring in an earlier run's artifact, with its URI.
        seen: Whether this machine sees the catalog, see `is_seen`.
    """

    pipeline: Mapping[str, Any]
    platform: Mapping[str, Any]
    root: str
    parameters: Mapping[str, str]
    looked_up: Mapping[str, str]
    seen: bool

    @property
    def name(self) -> str:
        """The pipeline's name, as Kubeflow allows it."""
        return self.pipeline["pipelineInfo"]["name"]

    def to_yaml(self) -> str:
        """The file that the backend takes."""
        return package(self.pipeline, self.platform)


def package(pipeline: Mapping[str, Any], platform: Mapping[str, Any]) -> str:
    """A pipeline spec and its platform's half as the file that the backend takes."""
    return yaml.safe_dump_all([dict(pipeline), dict(platform)], sort_keys=True, allow_unicode=True)


def platform_spec(pods: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What Kubernetes is to give the pods of steps, by the labels of their executors."""
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": dict(pods)}}}}


def compiled(config: Config, image: str | None = None, *, look_up: bool = True) -> Spec:
    """The spec of a config's pipeline.

    Args:
        config: The catalog's options.
        image: Container image of all steps, in place of `kubeflow.image`.
        look_up: Whether the ledger is asked what a run is compared with, and starts from.

    Raises:
        UserError: An option is missing, names what only this machine knows, or is too long.
    """
    options = config.kubeflow
    root, image = options.root, image or options.image
    if root is None:
        raise UserError(
            "kubeflow.root is missing: name the s3://, gs:// or minio:// URL of the folder that "
            "holds everything of these runs."
        )
    if not image:
        raise UserError(
            "Kubeflow runs steps in containers, and no image is named: say kubeflow.image or "
            "--image."
        )
    _check_paths(config)
    seen = is_seen(config)
    pipeline = create_pipeline(
        config,
        BucketPlaces(root, options.scratch, config.beam.runner != "local"),
        look_up=look_up,
        # Of what is not seen nobody can say that it is as it was.
        input_fingerprint=None if seen else f"unseen at {time.time_ns()}",
    )
    pipeline.pipeline_info.pipeline_name = _name(config.name)
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
            default_image=image, default_commands=list(COMMAND), use_pipeline_spec_2_1=True
        )
    )
    spec = runner.run(pipeline, write_out=False)["pipelineSpec"]
    executors = spec["deploymentSpec"]["executors"]
    parameters = _made_parameters(spec)
    for step in NEVER_CACHED:
        spec["root"]["dag"]["tasks"][step]["cachingOptions"] = {}
    platform: dict[str, Any] = {}
    for step, component in spec["components"].items():
        _check_length(step, spec)
        label = component["executorLabel"]
        if container := executors[label].get("container"):
            of_step = options.steps.get(step, options.steps.get(EVERY_STEP, StepPod()))
            _equip(container, of_step, options.env)
            if pod := pod_of(of_step, options):
                platform[label] = pod
    return Spec(
        spec,
        platform_spec(platform),
        f"{root}/artifacts",
        parameters,
        _looked_up(pipeline),
        seen,
    )


def is_seen(config: Config) -> bool:
    """Whether this machine sees the catalog that the pods will read."""
    try:
        check_readable(config.catalog.folder)
    except UserError:
        # The store may answer inside the cluster alone, or know the pods and not who is here.
        return False
    source = source_of(config.catalog.model_dump(), config.split.model_dump())
    return all(is_file(path) for path in source.files)


def _name(name: str) -> str:
    """A pipeline's name in the letters that Kubeflow allows."""
    allowed = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")
    if not allowed:
        raise UserError(f"name: Kubeflow wants letters or digits in it (found {name!r}).")
    return allowed[:128]


def _check_paths(config: Config) -> None:
    """Nothing that steps read may be known to this machine alone."""
    seen = list(config.kubeflow.volumes.values())
    for option, path in (
        ("catalog.folder", config.catalog.folder),
        ("catalog.corrections", config.catalog.corrections),
        ("model.weights", config.model.weights),
    ):
        local = path and path.startswith("/")
        if local and not any(f"{path}/".startswith(f"{mount.rstrip('/')}/") for mount in seen):
            raise UserError(
                f"{option} is {path}, which the pods of a cluster do not see. Name a URL, or a "
                "folder below one of kubeflow.volumes."
            )


def _made_parameters(spec: dict[str, Any]) -> dict[str, str]:
    """Makes parameters of the run of what changes with it, and returns their values."""
    found: dict[str, str] = {}
    for task in spec["root"]["dag"]["tasks"].values():
        given = task.get("inputs", {}).get("parameters", {})
        for name in RUN_PARAMETERS:
            if name in given:
                found[name] = given[name]["runtimeValue"]["constant"]
                given[name] = {"componentInputParameter": name}
    of_run = spec["root"].setdefault("inputDefinitions", {}).setdefault("parameters", {})
    for name, value in found.items():
        of_run[name] = {"parameterType": "STRING", "defaultValue": value}
    return found


def _check_length(step: str, spec: Mapping[str, Any]) -> None:
    given = spec["root"]["dag"]["tasks"][step].get("inputs", {}).get("parameters", {})
    size = len(yaml.safe_dump(given, allow_unicode=True).encode())
    if size > LONGEST_ARGUMENT:
        longest = max(given, key=lambda name: len(str(given[name])))
        raise UserError(
            f"The options of {step} are {size:,} bytes, most of it `{longest}`, and Kubeflow hands "
            f"a step at most {LONGEST_ARGUMENT:,}. Close fewer labels in catalog.schema_file."
        )


def _equip(container: dict[str, Any], step: StepPod, env: Mapping[str, str]) -> None:
    """Says what a step's container is to have."""
    variables = [{"name": name, "value": value} for name, value in {**env, **step.env}.items()]
    if variables:
        container["env"] = variables
    resources: dict[str, Any] = {}
    if step.cpu:
        resources |= {"resourceCpuRequest": step.cpu, "resourceCpuLimit": step.cpu}
    if step.memory:
        resources |= {"resourceMemoryRequest": step.memory, "resourceMemoryLimit": step.memory}
    if step.gpus:
        resources["accelerator"] = {
            "resourceType": step.gpu_type,
            "resourceCount": str(step.gpus),
            # What backends before 2.4 read.
            "type": step.gpu_type,
            "count": step.gpus,
        }
    if resources:
        container["resources"] = resources


def pod_of(step: StepPod, options: Kubeflow) -> dict[str, Any]:
    """What Kubernetes is to give a step's pod; a `KubernetesExecutorConfig`."""
    pod: dict[str, Any] = {}
    if step.node_selector:
        pod["nodeSelector"] = {"labels": dict(step.node_selector)}
    if step.tolerations:
        pod["tolerations"] = [dict(toleration) for toleration in step.tolerations]
    if options.volumes:
        pod["pvcMount"] = [
            {"mountPath": path, "pvcNameParameter": _constant(claim), "constant": claim}
            for claim, path in options.volumes.items()
        ]
    if options.secrets:
        pod["secretAsEnv"] = [
            {
                "secretName": secret,
                "secretNameParameter": _constant(secret),
                "keyToEnv": [{"secretKey": key, "envVar": name}],
            }
            for name, secret, key in _secret_keys(options.secrets)
        ]
    return pod


def _secret_keys(secrets: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    for name, place in secrets.items():
        secret, _, key = place.partition("/")
        yield name, secret, key


def _constant(value: str) -> dict[str, Any]:
    return {"runtimeValue": {"constant": value}}


def _looked_up(pipeline: Pipeline) -> dict[str, str]:
    return {
        node.id: node.exec_properties[SOURCE_URI_KEY]
        for node in pipeline.components
        if isinstance(node, Importer)
    }
