"""Runs a compiled spec as the open-source backend of Kubeflow Pipelines does, without a cluster.

What its driver and its launcher do to every task is done here, in their order (Kubeflow Pipelines
2.16, backend/src/v2): parameters are resolved from constants and from the run's, inputs are handed
over by the id of an artifact and without its type, every task gets an output `executor-logs`, a
cached result is looked up by the artifacts' ids, the parameters and the container; then inputs are
copied from the object store to where the container sees them, the container's own command is run,
and what it left at its outputs' paths is copied to the store.

In place of a container is a process: another folder, another home, and nothing of Seamline but its
installed wheel. The first one is started by the container's command; those after it begin as copies
of one that has imported what they all do, see `forge`. In place of the object store is a server of
S3's protocol.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.pipeline.kubeflow.forge import Forge

_SCHEME = "s3://"


class Failed(Exception):
    """A task's container ended with another status than 0; holds what it printed."""


@dataclass
class Artifact:
    """An artifact as the metadata service knows it."""

    id: int
    uri: str
    metadata: dict[str, Any]


@dataclass
class Run:
    """What became of a run: `done`, `cached` or `imported` by task, and the tasks' outputs."""

    states: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, dict[str, Artifact]] = field(default_factory=dict)

    def done(self) -> set[str]:
        """The tasks whose containers ran."""
        return {task for task, state in self.states.items() if state == "done"}


