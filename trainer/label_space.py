"""What a model names: how many labels each level has, and which of them go together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from schema import features


@dataclasses.dataclass(frozen=True)
class LabelSpace:
    """The labels of a catalog's train split, as numbers of labels.

    Attributes:
        categories: Number of categories, C1, at least 1.
        subcategories: Number of sub-categories, C2, at least 1.
        attribute_types: For each type of attribute (the group, e.g. season) the indices of its
            attributes among all A; each index is in exactly one type.
        extras: Number of labels of every extra label (a further column with one value a product).

    Raises:
        ValueError: a level has no labels, or the types do not divide the attributes.
    """

    categories: int
    subcategories: int
    attribute_types: Mapping[str, Sequence[int]] = dataclasses.field(default_factory=dict)
    extras: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if any(count < 1 for _, count in self.single_levels()):
            raise ValueError(f"Every level needs a label. Received: {self}")
        indices = [index for members in self.attribute_types.values() for index in members]
        if sorted(indices) != list(range(len(indices))):
            raise ValueError(f"Every attribute must be of one type. Received: {self}")

    @property
    def attributes(self) -> int:
        """Number of attributes, A."""
        return sum(len(members) for members in self.attribute_types.values())

    def single_levels(self) -> Iterator[tuple[str, int]]:
        """The outputs with one label a product, each with its number of labels."""
        yield features.CATEGORY, self.categories
        yield features.SUBCATEGORY, self.subcategories
        yield from self.extras.items()

    @classmethod
    def of(cls, labels: Mapping[str, Sequence[str]]) -> LabelSpace:
        """The space of the vocabularies of all levels, by level.

        An attribute's type is what its label says before the `=`.
        """
        types: dict[str, list[int]] = {}
        for index, label in enumerate(labels[features.ATTRIBUTES]):
            group, _ = features.split_attribute_label(label)
            types.setdefault(group, []).append(index)
        return cls(
            len(labels[features.CATEGORY]),
            len(labels[features.SUBCATEGORY]),
            types,
            {name: len(of) for name, of in labels.items() if name not in features.LEVELS},
        )


@dataclasses.dataclass(frozen=True)
class LabelCounts:
    """How often each label occurs in a split.

    Attributes:
        products: Number of products.
        labels: For each level, the products of each label, int64 (number of labels).
        pairs: The products of each category and sub-category, int64 (C1, C2).
    """

    products: int
    labels: dict[str, np.ndarray]
    pairs: np.ndarray
