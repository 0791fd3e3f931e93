"""`seamline versions` and `seamline rollback`: what they say, and what they refuse."""

import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.atomic_pusher import versions
from components.atomic_pusher.records import Origin
from pipeline.cli import app


def seamline(*arguments: object) -> tuple[int, str]:
    """Exit status, and all that it said on one line."""
    result = CliRunner(env={"COLUMNS": "160", "TZ": "UTC"}).invoke(app, [*map(str, arguments)])
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture
def utc(monkeypatch) -> None:
    """Times are shown in UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def push(tmp_path):
    """Pushes a model of so many bytes to the workspace; returns its version's number."""

    def call(size: int, accuracy: float = 0.5, name: str = "catalog") -> int:
        model = tmp_path / f"model-{size}"
        model.mkdir(exist_ok=True)
        (model / "saved_model.pb").write_bytes(bytes(size))
        origin = Origin(
            f"/w/artifacts/Trainer/model/{size}",
            "2026-11-26T10:12:13.141592",
            {"category/accuracy": accuracy, "attributes/overall_f1": 0.25},
        )
        outcome = versions.push(model, tmp_path / "work" / "serving" / name, origin)
        return outcome.version.number

    return call


@pytest.fixture
def work(tmp_path) -> Path:
    """The workspace."""
    return tmp_path / "work"


def test_the_live_versions_card_is_printed_as_it_is(work, push, tmp_path):
    status, said = seamline("versions", work, "--card")
    assert status == 1
    number = push(10)
    status, said = seamline("versions", work, "--card")
    assert (status, f"Version {number} came without a model card" in said) == (1, True)

    card = tmp_path / "model_card.md"
    card.write_text("# Model card: shop\n\n| a | b |\n", encoding="utf-8")
    model = tmp_path / "model-11"
    model.mkdir()
    (model / "saved_model.pb").write_bytes(bytes(11))
    versions.push(model, work / "serving" / "catalog", papers=[card])
    result = CliRunner().invoke(app, ["versions", str(work), "--card"])
    assert (result.exit_code, result.stdout) == (0, card.read_text(encoding="utf-8"))
    live, first = json.loads(CliRunner().invoke(app, ["versions", str(work), "--json"]).stdout)
    assert Path(live["model_card"]) == Path(live["folder"]) / "assets.extra" / "model_card.md"
    assert first["model_card"] is None


def test_every_version_is_a_row_with_its_model_its_figures_and_what_became_of_it(work, push, utc):
    first, second = push(1_000_000, 0.91), push(2_500_000, 0.87)
    assert seamline("rollback", work)[0] == 0

    status, said = seamline("versions", work)

    assert status == 0
    third = versions.find_versions(work / "serving" / "catalog")[0]
    today = f"{time.strftime('%Y-%m-%d', time.gmtime())}"
    assert re.search(
        rf"{third.number} {today} [\d:]+ Trainer/model/1000000 1\.0 MB "
        rf"live; a copy of {first}, in place of {second}\s+category 0\.910\s+"
        r"attributes OF1 0\.250",
        said,
    )
    assert re.search(
        rf"{second} {today} [\d:]+ Trainer/model/2500000 2\.5 MB rolled back {today} [\d:]+\s+"
        r"category 0\.870",
        said,
    )
    assert re.search(rf"{first} {today} [\d:]+ Trainer/model/1000000 1\.0 MB category", said)
    assert "version pushed model, and its figures on the test part size state" in said


