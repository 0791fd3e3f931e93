"""What can be labelled without a person: from which score on answers are right often enough.

The score is chosen on the eval part and what it does is reported on the test part; a threshold that
is chosen and reported on the same products promises too much. Geifman and El-Yaniv 2017 (arXiv
1705.08500, algorithm 1): of the products in falling order of score a binary search finds how many
can be accepted, so that the exact bound (Clopper and Pearson) of the share of errors among them is
within what is wanted; each of its steps gets its part of the doubt. What is promised holds over all
products together, not in every slice, so the slices stand beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from components.judge import intervals
from components.judge.answers import Judged
from components.judge.certainty import CONFIDENCE
from components.judge.measures import AttributeAnswers, ClassAnswers
from schema import features

SUBCATEGORY_LANE, CATEGORY_LANE, PERSON_LANE = "subcategory", "category", "person"


def threshold(
    scores: np.ndarray, right: np.ndarray, wanted: float, units: float | None = None
) -> float | None:
    """Finds the least score from which on answers are right in the wanted share.

    Args:
        scores: float (N,), of the answers.
        right: bool (N,).
        wanted: The share of right answers, in (0, 1).
        units: Independent products among the N; N by default.

    Returns:
        The score, from which on (>=) answers are accepted; None where no number of products would
        show what is wanted: 149 without an error are needed to show .98 of one look.
    """
    count = len(scores)
    if not count:
        return None
    part = (count if units is None else units) / count
    order = np.argsort(-scores, kind="stable")
    ordered, errors = scores[order], np.cumsum(~right[order])
    # Products of one score are accepted together: the numbers at which a score ends.
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) + 1
    looks = max(math.ceil(math.log2(len(last) + 1)), 1)
    confidence = 1 - (1 - CONFIDENCE) / looks
    low, high, found = 0, len(last) - 1, None
    for _ in range(looks):
        if low > high:
            break
        middle = (low + high) // 2
        accepted = int(last[middle])
        bound = intervals.clopper_pearson_upper(
            part * errors[accepted - 1], part * accepted, confidence
        )
        least = intervals.clopper_pearson_upper(0, part * accepted, confidence)
        if bound <= 1 - wanted:
            found, low = accepted, middle + 1
        elif least > 1 - wanted:
            # So few would show nothing even without an error.
            low = middle + 1
        else:
            high = middle - 1
    return None if found is None else float(ordered[found - 1])


def curve(scores: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How right the surest answers are, by how many of all they are.

    Args:
        scores: float (N,), of the answers, at least one.
        right: bool (N,).

    Returns:
        The share of all answers and the share of right ones among them, float (K,), for each of the
        K scores from the highest down: answers of one score are taken together.
    """
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.cumsum(right[order])
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    return (last + 1) / len(scores), hits[last] / (last + 1)


def automatic(eval_part: Judged, test_part: Judged, wanted: float) -> dict[str, Any]:
    """What the candidate can label without a person, as plain types.

    Args:
        eval_part: Answers that choose.
        test_part: Answers that judge.
        wanted: The share of right answers among those that nobody looks at.

    Returns:
        `wanted`; `confidence`, that a threshold keeps its promise, and of the intervals; `levels`:
        level to `threshold` (None where it cannot be had), and of the test part `products`,
        `accepted`, `share`, `precision` and its `interval`, with `slices`: column to value to the
        same. `attributes`: attribute to the same, where accepted means that the product is said to
        have it. `lanes`: see `lanes`.
    """
    levels: dict[str, Any] = {}
    for level, answers in eval_part.candidate.levels.items():
        if isinstance(answers, ClassAnswers):
            counted = answers.counted
            units = eval_part.units(counted)
            rights = right(eval_part, level)[counted]
            chosen = threshold(answers.score[counted].astype(np.float64), rights, wanted, units)
            levels[level] = {"threshold": chosen} | _of_level(test_part, level, chosen)
    found = {"wanted": wanted, "confidence": CONFIDENCE, "levels": levels}
    found["attributes"] = _attributes(eval_part, test_part, wanted)
    if {features.CATEGORY, features.SUBCATEGORY} <= set(levels):
        found["lanes"] = lanes(
            test_part, {level: levels[level]["threshold"] for level in features.LEVELS[:2]}
        )
    return found


