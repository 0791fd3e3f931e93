"""The products of a catalog and their labels, as the review judges them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from components.label_review.heads import NOT_GIVEN, Level
from schema import features

TREE = "category/subcategory"
"""The level whose labels are the pairs of category and sub-category that the catalog has."""

_MOST_WITH_SEVERAL = 0.01
"""Up to so large a part of the products may have several values of a group that is judged as one of
which each product has one."""


@dataclasses.dataclass(frozen=True)
class Products:
    """Products, a picture each or several.

    Attributes:
        ids: Their names, as corrections.csv has them.
        pictures: The id of the Example of each one's first picture.
        group: int64 (N,), the number of each one's near-duplicate group.
        of_picture: int64 (pictures,), the product of each row that the Examples' table has.
        pairs: Category and sub-category of each label of the level `TREE`.
        levels: Each level's labels: `TREE`, then the extra labels and the groups of attributes.
    """

    ids: Sequence[str]
    pictures: Sequence[str]
    group: np.ndarray
    of_picture: np.ndarray
    pairs: Sequence[tuple[str, str]]
    levels: Mapping[str, Level]

    @classmethod
    def of(
        cls, described: pa.Table, extra_labels: Sequence[str], groups: Sequence[str]
    ) -> Products:
        """Reads them out of what the Examples say.

        Args:
            described: From `frozen.described`.
            extra_labels: The extra labels.
            groups: The groups of attributes.
        """
        names = described[features.PRODUCT].to_pylist()
        ids, first, of_picture = np.unique(names, return_index=True, return_inverse=True)
        rows = described.take(pa.array(first))
        _, group = np.unique(rows[features.GROUP].to_pylist(), return_inverse=True)
        of_category, of_subcategory = (
            rows[f"{level}/true"].to_pylist() for level in (features.CATEGORY, features.SUBCATEGORY)
        )
        found = list(zip(of_category, of_subcategory, strict=True))
        pairs = sorted(set(found))
        code_of = {pair: code for code, pair in enumerate(pairs)}
        levels = {
            TREE: Level(
                [f"{category} / {subcategory}" for category, subcategory in pairs],
                np.array([code_of[pair] for pair in found]),
            )
        }
        for name in extra_labels:
            if level := _single(rows[f"{name}/true"].to_pylist()):
                levels[name] = level
        attributes = rows[f"{features.ATTRIBUTES}/true"].to_pylist() if groups else []
        for name in groups:
            values = [
                [value for of, value in map(features.split_attribute_label, one) if of == name]
                for one in attributes
            ]
            if level := _group(values):
                levels[name] = level
        pictures = rows[features.ID].to_pylist()
        return cls(ids.tolist(), pictures, group, of_picture, pairs, levels)

    def __len__(self) -> int:
        return len(self.ids)


def _single(values: Sequence[str | None]) -> Level | None:
    labels = sorted({value for value in values if value is not None})
    if len(labels) < 2:
        return None
    code_of: dict[str | None, int] = {label: code for code, label in enumerate(labels)}
    return Level(labels, np.array([code_of.get(value, NOT_GIVEN) for value in values]))


def _group(values: Sequence[Sequence[str]]) -> Level | None:
    """One label a product where nearly none has several, and any number otherwise."""
    several = sum(len(one) > 1 for one in values)
    if several <= _MOST_WITH_SEVERAL * sum(bool(one) for one in values):
        return _single([one[0] if len(one) == 1 else None for one in values])
    labels = sorted({value for one in values for value in one})
    code_of = {label: code for code, label in enumerate(labels)}
    given = np.zeros((len(values), len(labels)), bool)
    for place, one in enumerate(values):
        given[place, [code_of[value] for value in one]] = True
    return Level(labels, given)
