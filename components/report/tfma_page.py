"""TensorFlow Model Analysis' own element for its results, as a page beside the report."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from components.report.page import template
from schema import features

PAGE_FILE = "tfma.html"
ELEMENT_FILE = "vulcanized_tfma.js"


def write(folder: Path, evaluation: str) -> None:
    """Writes the page and the element, which TFMA brings, into a folder.

    Args:
        folder: Where to write.
        evaluation: The folder of a TFMA result.
    """
    # Takes ten seconds where nobody has imported it.
    import tensorflow_model_analysis as tfma
    from tensorflow_model_analysis.view import util

    result = tfma.load_eval_result(evaluation)
    columns = dict.fromkeys(
        tuple(column for column, _ in key) for key, _ in result.slicing_metrics if _is_slice(key)
    )
    views = [
        {
            "title": " x ".join(map(features.slice_column, of)) or "all products",
            "data": [
                {"slice": view["slice"], "metrics": _numbers(view["metrics"])}
                for view in util.find_all_slices(
                    result.slicing_metrics, tfma.slicer.SingleSliceSpec(columns=of)
                )
            ],
        }
        for of in sorted(columns)
    ]
    page = template("tfma.html.j2").render(
        element=ELEMENT_FILE,
        tfma_data={"config": util.get_slicing_config(result.config), "views": views},
    )
    (folder / PAGE_FILE).write_text(page, encoding="utf-8")
    element = Path(tfma.__file__).parent / "static" / ELEMENT_FILE
    shutil.copyfile(element, folder / ELEMENT_FILE)


def _is_slice(key: Iterable[Any]) -> bool:
    """Whether a key is of one slice; a comparison's is a pair of keys."""
    return all(len(part) == 2 and isinstance(part[0], str) for part in key)


def _numbers(outputs: Any) -> Any:
    """The metrics that are numbers, by output and sub-key; the element draws nothing else."""
    return {
        output: {
            sub_key: {name: of for name, of in metrics.items() if _is_number(of)}
            for sub_key, metrics in of_output.items()
        }
        for output, of_output in outputs.items()
    }


def _is_number(metric: Any) -> bool:
    value = metric.get("doubleValue", metric.get("boundedValue", {}).get("value"))
    return isinstance(value, float | int) and math.isfinite(value)
