"""Which values the fields of an index's products have, as people choose from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serving.search import ProductIndex

MOST_VALUES = 200
"""So many values of a field are told."""

_FEW_VALUES = 20
_DIFFERENT = 0.5
"""A field of more than a few values is left out where so many of its products have one of their
own: names are searched, not chosen from."""


@dataclass(frozen=True)
class Facet:
    """A field's values, and how many products have each.

    Attributes:
        counts: commonest first; of equals, by value. At most `MOST_VALUES`, and those chosen.
        more: how many values are left out.
    """

    counts: Mapping[str, int]
    more: int


def choices(index: ProductIndex) -> list[str]:
    """The fields whose values are worth a choice, in the index's order."""
    return [name for name in index.fields if _is_choice(index.facets(name))]


def facets(
    index: ProductIndex, fields: Sequence[str], where: Mapping[str, Sequence[str]]
) -> dict[str, Facet]:
    """Of some fields, their values' counts under the filters on the other fields.

    Raises:
        BadSearch: there is no such field, or no product has such a value.
    """
    found = {}
    for name in fields:
        others = {other: values for other, values in where.items() if other != name}
        found[name] = _facet(index.facets(name, others), where.get(name, ()))
    return found


def _is_choice(counts: Mapping[str, int]) -> bool:
    return len(counts) <= _FEW_VALUES or len(counts) <= _DIFFERENT * sum(counts.values())


def _facet(counts: Mapping[str, int], chosen: Sequence[str]) -> Facet:
    # Chosen ones are told even where none is left, so that they can be given up.
    told = {**counts, **{value: 0 for value in sorted(chosen) if value not in counts}}
    kept = [value for at, value in enumerate(told) if at < MOST_VALUES or value in chosen]
    return Facet({value: told[value] for value in kept}, len(told) - len(kept))
