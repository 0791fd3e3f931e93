"""Runs the gates on artifacts."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from components.judge import answers, judgement
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
        threshold = exec_properties[ATTRIBUTE_THRESHOLD]
        candidate = artifact_utils.get_single_instance(input_dict[PREDICTIONS])
        products = _products(input_dict, exec_properties)
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
        if wanted and (of_eval := answers.read(candidate.uri, features.EVAL)) is not None:
            chosen_on = answers.judged(of_eval, None, slices, threshold)
            told = replace(told, automatic=automatic(chosen_on, products.judged, wanted))

        verdict = artifact_utils.get_single_instance(output_dict[JUDGEMENT])
        judgement.write(told, verdict.uri)
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


def _products(
    input_dict: dict[str, list[types.Artifact]], exec_properties: dict[str, Any]
) -> Products:
    """What the gates are held against; the tables that it is read from are not kept."""
    candidate = artifact_utils.get_single_instance(input_dict[PREDICTIONS])
    of_test, last = answers.read(candidate.uri, features.TEST), None
    if of_test is None:
        raise UserError(
            "No product of the test part was answered, so the model cannot be judged. Give the "
            "catalog more products or raise split.test."
        )
    if given := input_dict.get(BASELINE_PREDICTIONS):
        last = answers.read(given[0].uri, features.TEST)
    model = artifact_utils.get_single_instance(input_dict[MODEL])
    known_pairs = read_label_pairs(path_utils.serving_model_path(model.uri))
    slices = json.loads(exec_properties[SLICES])
    tables = (of_test, last, slices, exec_properties[ATTRIBUTE_THRESHOLD])
    return Products(
        replace(answers.judged(*tables), known_pairs=known_pairs),
        replace(answers.judged_by_product(*tables), known_pairs=known_pairs)
        if exec_properties[SEVERAL_PICTURES]
        else None,
        _known(candidate.uri, slices),
    )


def _known(folder: str, slices: Sequence[str]) -> dict[str, frozenset[str]]:
    """The values that the eval part has of each slice column."""
    names = [table.slice_name(column) for column in slices]
    of_eval = table.read(folder, features.EVAL, names)
    if of_eval is None:
        return {}
    return {
        column: frozenset(of_eval[name].unique().to_pylist())
        for column, name in zip(slices, names, strict=True)
    }


def _gate(given: dict[str, Any]) -> Gate:
    slices = given.pop("slices")
    return Gate(**given, slices=tuple(slices) if isinstance(slices, list) else slices)
