"""Which labels people are asked to look at."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.config.section import Positive, Section


class LabelReview(Section):
    """Which labels people are asked to look at."""

    enabled: bool = Field(
        False,
        description="List the labels that are probably wrong, with a page to work through them: "
        "see label_review.md.",
    )
    folds: Annotated[int, Field(ge=2)] = Field(
        5, description="Parts of the catalog, each judged by heads that did not see it."
    )
    neighbors: Positive = Field(
        30, description="Most similar products, of other groups, that are asked as well."
    )
    least_products: Positive = Field(
        5, description="Of a label that fewer products have the neighbors alone are asked."
    )
