"""Runs the report on artifacts."""

from __future__ import annotations

import datetime
import json
import os
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils

from components.data_gate.verdict import read_verdict
from components.evaluation.results import metrics_json, read_evaluation
from components.judge import judgement
from components.report import gather
from components.report.contents import Contents
from components.report.page import render_page

PAGE_FILE = "index.html"
METRICS_FILE = "metrics.json"

METRICS_VERSION = 1
"""Of the shape of `metrics.json`, which `metrics.schema.json` beside this file describes."""


class Executor(base_executor.BaseExecutor):
    """Executor of `Report`."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the page and the metrics, and sets the property `summary`.

        Raises:
            UserError: The Evaluator judged no product.
        """
        contents = _contents(input_dict, exec_properties)
        metrics = {
            "version": METRICS_VERSION,
            "blessed": contents.judgement.blessed,
            "failures": contents.judgement.failures,
            "warnings": contents.judgement.warnings,
            **metrics_json(contents.evaluation, contents.labels),
            "gates": judgement.to_json(contents.judgement.lines),
            "figures": contents.judgement.figures,
            "slice_figures": contents.judgement.slices,
            "automatic": contents.judgement.automatic,
        }
        metrics["training"] = contents.history
        report = artifact_utils.get_single_instance(output_dict["report"])
        written = {
            PAGE_FILE: render_page(contents),
            METRICS_FILE: json.dumps(metrics, indent=2) + "\n",
        }
        for name, text in written.items():
            io_utils.write_string_file(os.path.join(report.uri, name), text)
        report.set_string_custom_property(
            "summary", f"{PAGE_FILE}, {len(written[PAGE_FILE]) / 1e6:.1f} MB"
        )


def _contents(
    input_dict: dict[str, list[types.Artifact]], exec_properties: dict[str, Any]
) -> Contents:
    def uri(key: str) -> str:
        return artifact_utils.get_single_uri(input_dict[key])

    ingest, rejects = gather.read_ingest(uri("rejects"))
    verdict = read_verdict(uri("verdict"))
    conflicts: dict[str, Any] = {}
    if input_dict.get("conflicts"):
        counts, rows = gather.read_conflicts(uri("conflicts"))
        conflicts = {"conflict_counts": counts, "conflicts": rows}
    trials = gather.read_trials(uri("tuner_results")) if input_dict.get("tuner_results") else []
    canary: dict[str, Any] = {}
    if input_dict.get("infra_blessing"):
        blessing = artifact_utils.get_single_instance(input_dict["infra_blessing"])
        canary = {
            "canary_passed": blessing.get_int_custom_property("blessed") == 1,
            "canary_summary": blessing.get_string_custom_property("summary"),
            "answers": gather.read_answers(blessing.uri),
        }
    pushed: dict[str, Any] = {}
    if input_dict.get("pushed_model"):
        model = artifact_utils.get_single_instance(input_dict["pushed_model"])
        pushed = {"push_summary": model.get_string_custom_property("summary")}
        if model.get_int_custom_property("pushed"):
            pushed |= {
                "pushed_version": model.get_string_custom_property("pushed_version"),
                "pushed_destination": model.get_string_custom_property("pushed_destination"),
            }
    labels = gather.read_labels(uri("transform_graph"))
    now = datetime.datetime.now(datetime.timezone.utc)
    return Contents(
        name=exec_properties["name"],
        created=f"{now:%B} {now.day}, {now:%Y, %H:%M} UTC",
        attribute_threshold=exec_properties["attribute_threshold"],
        evaluation=read_evaluation(uri("evaluation")),
        judgement=judgement.read(uri("judgement")),
        labels=labels,
        ingest=ingest,
        rejects=rejects,
        expectations=gather.read_schema(uri("schema")),
        findings=verdict.findings,
        distances=verdict.distances,
        **conflicts,
        class_counts=gather.read_class_counts(uri("statistics"), labels),
        history=gather.read_history(uri("model_run")),
        trials=trials,
        **canary,
        **pushed,
    )
