"""From which score on a person need not look: what is promised on eval is kept on test."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from components.judge.answers import Judged, masks
from components.judge.automatic import automatic, curve, lanes, threshold
from components.judge.measures import Answers, AttributeAnswers, ClassAnswers


def test_149_answers_without_an_error_are_needed_to_show_98_in_a_hundred() -> None:
    # All of one score are one look: (1 - .02)^149 < .05 < (1 - .02)^148.
    assert 0.98**149 < 0.05 < 0.98**148
    for count, found in ((148, None), (149, 0.5)):
        assert threshold(np.full(count, 0.5), np.ones(count, bool), 0.98) == found
    # Look-alikes are one product.
    assert threshold(np.full(149, 0.5), np.ones(149, bool), 0.98, units=140) is None
    assert threshold(np.zeros(0), np.zeros(0, bool), 0.98) is None


def test_the_bound_holds_at_the_score_that_was_found() -> None:
    generator = np.random.default_rng(1)
    scores = generator.random(3000)
    right = generator.random(3000) < np.clip(scores + 0.3, 0, 1)
    found = threshold(scores, right, 0.95)
    accepted = scores >= found
    errors = int(np.count_nonzero(accepted & ~right))
    looks = math.ceil(math.log2(3001))
    upper = stats.beta.ppf(1 - 0.05 / looks, errors + 1, accepted.sum() - errors)
    assert upper <= 0.05
    # With a tenth more it would not.
    more = np.sort(scores)[::-1][: int(accepted.sum() * 1.1)]
    errors = int(np.count_nonzero((scores >= more[-1]) & ~right))
    assert stats.beta.ppf(1 - 0.05 / looks, errors + 1, len(more) - errors) > 0.05


def test_products_of_one_score_are_accepted_together() -> None:
    scores = np.repeat([0.9, 0.8], [400, 400])
    right = np.arange(800) < 780
    assert threshold(scores, right, 0.98) == 0.9
    assert threshold(scores, np.ones(800, bool), 0.98) == 0.8


def test_a_window_between_too_few_and_too_many_is_found() -> None:
    # Of the best 300 none is wrong, then every other one: half of 3,000 are too many, a sixteenth
    # too few.
    right = np.arange(3000) < 300
    right[300::2] = True
    found = threshold(np.linspace(1, 0, 3000), right, 0.98)
    assert found is not None
    assert found == pytest.approx(1 - 300 / 3000, abs=0.01)


@pytest.mark.parametrize(("wanted", "count"), [(0.9, 50), (0.95, 100), (0.98, 260)])
def test_where_none_is_wrong_all_are_accepted_once_they_are_enough(wanted, count) -> None:
    # Half of them, where the search begins, would not be enough.
    looks = math.ceil(math.log2(count + 1))
    assert wanted**count < 0.05 / looks < wanted ** (count // 2)
    assert threshold(np.linspace(1, 0, count), np.ones(count, bool), wanted) == 0
    assert threshold(np.linspace(1, 0, count // 2), np.ones(count // 2, bool), wanted) is None


def test_the_promise_is_kept_nineteen_times_in_twenty_at_least() -> None:
    broken = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        scores = generator.random(1500)
        found = threshold(scores, generator.random(1500) < 0.9 + 0.1 * scores, 0.97)
        if found is not None:
            # Of scores above s, .9 + .1 (1 + s) / 2 are right.
            broken += 0.9 + 0.05 * (1 + found) < 0.97
    assert broken <= 10


def part(seed: int, count: int = 6000) -> Judged:
    """Category right with its score, sub-category less; girls are no worse."""
    generator = np.random.default_rng(seed)

    def level(easy: float) -> ClassAnswers:
        score = generator.beta(easy, 1, count)
        right = generator.random(count) < score
        truth = generator.integers(0, 3, count)
        return ClassAnswers(
            ["a", "b", "c"],
            truth,
            np.where(right, truth, (truth + 1) % 3),
            score,
            np.where(right, 1, 2),
            np.zeros(count),
        )

    scores = generator.random((count, 2))
    truth = generator.random((count, 2)) < np.where(scores > 0.5, 0.995, 0.3)
    truth[:, 1] = generator.random(count) < 0.5
    attributes = AttributeAnswers(["season=Summer", "season=Winter"], truth, scores, 0.5)
    gender = generator.choice(["Women", "Girls"], count)
    return Judged(
        Answers({"category": level(200), "subcategory": level(9), "attributes": attributes}),
        None,
        np.arange(count).astype(str),
        {"gender": masks(gender)},
        ("gender",),
    )


@pytest.fixture(scope="module")
def told() -> dict:
    return automatic(part(1), part(2), 0.98)


def test_what_is_chosen_on_eval_is_told_of_test(told) -> None:
    test_part = part(2)
    for level in ("category", "subcategory"):
        of_level, answers = told["levels"][level], test_part.candidate.levels[level]
        accepted = answers.score >= of_level["threshold"]
        assert of_level["accepted"] == accepted.sum()
        assert of_level["share"] == accepted.mean()
        right = answers.right
        if level == "subcategory":
            # Taken with its category, so both must be right.
            right = right & test_part.candidate.levels["category"].right
        assert of_level["precision"] == right[accepted].mean()
        wilson = stats.binomtest(int(right[accepted].sum()), int(accepted.sum()))
        assert of_level["interval"] == pytest.approx(list(wilson.proportion_ci(method="wilson")))
        # The bound has some room, and the test part is another draw.
        assert of_level["precision"] > 0.97
        of_slices = of_level["slices"]["gender"].values()
        assert sum(of["accepted"] for of in of_slices) == of_level["accepted"]
    assert 0.02 < told["levels"]["subcategory"]["share"] < told["levels"]["category"]["share"]


def test_each_attribute_has_its_own_score_or_none(told) -> None:
    summer, winter = told["attributes"]["season=Summer"], told["attributes"]["season=Winter"]
    assert summer["precision"] > 0.97
    assert 0 < summer["recall"] < 1
    # Nothing about it can be told by the score.
    assert (winter["threshold"], winter["accepted"], winter["precision"]) == (None, 0, None)


def test_every_product_is_in_one_of_three_lanes(told) -> None:
    of_lanes = told["lanes"]
    assert sum(of["accepted"] for of in of_lanes.values()) == 6000
    assert sum(of["share"] for of in of_lanes.values()) == pytest.approx(1)
    nobody = lanes(part(2), {"category": None, "subcategory": None})
    assert nobody["person"]["share"] == 1
    assert nobody["subcategory"]["precision"] is None


def test_it_is_plain(told) -> None:
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_a_small_eval_part_promises_nothing() -> None:
    found = automatic(part(1, count=60), part(2), 0.98)
    assert [of["threshold"] for of in found["levels"].values()] == [None, None]
    assert found["lanes"]["person"]["share"] == 1


def test_the_curve_says_how_right_the_surest_answers_are():
    scores = np.array([0.5, 0.9, 0.7, 0.9])
    share, precision = curve(scores, np.array([True, True, False, False]))
    # Both answers of .9 are taken together, one of them right; then two more, one by one.
    np.testing.assert_allclose(share, [0.5, 0.75, 1.0])
    np.testing.assert_allclose(precision, [1 / 2, 1 / 3, 2 / 4])
