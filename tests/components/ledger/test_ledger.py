"""What a run finds of earlier ones: by what they were of, never by numbers of a database."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from datetime import datetime, timezone
from pathlib import Path

import pytest

from components import storage
from components.ledger import ledger as ledgers
from components.ledger.ledger import Blessed, Ledger, Passed, Pushed
from schema.errors import UserError


class Past:
    """Runs, one after the other, whose artifacts are empty folders."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ledger = Ledger(f"{root}/ledger/")
        self._made = 0

    def artifact(self) -> str:
        self._made += 1
        (folder := self.root / "artifacts" / str(self._made)).mkdir(parents=True)
        return str(folder)

    def passed(self, inputs: str) -> Passed:
        self.ledger.add(entry := Passed(inputs, self.artifact(), self.artifact()))
        return entry

    def blessed(self, inputs: str, training: str, model: str | None = None) -> Blessed:
        entry = Blessed(inputs, training, model or self.artifact(), self.artifact())
        self.ledger.add(entry)
        return entry


@pytest.fixture
def past(tmp_path: Path) -> Past:
    """No run yet."""
    return Past(tmp_path)


def test_the_first_run_finds_nothing_and_leaves_nothing(past: Past) -> None:
    assert past.ledger.passed_before("a") is None
    assert past.ledger.base_for("a") is None
    assert past.ledger.baseline_for("t") is None
    assert list(past.root.iterdir()) == []


def test_drift_is_measured_against_the_last_other_data_that_passed(past: Past) -> None:
    first, second = past.passed("a"), past.passed("b")
    assert past.ledger.passed_before("c") == second
    assert past.ledger.passed_before("b") == first, "else nothing changed would compare anew"
    again = past.passed("a")
    assert past.ledger.passed_before("b") == again


def test_a_training_starts_from_the_last_blessed_model_of_other_data(past: Past) -> None:
    old = past.blessed("a", "a by x")
    assert past.ledger.base_for("b") == old
    past.blessed("b", "b by x")
    assert past.ledger.base_for("b") == old, "else a second run would train anew, and so on"


def test_a_model_is_compared_with_the_last_blessed_one_of_another_training(past: Past) -> None:
    first, second = past.blessed("a", "a by x"), past.blessed("a", "a by y")
    assert past.ledger.baseline_for("a by z") == second
    assert past.ledger.baseline_for("a by y") == first
    past.blessed("a", "a by x", first.model)
    found = past.ledger.baseline_for("a by y")
    assert found == first, "of what was said of a model the first is taken"
    third = past.blessed("b", "b by x")
    assert past.ledger.baseline_for("a by y") == third


@pytest.mark.parametrize("gone", ["model", "judgement"])
def test_what_a_killed_step_or_a_person_removed_is_passed_over(past: Past, gone: str) -> None:
    first, second = past.blessed("a", "a"), past.blessed("b", "b")
    shutil.rmtree(getattr(second, gone))
    assert past.ledger.baseline_for("c") == first
    assert past.ledger.base_for("c") == first


def test_the_order_is_that_of_the_writing_whatever_the_clock_says(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(datetime):
        at = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)

        @classmethod
        def now(cls, tz=None):
            return cls.at

    monkeypatch.setattr(ledgers, "datetime", Clock)
    written = []
    for year in (2026, 2025, 2026, 1999, 2027):
        Clock.at = Clock.at.replace(year=year)
        written.append(past.passed(f"in {year}, {len(written)}"))
        assert list(past.ledger.entries(Passed)) == written[::-1]


def test_what_says_the_same_as_the_last_one_is_not_written_again(past: Past) -> None:
    one, two = Pushed("m", "/serving/1", "1"), Pushed("m", "/serving/2", "2")
    for entry in (one, one, two, two, one):
        past.ledger.add(entry)
    assert list(past.ledger.entries(Pushed)) == [one, two, one]


def _write(root: str, number: int) -> None:
    for each in range(20):
        Ledger(root).add(Pushed(f"{number}", f"{each}", ""))


def test_several_writers_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(str(tmp_path), n)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    found = {(entry.model, entry.destination) for entry in Ledger(str(tmp_path)).entries(Pushed)}
    assert found == {(f"{n}", f"{each}") for n in range(4) for each in range(20)}


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "3", "null", '{"kind": "blessed"}', '{"kind": "pushed", "model": "m"}'),
        json.dumps({"kind": "pushed", "model": 3, "destination": "", "version": ""}),
        json.dumps({"kind": "pushed", "model": "", "destination": "", "version": "", "x": ""}),
        "\udcff",
    ],
)
def test_a_damaged_entry_is_named_with_what_to_do(past: Past, content: str) -> None:
    past.ledger.add(Pushed("m", "d", "v"))
    [file] = (past.root / "ledger" / "pushed").iterdir()
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    for look in (
        lambda: list(past.ledger.entries(Pushed)),
        lambda: past.ledger.add(Pushed(*"abc")),
    ):
        with pytest.raises(UserError, match=r"is no entry of a ledger .*\. Delete it") as raised:
            look()
        assert str(file) in str(raised.value)


def test_a_full_disk_leaves_no_half_entry(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        past.ledger.add(Pushed("m", "d", "v"))
    assert list((past.root / "ledger" / "pushed").iterdir()) == []
