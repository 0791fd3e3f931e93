"""Computes TFMA's metrics of the tables of answers; no model is asked again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import tensorflow_model_analysis as tfma
from google.protobuf import json_format
from tensorflow_model_analysis.api import model_eval_lib
from tensorflow_model_analysis.extractors import slice_key_extractor
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.utils import config_util
from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils

from components.predictions import table
from schema import features
from schema.errors import UserError

PREDICTIONS = "predictions"
BASELINE_PREDICTIONS = "baseline_predictions"
EVALUATION = "evaluation"
EVAL_CONFIG = "eval_config"
SLICES = "slices"
CODE = "code"


class Executor(base_beam_executor.BaseBeamExecutor):
    """Executor of `Evaluator`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Fills the artifact `evaluation` as TFX's own Evaluator does, for `tfma.load_metrics`.

        Raises:
            UserError: no product of the test part was answered.
        """
        predictions = artifact_utils.get_single_instance(input_dict[PREDICTIONS])
        evaluation = artifact_utils.get_single_instance(output_dict[EVALUATION])
        files = table.files(predictions.uri, features.TEST)
        if not files:
            raise UserError(
                "No product of the test part was answered, so there is nothing to judge. Give the "
                "catalog more products or raise split.test."
            )
        last: list[str] | list[None] = []
        if given := input_dict.get(BASELINE_PREDICTIONS):
            last = table.files(given[0].uri, features.TEST)
        pairs = list(zip(files, last or [None] * len(files), strict=True))
        config = json_format.Parse(exec_properties[EVAL_CONFIG], config_pb2.EvalConfig())
        config = config_util.update_eval_config_with_defaults(config, has_baseline=bool(last))
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | beam.Create(pairs, reshuffle=False)
                | beam.Reshuffle()
                | beam.ParDo(_Read(json.loads(exec_properties[SLICES])))
                | tfma.ExtractAndEvaluate(
                    extractors=[slice_key_extractor.SliceKeyExtractor(eval_config=config)],
                    evaluators=model_eval_lib.default_evaluators(eval_config=config),
                )
                | tfma.WriteResults(
                    writers=model_eval_lib.default_writers(
                        evaluation.uri,
                        eval_config=config,
                        display_only_data_location=predictions.uri,
                    )
                )
            )


class _Read(beam.DoFn):
    """Reads two files of answers about the same products: to TFMA's extracts."""

    def __init__(self, slices: list[str]) -> None:
        self._slices = slices

    def process(self, pair: tuple[str, str | None]) -> Iterator[dict[str, Any]]:
        from components.evaluation.extracts import extracts

        candidate, baseline = (file and table.read_file(file) for file in pair)
        yield from extracts(candidate, baseline, self._slices)
