"""The arithmetic of the metrics equals scikit-learn's, whatever the counts."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as truth

from components.evaluation import figures

pairs = st.lists(st.tuples(st.integers(-1, 6), st.integers(0, 6)), min_size=1, max_size=60)
decisions = st.integers(1, 5).flatmap(
    lambda width: st.lists(
        st.tuples(*[st.tuples(st.booleans(), st.booleans())] * width), min_size=1, max_size=40
    )
)


def confusion_of(judged):
    return np.array([(*pair, count) for pair, count in Counter(judged).items()])


@settings(deadline=None)
@given(pairs)
def test_class_figures_are_scikit_learns_weighted_averages(judged):
    true, predicted = zip(*judged, strict=True)
    weighted = truth.precision_recall_fscore_support(
        true, predicted, average="weighted", zero_division=0
    )
    found = figures.class_figures(confusion_of(judged))
    assert tuple(found) == figures.CLASS_FIGURES
    assert list(found.values()) == pytest.approx(
        [
            truth.accuracy_score(true, predicted),
            *weighted[:3],
            *truth.precision_recall_fscore_support(
                true, predicted, average="macro", zero_division=0
            )[:3],
            # Of scikit-learn's recalls those of classes that are true.
            truth.recall_score(
                true, predicted, labels=sorted({*true}), average="macro", zero_division=0
            ),
        ]
    )


@settings(deadline=None)
@given(pairs)
def test_every_class_that_occurs_has_scikit_learns_figures(judged):
    true, predicted = zip(*judged, strict=True)
    report = truth.classification_report(true, predicted, output_dict=True, zero_division=0)
    for index, found in figures.per_class(confusion_of(judged)).items():
        expected = report[str(index)]
        expected["f1"] = expected.pop("f1-score")
        assert found == pytest.approx(expected)


@settings(deadline=None)
@given(decisions)
def test_attribute_figures_are_scikit_learns_micro_and_macro_averages(judged):
    cells = np.array(judged)
    true, predicted = cells[:, :, 0], cells[:, :, 1]
    counts = np.stack(
        [(true & predicted).sum(0), (~true & predicted).sum(0), (true & ~predicted).sum(0)], axis=1
    )
    # A single column would be read as binary labels.
    true, predicted = (np.c_[of, np.zeros(len(of), bool)] for of in (true, predicted))
    labels = range(cells.shape[1])
    expected = [
        value
        for average in ("micro", "macro")
        for value in truth.precision_recall_fscore_support(
            true, predicted, labels=labels, average=average, zero_division=0
        )[:3]
    ]
    found = figures.attribute_figures(counts)
    assert tuple(found) == figures.ATTRIBUTE_FIGURES
    assert list(found.values()) == pytest.approx(expected)
    one_by_one = truth.precision_recall_fscore_support(
        true, predicted, labels=labels, average=None, zero_division=0
    )
    for row, found_row in enumerate(figures.per_attribute(counts)):
        assert list(found_row.values()) == pytest.approx(
            [one_by_one[3][row], *(figure[row] for figure in one_by_one[:3])]
        )


def test_decisions_sum_up_to_the_confusion_and_tell_what_decoding_changed():
    # Truth, prediction, the prediction without joint decoding, products.
    decisions = np.array([[0, 0, 0, 5], [0, 0, 1, 2], [1, 0, 1, 1], [-1, 1, 0, 2]])
    assert figures.confusion(decisions).tolist() == [[-1, 1, 2], [0, 0, 7], [1, 0, 1]]
    found = figures.decoding_figures(decisions)
    assert found == {"independent_accuracy": 0.6, "changed_by_decoding": 0.5}


@pytest.mark.parametrize(
    ("level", "joint_decoding", "calibrated", "expected"),
    [
        ("category", True, True, {"independent_accuracy", "changed_by_decoding"}),
        (
            "subcategory",
            *(True, True),
            {"independent_accuracy", "changed_by_decoding", "independent_pair_accuracy"},
        ),
        *((level, True, True, set()) for level in ("gender", "attributes")),
        *((level, False, True, set()) for level in ("category", "subcategory", "gender")),
        ("category", True, False, {"independent_accuracy", "changed_by_decoding"}),
        ("subcategory", False, False, set()),
    ],
)
def test_a_level_is_compared_with_itself_without_what_it_has(
    level, joint_decoding, calibrated, expected
):
    uncalibrated = {"uncalibrated_calibration_error"} if calibrated else set()
    found = figures.compared(level, joint_decoding, calibrated)
    assert set(found) == expected | uncalibrated
    assert len(set(found)) == len(found)


def test_one_product_alone_is_all_that_is_judged():
    right_but_changed = np.array([[1, 1, 0, 1]])
    assert figures.decoding_figures(right_but_changed) == {
        "independent_accuracy": 0,
        "changed_by_decoding": 1,
    }
    assert figures.class_figures(figures.confusion(right_but_changed))["accuracy"] == 1


def test_attributes_that_no_model_knows_are_misses_of_all_decisions_alone():
    counts = np.array([[3, 1, 2], [1, 0, 0]])
    found = figures.attribute_figures(counts, unknown=4)
    # 4 are right, of 5 that are said and of 10 that there are.
    assert found["overall_precision"] == pytest.approx(0.8)
    assert found["overall_recall"] == pytest.approx(0.4)
    assert found["overall_f1"] == pytest.approx(2 * 0.8 * 0.4 / 1.2)
    assert found["macro_recall"] == pytest.approx((3 / 5 + 1) / 2)


def test_pairs_are_shares_of_the_products():
    # Of 8 products 7 have the right category, 6 the right sub-category too, 4 without decoding.
    assert list(figures.pair_figures([8, 7, 6, 4]).values()) == [6 / 8, 1 / 8, 1 / 8, 6 / 8, 4 / 8]
    assert list(figures.pair_figures([0, 0, 0, 0]).values()) == [0] * 5
    assert list(figures.rank_figures([8, 6, 7, 4.0]).values()) == [0.75, 0.875, 0.5]


def test_the_calibration_error_weighs_each_bin_by_its_answers():
    # Mean score .5 where .5 are right, mean score .9 where .6 are: half of .3.
    bins = np.array([[10, 5.0, 5], [0, 0.0, 0], [10, 9.0, 6]])
    assert figures.calibration_error(bins) == pytest.approx(0.15)


def test_nothing_judged_is_nothing_reached():
    nothing = np.zeros((0, 3))
    assert set(figures.class_figures(nothing).values()) == {0}
    assert set(figures.attribute_figures(nothing).values()) == {0}
    assert figures.calibration_error(nothing) == 0
    assert figures.confusion(np.zeros((0, 4))).shape == (0, 3)
    assert set(figures.decoding_figures(np.zeros((0, 4))).values()) == {0}
    assert figures.per_class(nothing) == {}
    assert figures.per_attribute(nothing) == []


def test_decisions_at_several_thresholds_are_scikit_learns():
    random = np.random.default_rng(3)
    scores = random.integers(0, 5, (40, 6)) / 4
    has = random.random((40, 6)) < 0.4
    thresholds = [0.25, 0.5, 1.0]
    counts = figures.counts_at(scores, has, thresholds)
    for place, threshold in enumerate(thresholds):
        matrices = truth.multilabel_confusion_matrix(has, scores >= threshold)
        expected = np.stack([matrices[:, 1, 1], matrices[:, 0, 1], matrices[:, 1, 0]], axis=1)
        np.testing.assert_array_equal(counts[:, place], expected)


def test_an_attribute_that_a_model_does_not_know_is_never_said():
    counts = figures.counts_at(np.full((3, 1), np.nan), np.array([[True], [True], [False]]), [0.1])
    assert counts.tolist() == [[[0, 0, 2]]]
