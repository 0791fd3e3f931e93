"""From which score on a product counts as close."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from serving.search.local_index import LocalIndex

_ASKED = 500


def calibrate(index: LocalIndex, ids: Sequence[str], share: float = 0.99) -> float | None:
    """The threshold by which so many of some products have something close, in another group.

    A picture whose nearest product is further away than nearly every product's own nearest shows
    nothing that the catalog has.

    Args:
        index: all products.
        ids: those of which up to 500 are asked for, drawn by a seed of its own. The model that
            made the vectors should not have learned from them: a picture that people send is as
            new to it.
        share: of them.

    Returns:
        For `ProductIndex.threshold`; None where no product has another group's beside it.

    Raises:
        UnknownProduct: an id is of no product.
    """
    rng = np.random.default_rng(0)
    asked = sorted(rng.choice(len(ids), min(len(ids), _ASKED), replace=False).tolist())
    weights = index.space.weights_for(None)
    found = []
    for at in asked:
        (answer,) = index.search(
            index.vectors([ids[at]]), 1, exclude=[ids[at]], exclude_doubles=True
        )
        if answer.hits:
            found.append(index.space.closeness(answer.hits[0].score, weights))
    return float(np.quantile(found, 1 - share)) if found else None
