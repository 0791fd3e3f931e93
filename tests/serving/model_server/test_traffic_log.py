"""The sample of live traffic: what a record holds, and that nothing it meets touches a caller."""

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from schema import features, live_traffic
from schema.errors import UserError
from schema.picture_figures import picture_figures
from serving.model_server import traffic_log
from serving.model_server.options import ServerOptions, single_model
from serving.model_server.servables import Servables, saved_models
from serving.model_server.traffic_log import TrafficLog, asking
from tests.serving import color_model

RED = color_model.picture(200, 20, 20)
BLUE = color_model.picture(20, 20, 200)


def texts(*values: bytes) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def answer(count: int = 1, score: float = 0.75) -> dict[str, np.ndarray]:
    """What a caller got who asked for the labels only."""
    return {
        "category": texts(*[b"red"] * count),
        "category_score": np.full(count, score, np.float32),
    }


def everything(pictures: np.ndarray) -> dict[str, np.ndarray]:
    """What the model says when it is asked everything: the first byte of a picture is its score."""
    count = len(pictures)
    refused = np.array([picture == b"broken" for picture in pictures])
    scores = np.array([picture[0] / 255 for picture in pictures], np.float32)
    return {
        "category": texts(*[b"" if bad else b"red" for bad in refused]),
        "category_score": np.where(refused, 0, scores).astype(np.float32),
        "embedding": np.tile(np.array([[0.6, 0.8]], np.float32), (count, 1)),
        "status": texts(*[b"it is no picture" if bad else b"" for bad in refused]),
    }


class Asked:
    """Stands in for the models, and remembers what they were asked."""

    def __init__(self):
        self.questions = []

    def __call__(self, model, version, pictures):
        self.questions.append((model, version, list(pictures)))
        return everything(pictures)


def written(folder: Path) -> list[dict[str, list]]:
    """All records of the whole files, as TensorFlow reads them."""
    files = [str(path) for path in live_traffic.whole_files(folder)]
    found = []
    for record in tf.data.TFRecordDataset(files).as_numpy_iterator():
        example = tf.train.Example.FromString(record)
        found.append(
            {
                name: list(getattr(feature, feature.WhichOneof("kind")).value)
                for name, feature in example.features.feature.items()
            }
        )
    return found


def observe(log: TrafficLog, *pictures: bytes, outputs: dict | None = None, **options) -> None:
    options = {"model": "catalog", "version": 7, "signature": "serving_default", **options}
    outputs = answer(len(pictures)) if outputs is None else outputs
    log.observe(inputs={"image_bytes": texts(*pictures)}, outputs=outputs, **options)


def test_a_record_has_the_answer_the_figures_and_whose_they_are(tmp_path):
    before = time.time_ns() // 1_000_000
    log = TrafficLog(tmp_path, rate=1)
    observe(log, RED, request_id="r-1")
    log.close()

    (record,) = written(tmp_path)
    assert before <= record.pop(live_traffic.TIME)[0] <= time.time_ns() // 1_000_000
    assert len(record.pop(live_traffic.DIGEST)[0]) == 16
    for name, figure in picture_figures(RED)._asdict().items():
        assert record.pop(name) == [pytest.approx(figure)]
    assert record == {
        "request_model": [b"catalog"],
        "request_version": [7],
        "request_signature": [b"serving_default"],
        "request_id": [b"r-1"],
        "category": [b"red"],
        "category_score": [0.75],
    }


def test_a_request_is_called_as_the_thread_that_answers_it_says(tmp_path):
    log = TrafficLog(tmp_path, rate=1)
    answering = traffic_log.CURRENT_REQUEST.set("r-2")
    observe(log, RED)
    traffic_log.CURRENT_REQUEST.reset(answering)
    log.close()
    assert written(tmp_path)[0]["request_id"] == [b"r-2"]


def test_the_picture_is_in_the_record_only_if_that_was_asked_for(tmp_path):
    for pictures in (False, True):
        log = TrafficLog(tmp_path / str(pictures), rate=1, pictures=pictures)
        observe(log, RED, BLUE)
        log.close()
    assert all("image" not in record for record in written(tmp_path / "False"))
    assert [record["image"] for record in written(tmp_path / "True")] == [[RED], [BLUE]]


