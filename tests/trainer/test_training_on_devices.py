"""A training over two devices learns what one does, and refuses a batch it cannot divide."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tfx.components.trainer.fn_args_utils import FnArgs

from trainer import calibration, training
from trainer.label_space import LabelSpace
from trainer.splits import Splits

TWO_DEVICES = """
import json
import sys

import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
from schema.errors import UserError
from tests.trainer.test_training_on_devices import learned
from trainer import training

arguments = json.loads(sys.argv[1])
assert training.distribution().num_replicas_in_sync == 2
odd = {"training": arguments["options"]["training"] | {"batch_size": 31}}
try:
    training.train(odd, None, None, None)
    sys.exit("an odd batch was not refused")
except UserError as error:
    assert "training.batch_size is 31" in str(error), error
print(json.dumps(learned(**arguments)))
"""


def learned(options, files, folder):
    """What a training tells of each of its epochs, and in the end its temperatures."""
    splits = Splits.read(FnArgs(**files))
    model, state = training.train(options, splits, Path(folder), folder)
    batches = splits.evaluation_batches(options)
    return [*state.epochs, calibration.calibrate(model, batches, LabelSpace.of(splits.labels))]


def run(code, *arguments):
    """What a process of its own prints; the number of devices is fixed once for a process."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout


@pytest.mark.slow
def test_two_devices_learn_what_one_does(catalog, tmp_path):
    """Nothing in it depends on the device but what is meant to: no normalization by a part."""
    fn_args = catalog.fn_args(tmp_path)
    options = {name: fn_args.custom_config[name] for name in ("model", "augmentation", "training")}
    options["model"] |= {"image_height": 16, "image_width": 16, "filters": 4, "dropout": 0}
    options["model"] |= {"heads": "plain"}
    options["training"] |= {"epochs": 2, "batch_size": 48, "ema": 0.5}
    # The heads on kept features, then everything on pictures.
    options["training"] |= {"frozen_epochs": 1, "frozen_augmentation": False}
    options["training"] |= {"frozen_normalization": True}
    options["augmentation"] = dict.fromkeys(options["augmentation"], 0)

    names = ("train_files", "eval_files", "transform_graph_path")
    files = {name: getattr(fn_args, name) for name in names}

    assert training.distribution().num_replicas_in_sync == 1
    *one_device, temperatures = learned(options, files, str(tmp_path / "1"))
    asked = {"options": options, "files": files, "folder": str(tmp_path / "2")}
    told = run(TWO_DEVICES, json.dumps(asked))
    *two_devices, same_temperatures = json.loads(told.splitlines()[-1])
    assert same_temperatures == pytest.approx(temperatures, rel=1e-2)
    for one, two in zip(one_device, two_devices, strict=True):
        for figure in ("loss", "val_loss", "val_mean"):
            assert two[figure] == pytest.approx(one[figure], rel=1e-3)
        assert np.isfinite(two["loss"])
