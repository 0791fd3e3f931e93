"""What a model must reach to go live."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config.section import Fraction, NonNegative, Positive, Section


class Gate(Section):
    """One bound on one metric; exactly one of the three `at_...` is given."""

    metric: str = Field(description="Named `level/metric`, as in `category/accuracy`.")
    slices: str | list[str] = Field(
        "overall",
        description="`overall`: all products together. `all`: every value of every slice column. A "
        "column: each of its values; `column=value`: that one; a list of these: their crosses. "
        "Beside the slice columns there are `attributes`, `image_brightness`, `image_sharpness` "
        "and `image_size`.",
    )
    at_least: NonNegative | None = Field(None, description="The least that the figure may be.")
    at_most: NonNegative | None = Field(
        None, description="The most that it may be, for a `calibration_error` for example."
    )
    at_most_worse: NonNegative | None = Field(
        None, description="How much worse than the last blessed model's it may be."
    )
    min_products: Positive = Field(
        30, description="Slices of fewer test products never block, and say so."
    )
    confidence: float = Field(
        0.95, ge=0.5, lt=1, description="Of the intervals, and of what is called sure."
    )
    blocks: Literal["by_figure", "when_surely_beyond", "unless_surely_within"] | None = Field(
        None,
        description="Whether the figure alone decides (`by_figure`, the default for `overall`), or "
        "a gate blocks only where the whole interval is beyond the bound (`when_surely_beyond`, "
        "the default for slices), or wherever it is not wholly within (`unless_surely_within`, for "
        "a launch).",
    )

    @model_validator(mode="after")
    def _has_one_bound(self) -> Gate:
        bounds = (self.at_least, self.at_most, self.at_most_worse)
        if sum(bound is not None for bound in bounds) != 1:
            raise ValueError(
                "a gate has exactly one of at_least, at_most and at_most_worse; write a gate for "
                "each bound"
            )
        return self

    @field_validator("slices")
    @classmethod
    def _names_something(cls, slices: str | list[str]) -> str | list[str]:
        if not slices or (isinstance(slices, list) and {"overall", "all"} & {*slices}):
            raise ValueError(
                "write overall, all, a column, column=value, or a list of columns and values"
            )
        return slices

    def options(self) -> dict[str, Any]:
        """Fields of `components.judge.gates.Gate`, with `blocks` decided."""
        by_default = "by_figure" if self.slices == "overall" else "when_surely_beyond"
        return self.model_dump() | {"blocks": self.blocks or by_default}


class Evaluation(Section):
    """What a model must reach to go live. Metrics are named `level/metric`."""

    attribute_threshold: Fraction = Field(
        0.75, description="Score from which an attribute counts as predicted."
    )
    label_threshold: Fraction = Field(
        0.75,
        description="Score from which a category, sub-category or extra label counts as known: "
        "part of every answer, and what `seamline predict --fill-known` fills in. Changing it or "
        "`attribute_threshold` trains anew, since they are part of the model.",
    )
    gates: list[Gate] = Field(
        default_factory=list,
        description="What a model must reach on the test part to go live: a list of bounds, see "
        "`evaluation.gates[]` below.",
    )
    automatic: float | None = Field(
        0.98,
        gt=0.5,
        lt=1,
        description="The share of right answers that is wanted of products which are labelled "
        "without a person: the report says from which scores on that holds, and for how many. "
        "`null` leaves it out.",
    )
    crosses: list[list[str]] = Field(
        default_factory=list,
        description="Lists of slice columns for whose combined values the metrics are computed as "
        "well, e.g. `[[gender, season]]`.",
    )
    guards: bool = Field(
        True,
        description="Whether, beside the gates, no level's accuracy, nor the attributes' overall "
        "F1, may become surely more than .01 worse than the last blessed model's, overall or in "
        "any slice. A gate of your own on the same metric and slices with `at_most_worse` stands "
        "in place of one of these.",
    )

    answer_train: bool = Field(
        False,
        description="Whether the model answers about the train part too, after the verdict, into a "
        "table of its own (`artifacts/TrainPredictions`). It has learned these labels, so nothing "
        "is judged by it.",
    )

    @model_validator(mode="before")
    @classmethod
    def _thresholds_are_gates_now(cls, options: Any) -> Any:
        if isinstance(options, dict):
            for old, bound in (("thresholds", "at_least"), ("max_regression", "at_most_worse")):
                if old not in options:
                    continue
                given = options[old] if isinstance(options[old], dict) else {}
                metric, value = next(iter(given.items()), ("category/accuracy", 0.9))
                raise ValueError(
                    f"{old} is written as gates now: `gates: [{{metric: {metric}, {bound}: "
                    f"{value}}}]`, a line for each"
                )
        return options