def test_the_model_is_asked_everything_whatever_the_caller_asked(tmp_path):
    ask = Asked()
    log = TrafficLog(tmp_path, rate=1, ask=ask)
    observe(log, RED, BLUE)
    log.close()

    assert [question[:2] for question in ask.questions] == [("catalog", 7)] * len(ask.questions)
    assert [one for question in ask.questions for one in question[2]] == [RED, BLUE]
    for picture, record in zip((RED, BLUE), written(tmp_path), strict=True):
        assert record["category_score"] == [pytest.approx(picture[0] / 255)]
        assert record["embedding"] == pytest.approx([0.6, 0.8])
        assert record["request_signature"] == [b"serving_default"]
        assert "status" not in record


def test_a_caller_who_asked_everything_is_taken_at_his_word(tmp_path):
    ask = Asked()
    log = TrafficLog(tmp_path, rate=1, ask=ask)
    observe(log, RED)
    until(lambda: ask.questions)
    whole = {**everything(texts(BLUE)), "category_score": np.array([0.5], np.float32)}
    for outputs in (whole, {name: whole[name] for name in whole if name != "status"}):
        observe(log, BLUE, outputs=outputs, signature="everything")
    observe(log, RED, outputs={"embedding": whole["embedding"]}, signature="everything")
    log.close()
    assert [question[2] for question in ask.questions] == [[RED], [RED]]
    scores = [record["category_score"][0] for record in written(tmp_path)]
    assert scores == pytest.approx([RED[0] / 255, 0.5, 0.5, RED[0] / 255])


def test_a_picture_that_is_refused_has_the_reason_and_no_answer(tmp_path):
    log = TrafficLog(tmp_path, rate=1, ask=Asked())
    observe(log, b"broken")
    log.close()
    (record,) = written(tmp_path)
    assert record["status"] == [b"it is no picture"]
    assert not record.keys() & {"category", "category_score", "embedding", "image_height"}


def test_the_pictures_of_a_request_that_failed_are_asked_about_one_by_one(tmp_path):
    log = TrafficLog(tmp_path, rate=1, ask=Asked())
    inputs = {"image_bytes": texts(RED, b"broken")}
    log.observe("catalog", 7, "serving_default", inputs, None)
    log.close()
    good, bad = written(tmp_path)
    assert good["category"] == [b"red"] and bad["status"] == [b"it is no picture"]
    assert good["request_refused"] == bad["request_refused"] == [1]


def test_what_cannot_be_asked_or_measured_is_written_as_far_as_it_is_known(tmp_path):
    def gone(model, version, pictures):
        raise RuntimeError("the version is unloaded")

    counts = Counter()
    count = lambda model, status: counts.update([status])  # noqa: E731
    log = TrafficLog(tmp_path, rate=1, ask=gone, count=count)
    observe(log, b"only the model could decode this")
    log.observe("catalog", 7, "serving_default", {"image_bytes": texts(RED)}, None)
    log.close()
    (record,) = written(tmp_path)
    assert record["category"] == [b"red"] and "image_height" not in record
    assert counts == {"OK": 1, "FAILED_PRECONDITION": 1}


def test_outputs_of_any_model_are_written_as_far_as_an_example_can_hold_them(tmp_path):
    outputs = {
        "counts": np.array([[1, 2], [3, 4]], np.uint8),
        "flag": np.array([True, False]),
        "half": np.array([0.5, 0.25], np.float16),
        "text": texts(b"a\0", b"\0"),
        "of_the_batch": np.array(3.0),
        "status": np.array([5, 6]),
        "mask": np.zeros((2, 1024, 1024), np.float32),
    }
    log = TrafficLog(tmp_path, rate=1)
    observe(log, RED, BLUE, outputs=outputs)
    log.close()
    first, second = written(tmp_path)
    assert (first["counts"], second["counts"]) == ([1, 2], [3, 4])
    assert (first["flag"], second["flag"]) == ([1], [0])
    assert (first["half"], second["half"]) == ([0.5], [0.25])
    assert (first["text"], second["text"]) == ([b"a\0"], [b"\0"])
    assert not first.keys() & {"of_the_batch", "status", "mask"}


def test_pictures_are_drawn_one_by_one_and_not_requests(tmp_path):
    log = TrafficLog(tmp_path, rate=0.05, seed=3)
    requests = 200
    for _ in range(requests):
        observe(log, *[RED] * 50, request_id="many")
    log.close()
    drawn = len(written(tmp_path))
    # Of 10,000 pictures 500 are expected, with a standard deviation of 22.
    assert 400 < drawn < 600


