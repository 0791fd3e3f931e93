"""What the container of every step starts: `python -m pipeline.kubeflow.entrypoint ...`.

TFX has an entrypoint of its own, written for Google's service. The open-source backend hands a step
less, and more, than that expects, and this module makes the one of the other:

- The types of input artifacts are empty. They are taken from the step's own definition.
- Every step has an output `executor-logs` that no step of TFX's knows. It is the launcher's.
- The launcher has copied inputs from the object store to `/s3/...`, `/gcs/...` or `/minio/...`, and
  copies to the store what lies below the outputs' like paths when the step has ended. Steps read
  and write there, so that no library needs to know the store; what they tell of artifacts is
  translated back. Only a step whose Beam workers are other machines keeps the store's own URLs.
- What the ledger is to know is noted when the step has ended well.

Arguments, as TFX compiles them: `--executor_class_path CLASS --json_serialized_invocation_args JSON
--json_serialized_inputs_spec_args JSON [Beam's options]`. `--copies FOLDER` says where the
launcher's copies are, for tests; it is `/` in pods.

Exit status 1, and one sentence as the last line, where people can mend what is wrong.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx import types
from tfx.orchestration.kubeflow.v2.container import (
    kubeflow_v2_entrypoint_utils,
    kubeflow_v2_run_executor,
)

from components.ledger.recording import record
from pipeline import beam_runner
from pipeline.copies import Copies
from schema.errors import UserError

LOGS = "executor-logs"
"""The output that the backend adds to every step."""


def run(arguments: Sequence[str]) -> None:
    """Runs a step, and leaves in the launcher's output file what became of it.

    Raises:
        UserError: What people can mend.
    """
    args, beam_args = _parsed(arguments)
    given = json.loads(args.json_serialized_invocation_args)
    defined = json.loads(args.json_serialized_inputs_spec_args)
    given.get("outputs", {}).get("artifacts", {}).pop(LOGS, None)
    typed(given, defined)
    remote = copy.deepcopy(given)
    in_bucket, beam_args = beam_runner.in_a_bucket(beam_args, args.executor_class_path)
    copies = None if in_bucket else Copies(args.copies)
    if copies:
        for artifact in _artifacts(given, "inputs", "outputs"):
            artifact["uri"] = copies.of(artifact["uri"])
        for artifact in _artifacts(given, "outputs"):
            # What a killed attempt has left is no part of this one's result; and TFX's own launcher
            # makes the folders that steps write into.
            shutil.rmtree(artifact["uri"], ignore_errors=True)
            os.makedirs(artifact["uri"])
    kubeflow_v2_run_executor._run_executor(  # noqa: SLF001 What TFX's own `main` calls.
        Namespace(
            executor_class_path=args.executor_class_path,
            json_serialized_invocation_args=json.dumps(given),
            json_serialized_inputs_spec_args=args.json_serialized_inputs_spec_args,
        ),
        beam_args,
    )
    output_file = given["outputs"]["outputFile"]
    with open(output_file, encoding="utf-8") as file:
        told = json.load(file)
    if copies:
        told = _told_of(told, copies)
        with open(output_file, "w", encoding="utf-8") as file:
            json.dump(told, file)
    _note(remote, told, defined)


def typed(given: Mapping[str, Any], defined: Mapping[str, Any]) -> None:
    """Says of a step's input artifacts what types they are of, where the backend does not.

    Args:
        given: The `ExecutorInput`, which is changed.
        defined: The step's `ComponentInputsSpec`.
    """
    for key, found in given.get("inputs", {}).get("artifacts", {}).items():
        kind = defined["artifacts"][key]["artifactType"]
        for artifact in found["artifacts"]:
            if not any(artifact.get("type", {}).values()):
                artifact["type"] = kind


def _parsed(arguments: Sequence[str]) -> tuple[Namespace, list[str]]:
    parser = ArgumentParser(prog=__spec__.name, allow_abbrev=False)
    parser.add_argument("--executor_class_path", required=True)
    parser.add_argument("--json_serialized_invocation_args", required=True)
    parser.add_argument("--json_serialized_inputs_spec_args", default="{}")
    parser.add_argument("--copies", default="/")
    return parser.parse_known_args(arguments)


def _artifacts(given: Mapping[str, Any], *sides: str) -> Iterator[dict[str, Any]]:
    for side in sides:
        for found in given.get(side, {}).get("artifacts", {}).values():
            yield from found["artifacts"]


def _told_of(told: dict[str, Any], copies: Copies) -> dict[str, Any]:
    """What a step says of its outputs, by the store's URLs."""
    for found in told.get("artifacts", {}).values():
        for artifact in found["artifacts"]:
            artifact["uri"] = copies.origin(artifact["uri"])
            artifact["metadata"] = {
                name: copies.origin(value) if isinstance(value, str) else value
                for name, value in artifact.get("metadata", {}).items()
            }
    return told


def _note(given: Mapping[str, Any], told: Mapping[str, Any], defined: Mapping[str, Any]) -> None:
    """Has the ledger know of what the step passed, blessed or pushed.

    Args:
        given: The `ExecutorInput`, with the artifacts' types and the store's URLs.
        told: The `ExecutorOutput`, with the store's URLs.
        defined: The step's `ComponentInputsSpec`.
    """
    outputs = {
        key: {
            "artifacts": [
                {**artifact, **{name: of[name] for name in ("metadata", "uri") if name in of}}
                for artifact, of in zip(
                    found["artifacts"], told["artifacts"][key]["artifacts"], strict=True
                )
            ]
        }
        for key, found in given.get("outputs", {}).get("artifacts", {}).items()
    }
    whole = {"inputs": given.get("inputs", {}), "outputs": {"artifacts": outputs}}
    parsed = json_format.ParseDict(
        whole, pipeline_spec_pb2.ExecutorInput(), ignore_unknown_fields=True
    )
    options = kubeflow_v2_entrypoint_utils.parse_execution_properties(
        parsed.inputs.parameter_values,
        parsed.inputs.parameters,
        json_format.ParseDict(
            dict(defined), pipeline_spec_pb2.ComponentInputsSpec(), ignore_unknown_fields=True
        ),
    )
    record(_known(parsed.inputs.artifacts), _known(parsed.outputs.artifacts), options)


def _known(artifacts: Any) -> dict[str, list[types.Artifact]]:
    return kubeflow_v2_entrypoint_utils.parse_raw_artifact_dict(artifacts)


def main() -> int:
    """Entry point; returns the exit status."""
    arguments = sys.argv[1:]
    try:
        run(arguments)
    except UserError as error:
        args, _ = _parsed(arguments)
        print(Copies(args.copies).in_words(str(error)), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
