"""Makes the index of a catalog from artifacts."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.parts import parts_of, work_off
from components.predictions import table
from components.similarity_index.artifacts import INDEX_FOLDER, MAP_FILE, QUALITY_FILE
from schema import features

EXAMPLES = "examples"
MODEL = "model"
PREDICTIONS = "predictions"
TRAIN_PREDICTIONS = "train_predictions"
INDEX = "similarity_index"
COLUMNS = "columns"
OPTIONS = "options"
FEATURES_DIR = "features_dir"
CODE = "code"


class Executor(base_beam_executor.BaseBeamExecutor):
    """Executor of `SimilarityIndex`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Fills the artifact `similarity_index`.

        Raises:
            UserError: the answers are not about the Examples' products.
        """
        # Here, because whoever only wires the pipeline need not wait for FAISS.
        from components.similarity_index import build, judging
        from components.similarity_index.colors import count_colors
        from components.similarity_index.map import embedding_map
        from serving.search.catalog import model_mark

        examples = artifact_utils.get_single_instance(input_dict[EXAMPLES])
        model = artifact_utils.get_single_instance(input_dict[MODEL])
        answers = {
            **dict.fromkeys((features.EVAL, features.TEST), input_dict[PREDICTIONS][0].uri),
            features.TRAIN: input_dict[TRAIN_PREDICTIONS][0].uri,
        }
        asked = [examples.uri, exec_properties.get(CODE)]
        name = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
        kept = Path(exec_properties[FEATURES_DIR], "colors", name)
        parts = parts_of(examples, features.SPLITS, kept, ".npy")
        work_off(self._make_beam_pipeline, parts, count_colors)
        _forget_others(kept)

        columns = build.Columns(**json.loads(exec_properties[COLUMNS]))
        options = build.Options(**json.loads(exec_properties[OPTIONS]))
        built = build.build(
            [
                build.File(
                    part.split,
                    part.examples,
                    str(
                        table.split_folder(answers[part.split], part.split)
                        / Path(part.output).with_suffix(".parquet").name
                    ),
                    part.output,
                )
                for part in parts
            ],
            columns,
            options,
            model_mark(path_utils.serving_model_path(model.uri)),
        )
        output = artifact_utils.get_single_instance(output_dict[INDEX])
        built.write(Path(output.uri, INDEX_FOLDER))
        found = judging.judged(built.index, built.test, options.alike, columns.slices)
        known = built.index.approximation
        told = {
            "products": built.index.count(),
            "weights": built.index.space.weights,
            "threshold": built.index.threshold,
            "approximation": asdict(known) if known else None,
            "alike": options.alike,
            "quality": {name: of.to_json() for name, of in found.items()},
        }
        for name, of in ((QUALITY_FILE, told), (MAP_FILE, embedding_map(built.index, built.test))):
            text = json.dumps(of, ensure_ascii=False, separators=(",", ":"))
            Path(output.uri, name).write_text(text, encoding="utf-8")
        summary = built.summary
        if found:
            summary += f"; {judging.sentence(found)}"
        output.set_string_custom_property("summary", summary)


def _forget_others(folder: Path) -> None:
    """Removes the colors of earlier Examples."""
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
