"""The blocks of a vector that a catalog is searched by, and what they are called."""

from __future__ import annotations

from collections.abc import Iterable

KIND, FEATURES, COLOR = "kind", "features", "colour"

OWN = (KIND, FEATURES, COLOR)
"""Blocks of every vector; the others are called like the labels that they are of."""


def label_blocks(names: Iterable[str]) -> list[str]:
    """What the blocks of some labels are called: by the labels' names, each another than `OWN`.

    Args:
        names: Of extra labels, then of groups of attributes.
    """
    made: list[str] = []
    for name in names:
        while name in made or name in OWN:
            name += " label"
        made.append(name)
    return made
