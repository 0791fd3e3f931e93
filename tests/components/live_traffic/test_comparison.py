"""Alarms where something moved, none where nothing did; accuracies against simulated truths."""

from collections import Counter

import numpy as np
import pytest

from components.live_traffic import comparison
from components.live_traffic.comparison import Limits, compare, estimated_accuracy
from components.live_traffic.reference import (
    ANSWERS_ON_TEST,
    LABELS_OF_TRAIN,
    Figure,
    Level,
    Reference,
    Scores,
    scores,
)
from components.live_traffic.traffic import AttributeAnswers, LevelAnswers, Traffic

SHARES = {
    "category": np.array([0.5, 0.3, 0.2]),
    "subcategory": np.array([0.25, 0.25, 0.15, 0.15, 0.1, 0.05, 0.05]),
}
LIMITS = Limits(drift=0.15, drop=0.05, refused=0.1)
EDGES = np.linspace(0, 1, 11)


def answers(generator, level: str, count: int, shares=None, sureness: float = 8) -> LevelAnswers:
    """Answers with scores of a mean of `sureness / (sureness + 2)`."""
    drawn = generator.multinomial(count, SHARES[level] if shares is None else shares)
    labels = Counter({f"{level} {index}": int(of) for index, of in enumerate(drawn)})
    return LevelAnswers(labels, generator.beta(sureness, 2, count).tolist())


def on_test(generator, count: int = 1000, sureness: float = 8) -> Scores:
    """A well calibrated model's figures on the test part."""
    drawn = generator.beta(sureness, 2, count)
    right = generator.random(count) < drawn
    bins = np.minimum((drawn * 15).astype(int), 14)
    table = np.zeros((15, 3))
    np.add.at(table, bins, np.stack([np.ones(count), drawn, right], axis=1))
    return scores(table)


def traffic(generator, count: int = 400, brightness=(0, 1), **changed) -> Traffic:
    levels = {level: answers(generator, level, count, **changed) for level in ("category",)}
    levels["subcategory"] = answers(generator, "subcategory", count)
    figures = {"image_brightness": generator.uniform(*brightness, count).tolist()}
    return Traffic(answered=count, levels=levels, figures=figures)


def reference(generator, count: int = 1000) -> Reference:
    levels = {}
    for level in SHARES:
        labels = answers(generator, level, count).labels
        levels[level] = Level(labels, ANSWERS_ON_TEST, on_test(generator, count))
    return Reference(levels, {"image_brightness": Figure(EDGES, np.full(10, 100.0), 0.5)})


def test_of_200_samples_of_the_same_no_more_are_called_moved_than_is_said(monkeypatch):
    """Without any limit but that of chance, which is set to 5 % of the looks."""
    monkeypatch.setattr(comparison, "CHANCE", 0.05)
    generator = np.random.default_rng(1)
    nothing_allowed = Limits(drift=0, drop=0, refused=0.1)
    moved = sum(
        bool(compare(traffic(generator, 150), reference(generator), nothing_allowed).findings)
        for _ in range(200)
    )
    # At most 10 are expected, with a standard deviation of 3.1.
    assert moved <= 19


def test_as_it_is_set_no_sample_of_the_same_is_called_moved():
    generator = np.random.default_rng(2)
    for _ in range(10):
        found = compare(traffic(generator, 100), reference(generator), LIMITS)
        assert found.findings == []


def test_a_label_that_is_asked_more_often_has_moved():
    generator = np.random.default_rng(3)
    now = traffic(generator, shares=[0.2, 0.3, 0.5])
    found = compare(now, reference(generator), LIMITS)
    (category, subcategory) = found.levels
    assert (category.moved, subcategory.moved) == (True, False)
    assert category.distance == pytest.approx(0.3, abs=0.07)
    assert category.against == ANSWERS_ON_TEST
    assert {bar.name for bar in category.bars[:2]} == {"category 0", "category 2"}
    (sentence,) = found.findings
    assert sentence == category.sentence
    assert sentence.startswith("`category` has moved: 'category ")
    assert "of the answers and is" in sentence and "0.15 is allowed, and chance" in sentence


def test_what_is_far_but_may_be_chance_has_not_moved():
    generator = np.random.default_rng(3)
    few = Reference({"category": Level({"category 0": 5, "category 1": 5}, LABELS_OF_TRAIN)}, {})
    (category,) = compare(traffic(generator, 100), few, LIMITS).levels
    assert category.distance > 0.15
    assert category.by_chance > category.distance
    assert not category.moved


