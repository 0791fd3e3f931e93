"""Random changes of the training pictures."""

from __future__ import annotations

from pydantic import Field, model_validator

from pipeline.config.section import Fraction, Section


class Augmentation(Section):
    """Random changes of the training pictures."""

    flip_probability: Fraction = Field(0.5, description="Probability of a horizontal flip.")
    contrast: Fraction = Field(0.2, description="Largest change of contrast.")
    contrast_probability: Fraction = Field(0.5, description="Probability of a contrast change.")
    brightness: Fraction = Field(0.2, description="Largest change of brightness.")
    brightness_probability: Fraction = Field(0.5, description="Probability of a brightness change.")
    shift: Fraction = Field(0.0625, description="Largest shift, as a part of the side.")
    scale: Fraction = Field(0.1, description="Largest change of scale.")
    rotation_degrees: float = Field(15, ge=0, le=180, description="Largest rotation in degrees.")
    geometry_probability: Fraction = Field(
        0.8, description="Probability of shift, scale and rotation together."
    )
    strength: float = Field(
        1,
        ge=0,
        description="By which contrast, brightness, shift, scale and rotation are multiplied, so "
        "that a search can vary them all at once.",
    )

    @model_validator(mode="after")
    def _changes_leave_a_picture(self) -> Augmentation:
        for name in ("contrast", "brightness", "shift", "scale"):
            if getattr(self, name) * self.strength >= 1:
                raise ValueError(f"{name} times strength must be below 1")
        return self
