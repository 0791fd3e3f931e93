"""A training over two devices learns what one does, and refuses a batch it cannot divide."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

ONE_TRAINING = """
import json
import sys

import tensorflow as tf

arguments = json.loads(sys.argv[1])
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * arguments["devices"],
)
from tfx.components.trainer.fn_args_utils import FnArgs

from schema.errors import UserError
from trainer import calibration, training
from trainer.label_space import LabelSpace
from trainer.splits import Splits
from pathlib import Path

assert training.distribution().num_replicas_in_sync == arguments["devices"]
if arguments["devices"] > 1:
    odd = {"training": arguments["options"]["training"] | {"batch_size": 31}}
    try:
        training.train(odd, None, None, None)
        sys.exit("an odd batch was not refused")
    except UserError as error:
        assert "training.batch_size is 31" in str(error), error
splits = Splits.read(FnArgs(**arguments["files"]))
options = arguments["options"]
model, state = training.train(options, splits, Path(arguments["folder"]), arguments["folder"])
batches = splits.evaluation_batches(options)
temperatures = calibration.calibrate(model, batches, LabelSpace.of(splits.labels))
print(json.dumps([*state.epochs, temperatures]))
"""


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

    def told(devices):
        arguments = {
            "devices": devices,
            "folder": str(tmp_path / str(devices)),
            "options": options,
            "files": {
                name: getattr(fn_args, name)
                for name in ("train_files", "eval_files", "transform_graph_path")
            },
        }
        return json.loads(run(ONE_TRAINING, json.dumps(arguments)).splitlines()[-1])

    *one_device, temperatures = told(1)
    *two_devices, same_temperatures = told(2)
    assert same_temperatures == pytest.approx(temperatures, rel=1e-2)
    for one, two in zip(one_device, two_devices, strict=True):
        for figure in ("loss", "val_loss", "val_mean"):
            assert two[figure] == pytest.approx(one[figure], rel=1e-3)
        assert np.isfinite(two["loss"])
