"""The TFX component around the canary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.model_canary.executor import Executor


class ModelCanarySpec(types.ComponentSpec):
    """What goes into the canary and what comes out of it."""

    PARAMETERS = {
        "model_name": ExecutionParameter(type=str),
        "questions": ExecutionParameter(type=int),
        "latency_ms": ExecutionParameter(type=float, optional=True),
        "server": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "examples": ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {"blessing": ChannelParameter(type=standard_artifacts.InfraBlessing)}


class ModelCanary(base_component.BaseComponent):
    """Serves the candidate, asks it about pictures of the `test` split, and blesses it or not.

    Args:
        model: the candidate.
        examples: Examples with a `test` split.
        model_name: the name under which it will be served.
        questions: how many pictures to ask about.
        latency_ms: the median of the milliseconds that one picture may take; None allows any.
        server: fields of `servers.Server`, on which it is served; the embedded server by default.
        code: a fingerprint of the sources, so that changed ones are not taken from the cache.
    """

    SPEC_CLASS = ModelCanarySpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel,
        model_name: str,
        questions: int,
        latency_ms: float | None = None,
        server: Mapping[str, Any] | None = None,
        code: str | None = None,
    ):
        super().__init__(
            ModelCanarySpec(
                model=model,
                examples=examples,
                model_name=model_name,
                questions=questions,
                latency_ms=latency_ms,
                server=json.dumps(server or {}, sort_keys=True),
                code=code,
                blessing=types.Channel(type=standard_artifacts.InfraBlessing),
            )
        )
