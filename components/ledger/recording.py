"""What is noted of a step that has ended well, by whoever runs the steps.

The steps do not write themselves: what a killed one had written would be told of it all the same.
And a result that is taken from the cache counts like a new one: what was blessed in the last run is
what the next one is compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfx import types
from tfx.components.util import model_utils

from components.ledger.ledger import Blessed, Entry, Ledger, Passed, Pushed

LEDGER = "ledger"
"""Option of a step: path or URL of the ledger that learns of it."""

INPUTS = "inputs"
TRAINING = "training"
"""Options of a step: the fingerprints that its entry has."""

Artifacts = Mapping[str, Sequence[types.Artifact]]


def record(inputs: Artifacts, outputs: Artifacts, options: Mapping[str, Any]) -> None:
    """Notes that data passed, a model was blessed or a version went live; of other steps nothing.

    Args:
        inputs: The step's input artifacts, with the URIs that later runs will know them by.
        outputs: Its output artifacts, likewise.
        options: Its execution properties.

    Raises:
        OSError: The ledger cannot be written.
        UserError: It is damaged.
    """
    root = options.get(LEDGER)
    if root and (entry := _entry(inputs, outputs, options)):
        Ledger(root).add(entry)


def _entry(inputs: Artifacts, outputs: Artifacts, options: Mapping[str, Any]) -> Entry | None:
    def uri(artifacts: Artifacts, key: str) -> str:
        [artifact] = artifacts[key]
        return artifact.uri

    if "verdict" in outputs:
        return Passed(options[INPUTS], uri(inputs, "statistics"), uri(outputs, "verdict"))
    if "judgement" in outputs:
        [blessing] = outputs["blessing"]
        if not model_utils.is_model_blessed(blessing):
            return None
        model, judgement = uri(inputs, "model"), uri(outputs, "judgement")
        return Blessed(options[INPUTS], options[TRAINING], model, judgement)
    if "pushed_model" in outputs:
        [pushed] = outputs["pushed_model"]
        if not pushed.get_int_custom_property("pushed"):
            return None
        return Pushed(
            uri(inputs, "model"),
            pushed.get_string_custom_property("pushed_destination"),
            pushed.get_string_custom_property("pushed_version"),
        )
    return None
