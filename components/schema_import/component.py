"""The TFX component around it."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.schema_import import executor


class ImportSchemaGenSpec(ComponentSpec):
    """What goes in and what comes out."""

    PARAMETERS = {executor.TEXT: ExecutionParameter(type=str)}
    INPUTS: dict[str, ChannelParameter] = {}
    OUTPUTS = {executor.SCHEMA: ChannelParameter(type=standard_artifacts.Schema)}


class ImportSchemaGen(base_component.BaseComponent):
    """Makes an artifact of a schema, as TFX's step of the same name.

    Args:
        text: The TFMD schema in text format.
    """

    SPEC_CLASS = ImportSchemaGenSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, text: str) -> None:
        schema = types.Channel(type=standard_artifacts.Schema)
        super().__init__(ImportSchemaGenSpec(**{executor.TEXT: text, executor.SCHEMA: schema}))
