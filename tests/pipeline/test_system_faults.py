"""What the system refuses is one sentence, wherever it comes from, and whatever the terminal is."""

from __future__ import annotations

import csv
import errno
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import pytest
import tensorflow as tf
from PIL import Image
from tfx.components.statistics_gen import executor as statistics_gen
from tfx.dsl.components.base import base_beam_executor
from tfx.types import standard_artifacts

from pipeline.system_faults import system_fault
from tests.serving.client.word_server import WordServer
from trainer.resumable_state import ResumableState
from trainer.stages import Stage

SEAMLINE = Path(sys.executable).with_name("seamline")
VERSION = {"saved_model.pb": b"graph", "variables/variables.index": b"index"}


def _raised(build) -> BaseException:
    try:
        build()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def _wrapped() -> None:
    try:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/part-0.gz")
    except OSError as error:
        raise ValueError("the step failed") from error


def _in_handler() -> None:
    try:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
    except OSError:
        raise KeyError("state") from None


def _copied() -> None:
    raise shutil.Error([("a", "/b", "[Errno 28] No space left on device: '/b'")])


WORKER = """Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 1, in process
OSError: [Errno 28] No space left on device: '/tmp/beam/shuffle-1' [while running 'Write']
"""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full. Make room and run"),
        (OSError(errno.ENOSPC, "No", "/tmp/w.h5"), "The disk is full: /tmp/w.h5 ("),
        (OSError(errno.EDQUOT, "x"), "The disk quota is used up. Make room"),
        (
            OSError(errno.EFBIG, "x", "a"),
            "A file would grow larger than this system allows: a. See",
        ),
        (OSError(errno.EROFS, "x", "/r"), "What is to be written to can only be read: /r. Name"),
        (PermissionError(errno.EACCES, "x", "/p"), "Permission is denied: /p. See who owns it"),
        (
            OSError(errno.EMFILE, "x"),
            "Too many files are open at a time. Raise the limit, e.g. by `u",
        ),
        (OSError(errno.ENFILE, "x"), "Too many files are open at a time."),
        (
            OSError(errno.ENOMEM, "x", "/by/chance"),
            "There is not enough memory. End other programs",
        ),
        (MemoryError(), "There is not enough memory."),
        (OSError(errno.EIO, "x", "/d"), "A disk cannot be read or written: /d. See"),
        (OSError(errno.ESTALE, "x"), "A network file system is gone. Mount it"),
        (OSError(errno.ENAMETOOLONG, "x"), "A file's name is longer than this file system allows."),
        (_raised(_wrapped), "The disk is full: /data/part-0.gz ("),
        (_raised(_in_handler), "The disk quota is used up."),
        (_raised(_copied), "The disk is full: /b ("),
        (RuntimeError(WORKER), "The disk is full: /tmp/beam/shuffle-1 ("),
        (
            tf.errors.ResourceExhaustedError(None, None, "/w/a.tfrecord; No space left on device"),
            "The disk is full: /w/a.tfrecord (",
        ),
        (
            tf.errors.PermissionDeniedError(None, None, "/w/model; Permission denied"),
            "Permission is denied: /w/model. See",
        ),
        (
            tf.errors.FailedPreconditionError(None, None, "/w/x; Read-only file system"),
            "What is to be written to can only be read: /w/x.",
        ),
        (sqlite3.OperationalError("database or disk is full"), "The disk is full."),
        (
            RuntimeError("mysql_query failed: errno: 13, error: database or disk is full"),
            "The disk is full.",
        ),
        (sqlite3.OperationalError("attempt to write a readonly database"), "What is to be written"),
        (sqlite3.OperationalError("disk I/O error"), "A disk cannot be read or written."),
    ],
)
def test_what_the_system_refuses_is_one_sentence_with_the_remedy(error, said):
    sentence = system_fault(error)
    assert sentence.startswith(said)
    assert sentence.endswith(".") and "\n" not in sentence


def test_what_the_system_is_not_to_blame_for_stays_what_it_is():
    for error in (ValueError("no such option"), FileNotFoundError(errno.ENOENT, "x", "a")):
        assert system_fault(error) is None