def lanes(judged: Judged, thresholds: Mapping[str, float | None]) -> dict[str, Any]:
    """Sorts products into three lanes, and says how right each is.

    Args:
        judged: Answers of the test part.
        thresholds: Of category and sub-category.

    Returns:
        `SUBCATEGORY_LANE`: both labels are taken; `CATEGORY_LANE`: the category alone;
        `PERSON_LANE`: somebody looks. Each with `products`, `share` and, but for the last,
        `precision` (of both labels, of the category) and `interval`.
    """
    category, subcategory = (judged.candidate.levels[level] for level in features.LEVELS[:2])
    assert isinstance(category, ClassAnswers)
    assert isinstance(subcategory, ClassAnswers)
    fine = _accepted(subcategory, thresholds[features.SUBCATEGORY])
    coarse = _accepted(category, thresholds[features.CATEGORY]) & ~fine
    both = right(judged, features.SUBCATEGORY)
    return {
        SUBCATEGORY_LANE: _share(judged, np.ones(len(judged), bool), fine, both),
        CATEGORY_LANE: _share(judged, np.ones(len(judged), bool), coarse, category.right),
        PERSON_LANE: {
            "products": len(judged),
            "accepted": int(np.count_nonzero(~fine & ~coarse)),
            "share": float(np.mean(~fine & ~coarse)) if len(judged) else 0.0,
        },
    }


def _of_level(judged: Judged, level: str, chosen: float | None) -> dict[str, Any]:
    answers = judged.candidate.levels[level]
    assert isinstance(answers, ClassAnswers)
    accepted, counted = _accepted(answers, chosen), answers.counted
    rights = right(judged, level)
    return {
        **_share(judged, counted, accepted, rights),
        "slices": {
            column: {
                value: _share(judged, counted & where, accepted, rights)
                for value, where in judged.slices[column].items()
            }
            for column in judged.columns
        },
    }


def _attributes(eval_part: Judged, test_part: Judged, wanted: float) -> dict[str, Any]:
    chosen_on = eval_part.candidate.levels.get(features.ATTRIBUTES)
    judged_on = test_part.candidate.levels.get(features.ATTRIBUTES)
    if not isinstance(chosen_on, AttributeAnswers) or not isinstance(judged_on, AttributeAnswers):
        return {}
    column_of = {label: column for column, label in enumerate(judged_on.labels)}
    found = {}
    for column, label in enumerate(chosen_on.labels):
        scores = chosen_on.scores[:, column].astype(np.float64)
        if label not in column_of or np.isnan(scores).any():
            continue
        units = eval_part.units(np.ones(len(scores), bool))
        chosen = threshold(scores, chosen_on.truth[:, column], wanted, units)
        there = judged_on.scores[:, column_of[label]].astype(np.float64)
        accepted = there >= (math.inf if chosen is None else chosen)
        everything = np.ones(len(there), bool)
        told = _share(test_part, everything, accepted, judged_on.truth[:, column_of[label]])
        # The share of the products that have it is what a catalog team asks for.
        has = judged_on.truth[:, column_of[label]]
        recall = float(np.mean(accepted[has])) if has.any() else None
        found[label] = {"threshold": chosen, **told, "recall": recall}
    return found


def right(judged: Judged, level: str) -> np.ndarray:
    """Right answers, bool (N,); a sub-category is taken with its category, so both must be."""
    levels: Mapping[str, Any] = judged.candidate.levels
    found = levels[level].right
    if level == features.SUBCATEGORY and features.CATEGORY in levels:
        found = found & levels[features.CATEGORY].right
    return found


def _accepted(answers: ClassAnswers, chosen: float | None) -> np.ndarray:
    return answers.score.astype(np.float64) >= (math.inf if chosen is None else chosen)


def _share(
    judged: Judged, counted: np.ndarray, accepted: np.ndarray, right: np.ndarray
) -> dict[str, Any]:
    taken = counted & accepted
    products, number = int(np.count_nonzero(counted)), int(np.count_nonzero(taken))
    hits = int(np.count_nonzero(taken & right))
    told: dict[str, Any] = {
        "products": products,
        "accepted": number,
        "share": number / products if products else 0.0,
        "precision": None,
        "interval": None,
    }
    if number:
        low, high = intervals.wilson(hits / number, judged.units(taken), CONFIDENCE)
        told |= {"precision": hits / number, "interval": [float(low), float(high)]}
    return told
