"""Writes logs as the server does, and ML Metadata as runs do, without either."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2

from serving.model_server.traffic_log import TrafficLog

_Event = metadata_store_pb2.Event


class Runs:
    """ML Metadata as the runs of a pipeline leave it."""

    def __init__(self, root: Path):
        self.root = root
        root.mkdir()
        config = metadata_store_pb2.ConnectionConfig()
        config.sqlite.filename_uri = str(root / "metadata.sqlite")
        config.sqlite.connection_mode = (
            metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        )
        self.store = metadata_store.MetadataStore(config)

    def artifact(self, kind: str, path: str, live: bool = True, **properties: str) -> int:
        kind_id = self.store.put_artifact_type(metadata_store_pb2.ArtifactType(name=kind))
        artifact = metadata_store_pb2.Artifact(type_id=kind_id, uri=f"/as/it/was/artifacts/{path}")
        artifact.state = artifact.LIVE if live else artifact.PENDING
        for name, value in properties.items():
            artifact.custom_properties[name].string_value = value
        (self.root / "artifacts" / path).mkdir(parents=True)
        return self.store.put_artifacts([artifact])[0]

    def execution(self, kind: str, inputs: dict[str, int], outputs: dict[str, int]) -> None:
        kind_id = self.store.put_execution_type(metadata_store_pb2.ExecutionType(name=kind))
        execution = metadata_store_pb2.Execution(type_id=kind_id)
        execution_id = self.store.put_executions([execution])[0]
        events = []
        for of, direction in ((inputs, _Event.INPUT), (outputs, _Event.OUTPUT)):
            for key, artifact_id in of.items():
                event = _Event(artifact_id=artifact_id, execution_id=execution_id, type=direction)
                event.path.steps.add(key=key)
                event.path.steps.add(index=0)
                events.append(event)
        self.store.put_events(events)

    def run(self, number: int, baseline: int | None = None, pushed: bool = True) -> int:
        """A whole run, pushed as the version 100 + number; returns the model."""
        examples = self.artifact("Examples", f"Gen/examples/{number}")
        statistics = self.artifact("ExampleStatistics", f"StatisticsGen/statistics/{number}")
        half = self.artifact("ExampleStatistics", f"StatisticsGen/statistics/{number}0", live=False)
        self.execution("StatisticsGen", {"examples": examples}, {"statistics": statistics})
        self.execution("StatisticsGen", {"examples": examples}, {"statistics": half})
        model = self.artifact("Model", f"Trainer/model/{number}")
        self.execution("Trainer", {"examples": examples}, {"model": model})
        evaluation = self.artifact("ModelEvaluation", f"Evaluator/evaluation/{number}")
        inputs = {"model": model, "examples": examples}
        if baseline:
            inputs["baseline_model"] = baseline
        self.execution("Evaluator", inputs, {"evaluation": evaluation})
        if pushed:
            version = self.artifact(
                "PushedModel", f"Pusher/pushed_model/{number}", pushed_version=str(100 + number)
            )
            self.execution(
                "Pusher", {"model": model, "evaluation": evaluation}, {"pushed_model": version}
            )
        return model


def texts(values) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = [value if isinstance(value, bytes) else value.encode() for value in values]
    return array


def write_traffic(
    folder: Path,
    pictures: list[bytes],
    outputs: dict[str, np.ndarray],
    model: str = "catalog",
    version: int = 7,
) -> Path:
    """Logs pictures and what they were answered with; returns the folder."""
    log = TrafficLog(folder, rate=1)
    for start in range(0, len(pictures), 500):
        part = slice(start, start + 500)
        log.observe(
            model,
            version,
            "tolerant",
            {"image_bytes": texts(pictures[part])},
            {name: values[part] for name, values in outputs.items()},
        )
    log.close()
    return folder


@pytest.fixture
def write_log(tmp_path) -> Callable[..., Path]:
    """As `write_traffic`, always into the same folder."""
    return functools.partial(write_traffic, tmp_path / "log")
