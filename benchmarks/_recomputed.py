"""A step of a finished run, computed once more from what it read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.local_runner import StepResult, local_pipeline
from pipeline.workspace import Workspace


def computed(
    step: str,
    config: Config,
    workspace: Workspace,
    results: Mapping[str, StepResult],
    folder: Path | str,
    **properties: Any,
) -> dict[str, str]:
    """Runs a data step's executor, with `beam` as the config has it.

    Args:
        step: Its name.
        config: That of the run, but for `beam`.
        workspace: Where the run was; nothing of its artifacts is changed.
        results: Of the run, of all steps before.
        folder: Path or URL of the folder that gets what the step makes.
        properties: What the step is told otherwise than in the run.

    Returns:
        The folders of its outputs, by their names.
    """
    [component] = [one for one in local_pipeline(config, workspace).components if one.id == step]
    inputs = {
        key: list(results[channel.producer_component_id].outputs.get(channel.output_key, []))
        for key, channel in component.inputs.items()
    }
    outputs = {}
    for key, channel in component.outputs.items():
        made = channel.type()
        made.uri = f"{folder}/{key}"
        outputs[key] = [made]
    executor = component.executor_spec.executor_class
    context = executor.Context(
        beam_pipeline_args=component.executor_spec.beam_pipeline_args,
        tmp_dir=f"{folder}/temp",
        unique_id="1",
    )
    executor(context).Do(inputs, outputs, component.exec_properties | properties)
    return {key: made.uri for key, [made] in outputs.items()}
