"""Runs the report on artifacts."""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components import sprites
from components.data_gate.verdict import read_verdict
from components.evaluation.results import metrics_json, read_evaluation
from components.judge import answers, judgement
from components.label_review import effect
from components.parts import files_of
from components.report import gather, products, runs, tfma_page
from components.report.contents import Contents
from components.report.page import PAGE_FILE, data_script, render_page
from schema import features

METRICS_FILE = runs.METRICS_FILE

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
        """Writes the page, what lies beside it and the metrics, and sets the property `summary`.

        Raises:
            UserError: The Evaluator judged no product.
        """
        report = artifact_utils.get_single_instance(output_dict["report"])
        now = datetime.datetime.now(datetime.timezone.utc)
        contents = _contents(input_dict, exec_properties, now)
        metrics = _metrics(contents, now)
        known = [*runs.read(report.uri), runs.told(metrics)]
        page = render_page(dataclasses.replace(contents, runs=known))

        folder = Path(report.uri)
        beside = folder / page.folder
        beside.mkdir(parents=True, exist_ok=True)
        for name, data in page.data.items():
            (beside / f"{name}.js").write_text(data_script(name, data), encoding="utf-8")
        if contents.products:
            shown = contents.products["ids"][: contents.products["pictures"]]
            files = [file for _, file in files_of(input_dict["examples"], [features.TEST])]
            found = products.read_pictures(files, shown)
            sprites.write_sheets(beside, (found.get(name, b"") for name in shown))
        tfma_page.write(beside, artifact_utils.get_single_uri(input_dict["evaluation"]))
        (folder / METRICS_FILE).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        (folder / PAGE_FILE).write_text(page.html, encoding="utf-8")
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        report.set_string_custom_property("summary", f"{PAGE_FILE}, {size / 1e6:.1f} MB")


def _metrics(contents: Contents, now: datetime.datetime) -> dict[str, Any]:
    return {
        "version": METRICS_VERSION,
        "created": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "live": contents.pushed_version or None,
        "blessed": contents.judgement.blessed,
        "failures": contents.judgement.failures,
        "warnings": contents.judgement.warnings,
        **metrics_json(contents.evaluation, contents.labels),
        "gates": judgement.to_json(contents.judgement.lines),
        "figures": contents.judgement.figures,
        "slice_figures": contents.judgement.slices,
        "automatic": contents.judgement.automatic,
        "training": contents.history,
        **({"search": contents.search} if contents.search else {}),
    }


def _contents(
    input_dict: dict[str, list[types.Artifact]],
    exec_properties: dict[str, Any],
    now: datetime.datetime,
) -> Contents:
    def uri(key: str) -> str:
        return artifact_utils.get_single_uri(input_dict[key])

    ingest, rejects = gather.read_ingest(uri("rejects"))
    verdict = read_verdict(uri("verdict"))
    conflicts: dict[str, Any] = {}
    if input_dict.get("conflicts"):
        counts, rows = gather.read_conflicts(uri("conflicts"))
        conflicts = {"conflict_counts": counts, "conflicts": rows}
    labels_told: dict[str, Any] = {}
    if input_dict.get("corrections"):
        done = effect.effect(uri("corrections"), uri("predictions"))
        labels_told["corrections"] = effect.sentences(done)
    if input_dict.get("label_review"):
        reviewed = artifact_utils.get_single_instance(input_dict["label_review"])
        labels_told["label_review"] = reviewed.get_string_custom_property("summary")
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
    search: dict[str, Any] = {}
    if input_dict.get("similarity_index"):
        found, drawn = gather.read_search(uri("similarity_index"))
        search = {"search": found, "search_map": drawn}
    labels = gather.read_labels(uri("transform_graph"))
    verdict_of_judge = judgement.read(uri("judgement"))
    return Contents(
        name=exec_properties["name"],
        created=f"{now:%B} {now.day}, {now:%Y, %H:%M} UTC",
        attribute_threshold=exec_properties["attribute_threshold"],
        evaluation=read_evaluation(uri("evaluation")),
        judgement=verdict_of_judge,
        labels=labels,
        ingest=ingest,
        rejects=rejects,
        expectations=gather.read_schema(uri("schema")),
        findings=verdict.findings,
        distances=verdict.distances,
        **conflicts,
        **labels_told,
        class_counts=gather.read_class_counts(uri("statistics"), labels),
        history=gather.read_history(uri("model_run")),
        trials=trials,
        **canary,
        **pushed,
        **search,
        **_products(input_dict, exec_properties, verdict_of_judge),
    )


def _products(
    input_dict: dict[str, list[types.Artifact]],
    exec_properties: dict[str, Any],
    verdict: judgement.Judgement,
) -> dict[str, Any]:
    """What is told of single test products; the fields of `Contents` that tell it."""
    candidate, last = (
        answers.read(given[0].uri, features.TEST) if (given := input_dict.get(key)) else None
        for key in ("predictions", "baseline_predictions")
    )
    if candidate is None:
        return {}
    judged = answers.judged(
        candidate,
        last,
        json.loads(exec_properties["slices"]),
        exec_properties["attribute_threshold"],
    )
    levels = verdict.automatic.get("levels", {})
    return {
        "products": products.told(judged, candidate[features.ID].to_pylist()),
        "attribute_decisions": products.attribute_counts(judged),
        "coverage": products.coverages(
            judged, {level: of["threshold"] for level, of in levels.items()}
        ),
        "parents": products.parents(judged),
    }
