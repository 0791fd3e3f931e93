"""Runs the gates on artifacts."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from components.judge import answers, judgement
from components.judge.artifacts import JUDGED_MODEL_ID
from components.judge.automatic import automatic
from components.judge.certainty import View
from components.judge.gates import Gate, Products, guards, judge
from components.judge.overview import gone, overview
from components.predictions import table
from schema import features
from schema.errors import UserError
from trainer.label_pairs import read_label_pairs

PREDICTIONS = "predictions"
BASELINE_PREDICTIONS = "baseline_predictions"
BASELINE_JUDGEMENT = "baseline_judgement"
MODEL = "model"
BASELINE_MODEL = "baseline_model"
BLESSING = "blessing"
JUDGEMENT = "judgement"
GATES = "gates"
GUARDS = "guards"
AUTOMATIC = "automatic"
SLICES = "slices"
ATTRIBUTE_THRESHOLD = "attribute_threshold"
ATTRIBUTES = "attributes"
SEVERAL_PICTURES = "several_pictures"
CODE = "code"


class Executor(base_executor.BaseExecutor):
    """Executor of `Judge`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the verdict and the blessing, as TFX's Evaluator would set it for Pusher.

        Raises:
            UserError: no product of the test part was answered, or a gate asks for what there is
                not.
        """
        slices = json.loads(exec_properties[SLICES])
        candidate = artifact_utils.get_single_instance(input_dict[PREDICTIONS])
        tables = {split: _read(candidate.uri, split) for split in (features.TEST, features.EVAL)}
        if tables[features.TEST] is None:
            raise UserError(
                "No product of the test part was answered, so the model cannot be judged. Give "
                "the catalog more products or raise split.test."
            )
        last = None
        if given := input_dict.get(BASELINE_PREDICTIONS):
            last = _read(given[0].uri, features.TEST)
        threshold = exec_properties[ATTRIBUTE_THRESHOLD]
        of_test = tables[features.TEST]
        model = artifact_utils.get_single_instance(input_dict[MODEL])
        known = read_label_pairs(path_utils.serving_model_path(model.uri))
        products = Products(
            replace(answers.judged(of_test, last, slices, threshold), known_pairs=known),
            replace(answers.judged_by_product(of_test, last, slices, threshold), known_pairs=known)
            if exec_properties[SEVERAL_PICTURES]
            else None,
            _known(tables[features.EVAL], slices),
        )
        levels = [
            level
            for level in products.judged.candidate.levels
            if level != features.ATTRIBUTES or exec_properties[ATTRIBUTES]
        ]
        own = [_gate(of) for of in json.loads(exec_properties[GATES])]
        beside = guards(own, levels) if exec_properties[GUARDS] else []
        lines = judge([*own, *beside], products)
        told = judgement.Judgement(tuple(lines), **overview(View(products.judged)))
        if before := input_dict.get(BASELINE_JUDGEMENT):
            told = replace(told, gone=gone(judgement.read(before[0].uri), products.judged))
        wanted = exec_properties.get(AUTOMATIC)
        if wanted and tables[features.EVAL] is not None:
            of_eval = answers.judged(tables[features.EVAL], None, slices, threshold)
            told = replace(told, automatic=automatic(of_eval, products.judged, wanted))

        verdict = artifact_utils.get_single_instance(output_dict[JUDGEMENT])
        judgement.write(told, verdict.uri)
        verdict.set_int_custom_property(JUDGED_MODEL_ID, model.id)
        verdict.set_string_custom_property(
            "summary", f"{'blessed' if told.blessed else 'not blessed'}: {told.summary}"
        )
        self._bless(told.blessed, input_dict, output_dict)

    @staticmethod
    def _bless(
        blessed: bool,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
    ) -> None:
        blessing = artifact_utils.get_single_instance(output_dict[BLESSING])
        model = artifact_utils.get_single_instance(input_dict[MODEL])
        blessing.set_string_custom_property(
            constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri
        )
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
        for baseline in input_dict.get(BASELINE_MODEL) or []:
            blessing.set_string_custom_property(
                constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, baseline.uri
            )
            blessing.set_int_custom_property(
                constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, baseline.id
            )
        fileio.makedirs(blessing.uri)
        name, value = (
            (constants.BLESSED_FILE_NAME, constants.BLESSED_VALUE)
            if blessed
            else (constants.NOT_BLESSED_FILE_NAME, constants.NOT_BLESSED_VALUE)
        )
        io_utils.write_string_file(os.path.join(blessing.uri, name), "")
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, value)


def _read(folder: str, split: str) -> pa.Table | None:
    """A split's answers without the embeddings, which are most of them."""
    names = table.column_names(folder, split)
    return table.read(folder, split, [n for n in names if n != features.EMBEDDING])


def _known(of_eval: pa.Table | None, slices: Sequence[str]) -> dict[str, frozenset[str]]:
    """The values that the eval part has of each slice column."""
    if of_eval is None:
        return {}
    return {
        column: frozenset(of_eval[table.slice_name(column)].unique().to_pylist())
        for column in slices
    }


def _gate(given: dict[str, Any]) -> Gate:
    slices = given.pop("slices")
    return Gate(**given, slices=tuple(slices) if isinstance(slices, list) else slices)
