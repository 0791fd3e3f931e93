"""What people's corrections did to the figures, from the artifacts of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from components.catalog_example_gen.corrections import (
    CHANGED,
    CORRECTIONS_FILE,
    COUNTS_FILE,
    Outcome,
    read_outcomes,
)
from components.predictions import table
from schema import features


def effect(corrections: str | Path, predictions: str | Path) -> dict[str, Any]:
    """What the corrections of a run changed, and what they did to the model's figures on test.

    Args:
        corrections: The folder of the ingest's artifact `corrections`.
        predictions: The folder of the candidate's answers.

    Returns:
        Nothing where no corrections were read. Else `outcomes`: how many decisions came to what
        (`corrections.OUTCOMES`); `changed`: level to split to products with a changed label; and
        `test`, of each level with one label a product that the model names: `products` that were
        judged, `corrected` ones of them, `accuracy` as the report has it, `as_given`, with the
        labels as they were before, by the same answers, and `without`, that of the products whose
        label was not corrected (null where there is none).
    """
    if not Path(corrections, COUNTS_FILE).exists():
        return {}
    counts = json.loads(Path(corrections, COUNTS_FILE).read_text(encoding="utf-8"))
    with open(Path(corrections, CORRECTIONS_FILE), "rb") as file:
        outcomes = read_outcomes(file)
    return {**counts, "test": _of_test(outcomes, predictions)}


def _of_test(outcomes: list[Outcome], predictions: str | Path) -> dict[str, Any]:
    levels = [
        name.removesuffix("/labels")
        for name in table.column_names(predictions, features.TEST)
        if name.endswith("/labels")
    ]
    names = [f"{level}/{column}" for level in levels for column in ("true", "labels")]
    rows = table.read(predictions, features.TEST, [features.PRODUCT, *names]) if levels else None
    if rows is None:
        return {}
    ids = rows[features.PRODUCT].to_pylist()
    found = {}
    for level in levels:
        # The label before the first of its corrections is the catalog's.
        before: dict[str, str] = {}
        for decision, outcome, _ in outcomes:
            if outcome == CHANGED and decision.level == level:
                before.setdefault(decision.id, decision.given)
        truth = rows[f"{level}/true"].to_pylist()
        answer = [labels[0] for labels in rows[f"{level}/labels"].to_pylist()]
        judged = np.array([label is not None for label in truth])
        if not judged.any():
            continue
        corrected = np.array([name in before for name in ids]) & judged
        right = np.array([a == b for a, b in zip(answer, truth, strict=True)])
        given = np.array(
            [a == before.get(name, b) for name, a, b in zip(ids, answer, truth, strict=True)]
        )
        others = judged & ~corrected
        found[level] = {
            "products": int(judged.sum()),
            "corrected": int(corrected.sum()),
            "accuracy": float(right[judged].mean()),
            "as_given": float(given[judged].mean()),
            "without": float(right[others].mean()) if others.any() else None,
        }
    return found


def sentences(of: dict[str, Any]) -> list[str]:
    """The effect in words, a sentence for what was changed and one for each level that it moved.

    Args:
        of: From `effect`.
    """
    if not of:
        return []
    parts = [
        f"{sum(splits.values()):,} of {level} ({_listed(splits)})"
        for level, splits in of["changed"].items()
    ]
    told = [f"Labels that people corrected: {'; '.join(parts) or 'none'}."]
    for level, figures in of["test"].items():
        if figures["corrected"]:
            without = figures["without"]
            told.append(
                f"On test, {level} is right in {_share(figures['accuracy'])} of "
                f"{figures['products']:,} products; with the labels as they were before, the same "
                f"answers would be right in {_share(figures['as_given'])}"
                + (
                    f", and without the {figures['corrected']:,} corrected "
                    f"{'product' if figures['corrected'] == 1 else 'products'} in "
                    f"{_share(without)}."
                    if without is not None
                    else "."
                )
            )
    return told


def _listed(splits: dict[str, int]) -> str:
    return ", ".join(f"{number:,} in {split}" for split, number in splits.items() if number)


def _share(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")