def test_a_rate_of_0_draws_none_and_one_beyond_1_is_refused(tmp_path):
    log = TrafficLog(tmp_path / "log", rate=0)
    observe(log, *[RED] * 1000)
    log.close()
    assert os.listdir(tmp_path / "log") == []
    with pytest.raises(UserError, match=r"rate is 1.5; it is a share"):
        TrafficLog(tmp_path / "log", rate=1.5)


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"x": np.zeros((1, 1))},
        {"image_bytes": np.array(RED, object)},
        {"image_bytes": np.empty((1, 1), object)},
        {"image_bytes": np.zeros(3)},
        {"image_bytes": np.array([5], object)},
        {"image_bytes": None},
    ],
)
def test_requests_without_pictures_are_passed_over(tmp_path, inputs):
    log = TrafficLog(tmp_path, rate=1, ask=Asked())
    log.observe("catalog", 7, "serving_default", inputs, {"y": np.zeros(1)})
    log.observe("catalog", 7, "serving_default", inputs, {"y": None})
    observe(log, RED)
    log.close()
    assert len(written(tmp_path)) == 1


def test_a_thread_that_is_too_slow_costs_records_and_no_caller_waits(tmp_path):
    go_on = threading.Event()
    entered = threading.Event()

    def slow(model, version, pictures):
        entered.set()
        go_on.wait(30)
        return everything(pictures)

    counts = Counter()
    count = lambda model, status: counts.update([(model, status)])  # noqa: E731
    log = TrafficLog(tmp_path, rate=1, ask=slow, count=count)
    observe(log, RED)
    assert entered.wait(10)
    for _ in range(13):
        observe(log, *[RED] * 100)
    # Nobody waited for the thread, which waits for `go_on`.
    assert counts == {("catalog", "RESOURCE_EXHAUSTED"): 300}
    go_on.set()
    log.close()
    assert counts == {("catalog", "RESOURCE_EXHAUSTED"): 300, ("catalog", "OK"): 1001}


def test_pictures_that_wait_hold_a_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(traffic_log, "_MOST_WAITING_BYTES", 1_000_000)
    counts = Counter()
    count = lambda model, status: counts.update([status])  # noqa: E731
    log = TrafficLog(tmp_path, rate=1, count=count)
    observe(log, bytes(990_000), bytes(990_000), bytes(1_200_000))
    log.close()
    assert counts == {"RESOURCE_EXHAUSTED": 2, "OK": 1}


def test_a_file_is_hidden_until_it_has_its_size_or_its_age(tmp_path):
    log = TrafficLog(tmp_path / "size", rate=1, rotate_bytes=20_000)
    observe(log, *[RED] * 500)
    log.close()
    files = live_traffic.whole_files(tmp_path / "size")
    assert len(files) > 3
    assert all(20_000 <= path.stat().st_size < 30_000 for path in files[:-1])
    assert len(written(tmp_path / "size")) == 500

    log = TrafficLog(tmp_path / "age", rate=1, rotate_s=0.05)
    observe(log, RED)
    until(lambda: live_traffic.whole_files(tmp_path / "age"))
    log.close()

    log = TrafficLog(tmp_path / "young", rate=1)
    observe(log, RED)
    until(lambda: live_traffic.unfinished_files(tmp_path / "young"))
    assert live_traffic.whole_files(tmp_path / "young") == []
    log.close()
    assert len(written(tmp_path / "young")) == 1


def test_only_so_many_files_are_kept_the_newest(tmp_path):
    log = TrafficLog(tmp_path, rate=1, rotate_bytes=1, keep_files=2)
    for number in range(40):
        observe(log, RED, request_id=str(number))
        if number % 10 == 0:
            until(lambda: not log._waiting)
    log.close()
    assert len(live_traffic.whole_files(tmp_path)) == 2
    assert written(tmp_path)[-1]["request_id"] == [b"39"]


WRITES_ON_AND_ON = """
import sys, numpy as np
from serving.model_server import traffic_log
traffic_log._REST = 0
log = traffic_log.TrafficLog(sys.argv[1], 1, pictures=True, rotate_bytes=200_000)
pictures = np.empty(8, object)
pictures[:] = [bytes(5_000)] * 8
while True:
    log.observe("m", 1, "s", {"image_bytes": pictures}, {"y": np.arange(8.0)})
"""


