"""How products are divided into train, eval and test."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config.columns import column_name
from pipeline.config.section import Fraction, Section


class Split(Section):
    """How products are divided; pictures that look the same always fall on one side."""

    seed: int = Field(42, description="Another seed draws another split.")
    eval: Fraction = Field(0.1, description="Part that chooses the epoch and hyperparameters.")
    test: Fraction = Field(0.1, description="Part that only judges: every published metric.")
    policy: Literal["stable", "exact"] = Field(
        "stable",
        description="`stable` keeps products on their side when the catalog grows; `exact` divides "
        "every category as asked for, to within one group.",
    )
    near_duplicate_bits: int = Field(
        12,
        ge=0,
        le=64,
        description="Pictures whose 256-bit hashes differ in at most so many bits fall on one "
        "side; 0 asks for equal hashes.",
    )
    column: str | None = Field(
        None,
        description="Column that says train, eval (or val, validation) or test (or query, gallery) "
        "and replaces the policy; a split that it never names is drawn out of train.",
    )

    @field_validator("column")
    @classmethod
    def _column_as_headings_are_read(cls, column: str | None) -> str | None:
        return column and column_name(column)

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> Split:
        if self.eval <= 0 or self.test <= 0 or self.eval + self.test >= 1:
            raise ValueError(
                f"eval ({self.eval}) and test ({self.test}) must be above 0 and leave a train part"
            )
        return self
