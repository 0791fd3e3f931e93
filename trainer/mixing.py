"""Pictures that are mixed of two in training, as one Keras layer: mixup and CutMix."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="seamline")
class Mixing(keras.layers.Layer):
    """Mixes each picture of a batch with the one before it when training; else passes them on.

    Mixup (Zhang et al. 2018, arXiv 1710.09412) adds the two in parts that are drawn from
    Beta(alpha, alpha); CutMix (Yun et al. 2019, arXiv 1905.04899, section 3.1) puts a box of the
    other into the picture, of a relative area drawn from Beta(alpha, alpha) around a center drawn
    evenly, cut off at the border. Labels must be mixed in the same parts.

    Of the two parts the larger is always the picture's own. The pairs are the same as with parts
    as they are drawn, but each picture leads once an epoch, where otherwise about a quarter would
    never and another would twice.

    A batch (N, H, W, 3) of any dtype goes in; out come float32 pictures of the same shape and, as
    float32 (N), the part of each picture that is its own.

    Args:
        mixup_alpha: Alpha of mixup; 0 for none.
        cutmix_alpha: Alpha of CutMix; 0 for none. Of both, each picture gets either by a toss.
        seed: Seed of the parts and boxes.
        name: Name of the layer.
    """

    def __init__(
        self,
        *,
        mixup_alpha: float,
        cutmix_alpha: float,
        seed: int | None = None,
        name: str = "mixing",
    ):
        super().__init__(name=name, dtype="float32")
        self.mixup_alpha = mixup_alpha
        self.cutmix_alpha = cutmix_alpha
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, pictures, training: bool = False):
        """The pictures and the part of each that is its own."""
        pictures = ops.cast(pictures, "float32")
        count = ops.shape(pictures)[0]
        if not training:
            return pictures, ops.ones((count,), "float32")
        # (N, H, W, 1): how much of each pixel is the picture's own.
        own = self._own_parts(pictures.shape[1:3], count)
        mixed = own * pictures + (1.0 - own) * of_partner(pictures)
        return mixed, ops.mean(own, axis=(1, 2, 3))

    def _own_parts(self, size: tuple[int, int], count):
        if not self.cutmix_alpha:
            return self._blend(size, count)
        if not self.mixup_alpha:
            return self._outside_of_box(size, count)
        toss = self._uniform(count) < 0.5
        return ops.where(toss, self._blend(size, count), self._outside_of_box(size, count))

    def _blend(self, size: tuple[int, int], count):
        return self._larger_part(self.mixup_alpha, count) * ops.ones((1, *size, 1), "float32")

    def _outside_of_box(self, size: tuple[int, int], count):
        half = ops.sqrt(1.0 - self._larger_part(self.cutmix_alpha, count)) / 2

        def within(pixels: int):
            """Whether the center of a row or column is in the box, bool (N, 1, pixels, 1)."""
            centers = (ops.arange(pixels, dtype="float32") + 0.5) / pixels
            return ops.abs(centers[None, None, :, None] - self._uniform(count)) < half

        rows, columns = map(within, size)
        box = ops.logical_and(ops.transpose(rows, (0, 2, 1, 3)), columns)
        return 1.0 - ops.cast(box, "float32")

    def _larger_part(self, alpha: float, count):
        part = keras.random.beta((count, 1, 1, 1), alpha, alpha, seed=self.seed_generator)
        return ops.maximum(part, 1.0 - part)

    def _uniform(self, count):
        return keras.random.uniform((count, 1, 1, 1), seed=self.seed_generator)

    def compute_output_shape(self, input_shape):
        """Of the pictures, which stays, and of their own parts."""
        return input_shape, (input_shape[0],)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "mixup_alpha": self.mixup_alpha,
            "cutmix_alpha": self.cutmix_alpha,
            "seed": self.seed,
            "name": self.name,
        }


def of_partner(batch):
    """What belongs to the picture that each is mixed with, from what belongs to each, (N, ...)."""
    # Batches are shuffled, so that the one before is as good as any.
    return ops.roll(batch, 1, axis=0)
