"""What every section of options stands on: the base class, and the kinds of numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A group of options; unknown names are errors, so that a typing slip is never ignored."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())
