"""Every measure equals scikit-learn's figure, or one that is counted product by product here.

The answers are random, with ties, classes that do not occur, labels that the model does not know,
and products whose label nobody knows.
"""

import dataclasses
import math
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn import metrics as truth

from components.evaluation import figures
from components.judge.intervals import Bootstrap
from components.judge.measures import (
    Answers,
    AttributeAnswers,
    ClassAnswers,
    Measure,
    average_precision,
    label_average_precision,
    measures,
    totals,
)
from schema import features

CLASS_LEVELS = ("category", "subcategory", "gender")

SIZES = [(400, 6), (60, 40), (25, 3), (3, 5), (1, 2)]
"""Products, and labels of a level; there may be more labels than products."""

KNOWN_PAIRS = {(f"category {n}", f"subcategory {m}") for n in range(40) for m in range(n, n + 2)}


@dataclasses.dataclass
class Judged:
    """Answers, and the scores (N, C) that the class levels' were made of."""

    answers: Answers
    scores: dict[str, np.ndarray]

    def of_class(self, level):
        """Answers, and truths and answers of the products that count."""
        answers = self.answers.levels[level]
        counted = answers.truth != features.NOT_GIVEN
        return answers, answers.truth[counted], answers.answer[counted], counted

    @property
    def attributes(self):
        return self.answers.levels[features.ATTRIBUTES]

    def figure(self, name):
        return measures(self.answers, KNOWN_PAIRS)[name].figure(self.answers)


def class_answers(generator, level, products, labels):
    """The last label is unknown to the model; scores are tenths, so that many are equal."""
    known = labels - 1
    scores = np.zeros((products, labels), np.float32)
    scores[:, :known] = generator.multinomial(10, np.full(known, 1 / known), products) / 10
    answer = scores.argmax(axis=1)
    true = np.where(
        generator.random(products) < 0.5, answer, generator.integers(-2, labels, products)
    )
    order = np.argsort(-scores[:, :known], axis=1, kind="stable").tolist()
    ranks = [
        row.index(label) + 1 if label in row else 0
        for row, label in zip(order, true.tolist(), strict=True)
    ]
    hot = np.arange(labels) == true[:, None]
    answers = ClassAnswers(
        labels=[f"{level} {n}" for n in range(labels)],
        truth=true,
        answer=answer,
        score=np.where(true == 0, 1, generator.random(products, np.float32)),
        true_rank=np.array(ranks),
        brier=((scores - hot) ** 2).sum(axis=1),
    )
    return answers, scores


def attribute_answers(generator, products, labels):
    """The first is known to nobody, neither product nor model; the last to products alone."""
    scores = generator.random((products, labels), np.float32)
    tied = generator.random((products, labels)) < 0.7
    scores[tied] = scores[tied].round(1)
    true = generator.random((products, labels)) < 0.1 + 0.5 * scores
    true[:, 0] = False
    true[generator.random(products) < 0.2] = False
    scores[:, [0, -1]] = np.nan
    return AttributeAnswers([f"of=it {n}" for n in range(labels)], true, scores, threshold=0.7)


def judged(products, labels, seed=0):
    generator = np.random.default_rng([seed, products, labels])
    levels, scores = {}, {}
    for level in CLASS_LEVELS:
        levels[level], scores[level] = class_answers(generator, level, products, labels)
    levels[features.ATTRIBUTES] = attribute_answers(generator, products, labels)
    return Judged(Answers(levels), scores)


@pytest.fixture(params=[(*size, seed) for size in SIZES for seed in range(2)], ids=str)
def some(request):
    return judged(*request.param)


def near(expected):
    return pytest.approx(expected, abs=1e-6, nan_ok=True)


def cut(answers, rows):
    """The answers of some products alone, or of some of them several times."""
    levels = {}
    for level, of_level in answers.levels.items():
        arrays = {
            field.name: getattr(of_level, field.name)[rows]
            for field in dataclasses.fields(of_level)
            if isinstance(getattr(of_level, field.name), np.ndarray)
        }
        levels[level] = dataclasses.replace(of_level, **arrays)
    return Answers(levels)