def test_json_has_the_same_for_programs(work, push):
    first, second = push(10, 0.91), push(20, 0.87)
    seamline("rollback", work)

    result = CliRunner().invoke(app, ["versions", str(work), "--json"])

    rows = json.loads(result.output)
    assert [row["version"] for row in rows][1:] == [second, first]
    assert [row["live"] for row in rows] == [True, False, False]
    assert (rows[0]["copy_of"], rows[0]["in_place_of"]) == (first, second)
    assert [bool(row["rolled_back"]) for row in rows] == [False, True, False]
    assert rows[2] == {
        "version": first,
        "live": False,
        "pushed": rows[2]["pushed"],
        "model": "/w/artifacts/Trainer/model/10",
        "run": "2026-11-26T10:12:13.141592",
        "metrics": {"category/accuracy": 0.91, "attributes/overall_f1": 0.25},
        "bytes": 10,
        "copy_of": None,
        "in_place_of": None,
        "rolled_back": None,
        "fault": "",
        "note": "",
        "folder": str(work / "serving" / "catalog" / str(first)),
        "model_card": None,
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", rows[2]["pushed"])


def test_a_version_without_a_record_tells_what_its_folder_tells(work, push, utc):
    push(10)
    folder = work / "serving" / "catalog" / "1700000000"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(bytes(30_000))

    assert re.search(r"1700000000 2023-11-14 22:13 0\.0 MB$", seamline("versions", work)[1])


def test_a_larger_number_that_cannot_be_loaded_is_warned_of(work, push):
    number = push(10)
    (work / "serving" / "catalog" / "99999999999").mkdir()

    status, said = seamline("versions", work)
    assert status == 0
    assert "cannot be loaded: saved_model.pb is missing or empty" in said
    assert "Version 99999999999 has the largest number and cannot be loaded" in said
    assert re.search(rf"{number} .* live", said)


def test_a_rollback_says_what_is_live_and_how_to_undo_it(work, push):
    first, second = push(10), push(20)

    status, said = seamline("rollback", work)

    assert status == 0
    third = versions.find_versions(work / "serving" / "catalog")[0].number
    undo = f"seamline rollback {work} --to {second}"
    assert said == (
        f"version {third}, a copy of {first}, is live in place of {second}; servers change over "
        f"when they next look to undo this: {undo}"
    )
    assert seamline(*undo.split()[1:])[0] == 0
    fourth = versions.find_versions(work / "serving" / "catalog")[0].number
    assert seamline("rollback", work, "--to", second) == (
        0,
        f"version {fourth} is live already; nothing was done",
    )


def test_a_rollback_that_cannot_be_is_one_sentence(work, push):
    number = push(10)

    status, said = seamline("rollback", work)
    assert status == 1
    assert f"There is no version before {number} to go back to" in said
    status, said = seamline("rollback", work, "--to", 5)
    assert status == 1
    assert f"There is no version 5 in {work}/serving/catalog; there are {number}." in said


def test_another_model_s_versions_are_found_by_its_name(work, push):
    push(10, name="shoes")
    second = push(20, name="shoes")

    for command in ("versions", "rollback"):
        status, said = seamline(command, work)
        assert status == 1
        assert "There is shoes: name it with --model." in said
    status, said = seamline("rollback", work, "--model", "shoes")
    assert status == 0
    assert said.endswith(f"--to {second} --model shoes")


@pytest.mark.parametrize("command", ["versions", "rollback"])
def test_where_nothing_was_pushed_it_says_what_pushes(work, command):
    status, said = seamline(command, work)
    assert status == 1
    assert "No version of catalog was pushed" in said
    assert "seamline run CONFIG" in said
    assert not work.exists(), "to look makes no folder"


@pytest.mark.parametrize("command", ["versions", "rollback"])
def test_an_object_store_is_refused(command):
    status, said = seamline(command, "gs://bucket/work")
    assert status == 1
    assert "is in an object store" in said


def test_a_rollback_waits_for_no_run(work, push):
    """A run holds the workspace for hours; whoever rolls back is in a hurry."""
    from pipeline.workspace import Workspace

    push(10), push(20)
    Workspace(work).create()
    with Workspace(work).locked():
        assert seamline("rollback", work)[0] == 0


def test_a_serving_folder_that_is_a_link_is_followed(work, push, tmp_path):
    push(10), push(20)
    shutil.move(work / "serving", tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", work / "serving")

    assert seamline("rollback", work)[0] == 0
    assert len(list((tmp_path / "elsewhere" / "catalog").iterdir())) == 3
