"""What the page knows of single products, so that its figures open the products behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from components.evaluation import figures
from components.judge import automatic
from components.judge.answers import Judged
from components.judge.measures import (
    AttributeAnswers,
    ClassAnswers,
    label_average_precision,
)
from components.parts import examples_of
from schema import features

MOST_PRODUCTS = 10_000
"""Products that the page knows; of more, those that are most surely wrong."""

MOST_PICTURES = 5_000
"""Products with a picture beside the page; the most surely wrong again."""

THRESHOLDS = tuple(step / 20 for step in range(1, 20))
"""Scores at which each attribute's precision and recall are shown."""

_CURVE = 100
"""Points of a curve."""


def worst_first(judged: Judged) -> np.ndarray:
    """The products' order on the page, int64 (N,): wrong answers by falling score come first.

    Of a product's wrong answers the surest counts. Then come those that were wrong before, and then
    the others, the least sure first.
    """
    count = len(judged)
    wrong = np.zeros(count)
    before = np.zeros(count, bool)
    least = np.ones(count)
    for level, answers in _classes(judged).items():
        wrong = np.maximum(wrong, np.where(answers.counted & ~answers.right, answers.score, 0))
        least = np.minimum(least, answers.score)
        if (last := _last(judged, level)) is not None:
            before |= answers.counted & ~last.right
    return np.lexsort((np.arange(count), least, ~before, -wrong))


def told(judged: Judged, ids: Sequence[str]) -> dict[str, Any]:
    """What the page's script reads, as plain types.

    Args:
        judged: Answers about the test part.
        ids: Each product's.

    Returns:
        `ids`, those of at most `MOST_PRODUCTS` in the order of `worst_first`; `count`, of all;
        `pictures`, how many of the first have one; `levels`: level to `labels` and, product by
        product, `truth` and `answer` (places in `labels`; `features.NOT_GIVEN` where nobody knows),
        `score` in thousandths and, with a last blessed model, its answer, `last`; `attributes`, or
        nothing: `labels`, and product by product `truth` and `said`; `slices`: column to `values`
        and product by product `of`, the place in them, or -1.
    """
    order = worst_first(judged)[:MOST_PRODUCTS]
    levels: dict[str, Any] = {}
    for level, answers in _classes(judged).items():
        levels[level] = {
            "labels": list(answers.labels),
            "truth": answers.truth[order].tolist(),
            "answer": answers.answer[order].tolist(),
            "score": np.floor(1000 * answers.score[order].astype(float)).astype(int).tolist(),
        }
        if (last := _last(judged, level)) is not None:
            levels[level]["last"] = last.answer[order].tolist()
    found: dict[str, Any] = {
        "ids": [ids[place] for place in order],
        "count": len(judged),
        "pictures": min(len(order), MOST_PICTURES),
        "levels": levels,
        "slices": {
            column: _places(of, order)
            for column, of in judged.slices.items()
            if column != features.ATTRIBUTES
        },
    }
    attributes = judged.candidate.levels.get(features.ATTRIBUTES)
    if isinstance(attributes, AttributeAnswers) and len(attributes.labels):
        said = attributes.scores[order] >= attributes.threshold
        found["attributes"] = {
            "labels": list(attributes.labels),
            "truth": [np.flatnonzero(row).tolist() for row in attributes.truth[order]],
            "said": [np.flatnonzero(row).tolist() for row in said],
        }
    return found


def parents(judged: Judged) -> dict[str, str]:
    """The category under which each sub-category mostly stands among the test products.

    Of a sub-category that none of them has, the one that it was answered with.
    """
    classes = _classes(judged)
    if not {features.CATEGORY, features.SUBCATEGORY} <= set(classes):
        return {}
    above, below = classes[features.CATEGORY], classes[features.SUBCATEGORY]
    found: dict[str, str] = {}
    for upper, lower in ((above.truth, below.truth), (above.answer, below.answer)):
        pairs = Counter(zip(upper.tolist(), lower.tolist(), strict=True))
        for (category, subcategory), _ in pairs.most_common():
            if category >= 0 and subcategory >= 0:
                found.setdefault(below.labels[subcategory], above.labels[category])
    return found


def attribute_counts(judged: Judged) -> dict[str, Any]:
    """Each attribute's decisions at every score of `THRESHOLDS`; empty without attributes.

    Returns:
        `labels`; `grid`, the scores; `threshold`, the one in use; `counts`: attribute by attribute
        true positives, false positives and false negatives at each score; `used`, the same at the
        one in use, int64 (A, 3); `average_precision`, float (A,), NaN where no product has it.
    """
    attributes = judged.candidate.levels.get(features.ATTRIBUTES)
    if not isinstance(attributes, AttributeAnswers) or not len(attributes.labels):
        return {}
    counts = figures.counts_at(attributes.scores, attributes.truth, THRESHOLDS)
    return {
        "labels": list(attributes.labels),
        "grid": list(THRESHOLDS),
        "threshold": attributes.threshold,
        "counts": counts.tolist(),
        "used": figures.counts_at(attributes.scores, attributes.truth, [attributes.threshold])[
            :, 0
        ],
        "average_precision": label_average_precision(attributes.scores, attributes.truth),
    }


def coverages(judged: Judged, chosen: Mapping[str, float | None]) -> dict[str, Any]:
    """Of each level how right the surest answers are, `points` and `chosen`, for `charts.coverage`.

    Args:
        judged: Answers about the test part.
        chosen: Each level's score from which on nobody need look; None where there is none.
    """
    found = {}
    for level, answers in _classes(judged).items():
        counted = answers.counted
        if not counted.any():
            continue
        right = automatic.right(judged, level)[counted]
        share, precision = automatic.curve(answers.score[counted].astype(np.float64), right)
        places = np.unique(np.linspace(0, len(share) - 1, _CURVE).round().astype(int))
        # The surest few say nothing: one of two wrong would be half of them.
        places = places[share[places] >= min(0.02, share[-1])]
        score = chosen.get(level)
        accepted = counted if score is None else counted & (answers.score >= score)
        found[level] = {
            "points": [(float(share[place]), float(precision[place])) for place in places],
            "chosen": None
            if score is None or not accepted.any()
            else (
                float(accepted.sum() / counted.sum()),
                float(automatic.right(judged, level)[accepted].mean()),
            ),
        }
    return found


def read_pictures(files: Sequence[str], ids: Collection[str]) -> dict[str, bytes]:
    """The encoded pictures of the products of these ids, from gzip-compressed files of Examples."""
    wanted, found = set(ids), {}
    for file in files:
        for example in examples_of(file):
            of = example.features.feature
            name = of[features.ID].bytes_list.value[0].decode()
            if name in wanted:
                found[name] = of[features.IMAGE].bytes_list.value[0]
    return found


def _classes(judged: Judged) -> dict[str, ClassAnswers]:
    return {
        level: answers
        for level, answers in judged.candidate.levels.items()
        if isinstance(answers, ClassAnswers)
    }


def _last(judged: Judged, level: str) -> ClassAnswers | None:
    answers = judged.last.levels.get(level) if judged.last else None
    return answers if isinstance(answers, ClassAnswers) else None


def _places(values: Mapping[str, np.ndarray], order: np.ndarray) -> dict[str, Any]:
    of = np.full(len(order), -1)
    for place, where in enumerate(values.values()):
        of[where[order]] = place
    return {"values": list(values), "of": of.tolist()}
