"""A run killed in the middle of training goes on; what it pushed is served and asked."""

import json
import os
import re
import signal
import subprocess
import time

import pytest


def wait_until(condition, timeout_s: float):
    """The first true value of `condition()`, polled; fails the test after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    pytest.fail(f"nothing happened within {timeout_s} s")


@pytest.mark.slow
def test_kill_9_in_training_then_run_again_then_serve_and_ask(seamline, drawn_catalog):
    arguments = seamline.run_demo(drawn_catalog, "training.epochs=4", "training.patience=0")
    work = seamline.folder / "work"

    run = subprocess.Popen(
        seamline.command(*arguments), cwd=seamline.folder, stdout=subprocess.PIPE, text=True
    )
    state = wait_until(lambda: sorted(work.glob("training/*/state.json")), timeout_s=240)[0]
    first_epochs = json.loads(state.read_text())["epochs"]
    os.kill(run.pid, signal.SIGKILL)
    run.communicate()
    assert not list(work.glob("serving/*/*"))

    again = seamline(*arguments)
    assert again.returncode == 0, again.stdout + again.stderr
    cached = re.findall(r"(\w+) .*\(cached\)", again.stdout)
    assert sorted(cached) == [
        "CatalogExampleGen",
        "DataGate",
        "ExampleValidator",
        "ImportSchemaGen",
        "StatisticsGen",
        "Transform",
    ]
    [history] = work.glob("artifacts/Trainer/model_run/*/history.json")
    epochs = json.loads(history.read_text())["epochs"]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3, 4]
    assert epochs[: len(first_epochs)] == first_epochs, "finished epochs must not run again"
    assert not list(work.glob("training/*"))

    server = subprocess.Popen(
        seamline.command("serve", "work", "--port", 0),
        cwd=seamline.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        address = wait_until(
            lambda: re.search(r"127\.0\.0\.1:\d+", server.stdout.readline()), timeout_s=60
        )[0]
        taken = seamline("serve", "work", "--port", address.split(":")[1])
        assert taken.returncode == 1
        assert "--port" in taken.stderr
        pictures = sorted((drawn_catalog / "images").glob("*.jpg"))[:3]
        answer = seamline("predict", *pictures, "--server", address, "--json")
        assert answer.returncode == 0, answer.stderr
        predictions = [json.loads(line) for line in answer.stdout.splitlines()]
        assert [prediction["image"] for prediction in predictions] == list(map(str, pictures))
        assert all(0 < prediction["category_score"] <= 1 for prediction in predictions)
    finally:
        # Not an interrupt, which whatever starts this test may have made its children ignore.
        server.terminate()
        server.communicate(timeout=90)
    assert server.returncode == 0
