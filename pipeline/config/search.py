"""How the catalog is searched by pictures."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, field_validator

from pipeline.config.section import Positive, Section


class Search(Section):
    """How the catalog is searched by pictures."""

    enabled: bool = Field(
        False,
        description="Push an index of all products with the model, for `seamline app` and "
        "`seamline search`: see search.md. It asks the model about the train part as well.",
    )
    weights: dict[str, float] = Field(
        default_factory=dict,
        description="How much each block of a vector counts, where it differs from the usual: "
        "`kind` 1.8, `features` 0.7, `colour` 1.2, each extra label 0.7, each group of attributes "
        "0.",
    )
    alike: list[str] = Field(
        default_factory=list,
        description="Columns by which a search is judged on the test part, coarse to fine: what is "
        "alike in more of them should be found first. By default the second level and the extra "
        "labels.",
    )
    features_size: Positive = Field(256, description="Numbers of the block of features, at most.")
    features_power: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5,
        description="How far the features' directions are made to vary alike: 1 wholly, 0 not.",
    )
    least_recall: Annotated[float, Field(gt=0, le=1)] = Field(
        0.99,
        description="Share of the nearest products that an approximate index must find, or all "
        "products are compared; fewer than 200,000 are in any case.",
    )

    @field_validator("weights")
    @classmethod
    def _weights_that_can_be(cls, weights: dict[str, float]) -> dict[str, float]:
        for name, weight in weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(
                    f"the weight of {name} is {weight}; it must be a number of at least 0"
                )
        return weights
