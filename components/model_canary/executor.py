"""Runs the canary on artifacts."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from components.model_canary import canary
from components.model_canary.servers import Server
from schema import features

ANSWERS_FILE = "answers.json"
"""In the blessing's folder: a list with one object a question; see `canary.answers`."""

# The file and the property that stand for the blessing, as InfraValidator sets them for Pusher.
_BLESSED_FILE, _NOT_BLESSED_FILE = "INFRA_BLESSED", "INFRA_NOT_BLESSED"
_BLESSED = "blessed"


class Executor(base_executor.BaseExecutor):
    """Executor of `ModelCanary`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the blessing, `answers.json`, and the properties `blessed` and `summary`.

        Raises:
            UserError: the `test` split is empty. A model at fault is not blessed, which raises
                nothing.
        """
        model = artifact_utils.get_single_instance(input_dict["model"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        (split,) = artifact_utils.get_split_uris(input_dict["examples"], features.TEST)
        questions = canary.read_questions(
            fileio.glob(os.path.join(split, "*.gz")), exec_properties["questions"]
        )
        with tempfile.TemporaryDirectory(prefix="canary-") as scratch:
            candidate = _on_this_machine(path_utils.serving_model_path(model.uri), scratch)
            verdict = canary.examine(
                candidate,
                questions,
                exec_properties["model_name"],
                Server(**json.loads(exec_properties.get("server") or "{}")),
                exec_properties.get("latency_ms"),
            )

        fileio.makedirs(blessing.uri)
        io_utils.write_string_file(
            os.path.join(blessing.uri, ANSWERS_FILE),
            json.dumps(canary.answers(questions, verdict.predictions), indent=1),
        )
        io_utils.write_string_file(
            os.path.join(blessing.uri, _BLESSED_FILE if verdict.blessed else _NOT_BLESSED_FILE),
            verdict.summary,
        )
        blessing.set_int_custom_property(_BLESSED, int(verdict.blessed))
        blessing.set_string_custom_property("summary", verdict.summary)


def _on_this_machine(model: str, scratch: str) -> Path:
    """Where the model is; a model in an object store is copied to `scratch` first."""
    if not os.path.isdir(model):
        io_utils.copy_dir(model, scratch)
        return Path(scratch)
    return Path(model)
