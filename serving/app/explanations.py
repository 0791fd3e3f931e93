"""Why a product looks like a picture: each block's part, and where in both it comes from."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np

from schema import features
from schema.search_blocks import FEATURES
from serving.app.errors import BAD_REQUEST, Refused
from serving.app.finder import Asked, Finder, is_no_signature
from serving.app.seen import Seen
from serving.client import RequestFailed
from serving.search.space import Doubles, Floats

_COMPARED = 3
"""So many labels a level are told of both pictures."""


async def explain(
    finder: Finder,
    asked: Asked,
    result: str | None,
    weights: Mapping[str, float],
    label: str | None,
) -> dict[str, Any]:
    """As the API answers it.

    Args:
        finder: of the version that found the product.
        asked: what was looked for.
        result: the id of the product to compare with; None where only the label's map is wanted.
        weights: blocks' weights where they differ from the space's.
        label: `LEVEL=LABEL`; None for no map of a label.

    Raises:
        UnknownProduct: the index has no such product.
        BadSearch: there is no such block.
        IndexAway: as `Finder.find`.
        Refused: there is no such label, the picture cannot be used, or nothing is asked for.
        RequestFailed: as `Finder.find`.
    """
    if result is None and label is None:
        raise Refused(
            BAD_REQUEST, "Name the product to compare with, by result=ID, or a label, or both."
        )
    _check_label(finder, label)
    index, space = finder.catalog.index, finder.catalog.index.space
    made = space.weights_for(weights)
    vectors = await finder.looked_up(index.vectors, [] if result is None else [result])
    pictures = [await finder.sent(asked)]
    if result is not None:
        pictures.append(await finder.done(finder.catalog.picture, result))
    maps, (vector, told_of), *others = await asyncio.gather(
        _maps(finder, pictures, label),
        _vector(finder, asked, pictures[0]),
        *(finder.seen_in(picture) for picture in pictures[1:]),
    )
    told: dict[str, Any] = {"parts": None, "score": None, "result": None, "problem": None}
    if maps is None:
        told["problem"] = (
            f"Version {finder.version} of {finder.model} says nothing of where in a picture its "
            "answers come from; push the model again, and there are maps."
        )
    toward: list[Floats | None] = [None]
    if result is not None:
        parts = space.parts(vector, made, vectors[0][None])[0]
        told["parts"] = dict(zip(space.sizes, parts.tolist(), strict=True))
        told["score"] = float(parts.sum())
        toward = [vectors[0], vector]
    for row, (side, other) in enumerate(zip(("query", "result"), toward, strict=False)):
        told[side] = _side(finder, maps, row, other, made, label is not None)
    told["compared"] = _compared([told_of, *others])
    return told


async def _vector(finder: Finder, asked: Asked, picture: bytes) -> tuple[Floats, list[Seen]]:
    """The vector of what is asked about, as it is compared, and what the model sees in it."""
    vector, told = await finder.vector(asked)
    if told is None:
        told = await finder.seen_in(picture)
    return finder.catalog.index.space.stored(vector)[0], told


async def _maps(
    finder: Finder, pictures: list[bytes], label: str | None
) -> dict[str, np.ndarray] | None:
    """The outputs of the signature `explain`; None where the model has none."""
    try:
        return await finder.explained(pictures, label or "")
    except RequestFailed as error:
        if is_no_signature(error):
            return None
        raise


def _side(
    finder: Finder,
    maps: Mapping[str, np.ndarray] | None,
    row: int,
    other: Floats | None,
    weights: Doubles,
    with_label: bool,
) -> dict[str, Any]:
    """The maps of one picture; the other's vector says toward what."""
    told: dict[str, Any] = {"features": None, "label": None}
    if maps is None:
        return told
    if other is not None:
        space = finder.catalog.index.space
        block = space.part(other[None], FEATURES)[0]
        places = weights[list(space.sizes).index(FEATURES)] * finder.catalog.recipe.feature_maps(
            maps[features.REGIONS][row], block
        )
        told["features"] = {"map": places.tolist(), "sum": float(places.sum())}
    if with_label:
        told["label"] = {"map": maps[features.LABEL_MAP][row].astype(float).tolist()}
    return told


def _compared(rows: list[list[Seen]]) -> list[dict[str, Any]]:
    return [
        {
            "level": level["level"],
            "query": level["labels"][:_COMPARED],
            "result": rows[1][at]["labels"][:_COMPARED] if len(rows) > 1 else [],
        }
        for at, level in enumerate(rows[0])
    ]


def _check_label(finder: Finder, label: str | None) -> None:
    if label is None:
        return
    level, _, name = label.partition("=")
    known = finder.catalog.recipe.labels
    if level not in known or not name:
        there = ", ".join(known) or "none"
        raise Refused(
            BAD_REQUEST,
            f'The label is "{label[:80]}"; expected LEVEL=LABEL, of one of the levels: {there}.',
        )
    if name not in known[level]:
        raise Refused(BAD_REQUEST, f'The model knows no label "{name[:80]}" of {level}.')
