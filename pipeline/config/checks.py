"""When the data stop the run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.section import Fraction, Section


class Checks(Section):
    """When the data stop the run."""

    max_rejected: Fraction = Field(
        0.1, description="Stop if a larger part of the rows is rejected."
    )
    max_ambiguous: Fraction = Field(
        0.1,
        description="Stop if for a larger part of the products there are several different "
        "pictures of that name, of which only one is used.",
    )
    stop_on: Literal["error", "warning", "never"] = Field(
        "error",
        description="Severity from which on a finding stops the run: the schema's are errors, "
        "drift and skew are warnings.",
    )
    drift: Fraction | None = Field(
        0.15,
        description="Warn where the train part is farther than this from the last run's that "
        "passed: the change of any label's share, or a picture figure's Jensen-Shannon divergence; "
        "`null` never warns.",
    )
    skew: Fraction | None = Field(
        0.15, description="The same between eval or test and train; `null` never warns."
    )
