"""Writes the schema where the steps that read it look for it."""

from __future__ import annotations

import os
from typing import Any

from tfx import types
from tfx.components.schema_gen import executor as schema_gen
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils

TEXT = "text"
SCHEMA = "schema"


class Executor(base_executor.BaseExecutor):
    """Executor of `ImportSchemaGen`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the artifact's only file."""
        uri = artifact_utils.get_single_instance(output_dict[SCHEMA]).uri
        path = os.path.join(uri, schema_gen.DEFAULT_FILE_NAME)
        io_utils.write_string_file(path, exec_properties[TEXT])