def test_pictures_that_have_become_darker_have_moved():
    generator = np.random.default_rng(4)
    found = compare(traffic(generator, brightness=(0, 0.4)), reference(generator), LIMITS)
    (brightness,) = found.figures
    assert brightness.moved and found.findings == [brightness.sentence]
    assert "`image_brightness` has moved: the median was 0.5 and is 0.2" in brightness.sentence
    assert [bar.now for bar in brightness.bars][4:] == [0] * 6
    assert [bar.then for bar in brightness.bars] == pytest.approx([0.1] * 10)
    assert brightness.bars[0].name == "0 to 0.1"


def test_attributes_are_compared_as_they_were_named_or_as_they_are_to_be_expected():
    attributes = AttributeAnswers(
        labels=Counter({"a=1": 50, "b=1": 50}),
        expected={"a=1": 90.0, "b=1": 110.0},
        named=[1] * 100,
        scores=[0.9] * 100,
        threshold=0.75,
    )
    now = Traffic(answered=100, attributes=attributes)
    for origin, distance in ((ANSWERS_ON_TEST, 0.1), (LABELS_OF_TRAIN, 0.05)):
        then = Reference({"attributes": Level({"a=1": 400, "b=1": 600}, origin)}, {})
        (found,) = compare(now, then, LIMITS).levels
        assert found.distance == pytest.approx(distance)


def test_the_estimated_accuracy_is_near_the_true_one_as_often_as_its_error_says():
    generator = np.random.default_rng(5)
    near = 0
    for _ in range(300):
        test = on_test(generator, 800)
        # Harder pictures: the model is less sure of them, and less often right.
        drawn = generator.beta(5, 2, 500)
        right = (generator.random(500) < drawn).mean()
        estimate, error, drop, _ = estimated_accuracy(drawn, np.ones(500), test)
        # The truth of the sample has an error of its own, that of coins.
        own = np.sqrt((drawn * (1 - drawn)).sum()) / 500
        near += abs(estimate - right) < 1.96 * np.hypot(error, own)
        assert drop == pytest.approx(8 / 10 - 5 / 7, abs=0.05)
    # 285 are expected; the two errors overlap a little, which makes it more.
    assert near >= 270


def test_a_model_that_is_always_too_sure_is_corrected_by_what_it_was_on_the_test_part():
    too_sure = Scores(answers=1000, mean=0.9, right=0.8, mean_error=0.003, honesty_error=0.01)
    estimate, _, drop, _ = estimated_accuracy(np.full(200, 0.85), np.ones(200), too_sure)
    assert estimate == pytest.approx(0.75)
    assert drop == pytest.approx(0.05)


def test_a_fall_of_the_accuracy_is_told_and_a_rise_is_not():
    generator = np.random.default_rng(6)
    found = compare(traffic(generator, sureness=4), reference(generator), LIMITS)
    category, subcategory = found.accuracies
    assert (category.moved, subcategory.moved) == (True, False)
    assert category.estimate == pytest.approx(4 / 6, abs=0.05)
    assert category.on_test == pytest.approx(0.8, abs=0.05)
    (sentence,) = found.findings
    assert sentence.startswith("`category`: by its scores its accuracy fell from ")

    found = compare(traffic(generator, sureness=30), reference(generator), LIMITS)
    assert found.findings == []


def test_without_an_evaluation_the_scores_alone_tell():
    generator = np.random.default_rng(7)
    found = compare(traffic(generator), Reference({}, {}), LIMITS)
    for one in found.accuracies:
        assert (one.on_test, one.drop, one.moved) == (None, None, False)
        assert one.estimate == one.score == pytest.approx(0.8, abs=0.05)


def test_of_fewer_than_100_pictures_nothing_is_compared_but_how_many_are_refused():
    generator = np.random.default_rng(8)
    now = traffic(generator, 99, shares=[0, 0, 1])
    now.refused = Counter({"the file is damaged": 60, "it has # pixels": 3})
    found = compare(now, reference(generator), LIMITS)
    assert (found.levels, found.figures, found.accuracies) == ((), (), ())
    assert found.refusals.share == pytest.approx(63 / 162)
    assert found.findings == [
        "63 of 162 records (38.9%) are of refused pictures, most of them because: the file is "
        "damaged"
    ]


def test_a_few_more_refused_pictures_than_allowed_may_be_chance():
    now = Traffic(answered=0, repeats=88, refused=Counter({"damaged": 12}))
    assert not compare(now, Reference({}, {}), LIMITS).refusals.moved
    now = Traffic(answered=0, repeats=8800, refused=Counter({"damaged": 1200}))
    assert compare(now, Reference({}, {}), LIMITS).refusals.moved


def test_what_has_no_limit_never_moves():
    generator = np.random.default_rng(9)
    now = traffic(generator, shares=[0, 0, 1], sureness=2)
    now.refused = Counter({"damaged": 1000})
    found = compare(now, reference(generator), Limits(drift=None, drop=None, refused=None))
    assert found.findings == []
    assert "no limit is set" in found.levels[0].sentence
