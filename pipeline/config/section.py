"""What every section of options stands on: the base class, and the kinds of numbers."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A group of options; unknown names are errors, so that a typing slip is never ignored."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


def checked_address(address: str) -> str:
    """The address, if it is one to listen on: a host, or IPv6 in brackets, and a port.

    Raises:
        ValueError: it is not.
    """
    if not re.fullmatch(r"(\[[0-9A-Fa-f:]+\]|[^\s:\[\]/]+):\d{1,5}", address):
        raise ValueError(
            f"{address!r} is no address to listen on; give a host, or an IPv6 address in brackets, "
            "and a port, e.g. 0.0.0.0:7077"
        )
    return address
