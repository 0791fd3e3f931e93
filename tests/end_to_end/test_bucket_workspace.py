"""`seamline run --workspace gs://...` from one machine and then another: folders stand for them.

Each has copies of its own below `XDG_CACHE_HOME`, and shares nothing but the bucket.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from components import storage
from components.ledger.ledger import Blessed, Ledger, Pushed
from pipeline import workspace_lock
from schema.errors import UserError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

EPOCHS = 12


@pytest.fixture
def start(seamline, copy_of_catalog, gs_url):
    """Starts `seamline run` on a machine; returns the process."""
    started = []

    def start_on(machine: str) -> subprocess.Popen:
        *run, _ = seamline.run_demo(copy_of_catalog, f"training.epochs={EPOCHS}")
        process = subprocess.Popen(
            seamline.command(*run, f"{gs_url}/shop"),
            cwd=seamline.folder,
            env=os.environ | {"XDG_CACHE_HOME": str(seamline.folder / machine)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start_on
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def wait_for(process: subprocess.Popen, url: str, name: str) -> str:
    """Waits until a file is in the bucket, while the process lives; returns its URL."""
    while process.poll() is None:
        for found in storage.files(url):
            if found.startswith(name.partition("*")[0]) and found.endswith(name.partition("*")[2]):
                return f"{url}/{found}"
        time.sleep(1)
    raise AssertionError(process.communicate()[0])


def read_json(url: str) -> dict:
    with storage.opened(url) as file:
        return json.load(file)


def stamps(folder: str) -> dict[str, str]:
    return {file.path: storage.listed_stamp(file) for file in storage.listed(folder)}


def finished(process: subprocess.Popen) -> str:
    said, _ = process.communicate()
    assert process.returncode == 0, said
    return said


def test_any_machine_goes_on_where_the_last_one_was_killed(start, gs_url, tmp_path):
    url = f"{gs_url}/shop"
    first = start("first")
    wait_for(first, url, "lock/lease.json")
    with (
        pytest.raises(UserError, match=rf"process {first.pid} on .* is at work in {url}\. Wait"),
        workspace_lock.held(tmp_path / "other", "`demo`", url=f"{url}/lock"),
    ):
        pass
    saved = read_json(wait_for(first, url, "training/*/state.json"))["epochs"]
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert 1 <= len(saved) < EPOCHS

    said = finished(start("second"))
    assert "this waits up to 60 s for a sign of life" in said
    [history] = [name for name in storage.files(url) if name.endswith("/history.json")]
    # How long an epoch took is the same only where it is the same epoch.
    assert read_json(f"{url}/{history}")["epochs"][: len(saved)] == saved
    [blessed] = Ledger(f"{url}/ledger").entries(Blessed)
    [pushed] = Ledger(f"{url}/ledger").entries(Pushed)
    assert pushed.model == blessed.model
    assert blessed.model.startswith(f"{url}/artifacts/Trainer/model/")
    assert storage.is_file(f"{pushed.destination}/saved_model.pb")
    assert not storage.files(f"{url}/training"), "what was finished needs nothing to go on from"
    below = {tuple(name.split("/")[1:4]) for name in storage.files(url) if "artifacts/" in name}
    assert len(below) == len({parts[:2] for parts in below}), "nothing is left of the killed step"
    page = f"{url}/report/index.html"
    assert f"blessed: version {pushed.version} pushed to {url}/serving/catalog" in said
    assert f"report: {page} (here: second/" in said.replace("\n", " ")
    assert str(tmp_path) not in json.dumps(read_json(f"{url}/{history}"))

    before = stamps(f"{url}/artifacts")
    finished(start("third"))
    assert stamps(f"{url}/artifacts") == before, "everything came from the cache"
    here = tmp_path / "third" / "seamline" / "gcs" / url.removeprefix("gs://")
    with storage.opened(page) as content:
        assert (here / "report" / "index.html").read_bytes() == content.read()
    assert not Path(here, "artifacts", "CatalogExampleGen").exists(), "no Examples were fetched"
