"""Asks a model about the chosen splits, file by file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.predictions import table
from components.progress import ProgressFile, ProgressWatch

EXAMPLES = "examples"
MODEL = "model"
PREDICTIONS = "predictions"
SPLITS = "splits"
SLICES = "slices"
SEVERAL_PICTURES = "several_pictures"
RESUME_DIR = "resume_dir"
CODE = "code"


class _Part(NamedTuple):
    """A file of Examples, and where the answers go."""

    split: str
    examples: str
    output: str


class Executor(base_beam_executor.BaseBeamExecutor):
    """Executor of `Predictions`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Fills the artifact `predictions`; leaves it empty where there is no model.

        Raises:
            UserError: the model cannot be asked.
        """
        predictions = artifact_utils.get_single_instance(output_dict[PREDICTIONS])
        fileio.makedirs(predictions.uri)
        if not input_dict.get(MODEL):
            predictions.set_string_custom_property("summary", "no other blessed model to be asked")
            return
        model = artifact_utils.get_single_instance(input_dict[MODEL])
        splits = json.loads(exec_properties[SPLITS])
        # A killed step leaves the files that it was done with, and a step's own output is removed.
        asked = [model.uri, input_dict[EXAMPLES][0].uri, exec_properties.get(CODE), splits]
        name = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
        kept = Path(exec_properties[RESUME_DIR], name)
        parts = [
            _Part(split, file, str(table.split_folder(kept, split) / _parquet(file)))
            for split in splits
            for folder in artifact_utils.get_split_uris(input_dict[EXAMPLES], split)
            for file in sorted(fileio.glob(os.path.join(folder, "*.gz")))
        ]
        with tempfile.TemporaryDirectory(prefix="predictions-") as scratch:
            progress = os.path.join(scratch, "progress")
            ask = _Ask(
                path_utils.serving_model_path(model.uri),
                json.loads(exec_properties[SLICES]),
                bool(exec_properties[SEVERAL_PICTURES]),
                progress,
            )
            with ProgressWatch(progress, None), self._make_beam_pipeline() as pipeline:
                _ = (
                    pipeline
                    | beam.Create(parts, reshuffle=False)
                    | beam.Reshuffle()
                    | beam.ParDo(ask)
                )
        rows = 0
        for part in parts:
            target = table.split_folder(predictions.uri, part.split) / Path(part.output).name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(part.output, target)
            rows += table.count(target)
        shutil.rmtree(kept, ignore_errors=True)
        predictions.set_string_custom_property(
            "summary", f"{rows:,} products of {' and '.join(splits)} answered"
        )


class _Ask(beam.DoFn):
    """Asks the model about every product of a file, unless that has been done."""

    def __init__(
        self, model: str, slices: list[str], several_pictures: bool, progress: str
    ) -> None:
        self._model = model
        self._slices = slices
        self._several_pictures = several_pictures
        self._progress = ProgressFile(progress)

    def process(self, part: _Part) -> Iterator[None]:
        # Here, because whoever only wires the pipeline need not wait for TensorFlow.
        from components.predictions import answering

        if not os.path.exists(part.output):
            answering.answer(
                answering.answerer(self._model),
                part.examples,
                part.output,
                split=part.split,
                slices=self._slices,
                several_pictures=self._several_pictures,
                mark=self._progress.mark,
            )
            self._progress.flush()
        yield from ()


def _parquet(examples: str) -> str:
    return Path(examples).name.removesuffix(".gz") + ".parquet"