def test_what_a_killed_server_wrote_can_be_read(tmp_path):
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root), "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen(
        [sys.executable, "-c", WRITES_ON_AND_ON, str(tmp_path)], cwd=root, env=environment
    )
    try:
        until(lambda: len(live_traffic.whole_files(tmp_path)) > 2, 60)
        # Stopped in the middle of a file, not between two, nor before it is its own.
        while True:
            process.send_signal(signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)
            partial = live_traffic.unfinished_files(tmp_path)
            if partial and partial[0].stat().st_size:
                break
            process.send_signal(signal.SIGCONT)
        before = {path.name for path in live_traffic.whole_files(tmp_path)}
        TrafficLog(tmp_path, 0).close()
        assert live_traffic.unfinished_files(tmp_path) == partial, "it is left to who writes it"
    finally:
        process.kill()
        process.wait()
    assert before <= {path.name for path in live_traffic.whole_files(tmp_path)}
    # As a kill in the middle of a record leaves it.
    with partial[0].open("ab") as file:
        file.write(b"\x20\0\0\0")
    assert all(record["request_model"] == [b"m"] for record in written(tmp_path))
    readable = len(written(tmp_path))

    TrafficLog(tmp_path, 0).close()

    assert live_traffic.unfinished_files(tmp_path) == []
    assert len(written(tmp_path)) >= readable
    assert all(record["image"] == [bytes(5_000)] for record in written(tmp_path))


def test_a_full_disk_stops_the_log_with_one_line_and_nothing_else(tmp_path, monkeypatch, caplog):
    write = os.write
    is_full = threading.Event()

    def write_half(file, content):
        if not is_full.is_set():
            return write(file, content)
        write(file, bytes(content[: len(content) // 2]))
        raise OSError(errno.ENOSPC, "No space left on device")

    counts = Counter()
    count = lambda model, status: counts.update([status])  # noqa: E731
    log = TrafficLog(tmp_path, rate=1, count=count)
    monkeypatch.setattr(traffic_log.os, "write", write_half)
    with caplog.at_level(logging.INFO, traffic_log._log.name):
        observe(log, RED, request_id="before")
        until(lambda: counts["OK"] == 1)
        is_full.set()
        for _ in range(20):
            observe(log, RED, request_id="while")
        until(lambda: counts["UNAVAILABLE"] == 20)
        assert [record["request_id"] for record in written(tmp_path)] == [[b"before"]]
        is_full.clear()
        log._retry_at = 0.0
        observe(log, RED, request_id="after")
        log.close()
    assert [record["request_id"] for record in written(tmp_path)] == [[b"before"], [b"after"]]
    own = [one for one in caplog.records if one.name == traffic_log._log.name]
    first, second = (one.getMessage() for one in own)
    assert f"the traffic log in {tmp_path} cannot be written (No space left on device)" in first
    assert second == f"the traffic log in {tmp_path} is written again"


def test_a_folder_that_is_removed_is_made_again(tmp_path, monkeypatch):
    log = TrafficLog(tmp_path / "log", rate=1, rotate_bytes=1)
    (tmp_path / "log").rmdir()
    observe(log, RED)
    log.close()
    assert len(written(tmp_path / "log")) == 1


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"traffic log's folder .*file/log cannot be written: Not"):
        TrafficLog(tmp_path / "file" / "log", rate=1)


def test_a_server_s_own_models_are_asked_past_their_callers(tmp_path, saved_model):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "7").symlink_to(saved_model)
    options = ServerOptions(single_model(tmp_path / "model", "catalog"))
    servables = Servables(options, saved_models(options))
    try:
        servables.start()
        servables.wait_until_ready(60)
        log = TrafficLog(tmp_path / "log", rate=1, ask=asking(servables))
        observe(log, RED, b"no picture", BLUE, outputs=answer(3))
        observe(log, RED, outputs=answer(1, score=0.125), version=6)
        log.close()
    finally:
        servables.close()
    red, refused, blue, other_version = written(tmp_path / "log")
    for record, color in ((red, (200, 20, 20)), (blue, (20, 20, 200))):
        scores = color_model.expected_scores(*color)
        assert sorted(record["category_scores"]) == pytest.approx(sorted(scores), abs=1e-5)
        assert record[features.threshold("category")] == [0.75]
        assert np.linalg.norm(record["embedding"]) == pytest.approx(1, abs=1e-5)
    assert refused["status"] == [color_model.NO_PICTURE.encode()]
    assert other_version["category_score"] == [0.125], "as it was answered: no such version is left"


def until(condition, timeout_s: float = 20) -> None:
    """Waits for something that another thread or process does."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
