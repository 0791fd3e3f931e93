"""Which step leaves which entry."""

from __future__ import annotations

from pathlib import Path

from tfx.types import standard_artifacts

from components.data_gate.artifacts import DataGateVerdict
from components.judge.artifacts import Judgement
from components.ledger.ledger import Blessed, Ledger, Passed, Pushed
from components.ledger.recording import record


class Step:
    """A step that ended, in a folder with its ledger."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = Ledger(str(folder / "ledger"))

    def artifact(self, kind, name, **properties):
        made = kind()
        made.uri = str(self.folder / name)
        Path(made.uri).mkdir(exist_ok=True)
        for key, value in properties.items():
            put = made.set_int_custom_property
            if isinstance(value, str):
                put = made.set_string_custom_property
            put(key, value)
        return [made]

    def ended(self, inputs, outputs, /, **options):
        record(inputs, outputs, {"ledger": str(self.folder / "ledger"), **options})


def test_the_gate_leaves_the_statistics_that_passed(tmp_path: Path) -> None:
    step = Step(tmp_path)
    step.ended(
        {"statistics": step.artifact(standard_artifacts.ExampleStatistics, "statistics")},
        {"verdict": step.artifact(DataGateVerdict, "verdict")},
        inputs="these",
    )
    passed = Passed("these", str(tmp_path / "statistics"), str(tmp_path / "verdict"))
    assert list(step.ledger.entries(Passed)) == [passed]


def test_the_judge_leaves_what_it_blessed_alone(tmp_path: Path) -> None:
    step = Step(tmp_path)

    def judged(blessed: int) -> list[Blessed]:
        blessing = step.artifact(standard_artifacts.ModelBlessing, "blessing", blessed=blessed)
        step.ended(
            {"model": step.artifact(standard_artifacts.Model, "model")},
            {"judgement": step.artifact(Judgement, "judgement"), "blessing": blessing},
            inputs="these",
            training="so",
        )
        return list(step.ledger.entries(Blessed))

    assert judged(0) == []
    assert judged(1) == [
        Blessed("these", "so", str(tmp_path / "model"), str(tmp_path / "judgement"))
    ]


def test_the_push_leaves_what_went_live(tmp_path: Path) -> None:
    step = Step(tmp_path)

    def pushed(**properties) -> list[Pushed]:
        step.ended(
            {"model": step.artifact(standard_artifacts.Model, "model")},
            {"pushed_model": step.artifact(standard_artifacts.PushedModel, "push", **properties)},
        )
        return list(step.ledger.entries(Pushed))

    assert pushed(pushed=0) == []
    assert pushed(pushed=1, pushed_destination="/serving/3", pushed_version="3") == [
        Pushed(str(tmp_path / "model"), "/serving/3", "3")
    ]


def test_other_steps_leave_nothing(tmp_path: Path) -> None:
    step = Step(tmp_path)
    model = step.artifact(standard_artifacts.Model, "model")
    step.ended({}, {"model": model})
    record({}, {"blessing": step.artifact(standard_artifacts.InfraBlessing, "blessing")}, {})
    assert not (tmp_path / "ledger").exists()