@pytest.mark.parametrize("level", CLASS_LEVELS)
def test_a_class_levels_figures_are_scikit_learns(some, level):
    _, true, answer, counted = some.of_class(level)
    if not counted.any():
        assert math.isnan(some.figure(f"{level}/accuracy"))
        return
    assert some.figure(f"{level}/accuracy") == near(truth.accuracy_score(true, answer))
    for name, average in (("overall", "weighted"), ("macro", "macro")):
        expected = truth.precision_recall_fscore_support(
            true, answer, average=average, zero_division=0
        )
        for figure, value in zip(("precision", "recall", "f1"), expected, strict=False):
            assert some.figure(f"{level}/{name}_{figure}") == near(value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = truth.balanced_accuracy_score(true, answer)
    assert some.figure(f"{level}/balanced_accuracy") == near(expected)


@pytest.mark.parametrize("level", CLASS_LEVELS)
def test_a_class_levels_figures_are_those_of_the_evaluator(some, level):
    _, true, answer, counted = some.of_class(level)
    if not counted.any():
        return
    confusion = figures.confusion(np.column_stack([true, answer, answer, np.ones_like(true)]))
    for name, value in figures.class_figures(confusion).items():
        assert some.figure(f"{level}/{name}") == near(value)


@pytest.mark.parametrize("level", CLASS_LEVELS)
def test_the_truth_is_among_the_first_of_the_likeliest(some, level):
    answers, true, _, counted = some.of_class(level)
    known = len(answers.labels) - 1
    for k in (3, 5):
        first = np.argsort(-some.scores[level][counted, :known], axis=1, kind="stable")[:, :k]
        right = [label in row for label, row in zip(true, first, strict=True)]
        expected = np.mean(right) if right else np.nan
        assert some.figure(f"{level}/top{k}_accuracy") == near(expected)


@pytest.mark.parametrize("level", CLASS_LEVELS)
def test_briers_score_is_the_sum_of_scikit_learns_over_the_classes(some, level):
    answers, true, _, counted = some.of_class(level)
    if not counted.any():
        return
    scores = some.scores[level][counted]
    each = [
        truth.brier_score_loss(np.append(true == label, True), np.append(scores[:, label], 1))
        for label in range(len(answers.labels))
    ]
    # One more product that is right without doubt, for scikit-learn wants two classes.
    expected = sum(each) * (len(true) + 1) / len(true)
    assert some.figure(f"{level}/brier") == near(expected)


def bins(scores, right):
    """The table of `figures.calibration_error`, answer by answer."""
    table = np.zeros((figures.BINS, 3))
    for score, is_right in zip(scores.astype(float), right, strict=True):
        table[min(int(score * figures.BINS), figures.BINS - 1)] += 1, score, is_right
    return table


@pytest.mark.parametrize("level", CLASS_LEVELS)
def test_a_class_levels_calibration_error_is_that_of_the_evaluator(some, level):
    answers, true, answer, counted = some.of_class(level)
    if counted.any():
        expected = figures.calibration_error(bins(answers.score[counted], true == answer))
        assert some.figure(f"{level}/calibration_error") == near(expected)


def test_wrong_products_are_within_the_category_or_across(some):
    category, subcategory = (some.of_class(level)[0] for level in ("category", "subcategory"))
    edges = []
    for *above, true, answer in zip(
        category.truth, category.answer, subcategory.truth, subcategory.answer, strict=True
    ):
        path, answered = (above[0], true), (above[1], answer)
        if features.NOT_GIVEN not in path:
            edges.append(0 if path == answered else 2 if above[0] == above[1] else 4)
    if not edges:
        assert math.isnan(some.figure("subcategory/tree_distance"))
        return
    share = np.bincount(edges, minlength=5) / len(edges)
    assert some.figure("subcategory/pair_accuracy") == near(share[0])
    assert some.figure("subcategory/wrong_within_category") == near(share[2])
    assert some.figure("subcategory/wrong_across_categories") == near(share[4])
    assert some.figure("subcategory/tree_distance") == near(np.mean(edges))
    found = figures.pair_figures([len(edges), edges.count(0) + edges.count(2), edges.count(0), 0])
    for name in figures.PAIR_FIGURES:
        assert some.figure(f"subcategory/{name}") == near(found[name])


def test_an_answer_is_consistent_if_its_pair_is_known(some):
    category, subcategory = (some.of_class(level)[0] for level in ("category", "subcategory"))
    known = [
        (f"category {above}", f"subcategory {below}") in KNOWN_PAIRS
        for above, below in zip(category.answer, subcategory.answer, strict=True)
    ]
    assert some.figure("subcategory/hierarchical_consistency") == near(np.mean(known))
    assert "subcategory/hierarchical_consistency" not in measures(some.answers)


def attribute_decisions(answers):
    predicted = np.nan_to_num(answers.scores, nan=-1) >= np.float32(answers.threshold)
    return answers.truth, predicted


def test_the_attributes_figures_are_scikit_learns(some):
    true, predicted = attribute_decisions(some.attributes)
    for name, average in (("overall", "micro"), ("macro", "macro")):
        expected = truth.precision_recall_fscore_support(
            true, predicted, average=average, zero_division=0
        )
        for figure, value in zip(("precision", "recall", "f1"), expected, strict=False):
            assert some.figure(f"attributes/{name}_{figure}") == near(value)
    expected = truth.f1_score(true, predicted, average="samples", zero_division=0)
    assert some.figure("attributes/example_f1") == near(expected)
    assert some.figure("attributes/subset_accuracy") == near(truth.accuracy_score(true, predicted))


def test_the_attributes_figures_are_those_of_the_evaluator(some):
    true, predicted = attribute_decisions(some.attributes)
    counts = [(true & predicted).sum(0), (~true & predicted).sum(0), (true & ~predicted).sum(0)]
    for name, value in figures.attribute_figures(np.stack(counts, axis=1)).items():
        assert some.figure(f"attributes/{name}") == near(value)
    known = ~np.isnan(some.attributes.scores)
    if known.any():
        expected = figures.calibration_error(bins(some.attributes.scores[known], true[known]))
        assert some.figure("attributes/calibration_error") == near(expected)


def rankings(answers):
    """Every product's attributes, by (-score, index), without those the model does not know."""
    return [
        sorted(np.flatnonzero(~np.isnan(row)).tolist(), key=lambda at, row=row: (-row[at], at))
        for row in answers.scores
    ]


def test_r_precision_looks_at_as_many_as_the_product_has(some):
    found = [
        (len(set(ranking[: sum(own)]) & set(np.flatnonzero(own))), sum(own))
        for ranking, own in zip(rankings(some.attributes), some.attributes.truth, strict=True)
        if own.any()
    ]
    expected = np.mean([hits / k for hits, k in found]) if found else np.nan
    assert some.figure("attributes/r_precision") == near(expected)
    hits, own = (sum(column) for column in zip(*found, strict=True)) if found else (0, 0)
    assert some.figure("attributes/micro_r_precision") == near(hits / own if own else np.nan)


@pytest.mark.parametrize("k", [3, 5])
def test_top_k_recall_is_of_all_attributes_or_the_mean_of_each(some, k):
    labels = len(some.attributes.labels)
    hits, own = np.zeros(labels), np.zeros(labels)
    for ranking, true in zip(rankings(some.attributes), some.attributes.truth, strict=True):
        for attribute in np.flatnonzero(true):
            own[attribute] += 1
            hits[attribute] += attribute in ranking[:k]
    has = own > 0
    expected = hits.sum() / own.sum() if has.any() else np.nan
    assert some.figure(f"attributes/top{k}_recall") == near(expected)
    expected = np.mean(hits[has] / own[has]) if has.any() else np.nan
    assert some.figure(f"attributes/macro_top{k}_recall") == near(expected)


def known_scores(products, labels, seed):
    """Scores with ties, truths, and one product and one label without any."""
    generator = np.random.default_rng([seed, products, labels])
    scores = generator.integers(0, 21, (products, labels)).astype(np.float32) / 20
    true = generator.random((products, labels)) < 0.1 + 0.4 * scores
    true[0], true[:, 0] = False, False
    return scores, true


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("products", "labels"), [(200, 7), (12, 30), (2, 2)])
def test_average_precision_is_scikit_learns(products, labels, seed):
    scores, true = known_scores(products, labels, seed)
    true[-1, -1] = True
    has = true.any(axis=0)
    each = [truth.average_precision_score(true[:, at], scores[:, at]) for at in np.flatnonzero(has)]
    found = label_average_precision(scores, true)
    assert found[has] == near(each)
    assert np.isnan(found[~has]).all()
    assert average_precision(scores, true, "macro") == near(np.mean(each))
    expected = truth.average_precision_score(true.ravel(), scores.ravel())
    assert average_precision(scores, true, "micro") == near(expected)
    owners = true.any(axis=1)
    expected = [
        truth.average_precision_score(own, row)
        for own, row in zip(true[owners], scores[owners], strict=True)
    ]
    assert average_precision(scores, true, "samples") == near(np.mean(expected))


