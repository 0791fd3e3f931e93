"""The model's code runs on JAX as well: a step of every technique, and in two processes."""

import importlib.util
import json
import os
import socket
import subprocess
import sys

import pytest

ONE_STEP = """
import sys

import keras
import numpy as np

from pipeline import config
from trainer import fitting, network, resumable_state
from trainer.backbones import build_backbone
from trainer.hierarchical_model import build_heads, build_model
from trainer.label_space import LabelSpace
from trainer.losses import SemiHardTriplet, WeightedBinaryCrossentropy, WeightedCrossentropy
from trainer.stages import optimizer, stages_of
from trainer.training_model import training_model

assert keras.backend.backend() == "jax"
assert "tensorflow" not in sys.modules


def learns(technique):
    options = {
        "augmentation": config.Augmentation().model_dump(),
        "training": config.Training(
            epochs=2, ema=0.9, optimizer="adamw", warmup_epochs=0.5, **technique
        ).model_dump(),
    }
    backbone = build_backbone(
        "small_residual", image_height=32, image_width=24, filters=4, weights=None
    )
    heads = build_heads(
        backbone.output_shape[-1],
        LabelSpace(2, 3, {"color": range(4)}),
        dense_units=8,
        dropout=0.1,
        l2=0.0005,
        embedding_size=8,
    )
    losses = {
        "category": WeightedCrossentropy([1.0, 2.0], focal_gamma=2.0),
        "subcategory": WeightedCrossentropy([1.0, 2.0, 0.5], label_smoothing=0.1),
        "attributes": WeightedBinaryCrossentropy([1.0] * 4),
    }
    if technique.get("triplet_weight"):
        losses["embedding"] = SemiHardTriplet(0.2)
    (stage,) = stages_of(options)
    model = training_model(build_model(backbone, heads), options, stage, list(losses))
    model.compile(optimizer(stage, options, 4, model.trainable_variables), loss=losses)
    generator = np.random.default_rng(0)
    labels = {
        "category": generator.integers(0, 2, 8),
        "subcategory": generator.integers(-1, 3, 8),
        "attributes": generator.integers(0, 2, (8, 4)).astype("float32"),
    }
    pictures = generator.integers(0, 256, (8, 32, 24, 3)).astype("uint8")
    before = model.get_weights()
    history = model.fit(pictures, labels, batch_size=4, epochs=1, verbose=0).history
    assert np.isfinite(history["loss"]).all(), history
    changed = [not np.array_equal(*pair) for pair in zip(before, model.get_weights())]
    assert np.mean(changed) > 0.8, changed


learns({"mixup_alpha": 0.2, "cutmix_alpha": 1.0})
learns({"triplet_weight": 0.5})
"""


pytestmark = [
    pytest.mark.usefixtures("quick_jax"),
    pytest.mark.skipif(
        importlib.util.find_spec("jax") is None,
        reason="jax is not installed; `pip install jax` beside the locked packages lets this run",
    ),
]

EVERYTHING_DRAWN = """
import json
import sys
from pathlib import Path

import keras
import numpy as np

machines, rank, port, folder = *map(int, sys.argv[1:4]), Path(sys.argv[4])
if machines > 1:
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    keras.distribution.initialize(f"127.0.0.1:{port}", machines, rank)
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))

from pipeline import config
from trainer import callbacks
from trainer.backbones import build_backbone
from trainer.hierarchical_model import build_heads, build_model
from trainer.label_space import LabelSpace
from trainer.losses import WeightedBinaryCrossentropy, WeightedCrossentropy
from trainer.objective import AccuracyOfGiven
from trainer.resumable_state import ResumableState
from trainer.stages import optimizer, stages_of
from trainer.training_model import training_model
from trainer.weight_averages import EvaluationOfAverages

keras.utils.set_random_seed(1)
options = {
    "augmentation": config.Augmentation().model_dump(),
    "training": config.Training(epochs=2, ema=0.5, mixup_alpha=0.2).model_dump(),
}
backbone = build_backbone(
    "small_residual", image_height=16, image_width=16, filters=4, weights=None
)
labels = LabelSpace(2, 3, {"color": range(4)})
heads = build_heads(
    backbone.output_shape[-1],
    labels,
    **{"heads": "plain", "dense_units": 8, "dropout": 0.1, "l2": 0.0005, "embedding_size": 8},
)
losses = {
    "category": WeightedCrossentropy([1.0, 2.0]),
    "subcategory": WeightedCrossentropy([1.0, 2.0, 0.5]),
    "attributes": WeightedBinaryCrossentropy([1.0] * 4),
}
(stage,) = stages_of(options)
network = build_model(backbone, heads)
model = training_model(network, options, stage, list(losses))
model.compile(
    optimizer(stage, options, 2, model.trainable_variables),
    loss=losses,
    weighted_metrics={
        "category": [AccuracyOfGiven(name="accuracy")],
        "subcategory": [AccuracyOfGiven(name="accuracy")],
        "attributes": [keras.metrics.F1Score(average="micro", threshold=0.5, name="f1")],
    },
)
generator = np.random.default_rng(0)
pictures = generator.integers(0, 256, (32, 16, 16, 3)).astype("uint8")
given = {
    "category": generator.integers(0, 2, 32),
    "subcategory": generator.integers(-1, 3, 32),
    "attributes": generator.integers(0, 2, (32, 4)).astype("float32"),
}


class Batches(keras.utils.PyDataset):
    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        # Of products, and of weights where there are some.
        places, *weights = self.batches[index]
        whole = (pictures[places], {name: of[places] for name, of in given.items()}, *weights)
        size = len(places) // machines
        return keras.tree.map_structure(lambda of: of[rank * size : (rank + 1) * size], whole)


eleven = [np.arange(11)]
if machines > 1:
    eleven = [np.append(eleven, 0), np.append(np.full(11, 12 / 11), 0).astype("float32")]
state = ResumableState(folder, network, 0, writes=rank == 0)
state.begin(stage, model)
history = model.fit(
    Batches([[np.arange(16)], [np.arange(16, 32)]]),
    validation_data=Batches([eleven]),
    **{"epochs": 2, "shuffle": False, "verbose": 0},
    callbacks=[
        callbacks.RandomnessByEpoch(),
        EvaluationOfAverages(),
        callbacks.StopWithoutNumbers(),
        callbacks.MeanOfLevels(),
        state,
    ],
).history
print(json.dumps(history, default=float))
"""


def on_jax(code: str, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path):
    """Whatever is drawn by chance too; and what they are judged by cannot be divided by two."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    told = {}
    for machines in (1, 2):
        folders = [tmp_path / f"{machines}{rank}" for rank in range(machines)]
        processes = [
            on_jax(EVERYTHING_DRAWN, str(machines), str(rank), port, str(folder))
            for rank, folder in enumerate(folders)
        ]
        said = [process.communicate()[0].splitlines()[-1] for process in processes]
        assert [process.returncode for process in processes] == [0] * machines
        told[machines] = [json.loads(each) for each in said]
        # The first one writes.
        assert [folder.exists() for folder in folders] == [True, False][:machines]
    (one,), (first, second) = told[1], told[2]
    assert first == second
    assert first == {name: pytest.approx(of, abs=1e-5) for name, of in one.items()}


def test_one_step_on_jax():
    assert on_jax(ONE_STEP).wait() == 0
