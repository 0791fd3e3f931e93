"""Two machines learn what one does, and go on where one of them is killed."""

import dataclasses
import importlib.util
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.source_fingerprint import source_fingerprint
from schema.errors import UserError
from tests.trainer.conftest import write_split
from trainer import training
from trainer.chief import transferable
from trainer.splits import Splits
from trainer.training_process import Task, TrainingProcess

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.usefixtures("quick_jax"),
    pytest.mark.skipif(
        importlib.util.find_spec("jax") is None,
        reason="jax is not installed; `pip install jax` beside the locked packages lets this run",
    ),
]

WORKER = """
import sys
from pipeline.cli import main
try:
    main()
finally:
    assert "tfx" not in sys.modules, "a worker needs nothing of TFX, which takes long to import"
"""


def free_ports() -> int:
    """A port that is free, and so is the next one."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


@pytest.fixture(scope="module")
def uneven_catalog(catalog, tmp_path_factory):
    """47 products to be judged by, which two devices cannot divide."""
    folder = tmp_path_factory.mktemp("uneven")
    for same in ("Split-train", "transform"):
        (folder / same).symlink_to(catalog.folder / same)
    write_split(folder, "eval", catalog.splits["eval"][1:])
    return dataclasses.replace(catalog, folder=folder)


def small(fn_args, **training_options):
    config = fn_args.custom_config
    config["model"] |= {"image_height": 16, "image_width": 16, "filters": 4, "heads": "plain"}
    config["training"] |= {"batch_size": 48, "ema": 0.5, **training_options}
    config["code"] = source_fingerprint("trainer")
    return {name: config[name] for name in ("model", "augmentation", "training")}


def figures(epochs):
    """Epoch by epoch, without what a clock says.

    Nor each level's own loss on eval, which Keras averages over the batches on TensorFlow, and over
    the products on JAX.
    """
    return [
        {
            name: of
            for name, of in epoch.items()
            if name != "seconds" and not re.fullmatch("val_.+_loss", name)
        }
        for epoch in epochs
    ]


def kill_child(parent: int) -> None:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)


class _KillerAfterAnEpoch(logging.Handler):
    """Kills the process that trains on the other machine, after the second epoch's begin."""

    def __init__(self, worker: int):
        super().__init__()
        self.killed = threading.Event()
        self._worker = worker

    def emit(self, record):
        if record.getMessage().startswith("epoch 1 of 3:") and not self.killed.is_set():
            kill_child(self._worker)
            self.killed.set()


def test_two_machines_learn_what_one_does_though_one_is_killed(uneven_catalog, tmp_path, history):
    fn_args = uneven_catalog.fn_args(tmp_path)
    # What is drawn by chance is drawn otherwise on TensorFlow.
    fn_args.custom_config["model"]["dropout"] = 0
    fn_args.custom_config["augmentation"] = dict.fromkeys(fn_args.custom_config["augmentation"], 0)
    port = free_ports()
    options = small(
        fn_args,
        **{"epochs": 3, "frozen_epochs": 1, "frozen_normalization": True},
        **{"frozen_augmentation": False, "machines": 2, "listen": f"127.0.0.1:{port}"},
    )
    alone = {**options, "training": {**options["training"], "machines": 1}}
    splits = Splits.read(fn_args)
    _, one = training.train(alone, splits, tmp_path / "one", str(tmp_path / "log"))

    log = tmp_path / "worker.log"
    with open(log, "w") as output:
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, "train-worker", "--chief", f"127.0.0.1:{port}"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    progress = logging.getLogger("seamline.progress")
    killer = _KillerAfterAnEpoch(worker.pid)
    progress.setLevel(logging.INFO)
    progress.addHandler(killer)
    try:
        training.run_fn(fn_args)
        assert worker.wait(60) == 0, log.read_text()
    finally:
        progress.removeHandler(killer)
        worker.kill()
    assert killer.killed.is_set()
    said = log.read_text().splitlines()
    assert said.count("this is machine 2 of 2") == 2 and said[-1] == "the training is over"

    two = history(tmp_path)
    for here, there in zip(figures(one.epochs), figures(two["epochs"]), strict=True):
        assert here == pytest.approx(there, rel=2e-3, abs=2e-3)
    assert two["best_epoch"] == one.best_epoch
    # As TensorFlow exports it, and nothing is left of the state.
    assert (tmp_path / "serving" / "saved_model.pb").exists()
    assert not list((tmp_path / "resume").iterdir())


def test_a_batch_that_cannot_be_divided_is_one_sentence(uneven_catalog, tmp_path):
    fn_args = uneven_catalog.fn_args(tmp_path)
    options = small(fn_args, epochs=1, batch_size=31)
    task = Task(
        {**transferable(fn_args), "custom_config": options},
        *(options, str(tmp_path), str(tmp_path / "log"), 0, 2, f"127.0.0.1:{free_ports()}"),
    )
    ranks = [dataclasses.replace(task, rank=rank) for rank in range(2)]
    processes = [TrainingProcess(each, lambda message, done: None) for each in ranks]
    for process in processes:
        with pytest.raises(UserError, match="training.batch_size is 31, which cannot be divided"):
            while process.status() is None:
                time.sleep(0.2)