def test_a_label_that_the_model_does_not_know_is_never_found():
    scores = np.array([[0.9, np.nan], [0.1, np.nan], [0.5, np.nan]])
    true = np.array([[True, True], [False, True], [True, False]])
    assert label_average_precision(scores, true).tolist() == [1, 0]
    assert average_precision(scores, true) == 0.5
    # Of two and of one, one is found first; of one, none: (1/2 + 0 + 1) / 3.
    assert average_precision(scores, true, "samples") == pytest.approx(0.5)
    # Two of four are found, both before anything else.
    assert average_precision(scores, true, "micro") == pytest.approx(0.5)
    assert math.isnan(average_precision(scores, np.zeros((3, 2), bool)))


def test_the_figure_of_a_slice_is_that_of_its_products_alone(some):
    products = len(some.attributes)
    chosen = np.arange(products) % 3 == 0
    alone = cut(some.answers, chosen)
    for measure in measures(some.answers, KNOWN_PAIRS).values():
        assert measure.figure(some.answers, chosen) == near(measure.figure(alone)), measure.name


def test_a_slice_of_one_class_has_one_class():
    some = judged(400, 6)
    chosen = some.answers.levels["category"].truth == 2
    found = {
        name: measure.figure(some.answers, chosen)
        for name, measure in measures(some.answers).items()
    }
    assert found["category/balanced_accuracy"] == near(found["category/accuracy"])
    answered = np.unique(some.answers.levels["category"].answer[chosen])
    assert len(answered) > 1
    # What is answered and never true has a recall of 0.
    assert found["category/macro_recall"] == near(found["category/accuracy"] / len(answered))