@dataclass
class Backend:
    """A backend with its memory of artifacts and of cached results.

    Attributes:
        folder: For the pods' files.
        wheel: The folder that the wheel is installed in.
        store: A boto3 client of the object store.
        env: What every container's environment has besides its own.
    """

    folder: Path
    wheel: Path
    store: Any
    env: Mapping[str, str] = field(default_factory=dict)
    artifacts: list[Artifact] = field(default_factory=list)
    cached: dict[str, dict[str, Artifact]] = field(default_factory=dict)
    runs: int = 0
    _forges: dict[tuple[str, ...], Forge] = field(default_factory=dict)

    def close(self) -> None:
        """Ends what it has started."""
        for forge in self._forges.values():
            forge.close()

    def run(self, package: str, root: str) -> Run:
        """Runs a package, a YAML of one or two documents, with artifacts below the URL `root`.

        Raises:
            Failed: a task did.
        """
        spec = next(yaml.safe_load_all(package))
        assert spec["schemaVersion"] == "2.1.0"
        self.runs += 1
        run = Run()
        defaults = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        given = {name: of["defaultValue"] for name, of in defaults.items()}
        tasks = dict(spec["root"]["dag"]["tasks"])
        while tasks:
            ready = [
                name
                for name, task in tasks.items()
                if not set(task.get("dependentTasks", ())) & set(tasks)
            ]
            assert ready, f"tasks wait for each other: {sorted(tasks)}"
            for name in ready:
                self._run_task(name, tasks.pop(name), spec, given, root, run)
        return run

    def _run_task(
        self,
        name: str,
        task: Mapping[str, Any],
        spec: Mapping[str, Any],
        given: Mapping[str, str],
        root: str,
        run: Run,
    ) -> None:
        component = spec["components"][task["componentRef"]["name"]]
        executor = spec["deploymentSpec"]["executors"][component["executorLabel"]]
        if importer := executor.get("importer"):
            run.outputs[name] = {"result": self._imported(importer, task, given)}
            run.states[name] = "imported"
            return
        container = executor["container"]
        inputs = task.get("inputs", {})
        parameters = {
            key: self._value(value, given) for key, value in inputs.get("parameters", {}).items()
        }
        declared = component.get("inputDefinitions", {}).get("parameters", {})
        assert set(parameters) <= set(declared), "the driver refuses what is not declared"
        artifacts = {
            key: run.outputs[of["taskOutputArtifact"]["producerTask"]][
                of["taskOutputArtifact"]["outputArtifactKey"]
            ]
            for key, of in inputs.get("artifacts", {}).items()
        }
        key = json.dumps(
            [{key: of.id for key, of in artifacts.items()}, parameters, container], sort_keys=True
        )
        key = hashlib.sha256(key.encode()).hexdigest()
        cached = task.get("cachingOptions", {}).get("enableCache", False)
        if cached and key in self.cached:
            run.outputs[name], run.states[name] = self.cached[key], "cached"
            return
        outputs = component.get("outputDefinitions", {}).get("artifacts", {})
        place = f"{root}/{spec['pipelineInfo']['name']}/run-{self.runs}/{name}"
        run.outputs[name] = self._run_container(
            name, container, parameters, artifacts, outputs, place
        )
        run.states[name] = "done"
        if cached:
            self.cached[key] = run.outputs[name]

    def _imported(
        self, importer: Mapping[str, Any], task: Mapping[str, Any], given: Mapping[str, str]
    ) -> Artifact:
        uri = self._value(task["inputs"]["parameters"]["artifact_uri"], given)
        known = [artifact for artifact in self.artifacts if artifact.uri == uri]
        if known and not importer.get("reimport"):
            return known[-1]
        return self._registered(uri, importer.get("metadata", {}))

    def _registered(self, uri: str, metadata: Mapping[str, Any]) -> Artifact:
        artifact = Artifact(len(self.artifacts) + 1, uri, _floats(dict(metadata)))
        self.artifacts.append(artifact)
        return artifact

    @staticmethod
    def _value(parameter: Mapping[str, Any], given: Mapping[str, str]) -> Any:
        if "componentInputParameter" in parameter:
            return given[parameter["componentInputParameter"]]
        [(kind, value)] = parameter["runtimeValue"].items()
        assert kind == "constant", f"the driver does not implement `{kind}`"
        return value

    def _run_container(
        self,
        name: str,
        container: Mapping[str, Any],
        parameters: Mapping[str, Any],
        artifacts: Mapping[str, Artifact],
        outputs: Mapping[str, Any],
        place: str,
    ) -> dict[str, Artifact]:
        pod = self.folder / f"run-{self.runs}" / name
        (pod / "home").mkdir(parents=True)
        logs = {"artifactType": {"schemaTitle": "system.Artifact", "schemaVersion": "0.0.1"}}
        made = {
            key: {
                "name": key,
                "uri": f"{place}/{key}",
                "type": of["artifactType"],
                "metadata": {},
            }
            for key, of in {**outputs, "executor-logs": logs}.items()
        }
        output_file = pod / "outputs" / "output_metadata.json"
        executor_input = {
            "inputs": {
                "parameterValues": parameters,
                "artifacts": {
                    key: _list(
                        {
                            "name": str(of.id),
                            "type": {"instanceSchema": ""},
                            "uri": of.uri,
                            "metadata": of.metadata,
                        }
                    )
                    for key, of in artifacts.items()
                },
            },
            "outputs": {
                "artifacts": {key: _list(of) for key, of in made.items()},
                "outputFile": str(output_file),
            },
        }
        for artifact in artifacts.values():
            self._download(artifact.uri, pod)
        argument = json.dumps(executor_input)
        assert len(argument.encode()) < 128 * 1024, "Linux takes no longer argument"
        args = [word.replace("{{$}}", argument) for word in container.get("args", ())]
        ended = self._ended(
            container["command"],
            [*args, "--copies", str(pod)],
            pod / "home",
            self._environment(container, pod),
        )
        if ended.returncode:
            raise Failed(f"{name}: {ended.stdout[-8000:]}")
        told = json.loads(output_file.read_text())["artifacts"]
        found: dict[str, Artifact] = {}
        for key in outputs:
            self._upload(pod, made[key]["uri"])
            [of] = told[key]["artifacts"]
            found[key] = self._registered(of.get("uri") or made[key]["uri"], of["metadata"])
        return found

    def _ended(
        self,
        command: Sequence[str],
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command with arguments; what it printed is in `stdout`, errors too."""
        python, option, module = command
        assert (python, option) == ("python", "-m")
        if forge := self._forges.get(tuple(command)):
            return forge.run(arguments, folder, environment)
        ended = subprocess.run(
            [*command, *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self._forges[tuple(command)] = Forge(module, folder, environment)
        return ended

    def _environment(self, container: Mapping[str, Any], pod: Path) -> dict[str, str]:
        own = {variable["name"]: variable["value"] for variable in container.get("env", ())}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {
            **{"PATH": path, "HOME": str(pod / "home"), "PYTHONPATH": str(self.wheel)},
            **{"TMPDIR": str(pod / "home"), "TF_CPP_MIN_LOG_LEVEL": "2"},
            **self.env,
            **own,
        }

    def _keys(self, uri: str) -> Iterator[tuple[str, str]]:
        bucket, _, prefix = uri.removeprefix(_SCHEME).partition("/")
        for page in self.store.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=f"{prefix}/"
        ):
            for found in page.get("Contents", ()):
                yield bucket, found["Key"]

    def _download(self, uri: str, pod: Path) -> None:
        for bucket, key in self._keys(uri):
            target = pod / "s3" / bucket / key
            target.parent.mkdir(parents=True, exist_ok=True)
            self.store.download_file(bucket, key, str(target))

    def _upload(self, pod: Path, uri: str) -> None:
        bucket, _, prefix = uri.removeprefix(_SCHEME).partition("/")
        # A path that is not there is only worth a warning to the launcher.
        for path in (pod / "s3" / bucket / prefix).rglob("*"):
            if path.is_file():
                key = path.relative_to(pod / "s3" / bucket).as_posix()
                self.store.upload_file(str(path), bucket, key)


def _list(artifact: Mapping[str, Any]) -> dict[str, Any]:
    return {"artifacts": [artifact]}


def _floats(value: Any) -> Any:
    """Numbers as the metadata service has them: all of them with a fraction."""
    if isinstance(value, dict):
        return {key: _floats(of) for key, of in value.items()}
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value
