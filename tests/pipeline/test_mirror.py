"""What a run keeps in step with its workspace in a bucket."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from components import storage
from pipeline import mirror as mirrors
from pipeline.mirror import Mirror, mirrored
from pipeline.workspace import Workspace
from schema.errors import UserError


@pytest.fixture
def url(gs_url):
    return f"{gs_url}/shop"


@pytest.fixture
def on_machine(url, tmp_path, monkeypatch):
    """The workspace's mirror on a machine, which has begun."""

    def begun(machine: str) -> Mirror:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / machine))
        mirror = Mirror(Workspace.named(Path(url)))
        mirror.workspace.create()
        mirror.begin()
        return mirror

    return begun


def noted(mirror: Mirror, *words: str) -> list[str]:
    """Notes words in ML Metadata's file; returns all that are there."""
    with closing(sqlite3.connect(mirror.workspace.metadata)) as database, database:
        database.execute("create table if not exists noted (word text)")
        database.executemany("insert into noted values (?)", [(word,) for word in words])
        return [word for (word,) in database.execute("select word from noted order by rowid")]


def sent(monkeypatch) -> list[str]:
    """Gathers what is written to the bucket from now on."""
    written: list[str] = []
    created = storage.created

    def noting(path: str):
        if storage.is_url(path):
            written.append(path)
        return created(path)

    monkeypatch.setattr(storage, "created", noting)
    return written


def test_the_next_machine_knows_what_was_written_back_and_the_same_one_nothing_more(on_machine):
    first = on_machine("first")
    first.write_metadata()
    assert not first.workspace.metadata.exists(), "there is nothing yet"
    noted(first, "one")
    first.write_metadata()
    noted(first, "of a step that was killed")
    second = on_machine("second")
    assert noted(second, "two") == ["one", "two"]
    second.write_metadata()
    again = on_machine("first")
    assert noted(again) == ["one", "two"]


def test_of_two_runs_the_one_that_was_taken_over_does_not_write_its_file(on_machine, url):
    first, second = on_machine("first"), on_machine("second")
    noted(second, "second")
    second.write_metadata()
    noted(first, "first")
    with pytest.raises(UserError, match=rf"Another run has written {url}/metadata.sqlite while"):
        first.write_metadata()
    assert noted(on_machine("third")) == ["second"]


def test_what_a_killed_step_goes_on_from_comes_after_what_it_names_and_goes_with_it(
    on_machine, url, monkeypatch
):
    first = on_machine("first")
    training = first.workspace.root / "training" / "run"
    training.mkdir(parents=True)
    (training / "epoch-1.npz").write_bytes(b"1")
    (training / "state.json").write_bytes(b'{"last": 1}')
    (training / "unfinished.npz").write_bytes(b"hal")
    written = sent(monkeypatch)
    first._look()
    first._look()
    assert written == [f"{url}/training/run/{name}" for name in ("epoch-1.npz", "state.json")]
    (training / "epoch-2.npz").write_bytes(b"22")
    (training / "epoch-1.npz").unlink()
    (training / "state.json").write_bytes(b'{"last": 2 }')
    first._look()
    assert storage.files(f"{url}/training") == ["run/epoch-2.npz", "run/state.json"]

    second = on_machine("second")
    there = second.workspace.root / "training" / "run"
    assert (there / "state.json").read_bytes() == b'{"last": 2 }'
    for file in there.iterdir():
        file.unlink()
    with second.keeping():
        pass
    assert storage.files(f"{url}/training") == [], "it was finished"


def test_a_machine_that_was_killed_goes_on_from_its_own_state_and_sends_all_of_it(
    on_machine, url, monkeypatch
):
    first = on_machine("first")
    training = first.workspace.root / "training"
    (training / "state.json").write_bytes(b"1")
    (training / "best.npz").write_bytes(b"1")
    first._look()
    (training / "epoch-2.npz").write_bytes(b"2")
    (training / "state.json").write_bytes(b"2")
    again = on_machine("first")
    assert (training / "epoch-2.npz").exists()
    again._look()
    assert storage.files(f"{url}/training") == ["best.npz", "epoch-2.npz", "state.json"]
    written = sent(monkeypatch)
    on_machine("first")._look()
    assert written == [], "nothing is sent that is there"


def test_it_is_written_back_while_the_step_runs(on_machine, url, monkeypatch):
    monkeypatch.setattr(mirrors, "SECONDS_BETWEEN_LOOKS", 0.05)
    first = on_machine("first")
    with first.keeping():
        (first.workspace.root / "answers").mkdir(exist_ok=True)
        (first.workspace.root / "answers" / "part.parquet").write_bytes(b"x")
        for _ in range(200):
            if storage.files(f"{url}/answers"):
                break
    assert storage.files(f"{url}/answers") == ["part.parquet"]


def test_options_have_the_folders_by_their_paths_here(on_machine, url):
    first = on_machine("first")
    root = first.workspace.root
    told = first.options_here(
        {
            "custom_config": f'{{"resume_dir": "{url}/training", "epochs": 3}}',
            "features_dir": f"{url}/features",
            "ledger": f"{url}/ledger",
            "rounds": 3,
        }
    )
    assert told == {
        "custom_config": f'{{"resume_dir": "{root}/training", "epochs": 3}}',
        "features_dir": f"{root}/features",
        "ledger": f"{url}/ledger",
        "rounds": 3,
    }


def test_what_steps_say_names_the_bucket(url, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    workspace = Workspace.named(Path(url))
    workspace.create()
    with (
        pytest.raises(UserError, match=f"^{url}/artifacts/x/1/rejects.csv has every row$"),
        mirrored(workspace),
    ):
        raise UserError(f"{workspace.root}/artifacts/x/1/rejects.csv has every row")


def test_only_what_a_killed_execution_wrote_is_removed(on_machine, url):
    first = on_machine("first")
    for name in ("A/out/1/x", "A/out/11/x", "B/other/1/y/z", "B/1/2/x"):
        storage.write_whole(f"{url}/artifacts/{name}", b"x")
    first.remove_halves(1)
    assert storage.files(f"{url}/artifacts") == ["A/out/11/x", "B/1/2/x"]


def test_a_page_comes_after_what_it_reads_and_earlier_pages_go(on_machine, url, tmp_path):
    first = on_machine("first")
    storage.write_whole(f"{url}/report/files-old/a.js", b"old")
    storage.write_whole(f"{url}/report/review-old/a.js", b"of another page")
    source = tmp_path / "made"
    (source / "files-new").mkdir(parents=True)
    (source / "files-new" / "a.js").write_bytes(b"new")
    (source / "index.html").write_bytes(b"page")
    first.publish(source, "files-")
    assert storage.files(f"{url}/report") == ["files-new/a.js", "index.html", "review-old/a.js"]


def test_a_report_finds_the_figures_of_the_runs_of_all_machines_beside_it(on_machine, url):
    first = on_machine("first")
    reports = f"{url}/artifacts/Report/report"
    for name in ("7/metrics.json", "9/metrics.json", "7/index.html", "7/files/metrics.json"):
        storage.write_whole(f"{reports}/{name}", name.encode())
    first.fetch_beside(f"{reports}/12", "metrics.json")
    here = first.workspace.root / "artifacts" / "Report" / "report"
    assert storage.files(str(here)) == ["7/metrics.json", "9/metrics.json"]
    first.copies.fetch(f"{reports}/7")
    assert storage.files(str(here / "7")) == ["files/metrics.json", "index.html", "metrics.json"]