def _answered(*arguments: object, stdout: object = subprocess.PIPE, **environment: str):
    return subprocess.run(
        [str(SEAMLINE), *map(str, arguments)],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        check=False,
    )


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """A workspace whose name no terminal of ASCII can show, with a version and some metrics."""
    root = tmp_path_factory.mktemp("Größe ✓ 服")
    for name, content in VERSION.items():
        path = root / "serving" / "catalog" / "7" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


TERMINALS = {
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1, strictly": {"PYTHONIOENCODING": "latin-1:strict"},
}


@pytest.mark.parametrize("environment", TERMINALS.values(), ids=TERMINALS)
def test_a_terminal_without_utf8_shows_what_it_can(workspace, environment):
    for arguments in (
        ["versions", workspace],
        ["run", "--help"],
    ):
        process = _answered(*arguments, **environment)
        assert (process.returncode, process.stderr) == (0, b""), arguments
        assert process.stdout.isascii() or "latin" in str(environment) or "cp" in str(environment)
    process = _answered("metrics", workspace, **environment)
    assert process.returncode == 1
    assert b"holds no report yet" in process.stderr and b"Traceback" not in process.stderr


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_steps_are_marked_by_what_the_terminal_has(encoding, tmp_path):
    script = (
        "import logging, sys\n"
        "from pathlib import Path\n"
        "from types import SimpleNamespace\n"
        "from rich.console import Console\n"
        "from pipeline.console import StepsView, library_output_in\n"
        "from pipeline.system_faults import open_standard_streams\n"
        "open_standard_streams()\n"
        "with library_output_in(Path('log')) as terminal:\n"
        "    print('✓ library')\n"
        "    with StepsView(Console(file=terminal)) as view:\n"
        "        view.planned(['Ingest', 'Train'])\n"
        "        view.started('Ingest')\n"
        "        done = SimpleNamespace(state='done', seconds=1.0, summary='Größe: 7')\n"
        "        view.finished('Ingest', done)\n"
        "        view.failed('Train', 1.0)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        check=False,
    )
    assert (process.returncode, process.stderr) == (0, b"")
    first, second = process.stdout.decode(encoding).splitlines()
    marks = ("✓", "✗") if encoding == "utf-8" else ("+", "x")
    assert (first[0], second[0]) == marks
    assert first.endswith("Gr\\xf6\\xdfe: 7" if encoding == "ascii" else "Größe: 7")


@pytest.mark.parametrize("arguments", [["versions"], ["versions", "--json"], ["--help"]])
def test_who_stops_reading_ends_it_without_a_word(workspace, arguments):
    command, *options = arguments
    place = [] if command == "--help" else [workspace]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        process = _answered(command, *place, *options, stdout=pipe)
    assert (process.returncode, process.stderr) == (141, b"")


