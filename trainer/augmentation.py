"""Random changes of the training pictures, as one Keras layer.

The changes and their default sizes are those of Ferreira et al. 2018 (arXiv 1806.09445).
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="seamline")
class Augmentation(keras.layers.Layer):
    """Flips, moves and lights pictures anew at every training step; passes them on otherwise.

    Flip, shift, scale and rotation are one affine transform, so that a picture is resampled once.
    What comes into view at the border is the picture's reflection. A batch of shape (N, H, W, 3)
    with values 0 to 255 of any dtype goes in, float32 of the same shape and range comes out.

    Args:
        flip_probability: Probability that a picture is mirrored left to right.
        contrast: Distances from the picture's mean are multiplied by 1 - contrast to 1 + contrast.
        contrast_probability: Probability of a change of contrast.
        brightness: Values are multiplied by 1 - brightness to 1 + brightness.
        brightness_probability: Probability of a change of brightness.
        shift: Largest shift along each axis, as a part of the side.
        scale: Pictures are scaled by 1 - scale to 1 + scale.
        rotation_degrees: Largest rotation, either way.
        geometry_probability: Probability of shift, scale and rotation, all three together.
        strength: By which all sizes are multiplied; the probabilities stay.
        seed: Seed of the changes.
        name: Name of the layer.
    """

    def __init__(
        self,
        *,
        flip_probability: float,
        contrast: float,
        contrast_probability: float,
        brightness: float,
        brightness_probability: float,
        shift: float,
        scale: float,
        rotation_degrees: float,
        geometry_probability: float,
        strength: float = 1.0,
        seed: int | None = None,
        name: str = "augmentation",
    ):
        # Always float32: 16-bit floats cannot address the pixels of a large picture.
        super().__init__(name=name, dtype="float32")
        self.options = {
            "flip_probability": flip_probability,
            "contrast": contrast,
            "contrast_probability": contrast_probability,
            "brightness": brightness,
            "brightness_probability": brightness_probability,
            "shift": shift,
            "scale": scale,
            "rotation_degrees": rotation_degrees,
            "geometry_probability": geometry_probability,
            "strength": strength,
        }
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        # XLA has no kernel for TensorFlow's image transform.
        self.supports_jit = keras.backend.backend() != "tensorflow"

    def call(self, pictures, training: bool = False):
        """Changes each picture of the batch in its own way when `training`."""
        pictures = ops.cast(pictures, "float32")
        if not training:
            return pictures
        count = ops.shape(pictures)[0]
        return self._light(self._move(pictures, count), count)

    def _move(self, pictures, count):
        options = self.options
        height, width = pictures.shape[1:3]
        moved = self._chance(options["geometry_probability"], count)
        angle = moved * math.radians(1) * self._up_to("rotation_degrees", count)
        zoom = 1.0 + moved * self._up_to("scale", count)
        right = moved * self._up_to("shift", count) * width
        down = moved * self._up_to("shift", count) * height
        mirror = 1.0 - 2.0 * self._chance(options["flip_probability"], count)

        # The transform says for a pixel of the result where in the picture it comes from, hence
        # the inverse: take the shift back, then rotation and scale about the center, then the flip.
        center_x, center_y = (width - 1) / 2, (height - 1) / 2
        cosine, sine = ops.cos(angle) / zoom, ops.sin(angle) / zoom
        start_x, start_y = -(center_x + right), -(center_y + down)
        zero = ops.zeros_like(angle)
        transforms = ops.stack(
            [
                mirror * cosine,
                mirror * sine,
                mirror * (cosine * start_x + sine * start_y) + center_x,
                -sine,
                cosine,
                -sine * start_x + cosine * start_y + center_y,
                zero,
                zero,
            ],
            axis=1,
        )
        return ops.image.affine_transform(
            pictures,
            transforms,
            interpolation="bilinear",
            fill_mode="reflect",
            data_format="channels_last",
        )

    def _light(self, pictures, count):
        options = self.options
        contrast = self._chance(options["contrast_probability"], count)
        contrast = 1.0 + contrast * self._up_to("contrast", count)
        brightness = self._chance(options["brightness_probability"], count)
        brightness = 1.0 + brightness * self._up_to("brightness", count)
        mean = ops.mean(pictures, axis=(1, 2, 3), keepdims=True)
        gain = ops.reshape(contrast * brightness, (-1, 1, 1, 1))
        offset = ops.reshape((1.0 - contrast) * brightness, (-1, 1, 1, 1)) * mean
        return ops.clip(pictures * gain + offset, 0.0, 255.0)

    def _up_to(self, option: str, count):
        """Drawn evenly from minus to plus what an option allows, (count)."""
        limit = self.options[option] * self.options["strength"]
        return keras.random.uniform(
            (count,), -limit, limit, dtype="float32", seed=self.seed_generator
        )

    def _chance(self, probability: float, count):
        drawn = keras.random.uniform((count,), dtype="float32", seed=self.seed_generator)
        return ops.cast(drawn < probability, "float32")

    def compute_output_shape(self, input_shape):
        """The shape stays."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**self.options, "seed": self.seed, "name": self.name}
