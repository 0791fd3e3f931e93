"""Holds live traffic against what the model was trained on, and says what moved."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

from components.live_traffic.distances import (
    LEAST_PRODUCTS,
    Distance,
    beyond_chance,
    cells,
    jensen_shannon,
    largest_change,
)
from components.live_traffic.reference import (
    ANSWERS_ON_TEST,
    Figure,
    Level,
    Reference,
    Scores,
    attribute_scores,
)
from components.live_traffic.traffic import AttributeAnswers, Traffic
from schema import features

CHANCE = 0.001
"""With which, at most, one look at traffic that is as ever calls anything moved."""

MOST_BARS = 12
"""Labels that are shown one by one; the rest together."""

_REST = "(other)"


@dataclass(frozen=True)
class Limits:
    """From where on something counts as moved; None: never.

    Attributes:
        drift: Largest distance.
        drop: Largest fall of the estimated accuracy.
        refused: Largest share of refused pictures.
    """

    drift: float | None
    drop: float | None
    refused: float | None


@dataclass(frozen=True)
class Bar:
    """A label's or a range's share, in [0, 1], then and now."""

    name: str
    then: float
    now: float


@dataclass(frozen=True)
class Moved:
    """A distribution, then and now.

    Attributes:
        name: The level or the picture figure.
        against: What it is compared with, in words.
        distance: In [0, 1].
        by_chance: What chance alone would hardly exceed.
        moved: Whether the distance is above both the limit and that.
        sentence: What has changed most; a whole sentence without its full stop.
        bars: What to draw: of a level its labels, the most changed first; of a figure its ranges.
    """

    name: str
    against: str
    distance: float
    by_chance: float
    moved: bool
    sentence: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Accuracy:
    """A level's accuracy as its scores tell; of the attributes the precision of those named.

    Attributes:
        level: Its name.
        score: Mean score of the answers.
        unsure: Share of the answers below the model's own threshold; None for the attributes.
        score_on_test: Mean score on the test part; None where nobody knows it.
        on_test: Accuracy there.
        estimate: Accuracy in production, in [0, 1].
        error: Its standard error.
        drop: How far it fell.
        drop_error: Standard error of that, both samples' chance in it.
        moved: Whether it fell by more than the limit, and more than by chance.
        sentence: The same in words, without a full stop.
    """

    level: str
    score: float
    unsure: float | None
    score_on_test: float | None
    on_test: float | None
    estimate: float
    error: float
    drop: float | None
    drop_error: float | None
    moved: bool
    sentence: str


@dataclass(frozen=True)
class Refusals:
    """What the model could not use.

    Attributes:
        share: Of all records.
        reasons: How many by each reason, the most frequent first.
        moved: Whether they are more than the limit, and not by chance.
        sentence: The same in words, without a full stop.
    """

    share: float
    reasons: Mapping[str, int]
    moved: bool
    sentence: str


@dataclass(frozen=True)
class Drift:
    """What was found.

    Attributes:
        levels: Of each level's answers.
        figures: Of each picture figure.
        accuracies: Of each level.
        refusals: Of the pictures.
    """

    levels: tuple[Moved, ...]
    figures: tuple[Moved, ...]
    accuracies: tuple[Accuracy, ...]
    refusals: Refusals

    @property
    def findings(self) -> list[str]:
        """A sentence for everything that moved, without full stops."""
        every: list[Accuracy | Moved | Refusals]
        every = [*self.accuracies, *self.levels, *self.figures, self.refusals]
        return [one.sentence for one in every if one.moved]


def compare(traffic: Traffic, reference: Reference, limits: Limits) -> Drift:
    """Compares what a version was asked with what it was trained on.

    Something has moved where it is farther off than the limit, and farther than chance would take
    it: `CHANCE` is shared out evenly among all that is compared. Of fewer than `LEAST_PRODUCTS`
    pictures nothing is compared but how many were refused.

    Args:
        traffic: Of one version.
        reference: Of the same version.
        limits: What may be.
    """
    pairs = list(_pairs(traffic, reference)) if traffic.answered >= LEAST_PRODUCTS else []
    sure = list(_scores(traffic, reference)) if traffic.answered >= LEAST_PRODUCTS else []
    chance = CHANCE / (len(pairs) + len(sure) + 1)
    found = [_moved(pair, limits.drift, chance) for pair in pairs]
    return Drift(
        levels=tuple(one for one in found if one.name not in features.PICTURE_STATISTICS),
        figures=tuple(one for one in found if one.name in features.PICTURE_STATISTICS),
        accuracies=tuple(_accuracy(*one, limits.drop, chance) for one in sure),
        refusals=_refusals(traffic, limits.refused, chance),
    )


def estimated_accuracy(
    scores: np.ndarray, counts: np.ndarray, on_test: Scores
) -> tuple[float, float, float, float]:
    """Estimates how many answers are right, of which nobody knows the truth.

    Calibrated scores are probabilities of being right, so their mean is the expected accuracy; and
    by how much it was off on the test part it is taken to be off here (difference of confidences:
    Guillory et al. 2021, "Predicting with Confidence on Unseen Distributions", section 3).

    Args:
        scores: Sums of the answers' scores for each picture, float (N).
        counts: How many answers each picture has, int (N).
        on_test: The same model's on the test part.

    Returns:
        The estimate, its standard error, the fall since the test part, and that one's.
    """
    mean, error = _mean(scores, counts)
    estimate = min(max(mean + on_test.right - on_test.mean, 0.0), 1.0)
    return (
        estimate,
        math.hypot(error, on_test.honesty_error),
        on_test.mean - mean,
        math.hypot(error, on_test.mean_error),
    )


def _mean(scores: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """The mean score of all answers, and its standard error with the pictures as the units."""
    mean = scores.sum() / counts.sum()
    apart = scores - mean * counts
    return float(mean), float(np.sqrt((apart**2).sum()) / counts.sum())


class _Pair(NamedTuple):
    """Two distributions to hold against each other.

    Attributes:
        name, against, bars: As of `Moved`.
        now, then: Counts, int64 (K).
        distance: How far they are from each other.
        said: What has changed most, in words.
    """

    name: str
    against: str
    now: np.ndarray
    then: np.ndarray
    distance: Distance
    said: str
    bars: tuple[Bar, ...]


def _pairs(traffic: Traffic, reference: Reference) -> Iterator[_Pair]:
    for level in sorted(reference.levels, key=_place):
        of = reference.levels[level]
        if level == features.ATTRIBUTES:
            attributes = traffic.attributes
            if attributes and attributes.labels and sum(of.counts.values()):
                named = of.origin == ANSWERS_ON_TEST
                # What is named is less than what is there; the scores tell of the rest.
                given = attributes.labels if named else attributes.expected
                yield _pair_of_labels(level, given, of)
        elif level in traffic.levels:
            yield _pair_of_labels(level, traffic.levels[level].labels, of)
    for name, figure in reference.figures.items():
        if len(traffic.figures.get(name, ())) >= LEAST_PRODUCTS:
            yield _pair_of_numbers(name, np.array(traffic.figures[name]), figure)


def _scores(
    traffic: Traffic, reference: Reference
) -> Iterator[tuple[str, np.ndarray, np.ndarray, int | None, Scores | None]]:
    for level in sorted(traffic.levels, key=_place):
        answers = traffic.levels[level]
        scores = np.array(answers.scores)
        of = reference.levels.get(level)
        yield level, scores, np.ones(len(scores)), answers.unsure, of.scores if of else None
    attributes = traffic.attributes
    if attributes and any(attributes.named):
        yield (
            features.ATTRIBUTES,
            np.array(attributes.scores),
            np.array(attributes.named),
            None,
            _attributes_on_test(reference, attributes),
        )


def _place(level: str) -> tuple[int, str]:
    """Sorts as people read: coarse to fine, then the extra labels."""
    known = features.LEVELS
    return (known.index(level) if level in known else len(known)), level


def _attributes_on_test(reference: Reference, attributes: AttributeAnswers) -> Scores | None:
    if reference.evaluation is None or attributes.threshold is None:
        return None
    return attribute_scores(reference.evaluation, attributes.threshold)


def _pair_of_labels(name: str, given: Mapping[str, float], of: Level) -> _Pair:
    labels = sorted(given.keys() | of.counts.keys())
    now, then = (
        np.array([round(counts.get(label, 0)) for label in labels], np.int64)
        for counts in (given, of.counts)
    )
    bars = _labels(labels, now, then)
    most = bars[0]
    what = "answers" if of.origin == ANSWERS_ON_TEST else "labels"
    said = f"'{most.name}' was {most.then:.1%} of the {what} and is {most.now:.1%}"
    return _Pair(name, of.origin, now, then, largest_change, said, bars)


def _pair_of_numbers(name: str, values: np.ndarray, of: Figure) -> _Pair:
    now, then = cells(values, of.edges, of.counts)
    against = "the pictures of the train part"
    said = f"the median was {of.median:.3g} and is {np.median(values):.3g}"
    return _Pair(name, against, now, then, jensen_shannon, said, _ranges(now, then, of.edges))


def _moved(pair: _Pair, limit: float | None, chance: float) -> Moved:
    distance = float(pair.distance(pair.now, pair.then))
    by_chance = beyond_chance(pair.now, pair.then, pair.distance, chance)
    moved = limit is not None and distance > limit and distance > by_chance
    allowed = "no limit is set" if limit is None else f"{limit:g} is allowed"
    sentence = (
        f"`{pair.name}` has {'moved' if moved else 'not moved'}: {pair.said} (distance "
        f"{distance:.2f}; {allowed}, and chance makes up to {by_chance:.2f})"
    )
    return Moved(pair.name, pair.against, distance, by_chance, moved, sentence, pair.bars)


def _labels(labels: list[str], now: np.ndarray, then: np.ndarray) -> tuple[Bar, ...]:
    shares = [counts / max(counts.sum(), 1) for counts in (then, now)]
    order = np.argsort(-np.abs(shares[1] - shares[0]), kind="stable")
    bars = [Bar(labels[at], float(shares[0][at]), float(shares[1][at])) for at in order]
    shown, rest = bars[:MOST_BARS], bars[MOST_BARS:]
    if rest:
        shown.append(Bar(_REST, sum(bar.then for bar in rest), sum(bar.now for bar in rest)))
    return tuple(shown)


def _ranges(now: np.ndarray, then: np.ndarray, edges: np.ndarray) -> tuple[Bar, ...]:
    """The cells of `distances.cells` as people read them; the outer ones only if they hold any."""
    low, high = f"{edges[0]:.4g}", f"{edges[-1]:.4g}"
    names = [f"below {low}"]
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        name = f"{start:.4g}" if start == end else f"{start:.4g} to {end:.4g}"
        if start != end or names[-1] != name:
            names.append(name)
    names.append(f"above {high}")
    shares = [counts / max(counts.sum(), 1) for counts in (then, now)]
    bars = [
        Bar(name, float(was), float(is_now))
        for name, was, is_now in zip(names, *shares, strict=True)
    ]
    outer = (bars[0], bars[-1])
    return tuple(bar for bar in bars if bar not in outer or bar.now)


def _accuracy(
    level: str,
    scores: np.ndarray,
    counts: np.ndarray,
    unsure: int | None,
    on_test: Scores | None,
    limit: float | None,
    chance: float,
) -> Accuracy:
    what = "precision" if level == features.ATTRIBUTES else "accuracy"
    score, error = _mean(scores, counts)
    share = None if unsure is None else unsure / len(scores)
    if on_test is None:
        sentence = f"`{level}`: by its scores its {what} is about {score:.1%}"
        return Accuracy(level, score, share, None, None, score, error, None, None, False, sentence)
    estimate, error, drop, drop_error = estimated_accuracy(scores, counts, on_test)
    by_chance = float(stats.norm.isf(chance)) * drop_error
    moved = limit is not None and drop > limit and drop > by_chance
    sentence = (
        f"`{level}`: by its scores its {what} "
        f"{'fell' if moved else 'went'} from {on_test.right:.1%} on the test part to about "
        f"{estimate:.1%}, give or take {2 * error:.1%}"
    )
    return Accuracy(
        level=level,
        score=score,
        unsure=share,
        score_on_test=on_test.mean,
        on_test=on_test.right,
        estimate=estimate,
        error=error,
        drop=drop,
        drop_error=drop_error,
        moved=moved,
        sentence=sentence,
    )


def _refusals(traffic: Traffic, limit: float | None, chance: float) -> Refusals:
    refused = sum(traffic.refused.values())
    share = refused / max(traffic.asked, 1)
    moved = (
        limit is not None
        and share > limit
        and stats.binom.sf(refused - 1, traffic.asked, limit) < chance
    )
    reasons = dict(sorted(traffic.refused.items(), key=lambda item: (-item[1], item[0])))
    sentence = f"{refused:,} of {traffic.asked:,} records ({share:.1%}) are of refused pictures"
    if reasons:
        sentence += f", most of them because: {next(iter(reasons))}"
    return Refusals(share, reasons, bool(moved), sentence)
