"""Pusher's executor, with a push that cannot be seen half done."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.pusher import executor
from tfx.components.util import model_utils
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from components.atomic_pusher import versions


class AtomicPusherExecutor(executor.Executor):
    """Pushes a blessed model to a folder of this machine; see `versions.push`.

    The output artifact gets Pusher's own properties and `summary`, a sentence for the console.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes the model if every blessing there is says so.

        Raises:
            UserError: the disk is full or the serving folder cannot be written.
        """
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(
            exec_properties[standard_component_specs.PUSH_DESTINATION_KEY], destination
        )
        serving_root = destination.filesystem.base_directory
        pushed_model = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.PUSHED_MODEL_KEY]
        )
        # No object store can rename a folder; there, TFX's own order of copying must do.
        if "://" in serving_root:
            super().Do(input_dict, output_dict, exec_properties)
        elif self.CheckBlessing(input_dict):
            model, archive = Path(self.GetModelPath(input_dict)), Path(pushed_model.uri)
            # The archived copy comes first: if it fails, nothing has gone live.
            with versions.naming_disk_errors(model, archive):
                shutil.copytree(model, archive, dirs_exist_ok=True)
            version = versions.push(model, Path(serving_root))
            self._MarkPushed(
                pushed_model, pushed_destination=str(version), pushed_version=version.name
            )
        else:
            self._MarkNotPushed(pushed_model)
        pushed_model.set_string_custom_property("summary", _summary(pushed_model, input_dict))


def _summary(pushed_model: types.Artifact, input_dict: dict[str, list[types.Artifact]]) -> str:
    if pushed_model.get_int_custom_property("pushed"):
        return (
            f"version {pushed_model.get_string_custom_property('pushed_version')} pushed to "
            f"{os.path.dirname(pushed_model.get_string_custom_property('pushed_destination'))}"
        )
    blessing = input_dict.get(standard_component_specs.MODEL_BLESSING_KEY)
    evaluator_objects = blessing and not model_utils.is_model_blessed(blessing[0])
    judge = "Evaluator" if evaluator_objects else "canary"
    return f"not pushed: the {judge} did not bless the model"
