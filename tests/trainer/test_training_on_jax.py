"""The model's code runs on JAX as well, without TensorFlow: one step with every technique."""

import importlib.util
import os
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
technique = {technique}
options = {{
    "augmentation": config.Augmentation().model_dump(),
    "training": config.Training(
        epochs=2, ema=0.9, optimizer="adamw", warmup_epochs=0.5, **technique
    ).model_dump(),
}}
backbone = build_backbone(
    "small_residual", image_height=32, image_width=24, filters=4, weights=None
)
heads = build_heads(
    backbone.output_shape[-1],
    LabelSpace(2, 3, {{"color": range(4)}}),
    dense_units=8,
    dropout=0.1,
    l2=0.0005,
    embedding_size=8,
)
losses = {{
    "category": WeightedCrossentropy([1.0, 2.0], focal_gamma=2.0),
    "subcategory": WeightedCrossentropy([1.0, 2.0, 0.5], label_smoothing=0.1),
    "attributes": WeightedBinaryCrossentropy([1.0] * 4),
}}
if technique.get("triplet_weight"):
    losses["embedding"] = SemiHardTriplet(0.2)
(stage,) = stages_of(options)
model = training_model(build_model(backbone, heads), options, stage, list(losses))
model.compile(optimizer(stage, options, 4, model.trainable_variables), loss=losses)
generator = np.random.default_rng(0)
labels = {{
    "category": generator.integers(0, 2, 8),
    "subcategory": generator.integers(-1, 3, 8),
    "attributes": generator.integers(0, 2, (8, 4)).astype("float32"),
}}
pictures = generator.integers(0, 256, (8, 32, 24, 3)).astype("uint8")
before = model.get_weights()
history = model.fit(pictures, labels, batch_size=4, epochs=1, verbose=0).history
assert np.isfinite(history["loss"]).all(), history
changed = [not np.array_equal(*pair) for pair in zip(before, model.get_weights())]
assert np.mean(changed) > 0.8, changed
"""


@pytest.mark.skipif(
    importlib.util.find_spec("jax") is None,
    reason="jax is not installed; `pip install jax` beside the locked packages lets this run",
)
@pytest.mark.parametrize(
    "technique", [{"mixup_alpha": 0.2, "cutmix_alpha": 1.0}, {"triplet_weight": 0.5}]
)
def test_one_step_on_jax(technique):
    subprocess.run(
        [sys.executable, "-c", ONE_STEP.format(technique=technique)],
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )
