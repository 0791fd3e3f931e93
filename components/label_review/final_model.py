"""What the final model says of the products that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from scipy import optimize

from components.label_review.heads import Level
from components.label_review.products import TREE, Products
from components.predictions import table
from schema import features


def final_answers(
    products: Products, answered: Sequence[pa.Table]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The model's probabilities, out of sample.

    A table of answers has the likeliest labels and the true one; what is left of the probability is
    spread over all others. Pairs of category and sub-category are as probable as both together, of
    the pairs that there are.

    Args:
        products: All.
        answered: Tables of answers about splits that were not trained on.

    Returns:
        bool (N,): which products were answered. Level to float32 (answered, K), in their order.
    """
    place_of = {name: place for place, name in enumerate(products.ids)}
    if not answered:
        return np.zeros(len(products), bool), {}
    rows = pa.concat_tables(answered)
    known = [place_of.get(name, -1) for name in rows[features.PRODUCT].to_pylist()]
    rows = rows.filter(pa.array([place >= 0 for place in known]))
    places = np.array([place for place in known if place >= 0], np.int64)
    is_answered = np.zeros(len(products), bool)
    is_answered[places] = True
    # The rows of one product are its pictures: their mean.
    at, of_row = np.unique(places, return_inverse=True)
    pictures = np.bincount(of_row, minlength=len(at))[:, None].astype(np.float32)

    def mean(of_rows: np.ndarray) -> np.ndarray:
        summed = np.zeros((len(at), of_rows.shape[1]), np.float32)
        np.add.at(summed, of_row, of_rows)
        return summed / pictures

    found = {}
    for name, level in products.levels.items():
        if name == TREE:
            of_rows = _pairs(rows, products.pairs)
        elif f"{name}/labels" in rows.column_names:
            of_rows = _class(rows, name, level.labels)
        else:
            of_rows = _group(rows, name, level)
        if of_rows is not None:
            found[name] = mean(of_rows)
    return is_answered, found


def mixed(heads: np.ndarray, model: np.ndarray, given: np.ndarray) -> np.ndarray:
    """The mean of both, weighted so that the labels that were given are likeliest.

    A model that was trained badly, or too short, says less than heads do.

    Args:
        heads: float32 (N, K), out of sample.
        model: float32 (N, K), out of sample.
        given: int64 (N,), negative where there is no label; or bool (N, K), for the plain mean.
    """
    known = np.flatnonzero(given >= 0) if given.ndim == 1 else np.empty(0, np.int64)
    weight = 0.5
    if len(known):
        ours, theirs = (of[known, given[known]].astype(float) for of in (heads, model))

        def loss(of_model: float) -> float:
            return -float(np.log((1 - of_model) * ours + of_model * theirs + 1e-6).mean())

        weight = float(optimize.minimize_scalar(loss, bounds=(0, 1), method="bounded").x)
    return ((1 - weight) * heads + weight * model).astype(np.float32)


def _pairs(rows: pa.Table, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    together = np.ones((rows.num_rows, len(pairs)), np.float32)
    for place, level in enumerate((features.CATEGORY, features.SUBCATEGORY)):
        labels = sorted({pair[place] for pair in pairs})
        code_of = {label: code for code, label in enumerate(labels)}
        together *= _class(rows, level, labels)[:, [code_of[pair[place]] for pair in pairs]]
    return together / np.maximum(together.sum(axis=1, keepdims=True), 1e-12)


def _class(rows: pa.Table, level: str, labels: Sequence[str]) -> np.ndarray:
    code_of: Mapping[str | None, int] = {label: code for code, label in enumerate(labels)}
    found = np.full((rows.num_rows, len(labels)), np.nan, np.float32)
    told = zip(
        rows[f"{level}/labels"].to_pylist(),
        rows[f"{level}/scores"].to_pylist(),
        rows[f"{level}/true"].to_pylist(),
        rows[f"{level}/true_score"].to_pylist(),
        strict=True,
    )
    for row, (likeliest, scores, true, true_score) in enumerate(told):
        for label, score in [*zip(likeliest, scores, strict=True), (true, true_score)]:
            if (code := code_of.get(label)) is not None:
                found[row, code] = score
    missing = np.isnan(found)
    left = np.maximum(1 - np.nansum(found, axis=1), 0) / np.maximum(missing.sum(axis=1), 1)
    return np.where(missing, left[:, None], found).astype(np.float32)


def _group(rows: pa.Table, group: str, level: Level) -> np.ndarray | None:
    column = f"{features.ATTRIBUTES}/scores"
    if column not in rows.column_names:
        return None
    code_of = {label: code for code, label in enumerate(_attributes(rows))}
    scores = table.matrix(rows, column)
    of_group = np.zeros((rows.num_rows, len(level.labels)), np.float32)
    for place, label in enumerate(level.labels):
        code = code_of.get(features.attribute_label(group, label))
        if code is not None:
            of_group[:, place] = scores[:, code]
    if level.is_single:
        return of_group / np.maximum(of_group.sum(axis=1, keepdims=True), 1e-12)
    return of_group


def _attributes(rows: pa.Table) -> list[str]:
    return table.labels_of(rows.schema)[features.ATTRIBUTES]
