"""What the gate has found, as it stands in verdict.json."""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

from tfx.dsl.io import fileio

from components.data_gate.findings import Distance, Finding

VERDICT_FILE = "verdict.json"


class Verdict(NamedTuple):
    """The findings, errors first, and how far the parts are apart.

    Attributes:
        stop_on: Severity that would have stopped the run.
        findings: What is not as it should be.
        distances: Drift and skew of every feature that was compared, whether too far or not.
    """

    stop_on: str
    findings: list[Finding]
    distances: list[Distance]


def write_verdict(verdict: Verdict, folder: str) -> None:
    """Writes verdict.json into `folder`."""
    content = {
        "stop_on": verdict.stop_on,
        "findings": [one._asdict() for one in verdict.findings],
        "distances": [one._asdict() for one in verdict.distances],
    }
    with fileio.open(os.path.join(folder, VERDICT_FILE), "w") as file:
        file.write(json.dumps(content, indent=2, ensure_ascii=False))


def read_verdict(folder: str) -> Verdict:
    """Reads what `write_verdict` wrote."""
    with fileio.open(os.path.join(folder, VERDICT_FILE), "rb") as file:
        content: dict[str, Any] = json.loads(file.read())
    return Verdict(
        content["stop_on"],
        [Finding(**one) for one in content["findings"]],
        [Distance(**one) for one in content["distances"]],
    )
