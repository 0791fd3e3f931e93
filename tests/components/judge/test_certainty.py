"""How sure a difference of two models is, where the figure is no share of the products."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from components.judge.answers import Judged
from components.judge.certainty import Uncertain, View
from components.judge.measures import Answers, AttributeAnswers

PRODUCTS = 1000
LABELS = ["a=1", "a=2", "b=1"]
TRUTH = np.random.default_rng(7).random((PRODUCTS, 3)) < 0.4


def answers(wrong: float, seed: int) -> Answers:
    """Attributes of which a part is wrong."""
    is_wrong = np.random.default_rng(seed).random(TRUTH.shape) < wrong
    scores = np.where(TRUTH ^ is_wrong, 0.9, 0.1)
    return Answers({"attributes": AttributeAnswers(LABELS, TRUTH, scores, 0.5)})


def f1(of: Answers) -> float:
    return f1_score(TRUTH, of.levels["attributes"].scores >= 0.5, average="micro")


@pytest.mark.parametrize("wrong", [0.05, 0.3])
def test_a_difference_lies_around_that_of_the_figures_and_says_which_way_it_goes(wrong):
    candidate, last = answers(wrong, 1), answers(0.15, 2)
    names = np.arange(PRODUCTS).astype(str)
    view = View(Judged(candidate, last, names, {}, ()))
    measure = view.measures["attributes/overall_f1"]
    everything = np.ones(PRODUCTS, bool)
    (low, high), p_value = Uncertain(view, measure, everything, 0.95).difference(last)

    difference = f1(candidate) - f1(last)
    assert low < difference < high < low + 0.1
    assert not low < 0 < high
    # At the difference itself either side is as likely; at none at all, one side is sure.
    assert p_value(difference, "below") == pytest.approx(0.5)
    assert p_value(difference, "above") == pytest.approx(0.5)
    better, worse = ("above", "below") if difference > 0 else ("below", "above")
    assert p_value(0.0, better) < 1e-6
    assert p_value(0.0, worse) > 1 - 1e-6


def test_two_models_that_answer_alike_do_not_differ():
    candidate, last = answers(0.1, 1), answers(0.1, 1)
    view = View(Judged(candidate, last, np.arange(PRODUCTS).astype(str), {}, ()))
    measure = view.measures["attributes/overall_f1"]
    interval, p_value = Uncertain(view, measure, np.ones(PRODUCTS, bool), 0.95).difference(last)
    assert interval == (0, 0)
    assert p_value(-0.01, "below") == 1
    assert p_value(0.01, "below") == 0