@pytest.mark.parametrize("closing", [">&-", ">&- 2>&-", "<&-"])
def test_closed_streams_are_nothing_to_stumble_over(workspace, closing):
    process = subprocess.run(
        ["bash", "-c", f'"$0" "$@" {closing}', SEAMLINE, "versions", workspace, "--json"],
        capture_output=True,
        check=False,
    )
    assert (process.returncode, process.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_output_to_a_full_disk_is_told(workspace, options):
    with open("/dev/full", "wb") as full:
        process = _answered("versions", workspace, *options, stdout=full)
    assert process.returncode == 1
    assert process.stderr.startswith(b"error: The disk is full")
    assert process.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    "arguments", [["metrics", "w"], ["run", "shop.yaml"], ["predict", "shoe.jpg"]]
)
def test_a_current_folder_that_is_gone_is_one_sentence(tmp_path, arguments):
    (tmp_path / "gone").mkdir()
    process = subprocess.run(
        ["bash", "-c", 'rmdir "$PWD" && exec "$0" "$@"', SEAMLINE, *arguments],
        cwd=tmp_path / "gone",
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert process.stderr.startswith("error: The current folder is gone")
    assert process.stderr.count("\n") == 1


FULL = """
import os, resource, runpy, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.argv[1:] = sys.argv[2:]
from pipeline.cli import main
main()
"""
"""The command where no file may grow beyond so many bytes, which needs nobody's rights."""


@contextmanager
def _files_of_at_most(size: int) -> Iterator[None]:
    """The same for what this process does meanwhile."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


TOO_LARGE = "A file would grow larger than this system allows"


def test_a_full_disk_while_statistics_are_written_is_told(tmp_path):
    examples = standard_artifacts.Examples()
    examples.uri, examples.split_names = str(tmp_path / "examples"), '["train"]'
    (tmp_path / "examples" / "Split-train").mkdir(parents=True)
    path = str(tmp_path / "examples" / "Split-train" / "part-0.gz")
    with tf.io.TFRecordWriter(path, "GZIP") as writer:
        for number in range(20):
            label = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"%d" % number]))
            example = tf.train.Example(features=tf.train.Features(feature={"category": label}))
            writer.write(example.SerializeToString())
    statistics = standard_artifacts.ExampleStatistics()
    statistics.uri = str(tmp_path / "statistics")
    context = base_beam_executor.BaseBeamExecutor.Context(
        beam_pipeline_args=["--direct_num_workers=1"], tmp_dir=str(tmp_path / "tmp"), unique_id="1"
    )
    step = statistics_gen.Executor(context)

    def write() -> None:
        with _files_of_at_most(100):
            step.Do({"examples": [examples]}, {"statistics": [statistics]}, {})

    assert system_fault(_raised(write)).startswith(TOO_LARGE)


def test_a_training_goes_on_from_the_last_state_that_found_room(tmp_path):
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    fitted = keras.Sequential([keras.Input((1,)), network])
    fitted.compile(optimizer="adam")
    fitted.optimizer.build(fitted.trainable_variables)
    of_epochs = [[weights + epoch for weights in fitted.get_weights()] for epoch in range(3)]

    def begun() -> ResumableState:
        state = ResumableState(tmp_path / "state", network, patience=0)
        stage = Stage(0, 2, 0.001, frozen=False, on_features=False, is_last=True)
        state.begin(stage, fitted)
        state.set_model(fitted)
        return state

    def end_epoch(state: ResumableState) -> None:
        epoch = state.finished_epochs
        fitted.set_weights(of_epochs[epoch + 1])
        state.on_epoch_begin(epoch)
        state.on_epoch_end(epoch, {"val_mean": 0.5 + epoch / 10})

    state = begun()
    end_epoch(state)
    with _files_of_at_most(1000):
        refused = _raised(lambda: end_epoch(state))
    assert system_fault(refused).startswith(TOO_LARGE)

    state = begun()
    assert state.finished_epochs == state.best_epoch == 1
    assert fitted.get_weights() == of_epochs[1]
    end_epoch(state)
    state = begun()
    assert state.finished_epochs == state.best_epoch == 2
    assert fitted.get_weights() == of_epochs[2]


def test_a_catalog_that_cannot_be_drawn_to_the_end_is_none(tmp_path):
    catalog = str(tmp_path / "catalog")
    process = subprocess.run(
        [sys.executable, "-c", FULL, "3000", "demo-catalog", catalog, "--products", "60"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert process.stderr.startswith("error: ") and process.stderr.count("\n") == 1
    assert "larger" in process.stderr
    assert not (tmp_path / "catalog" / "labels.csv").exists()
    assert not (tmp_path / "catalog" / "images").exists()


def test_a_catalog_of_answers_goes_on_where_the_disk_was_full(tmp_path):
    (tmp_path / "images").mkdir()
    rows = [f"{number},{number}.jpg" for number in range(60)]
    (tmp_path / "labels.csv").write_text("\n".join(["id,picture", *rows]) + "\n")
    for number in range(60):
        Image.new("RGB", (8, 8), "red").save(tmp_path / "images" / f"{number}.jpg")
    words = WordServer()
    try:

        def ask(out: str, most_bytes: int = 1 << 30) -> subprocess.CompletedProcess[str]:
            options = f"predict --csv labels.csv --images images --picture picture --out {out}"
            return subprocess.run(
                [sys.executable, "-c", FULL, str(most_bytes), *options.split()]
                + ["--server", words.endpoint],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
            )

        full = ask("out.csv", most_bytes=3000)
        assert full.returncode == 1
        assert full.stderr.startswith("error: A file would grow larger than this system allows")
        assert full.stderr.count("\n") == 1
        assert 0 < (tmp_path / "out.csv").stat().st_size <= 3000

        assert ask("out.csv").returncode == 0
        with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
            answers = list(csv.DictReader(file))
        assert [row["id"] for row in answers] == [str(number) for number in range(60)]
        assert {row["category"] for row in answers} == {"red"}
    finally:
        words.stop()
