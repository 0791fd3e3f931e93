"""When a client asks again."""

from __future__ import annotations

import itertools
import random

import pytest

from serving.client.retries import Retries, RetryBudget, pauses


def test_pauses_double_up_to_the_longest():
    rules = Retries(first_s=0.1, longest_s=1.0)
    longest = itertools.islice(pauses(rules, lambda low, high: high), 6)
    assert list(longest) == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_chance_shortens_a_pause_to_half_at_most():
    rules = Retries(first_s=1.0, longest_s=1.0)
    drawn = list(itertools.islice(pauses(rules), 200))
    assert 0.5 <= min(drawn) < max(drawn) <= 1.0


@pytest.fixture
def clock():
    """A clock that a test sets."""

    class Clock:
        now = 100.0

        def __call__(self):
            return self.now

    return Clock()


def test_a_burst_of_retries_is_free_and_those_beyond_are_put_off(clock):
    budget = RetryBudget(Retries(share=0, per_second=2, at_once=3), clock)
    assert [budget.spend() for _ in range(5)] == [0, 0, 0, 0.5, 1.0]


def test_time_gives_retries_back(clock):
    budget = RetryBudget(Retries(share=0, per_second=2, at_once=3), clock)
    for _ in range(4):
        budget.spend()
    clock.now += 1.5
    # One was owed, three have come: two are there, and one is spent by asking.
    assert [budget.spend() for _ in range(3)] == [0, 0, 0.5]


def test_requests_earn_a_share_of_retries_and_never_more_than_a_burst(clock):
    budget = RetryBudget(Retries(share=0.5, per_second=1, at_once=2), clock)
    for _ in range(100):
        budget.earn()
    assert [budget.spend() for _ in range(3)] == [0, 0, 1]
    budget.earn()
    budget.earn()
    assert budget.spend() == 1


def test_a_retry_that_is_not_made_is_not_paid(clock):
    budget = RetryBudget(Retries(share=0, per_second=1, at_once=1), clock)
    assert budget.spend() == 0
    for _ in range(5):
        assert budget.spend() == 1
        budget.refund()


def test_by_default_ten_retries_are_free_and_a_server_that_is_down_is_asked_a_fifth_more(clock):
    budget = RetryBudget(Retries(), clock)
    assert [budget.spend() for _ in range(12)] == [0] * 10 + [1, 2]
    for _ in range(5):
        budget.earn()
    assert budget.spend() == pytest.approx(2)
    longest = itertools.islice(pauses(Retries(), lambda low, high: high), 6)
    assert list(longest) == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.0])


def test_what_a_program_draws_by_its_own_seed_stays_the_same():
    """A client may ask from another thread while a training draws its first weights."""
    random.seed(5)
    alone = random.random()
    random.seed(5)
    next(pauses(Retries()))
    assert random.random() == alone
