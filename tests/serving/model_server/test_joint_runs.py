"""Requests that one thread computes for many callers."""

import contextvars

import numpy as np
import pytest

from serving.model_server.joint_runs import Computation, finish, finish_together


class Model:
    """Adds up: rows of x with a number of its own."""

    def __init__(self, number):
        self.number = number
        self.runs = []

    def run(self, inputs, outputs, timeout_s=None, signature_name=""):
        self.runs.append((1, signature_name, outputs, timeout_s))
        return [self._sum(inputs) for _ in outputs]

    def run_together(self, requests, outputs, timeout_s=None, signature_name=""):
        self.runs.append((len(requests), signature_name, outputs, timeout_s))
        if signature_name == "broken":
            raise ZeroDivisionError
        return [
            ValueError("odd") if inputs["x"] % 2 else [self._sum(inputs)] for inputs in requests
        ]

    def _sum(self, inputs):
        return inputs["x"] + self.number


NAME = contextvars.ContextVar("NAME", default="")


def asking(name, *computations):
    """Asks for one computation after the other, and answers with all there is, and its name."""
    NAME.set(name)
    found = []
    for computation in computations:
        try:
            found += yield computation
        except ValueError as error:
            found.append(str(error))
        assert NAME.get() == name, "contexts are mixed up"
    if name == "fails":
        raise KeyError(name)
    return name, found


def of(model, x, signature_name="", outputs=("y",), timeout_s=None):
    return Computation(model, {"x": np.int64(x)}, outputs, timeout_s, signature_name)


def all_of(*askings):
    ends, computed = {}, []

    def tell(some):
        for number, answer, error in some:
            assert number not in ends
            ends[number] = repr(error) if error else answer

    finish_together(askings, lambda: computed.append(len(ends)), tell)
    assert len(computed) == 1
    return [ends[number] for number in range(len(askings))], computed[0]


def test_one_request_is_computed_to_its_end():
    model = Model(10)
    assert finish(asking("a", of(model, 1), of(model, 2, timeout_s=3.0))) == ("a", [11, 12])
    assert model.runs == [(1, "", ("y",), None), (1, "", ("y",), 3.0)]
    with pytest.raises(KeyError):
        finish(asking("fails"))
    assert finish(asking("b")) == ("b", [])


def test_the_same_of_the_same_model_is_computed_once_for_all():
    one, two = Model(10), Model(20)
    ends, before = all_of(
        asking("a", of(one, 0)),
        asking("b", of(two, 0)),
        asking("c", of(one, 2)),
        asking("d", of(one, 4, "other")),
        asking("e", of(one, 6, outputs=("y", "z"))),
        asking("f"),
    )
    assert ends[:4] == [("a", [10]), ("b", [20]), ("c", [12]), ("d", [14])]
    assert ends[4:] == [("e", [16, 16]), ("f", [])]
    assert [run[:3] for run in one.runs] == [
        (2, "", ("y",)), (1, "other", ("y",)), (1, "", ("y", "z")),
    ]  # fmt: skip
    assert before == 5, "answers are told as soon as they are there; the last one is yet to write"


def test_what_goes_wrong_for_one_is_thrown_into_it_alone():
    model = Model(10)
    ends, _ = all_of(
        asking("a", of(model, 2), of(model, 4)),
        asking("b", of(model, 3), of(model, 6)),
        asking("fails", of(model, 8)),
        asking("d", of(model, 2, "broken")),
        asking("e", of(model, 2, "broken")),
    )
    assert ends == [
        ("a", [12, 14]),
        ("b", ["odd", 16]),
        "KeyError('fails')",
        "ZeroDivisionError()",
        "ZeroDivisionError()",
    ]


def test_together_they_have_as_much_time_as_who_has_most():
    for times, most in (([1.0, 3.0, 2.0], 3.0), ([1.0, None], None)):
        model = Model(0)
        all_of(*(asking(str(t), of(model, 0, timeout_s=t)) for t in times))
        assert model.runs == [(len(times), "", ("y",), most)]
