"""One sentence for each step of the pipeline: what came out of it."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.dsl.components.common.importer import IMPORT_RESULT_KEY
from tfx.types import artifact_utils
from tfx.utils import io_utils

from components.evaluation.results import read_evaluation
from schema import features
from schema.vocabulary import file_labels

Outputs = Mapping[str, Sequence[types.Artifact]]


def summarize(step: str, outputs: Outputs) -> str:
    """The sentence for `step`; our own components write theirs on their first artifact."""
    if step in _STOCK_STEPS:
        return _STOCK_STEPS[step](outputs)
    for artifacts in outputs.values():
        for artifact in artifacts:
            if summary := artifact.get_string_custom_property("summary"):
                return summary
    return ""


def _statistics(outputs: Outputs) -> str:
    [artifact] = outputs["statistics"]
    products = []
    for split in artifact_utils.decode_split_names(artifact.split_names):
        path = artifact_utils.get_split_uri([artifact], split)
        statistics = tfdv.load_stats_binary(f"{path}/FeatureStats.pb").datasets[0]
        products.append(f"{statistics.num_examples:,} {split}")
    return f"{len(statistics.features)} features of {', '.join(products)} products"


def _schema(outputs: Outputs) -> str:
    schema = io_utils.SchemaReader().read(f"{outputs['schema'][0].uri}/schema.pbtxt")
    closed = [feature.name for feature in schema.feature if feature.HasField("string_domain")]
    closed += [feature.name for feature in schema.feature if feature.HasField("domain")]
    lists = f"closed lists for {', '.join(closed)}" if closed else "labels are open lists"
    return f"{len(schema.feature)} features; {lists}"


def _anomalies(outputs: Outputs) -> str:
    [artifact] = outputs["anomalies"]
    found: set[str] = set()
    for split in artifact_utils.decode_split_names(artifact.split_names):
        path = Path(artifact_utils.get_split_uri([artifact], split)) / "SchemaDiff.pb"
        found |= set(anomalies_pb2.Anomalies.FromString(path.read_bytes()).anomaly_info)
    return f"anomalies in {', '.join(sorted(found))}" if found else "no anomalies"


def _previous(outputs: Outputs) -> str:
    return f"drift is measured against {_imported(outputs)}"


def _transform(outputs: Outputs) -> str:
    assets = Path(outputs["transform_graph"][0].uri) / "transform_fn" / "assets"
    sizes = {file.name: len(file_labels(file.read_bytes())) for file in sorted(assets.iterdir())}
    found = [
        f"{sizes.pop(level, 0)} {words}"
        for level, words in (
            (features.CATEGORY, "categories"),
            (features.SUBCATEGORY, "sub-categories"),
            (features.ATTRIBUTES, "attributes"),
        )
    ]
    return ", ".join([*found, *(f"{size} labels of {extra}" for extra, size in sizes.items())])


def _tuner(outputs: Outputs) -> str:
    # Only here, because it brings KerasTuner along, and most runs search nothing.
    from trainer.options import tuned_options

    [path] = Path(outputs["best_hyperparameters"][0].uri).glob("*.txt")
    values = json.loads(path.read_text(encoding="utf-8"))["values"]
    return "best: " + ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in sorted(tuned_options(values).items())
    )


def _trainer(outputs: Outputs) -> str:
    history = json.loads(
        (Path(outputs["model_run"][0].uri) / "history.json").read_text(encoding="utf-8")
    )
    told = (
        f"{history['parameters']:,} parameters; epoch {history['best_epoch']} is the best of "
        f"{len(history['epochs'])}"
    )
    if temperatures := history["temperatures"]:
        told += "; temperatures " + ", ".join(f"{t:.2f}" for t in temperatures.values())
    return "; ".join([told, *history.get("notes", ())])


def _base_model(outputs: Outputs) -> str:
    return f"training starts from the blessed {_imported(outputs)}"


def _baseline_model(outputs: Outputs) -> str:
    return f"to be compared with the blessed {_imported(outputs)}"


def _baseline_judgement(outputs: Outputs) -> str:
    return f"what was said of it: {_imported(outputs)}"


def _imported(outputs: Outputs) -> str:
    """An earlier run's artifact as it lies in the workspace: step, output and execution."""
    [artifact] = outputs[IMPORT_RESULT_KEY]
    return "/".join(artifact.uri.rstrip("/").split("/")[-3:])


def _evaluator(outputs: Outputs) -> str:
    evaluation = read_evaluation(outputs["evaluation"][0].uri)
    shown = {
        f"{level}/accuracy": "sub-category" if level == features.SUBCATEGORY else level
        for level in evaluation.confusion
    } | {f"{features.ATTRIBUTES}/overall_f1": "attribute F1"}
    figures = [
        f"{name} {evaluation.metrics[metric]:.3f}"
        for metric, name in shown.items()
        if metric in evaluation.metrics
    ]
    return ", ".join(figures)


_STOCK_STEPS: dict[str, Callable[[Outputs], str]] = {
    "StatisticsGen": _statistics,
    "ImportSchemaGen": _schema,
    "ExampleValidator": _anomalies,
    "PreviousStatistics": _previous,
    "Transform": _transform,
    "Tuner": _tuner,
    "BaseModel": _base_model,
    "Trainer": _trainer,
    "BaselineModel": _baseline_model,
    "BaselineJudgement": _baseline_judgement,
    "Evaluator": _evaluator,
}