def test_products_drawn_again_have_the_figures_of_those_products():
    some = judged(60, 5)
    generator = np.random.default_rng(2)
    bootstrap = Bootstrap(generator.integers(0, 30, 60), 3)
    chosen = generator.random(60) < 0.6
    for measure in measures(some.answers, KNOWN_PAIRS).values():
        values = bootstrap.values(measure.sums(some.answers), measure.value, chosen)
        for replicate, value in enumerate(values):
            weights = bootstrap.weights[bootstrap.group, replicate] * chosen
            drawn = cut(some.answers, np.repeat(np.arange(60), weights))
            assert value == near(measure.figure(drawn)), measure.name


def test_measures_of_one_table_are_drawn_again_together():
    some = judged(60, 5)
    bootstrap = Bootstrap(np.arange(60), 20)
    of_level = measures(some.answers)
    shared = of_level["category/overall_precision"].sums
    of_classes = [measure for measure in of_level.values() if measure.sums is shared]
    assert [measure.name.split("/")[1] for measure in of_classes] == [
        *("overall_precision", "overall_recall", "overall_f1"),
        *("macro_precision", "macro_recall", "macro_f1", "balanced_accuracy"),
    ]
    sums = of_classes[0].sums(some.answers)
    assert sparse.issparse(sums) and sums.nnz <= 3 * 60

    def values(of):
        return np.stack([measure.value(of) for measure in of_classes], axis=-1)

    found = bootstrap.values(sums, values)
    for position, measure in enumerate(of_classes):
        expected = bootstrap.values(measure.sums(some.answers), measure.value)
        assert found[:, position] == near(expected)


