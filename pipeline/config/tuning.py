"""The search for better hyperparameters."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config.section import Positive, Section, checked_address

TUNABLE = ("model", "augmentation", "training")
"""Sections whose options a search may vary."""


class Range(Section):
    """Numbers from `min` to `max`, both of them included."""

    min: int | float = Field(description="The least.")
    max: int | float = Field(description="The largest.")
    step: int | float | None = Field(None, gt=0, description="Their distance; any by default.")
    log: bool = Field(False, description="Draw evenly by order of magnitude.")

    @model_validator(mode="after")
    def _in_order(self) -> Range:
        if not self.min < self.max or (self.log and self.min <= 0):
            raise ValueError("min must be below max, and above 0 where log is on")
        return self


def _usual_space() -> dict[str, Range | list[Any]]:
    return {
        "model.dropout": [0.1, 0.3, 0.5],
        "model.dense_units": [256, 512, 1024],
        "training.learning_rate": [0.0003, 0.001, 0.003],
    }


class Tuning(Section):
    """The search for better hyperparameters before training; off by default."""

    enabled: bool = Field(False, description="Whether the Tuner step is part of the pipeline.")
    search: Literal["random", "hyperband", "bayesian"] = Field(
        "random", description="KerasTuner's search algorithm."
    )
    trials: Positive = Field(10, description="Trials at most (for random and Bayesian search).")
    epochs: Positive = Field(5, description="Epochs of a trial at most.")
    workers: int = Field(
        1,
        ge=0,
        description="Processes of this machine that run trials side by side, each on a GPU of its "
        "own if any; 0 leaves all trials to other machines.",
    )
    listen: str | None = Field(
        None,
        description="`host:port` where `seamline tune-worker` on other machines gets trials, e.g. "
        "`0.0.0.0:7077`. Whoever reaches it is answered, so a NetworkPolicy belongs before it.",
    )
    worker_timeout_s: float = Field(
        60,
        gt=0,
        allow_inf_nan=False,
        description="Seconds after which a worker of which nothing is heard is given up, and its "
        "trial goes to another.",
    )
    space: dict[str, Range | list[Any]] = Field(
        default_factory=_usual_space,
        description="Values to try for each option of `model`, `augmentation` and `training`: a "
        "list, or a range as `{min: 0.0001, max: 0.01, log: true}`.",
    )

    @field_validator("listen")
    @classmethod
    def _address(cls, listen: str | None) -> str | None:
        return listen and checked_address(listen)

    @model_validator(mode="after")
    def _by_somebody(self) -> Tuning:
        if not self.workers and not self.listen:
            raise ValueError(
                "workers is 0, so that nobody would run a trial; make it 1 or more, or set listen"
            )
        return self
