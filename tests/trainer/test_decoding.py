"""Joint decoding: the two levels agree, and nothing is made surer than it was."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.decoding import JointDecoding

# "Socks" stand under both categories, three times as often under the second.
PAIRS = np.array([[50, 10, 0, 10], [0, 0, 40, 30]])


def decoded(pairs, category, subcategory):
    category, subcategory = np.float32(category), np.float32(subcategory)
    return [np.asarray(x) for x in JointDecoding(pairs)(category, subcategory)]


def by_hand(pairs, category, subcategory):
    """The joint probabilities of one product, pair by pair, in plain Python."""
    rows, columns = len(pairs), len(pairs[0])
    share = [[pairs[c][s] / sum(row[s] for row in pairs) for s in range(columns)] for c in range(2)]
    opinion = [sum(subcategory[s] * share[c][s] for s in range(columns)) for c in range(rows)]
    joint = [
        [(category[c] / opinion[c]) ** 0.5 * subcategory[s] * share[c][s] for s in range(columns)]
        for c in range(rows)
    ]
    total = sum(map(sum, joint))
    return [[x / total for x in row] for row in joint]


def test_where_the_levels_agree_both_are_the_sums_of_the_joint_probabilities():
    category, subcategory = [0.8, 0.2], [0.6, 0.1, 0.1, 0.2]
    joint = by_hand(PAIRS, category, subcategory)
    of_category, of_subcategory = decoded(PAIRS, [category], [subcategory])
    np.testing.assert_allclose(of_category[0], [sum(row) for row in joint], rtol=1e-5)
    np.testing.assert_allclose(
        of_subcategory[0], [sum(column) for column in zip(*joint, strict=True)], rtol=1e-5
    )


def test_where_they_disagree_the_subcategory_is_given_the_category():
    # The likeliest sub-category, 2, was never seen under the likeliest category, 0.
    category, subcategory = [0.7, 0.3], [0.28, 0.17, 0.5, 0.05]
    joint = by_hand(PAIRS, category, subcategory)
    assert sum(joint[0]) > sum(joint[1]) and joint[1][2] > joint[0][0]
    of_category, of_subcategory = decoded(PAIRS, [category], [subcategory])
    np.testing.assert_allclose(of_category[0], [sum(row) for row in joint], rtol=1e-5)
    np.testing.assert_allclose(
        of_subcategory[0], [x / sum(joint[0]) for x in joint[0]], rtol=1e-5, atol=1e-7
    )


def test_levels_that_say_the_same_stay_as_they_are():
    subcategory = np.array([[0.5, 0.1, 0.3, 0.1], [0.05, 0.05, 0.5, 0.4]])
    category = subcategory @ (PAIRS / PAIRS.sum(0)).T
    of_category, of_subcategory = decoded(PAIRS, category, subcategory)
    np.testing.assert_allclose(of_category, category, rtol=1e-5)
    np.testing.assert_allclose(of_subcategory, subcategory, rtol=1e-5)


@st.composite
def answers(draw):
    """A taxonomy and probabilities, sharp enough that 32 bits make zeros of some."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    categories, subcategories = draw(st.integers(1, 5)), draw(st.integers(1, 8))
    pairs = generator.integers(0, 4, (categories, subcategories))
    pairs *= generator.random(pairs.shape) < 0.5
    pairs[:, 0] += pairs.sum(1) == 0
    pairs[0] += pairs.sum(0) == 0
    sharpness = draw(st.sampled_from([1, 10, 100, 1000]))

    def probabilities(width):
        scores = sharpness * generator.normal(size=(6, width))
        powers = np.exp(scores - scores.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    return pairs, probabilities(categories), probabilities(subcategories)


@settings(deadline=None, max_examples=60)
@given(answers())
def test_every_decision_is_a_pair_that_was_seen_and_every_row_sums_to_one(drawn):
    pairs, *levels = drawn
    category, subcategory = decoded(pairs, *levels)
    for level in (category, subcategory):
        np.testing.assert_allclose(level.sum(1), 1, rtol=1e-5)
        assert (level >= 0).all()
    assert (pairs[category.argmax(1), subcategory.argmax(1)] > 0).all()


@pytest.mark.parametrize("subcategory", [[0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
def test_certainties_that_contradict_each_other_still_give_probabilities(subcategory):
    category, subcategory = decoded(PAIRS, [[1.0, 0.0]], [subcategory])
    assert np.isfinite(category).all() and np.isfinite(subcategory).all()
    assert PAIRS[category[0].argmax(), subcategory[0].argmax()] > 0


def test_the_likeliest_category_alone_decides_between_the_homes_of_a_subcategory():
    socks = [0.0, 0.0, 0.0, 1.0]
    category, subcategory = decoded(PAIRS, [[0.9, 0.1], [0.1, 0.9]], [socks, socks])
    assert category.argmax(1).tolist() == [0, 1]
    assert subcategory.argmax(1).tolist() == [3, 3]