def test_a_share_adds_up_from_products_that_count_or_do_not(some):
    for measure in measures(some.answers, KNOWN_PAIRS).values():
        if measure.is_share:
            sums = measure.sums(some.answers)
            assert sums.shape == (len(some.attributes), 2)
            assert set(np.unique(sums)) <= {0, 1} and (sums[:, 0] <= sums[:, 1]).all()


def test_nothing_is_said_of_no_products(some):
    nobody = np.zeros(len(some.attributes), bool)
    for measure in measures(some.answers, KNOWN_PAIRS).values():
        assert math.isnan(measure.figure(some.answers, nobody)), measure.name


def test_what_is_better_is_said():
    less = {name for name, of in measures(judged(3, 5).answers).items() if of.lower_is_better}
    assert {name.split("/")[1] for name in less} == {
        *("brier", "calibration_error", "tree_distance"),
        *("wrong_within_category", "wrong_across_categories"),
    }


def test_products_whose_label_nobody_knows_are_left_out():
    some = judged(400, 6)
    answers, true, *_ = some.of_class("gender")
    assert 0 < len(true) < len(answers)
    found = measures(some.answers)
    assert totals(found["gender/accuracy"].sums(some.answers))[1] == len(true)
    assert totals(found["gender/macro_f1"].sums(some.answers))[-7:].sum() == len(true)


def test_levels_that_are_not_there_have_no_measures():
    levels = judged(25, 3).answers.levels
    names = set(measures(Answers({"gender": levels["gender"]}), KNOWN_PAIRS))
    assert {name.split("/")[0] for name in names} == {"gender"}
    without = Answers({level: levels[level] for level in ("category", "subcategory")})
    assert "subcategory/tree_distance" in measures(without)


def test_many_attributes_are_looked_at_in_chunks(monkeypatch):
    some = judged(60, 40)
    names = [name for name in measures(some.answers) if name.startswith("attributes/")]
    expected = [some.figure(name) for name in names]
    again = Judged(cut(some.answers, np.arange(60)), some.scores)
    monkeypatch.setattr("components.judge.measures._CHUNK_CELLS", 100)
    assert [again.figure(name) for name in names] == near(expected)


def test_answers_that_cannot_be_are_refused():
    answers = judged(25, 3).answers
    gender, attributes = answers.levels["gender"], answers.levels[features.ATTRIBUTES]
    with pytest.raises(ValueError, match=r"one value a product each, found .*'score': \(24,\)"):
        dataclasses.replace(gender, score=gender.score[:24])
    with pytest.raises(ValueError, match="answer of product 0 is 7, expected a code from 0 to 2"):
        dataclasses.replace(gender, answer=np.full(25, 7))
    with pytest.raises(ValueError, match="truth of product 0 is -3, expected a code from -2 to 2"):
        dataclasses.replace(gender, truth=np.full(25, -3))
    with pytest.raises(ValueError, match=r"3 attributes have shape \(25, 3\), found truth of"):
        dataclasses.replace(attributes, scores=attributes.scores[:, :2])
    with pytest.raises(ValueError, match="the same products, found {'gender': 25, 'attributes': 0"):
        Answers({"gender": gender, **cut_attributes(answers)})


def cut_attributes(answers):
    return {features.ATTRIBUTES: cut(answers, np.zeros(25, bool)).levels[features.ATTRIBUTES]}


def test_a_measure_may_be_anybodys():
    some = judged(25, 3)
    # One category matters twice.
    weight = 1 + (some.answers.levels["category"].truth == 1)
    measure = Measure(
        "category/costs",
        False,
        True,
        lambda answers: np.column_stack([weight * ~answers.levels["category"].right, weight]),
        lambda sums: sums[..., 0] / sums[..., 1],
    )
    wrong = ~some.answers.levels["category"].right
    assert measure.figure(some.answers) == near(np.average(wrong, weights=weight))
