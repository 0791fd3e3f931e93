"""The workspace's earlier runs, as far as they left a report."""

from __future__ import annotations

import json
import os
from typing import Any

from tfx.dsl.io import fileio

METRICS_FILE = "metrics.json"


def read(report: str) -> list[dict[str, Any]]:
    """The runs whose reports lie beside this one, the oldest first.

    Args:
        report: Folder of the report that is being written, which is left out: every execution of
            the step has a folder of its own, beside the others'.

    Returns:
        What `told` gives of each; reports that cannot be read, or are of before runs were noted,
        are left out.
    """
    found = []
    for path in fileio.glob(os.path.join(os.path.dirname(report), "*", METRICS_FILE)):
        if os.path.dirname(path) == report:
            continue
        try:
            with fileio.open(path, "rb") as file:
                found.append(told(json.loads(file.read())))
        except (OSError, ValueError, KeyError):
            continue
    return sorted(found, key=lambda run: run["created"])


def told(metrics: dict[str, Any]) -> dict[str, Any]:
    """What the page shows of a run.

    Args:
        metrics: Its metrics.json.

    Returns:
        `created`, in UTC, for people and to sort by; `live`, the version that it pushed, or None;
        `blessed`; `products`, judged; `figures`: each with `value` and `interval`.
    """
    return {
        "created": metrics["created"].replace("T", " ")[:16],
        "live": metrics["live"],
        "blessed": metrics["blessed"],
        "products": metrics["example_count"],
        "figures": {
            name: {"value": of["value"], "interval": of["interval"]}
            for name, of in metrics["figures"].items()
            if of["value"] is not None
        },
    }
