"""Turns the tables of answers into what TFMA computes metrics of, a product at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from tensorflow_model_analysis import constants

from components.evaluation import figures
from components.predictions import table
from schema import features


def extracts(
    candidate: pa.Table, baseline: pa.Table | None, slices: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yields one TFMA extract a product: its features, true labels and answers.

    Of a class level's scores those are there that the table has, the likeliest; the others are 0,
    which changes no figure that is made of them. Labels are indices of each model's own vocabulary.

    Args:
        candidate: Answers of the model, see `components.predictions.table`.
        baseline: Those of the last blessed model about the same products; None without one.
        slices: The catalog's slice columns.

    Raises:
        ValueError: the tables are of other products.
    """
    models = {constants.CANDIDATE_KEY: candidate}
    if baseline is not None:
        if candidate[features.ID] != baseline[features.ID]:
            raise ValueError("the last blessed model was asked about other products")
        models[constants.BASELINE_KEY] = baseline
    columns = {
        features.PRODUCT: _texts(candidate, features.PRODUCT),
        features.ATTRIBUTES: _attributes(candidate),
        **{
            features.slice_feature(column): _texts(candidate, table.slice_name(column))
            for column in slices
        },
    }
    of_model = {name: (_labels(of), _predictions(of)) for name, of in models.items()}
    for row in range(candidate.num_rows):
        told = {
            name: tuple({key: values[row] for key, values in of.items()} for of in both)
            for name, both in of_model.items()
        }
        labels = {name: of[0] for name, of in told.items()}
        predictions = {name: of[1] for name, of in told.items()}
        if baseline is None:
            # TFMA has no level for the model where there is only one.
            labels, predictions = (of[constants.CANDIDATE_KEY] for of in (labels, predictions))
        yield {
            constants.FEATURES_KEY: {name: values[row] for name, values in columns.items()},
            constants.LABELS_KEY: labels,
            constants.PREDICTIONS_KEY: predictions,
        }


def _labels(of: pa.Table) -> dict[str, np.ndarray]:
    """The true labels by level: int64 (N, 1), or float32 (N, A) for the attributes."""
    found = {}
    for level, names in table.labels_of(of.schema).items():
        code_of = {name: code for code, name in enumerate(names)}
        true = of[f"{level}/true"].to_pylist()
        if level == features.ATTRIBUTES:
            multi_hot = np.zeros((of.num_rows, len(names)), np.float32)
            for row, own in enumerate(true):
                multi_hot[row, [code_of[name] for name in own if name in code_of]] = 1
            found[level] = multi_hot
            continue
        codes = [
            features.NOT_GIVEN if name is None else code_of.get(name, features.NOT_IN_TRAIN)
            for name in true
        ]
        found[level] = np.array(codes, np.int64)[:, None]
    return found


def _predictions(of: pa.Table) -> dict[str, np.ndarray]:
    """What the model's `evaluate` would say, and Brier's score: float32 (N, ...) by output."""
    found: dict[str, np.ndarray] = {}
    for level, names in table.labels_of(of.schema).items():
        if level == features.ATTRIBUTES:
            for output, column in (
                (level, f"{level}/scores"),
                (features.uncalibrated(level), f"{level}/uncalibrated_scores"),
            ):
                if column in of.column_names:
                    found[output] = table.matrix(of, column)
            continue
        code_of = {name: code for code, name in enumerate(names)}
        if f"{level}/all_scores" in of.column_names:
            found[level] = table.matrix(of, f"{level}/all_scores")
        else:
            likeliest = zip(
                of[f"{level}/labels"].to_pylist(), of[f"{level}/scores"].to_pylist(), strict=True
            )
            found[level] = _spread(
                [dict(zip(*of_row, strict=True)) for of_row in likeliest], code_of
            )
        found[figures.brier_of(level)] = of[f"{level}/brier"].to_numpy()[:, None]
        if f"{level}/independent" in of.column_names:
            answers = of[f"{level}/independent"].to_pylist()
            found[features.independent(level)] = _spread([{name: 1} for name in answers], code_of)
        if f"{level}/uncalibrated" in of.column_names:
            both = zip(
                of[f"{level}/uncalibrated"].to_pylist(),
                of[f"{level}/uncalibrated_score"].to_pylist(),
                strict=True,
            )
            found[features.uncalibrated(level)] = _spread(
                [{name: score} for name, score in both], code_of
            )
    return found


def _spread(rows: Sequence[Mapping[str, float]], code_of: Mapping[str, int]) -> np.ndarray:
    """Scores by label as float32 (N, C), 0 where there is none."""
    scores = np.zeros((len(rows), len(code_of)), np.float32)
    for row, of_row in enumerate(rows):
        scores[row, [code_of[name] for name in of_row]] = list(of_row.values())
    return scores


def _texts(of: pa.Table, column: str) -> list[np.ndarray]:
    return [np.array([value.encode()], object) for value in of[column].to_pylist()]


def _attributes(of: pa.Table) -> list[np.ndarray]:
    true = of[f"{features.ATTRIBUTES}/true"].to_pylist()
    return [np.array([name.encode() for name in own], object) for own in true]
