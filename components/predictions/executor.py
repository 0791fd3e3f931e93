"""Asks a model about the chosen splits, file by file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components import storage
from components.parts import Mark, Part, parts_of, work_off
from components.predictions import table

EXAMPLES = "examples"
MODEL = "model"
PREDICTIONS = "predictions"
SPLITS = "splits"
SLICES = "slices"
SEVERAL_PICTURES = "several_pictures"
RESUME_DIR = "resume_dir"
CODE = "code"


class Executor(base_beam_executor.BaseBeamExecutor):
    """Executor of `Predictions`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Fills the artifact `predictions`.

        Raises:
            UserError: the model cannot be asked.
        """
        predictions = artifact_utils.get_single_instance(output_dict[PREDICTIONS])
        fileio.makedirs(predictions.uri)
        model = artifact_utils.get_single_instance(input_dict[MODEL])
        splits = json.loads(exec_properties[SPLITS])
        # A killed step leaves the files that it was done with, and a step's own output is removed.
        asked = [model.uri, input_dict[EXAMPLES][0].uri, exec_properties.get(CODE), splits]
        name = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
        kept = f"{exec_properties[RESUME_DIR]}/{name}"
        parts = parts_of(input_dict[EXAMPLES][0], splits, kept, ".parquet")
        ask = _Ask(
            path_utils.serving_model_path(model.uri),
            json.loads(exec_properties[SLICES]),
            bool(exec_properties[SEVERAL_PICTURES]),
        )
        work_off(self._make_beam_pipeline, parts, ask)
        rows = 0
        for part in parts:
            target = f"{predictions.uri}/{part.output.removeprefix(kept + '/')}"
            storage.move(part.output, target)
            rows += table.count(target)
        storage.remove_folder(kept)
        predictions.set_string_custom_property(
            "summary", f"{rows:,} products of {' and '.join(splits)} answered"
        )


@dataclasses.dataclass(frozen=True)
class _Ask:
    """Asks a model about every product of a part."""

    model: str
    slices: list[str]
    several_pictures: bool

    def __call__(self, part: Part, mark: Mark) -> None:
        # Here, because whoever only wires the pipeline need not wait for TensorFlow.
        from components.predictions import answering

        answering.answer(
            answering.answerer(self.model),
            part.examples,
            part.output,
            split=part.split,
            slices=self.slices,
            several_pictures=self.several_pictures,
            mark=mark,
        )
