"""The pipeline's own steps, one folder each: what TFX has no component for.

In a step's folder `component.py` says what goes in and out, `executor.py` runs it, and plain
modules beside them hold the logic, which needs no TFX and is tested without it. Stands on `schema`;
imports nothing of `pipeline` or `trainer`. What is learned or served does not belong here.

The artifact types of all steps can be had from here by name, because Kubeflow Pipelines knows a
type by `MODULE.CLASS`, where the module is a top-level one: that is what their `TYPE_NAME` is.
"""

from importlib import import_module
from typing import Any

_ARTIFACTS = {
    "Conflicts": "catalog_example_gen",
    "Corrections": "catalog_example_gen",
    "DataGateVerdict": "data_gate",
    "HtmlReport": "report",
    "Judgement": "judge",
    "LabelReview": "label_review",
    "ModelCard": "model_card",
    "Predictions": "predictions",
    "Rejects": "catalog_example_gen",
    "SimilarityIndex": "similarity_index",
}


def __getattr__(name: str) -> Any:
    if step := _ARTIFACTS.get(name):
        return getattr(import_module(f"components.{step}.artifacts"), name)
    raise AttributeError(f"module `components` has no `{name}`")
