"""A search on three machines, each a network of its own: one worker is killed, then the chief."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from pipeline import config
from pipeline.source_fingerprint import source_fingerprint
from trainer.chief import transferable

PORT = 7077
STARTS_WITHIN_S = 240

CHIEF = """
import json, logging, sys
from tfx.components.trainer.fn_args_utils import FnArgs
from trainer import tuning
logging.getLogger("seamline.progress").setLevel(logging.INFO)
logging.getLogger("seamline.progress").addHandler(logging.StreamHandler(sys.stdout))
result = tuning.tuner_fn(FnArgs(**json.loads(sys.argv[1])))
result.tuner.search(**result.fit_kwargs)
trials = result.tuner.oracle.trials.values()
print(json.dumps([[t.trial_id, t.status, t.score, t.hyperparameters.values] for t in trials]))
"""


@dataclasses.dataclass(frozen=True)
class Machine:
    """What starts a command there, and the address at which the chief is reached from there."""

    prefix: list[str]
    chief: str


def _ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True, capture_output=True)


@pytest.fixture(scope="module")
def machines():
    """The chief's and two workers', with a cable of its own from each worker to the chief.

    They are network namespaces where this user may make some, and else this machine three times.
    """
    names = [f"seamline-{os.getpid()}-{role}" for role in ("chief", "one", "two")]
    with contextlib.ExitStack() as made:
        try:
            for name in names:
                _ip(f"netns add {name}")
                made.callback(_ip, f"netns del {name}")
            for number, name in enumerate(names[1:], 1):
                ends = [f"sl{number}{side}{os.getpid() % 10**6}" for side in "ab"]
                _ip(f"link add {ends[0]} type veth peer name {ends[1]}")
                for end, place, host in zip(ends, (names[0], name), (1, 2), strict=True):
                    _ip(f"link set {end} netns {place}")
                    _ip(f"-n {place} addr add 10.77.{number}.{host}/30 dev {end}")
                    _ip(f"-n {place} link set {end} up")
        except (OSError, subprocess.CalledProcessError):
            made.close()
            yield [Machine([], f"127.0.0.1:{PORT}")] * 3
        else:
            prefixes = [["ip", "netns", "exec", name] for name in names]
            yield [Machine(each, f"10.77.{max(1, n)}.1:{PORT}") for n, each in enumerate(prefixes)]


class Process:
    """A command on a machine, and what it has said so far."""

    def __init__(self, machine: Machine, command: list[str], log: Path):
        self.log = log
        with open(log, "w") as output:
            self._process = subprocess.Popen(
                [*machine.prefix, *command],
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(sys.path),
                    "PYTHONUNBUFFERED": "1",
                },
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def says(self, sentence: str, within_s: float = STARTS_WITHIN_S) -> None:
        """Waits for it."""
        deadline = time.monotonic() + within_s
        while sentence not in self.said():
            assert self._process.poll() is None and time.monotonic() < deadline, self.said()
            time.sleep(0.1)

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def end(self, within_s: float = STARTS_WITHIN_S) -> int:
        return self._process.wait(within_s)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_trial_is_lost_to_a_killed_worker_and_a_killed_chief(machines, catalog, tmp_path):
    near, one, two = machines
    settings = config.Tuning(
        trials=4,
        epochs=1,
        workers=0,
        listen=f"0.0.0.0:{PORT}",
        worker_timeout_s=6,
        space={"model.dense_units": [8, 16, 24, 32]},
    )
    fn_args = catalog.fn_args(
        tmp_path, tuning=settings.model_dump(), code=source_fingerprint("trainer")
    )
    wanted = json.dumps(transferable(fn_args))
    command = [sys.executable, "-c", CHIEF, wanted]
    worker = [sys.executable, "-c", "from pipeline.cli import main; main()", "tune-worker"]

    processes = []

    def start(machine, command, name):
        processes.append(Process(machine, command, tmp_path / f"{name}.log"))
        return processes[-1]

    try:
        # The workers before the chief, as a cluster may start them.
        killed = start(one, [*worker, "--chief", one.chief], "killed")
        steady = start(two, [*worker, "--chief", two.chief], "steady")
        chief = start(near, command, "chief")
        killed.says("begins")
        killed.kill()
        chief.says("is lost, nothing was heard of it for 6 s: trial")
        chief.says("1 of at most 4 trials, 1 worker")
        # In the middle of a trial, so that the worker has something to say when nobody listens.
        chief.kill()
        again = start(near, command, "again")
        assert again.end() == 0, again.said()
        assert steady.end() == 0, steady.said()
    finally:
        for process in processes:
            process.kill()

    trials = json.loads(again.said().splitlines()[-1])
    assert [status for _, status, _, _ in trials] == ["COMPLETED"] * 4
    assert sorted(values["model.dense_units"] for *_, values in trials) == [8, 16, 24, 32]
    assert "4 of at most 4 trials" in again.said()
    # The steady worker ran each of them, the killed one's too, and none of them twice.
    lines = steady.said().splitlines()
    begun = Counter(line.split(" begins")[0] for line in lines if line.endswith(" begins"))
    assert begun == {f"trial {number} of at most 4": 1 for number in (1, 2, 3, 4)}
    scores = {
        line.split(": mean ")[0]: line.split(": mean ")[1] for line in lines if ": mean" in line
    }
    assert scores == {
        f"trial {int(i) + 1} of at most 4": f"{score:.3f}" for i, _, score, _ in trials
    }
    assert lines[-1] == "the search is over; 4 trials were run here"
