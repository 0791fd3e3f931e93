"""Which model a candidate is compared with, and what was said of that one."""

from __future__ import annotations

from tfx.types import standard_artifacts

from components.evaluation.baseline import LatestOtherBlessedModel
from components.judge.artifacts import Judgement


def artifact(kind, number, **properties):
    made = kind()
    made.id = number
    for name, value in properties.items():
        made.set_int_custom_property(name, value)
    return made


def model(number):
    return artifact(standard_artifacts.Model, number)


def blessing(number, of, blessed=1):
    return artifact(standard_artifacts.ModelBlessing, number, blessed=blessed, current_model_id=of)


def judgement(number, of):
    return artifact(Judgement, number, current_model_id=of)


def resolved(candidate, blessings, judgements=()) -> dict[str, list[int]]:
    inputs = {
        "model": [model(number) for number in (1, 2, 3)],
        "model_blessing": list(blessings),
        "judgement": list(judgements),
        "candidate": [model(candidate)],
    }
    found = LatestOtherBlessedModel().resolve_artifacts(None, inputs)
    return {name: [of.id for of in artifacts] for name, artifacts in found.items()}


def test_it_is_the_one_that_was_blessed_last_and_is_not_the_candidate():
    blessings = [blessing(10, 1), blessing(11, 2), blessing(12, 3), blessing(13, 2, blessed=0)]
    assert resolved(3, blessings)["model"] == [2]
    assert resolved(3, blessings)["model_blessing"] == [11]
    assert resolved(2, blessings)["model"] == [3]


def test_without_another_blessed_model_there_is_none():
    assert resolved(1, [blessing(10, 1), blessing(11, 2, blessed=0)], [judgement(20, 1)]) == {
        **{"model": [], "model_blessing": [], "judgement": []},
        "candidate": [1],
    }


def test_of_what_was_said_of_it_the_first_is_taken_however_often_it_was_judged():
    blessings = [blessing(10, 1), blessing(11, 2)]
    judgements = [judgement(23, 1), judgement(21, 1), judgement(20, 2), judgement(22, 1)]
    assert resolved(2, blessings, judgements)["judgement"] == [21]
    # What a Seamline wrote that did not note which model it was of.
    assert resolved(2, blessings, [artifact(Judgement, 20)])["judgement"] == []
