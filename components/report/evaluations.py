"""Any result of TensorFlow Model Analysis as slices of the explorer, ours or not."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.evaluation.results import CROSSED, EXAMPLE_COUNT
from components.report import explorer
from components.report.page import template
from schema import features
from schema.errors import UserError

if TYPE_CHECKING:
    from tensorflow_model_analysis.proto import metrics_for_slice_pb2

_COUNTS = (EXAMPLE_COUNT, "weighted_example_count", "post_export_metrics.example_count")
"""What says how many examples a slice has; the first that is there counts."""

_AGAINST = " against "

_LAST = "the baseline"


def read(folder: Path) -> tuple[list[explorer.Slice], Counter[str]]:
    """Reads the metrics of a TFMA result.

    Args:
        folder: What TFMA's writers wrote into, `metrics-*.tfrecord` or `metrics`, or its Parquet
            form; or a workspace of ours, whose last Evaluator's result is read.

    Returns:
        The slices, all examples together first; and what is left out, tables and texts, by name
        with how often.

    Raises:
        UserError: there is no such result, or it is damaged.
    """
    place = _result_folder(folder)
    left_out = Counter[str]()
    models = _models(place)
    slices = [_slice(record, models, left_out) for record in _records(place)]
    overall = [of for of in slices if not of.column]
    if not slices:
        raise UserError(f"{place} holds a TFMA result without a single slice.")
    first = overall[:1] or [explorer.Slice("", "all", None)]
    return [*first, *(of for of in slices if of.column)], left_out


def render(folder: Path) -> str:
    """The explorer as a page of its own; see `read`."""
    slices, left_out = read(folder)
    told = explorer.told(slices)
    page_data: dict[str, Any] = {"inside": True, "smallSupport": 30, "titles": {}, "tables": {}}
    return template("slices.html.j2").render(
        name=str(folder),
        count=len(slices) - 1,
        left_out=[f"{name} ({number})" for name, number in sorted(left_out.items())],
        page_data=page_data,
        data=told,
    )


def _result_folder(folder: Path) -> Path:
    if not folder.exists():
        raise UserError(f"{folder} does not exist.")
    ours = [
        of for of in folder.glob("artifacts/Evaluator/evaluation/*") if any(of.glob("metrics*"))
    ]
    if ours:
        return max(ours, key=lambda of: int(of.name) if of.name.isdigit() else -1)
    if folder.is_dir() and any(folder.glob("metrics*")):
        return folder
    raise UserError(
        f"{folder} is no result of TensorFlow Model Analysis: it holds no `metrics-*` file. Name "
        "the folder that was TFMA's output_path, or a workspace of Seamline with a finished run."
    )


def _records(place: Path) -> Iterable[metrics_for_slice_pb2.MetricsForSlice]:
    # Takes ten seconds, which a wrong folder need not wait for.
    import tensorflow_model_analysis as tfma

    form = "parquet" if any(place.glob("metrics*.parquet")) else "tfrecord"
    try:
        yield from tfma.load_metrics(os.fspath(place), form)
    except Exception as error:
        # TensorFlow's, Arrow's and protobuf's errors have nothing in common.
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"The metrics in {place} cannot be read: {first}") from error


def _models(place: Path) -> dict[str, str]:
    """What a model's name is shown as: `_LAST` for a baseline, nothing for the only other one."""
    try:
        config = json.loads((place / "eval_config.json").read_text(encoding="utf-8"))
        specs = config["evalConfig"].get("modelSpecs", [])
    except (OSError, ValueError, KeyError):
        specs = []
    baselines = {of.get("name", "") for of in specs if of.get("isBaseline")} or {"baseline"}
    others = [of.get("name", "") for of in specs if not of.get("isBaseline")] or ["candidate"]
    shown = {name: name if len(others) > 1 else "" for name in others}
    return {"": ""} | shown | dict.fromkeys(baselines, _LAST)


def _slice(
    record: metrics_for_slice_pb2.MetricsForSlice, models: Mapping[str, str], left_out: Counter[str]
) -> explorer.Slice:
    crossed = record.WhichOneof("slicing_spec_oneof") == "cross_slice_key"
    if crossed:
        key = record.cross_slice_key
        sides = map(_named, (key.baseline_slice_key, key.comparison_slice_key))
        column, value = (
            _AGAINST.join(part or "all" for part in of) for of in zip(*sides, strict=True)
        )
    else:
        column, value = _named(record.slice_key)
    found: dict[str, explorer.Figure] = {}
    last: dict[str, float] = {}
    for of in record.metric_keys_and_values:
        if of.key.is_diff and not crossed:
            # The difference from the baseline is shown beside both.
            continue
        model = models.get(of.key.model_name, of.key.model_name)
        name = _name(of.key, "" if model == _LAST else model)
        figure = _figure(of)
        if figure is None:
            left_out[name] += 1
        elif model == _LAST:
            last[name] = figure.value
        else:
            found[name] = figure
    # What TFMA wrote before it had keys.
    for name, metric in record.metrics.items():
        kind = metric.WhichOneof("type")
        shown = f"/{name.replace('/', '.')}"
        if kind == "double_value":
            found[shown] = explorer.Figure(metric.double_value.value)
        elif kind == "bounded_value":
            found[shown] = _bounded(metric.bounded_value)
        else:
            left_out[shown] += 1
    count = next((found[f"/{name}"].value for name in _COUNTS if f"/{name}" in found), None)
    told = {
        name: explorer.Figure(of.value, of.interval, last.get(name))
        for name, of in found.items()
        if name.removeprefix("/") not in _COUNTS
    }
    return explorer.Slice(column, value or "all", None if count is None else int(count), told)


def _named(key: metrics_for_slice_pb2.SliceKey) -> tuple[str, str]:
    """Columns and values of a slice, joined; nothing for all examples."""
    columns, values = [], []
    for single in key.single_slice_keys:
        kind = single.WhichOneof("kind")
        found = getattr(single, kind) if kind else ""
        columns.append(features.slice_column(single.column))
        values.append(found.decode(errors="replace") if isinstance(found, bytes) else str(found))
    return CROSSED.join(columns), CROSSED.join(values)


def _name(key: metrics_for_slice_pb2.MetricKey, model: str) -> str:
    """`model: output/metric`, with whatever else tells the metric from others of its name."""
    metric = key.name.replace("/", ".")
    if key.HasField("sub_key"):
        parts = [f"{field.name} {value.value}" for field, value in key.sub_key.ListFields()]
        metric += f" of {', '.join(parts).replace('_', ' ')}"
    if key.HasField("aggregation_type"):
        kinds = [field.name.replace("_", " ") for field, _ in key.aggregation_type.ListFields()]
        metric += f" ({', '.join(kinds)})"
    level = ": ".join(part for part in (model, key.output_name) if part)
    return f"{level}/{metric}"


def _figure(of: Any) -> explorer.Figure | None:
    """A metric that is a number; None for tables, texts and the like."""
    kind = of.value.WhichOneof("type")
    if kind == "bounded_value":
        return _bounded(of.value.bounded_value)
    if kind != "double_value":
        return None
    value, interval = of.value.double_value.value, None
    ends = of.confidence_interval
    if ends.HasField("lower_bound") and ends.HasField("upper_bound"):
        low, high = ends.lower_bound.double_value.value, ends.upper_bound.double_value.value
        interval = (low, high)
    return explorer.Figure(value, interval)


def _bounded(of: Any) -> explorer.Figure:
    return explorer.Figure(of.value.value, (of.lower_bound.value, of.upper_bound.value))
