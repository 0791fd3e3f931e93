"""How the data steps are computed."""

from __future__ import annotations

from pydantic import Field

from pipeline.config.section import Positive, Section


class Beam(Section):
    """How the data steps are computed."""

    workers: Positive = Field(1, description="Processes that read pictures in parallel.")
