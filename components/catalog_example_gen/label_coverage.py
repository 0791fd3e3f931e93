"""Which labels only products have that nothing is learned from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from components.catalog_example_gen.rows import Columns, Product
from schema import features

_MOST_NAMED = 5


def labels_of(product: Product, columns: Columns) -> Iterator[tuple[str, str]]:
    """Every label of a product with its level; what is `features.UNKNOWN` is none."""
    yield features.CATEGORY, product.category
    yield features.SUBCATEGORY, product.subcategory
    for label in product.attributes:
        yield features.ATTRIBUTES, label
    for column, value in zip(columns.slices, product.slices, strict=True):
        if column in columns.extra_labels and value != features.UNKNOWN:
            yield column, value


def outside_train(counted: Iterable[tuple[str, str, str, int]]) -> dict[str, dict[str, int]]:
    """The labels that the train part does not have, by level, and how many products have each.

    Args:
        counted: Split, level, label, and how many products of the split have it.
    """
    counts: dict[tuple[str, str], int] = {}
    learned = set()
    for split, level, label, number in counted:
        counts[level, label] = counts.get((level, label), 0) + number
        if split == features.TRAIN:
            learned.add((level, label))
    found: dict[str, dict[str, int]] = {}
    for level, label in sorted(counts.keys() - learned):
        found.setdefault(level, {})[label] = counts[level, label]
    return found


def outside_train_sentences(outside: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """A sentence for each level that has such labels, the most frequent named."""
    for level, labels in outside.items():
        ranked = sorted(labels, key=lambda label: (-labels[label], label))
        named = ", ".join(f"`{label}` ({labels[label]:,})" for label in ranked[:_MOST_NAMED])
        more = f" and {len(ranked) - _MOST_NAMED:,} more" if len(ranked) > _MOST_NAMED else ""
        what = (
            f"1 label of {level} is"
            if len(ranked) == 1
            else f"{len(ranked):,} labels of {level} are"
        )
        them = "it" if len(ranked) == 1 else "them"
        yield (
            f"{what} in eval or test alone, so that no model can learn {them}: "
            f"{named}{more}. Add products, or take {them} out of the catalog."
        )
