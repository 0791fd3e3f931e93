"""Measures a backbone's step with the fused batch normalization against Keras' own, in turns.

    python benchmarks/normalization.py                        EfficientNet-Lite0 at 128x96
    python benchmarks/normalization.py resnet50 densenet121   others

A step is forward and back through the backbone on a batch in memory, weights random. The yardstick
is the same network with keras.layers.BatchNormalization. The best step of each and the median ratio
of neighbors are printed. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from trainer.backbones import build_backbone
from trainer.fused_normalization import with_fused_normalization

import keras  # isort: skip
import tensorflow as tf  # isort: skip


def compiled_step(backbone: keras.Model, pictures: tf.Tensor) -> Callable[[], object]:
    """The gradients of a mean of squares; has run, so that nothing is left to compile."""

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(backbone(pictures, training=True) ** 2)
        return tape.gradient(loss, backbone.trainable_variables)

    step()
    return step


def seconds(step: Callable[[], object]) -> float:
    """How long a step takes."""
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("backbones", nargs="*", default=["efficientnetlite0"])
    parser.add_argument("--height", type=int, default=128, help="of the pictures, in pixels")
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=8, help="steps of each")
    arguments = parser.parse_args()
    shape = (arguments.height, arguments.width)
    pictures = tf.random.uniform((arguments.batch_size, *shape, 3), maxval=255)
    for name in arguments.backbones:
        backbone = build_backbone(
            name, image_height=shape[0], image_width=shape[1], filters=32, weights=None
        )
        both = (backbone, with_fused_normalization(backbone))
        steps = [compiled_step(each, pictures) for each in both]
        turns = [[seconds(step) for step in steps] for _ in range(arguments.rounds)]
        own, ours = (min(times) for times in zip(*turns, strict=True))
        print(
            f"{name} at {shape[0]}x{shape[1]}: {arguments.batch_size / own:,.1f} pictures/s with "
            f"Keras' own, {arguments.batch_size / ours:,.1f} with the fused, {own / ours:.2f} "
            f"times; {median(own / ours for own, ours in turns):.2f} in the median of "
            f"{arguments.rounds} turns",
            flush=True,
        )


if __name__ == "__main__":
    main()
