"""DataGate: lets the run go on only if the data are what the schema says."""

from __future__ import annotations

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.catalog_example_gen.artifacts import Rejects
from components.data_gate import executor
from components.data_gate.artifacts import DataGateVerdict


class DataGateSpec(component_spec.ComponentSpec):
    """What goes in and what comes out."""

    PARAMETERS = {
        executor.STOP_ON: component_spec.ExecutionParameter(type=str),
        executor.MAX_REJECTED: component_spec.ExecutionParameter(type=float),
    }
    INPUTS = {
        executor.ANOMALIES: component_spec.ChannelParameter(
            type=standard_artifacts.ExampleAnomalies
        ),
        executor.STATISTICS: component_spec.ChannelParameter(
            type=standard_artifacts.ExampleStatistics
        ),
        executor.REJECTS: component_spec.ChannelParameter(type=Rejects),
    }
    OUTPUTS = {executor.VERDICT: component_spec.ChannelParameter(type=DataGateVerdict)}


class DataGate(base_component.BaseComponent):
    """Fails when too many rows were rejected or ExampleValidator found something severe.

    ExampleValidator itself only takes notes. Steps that must not see bad data name this component
    in `add_upstream_nodes`, or read its output `verdict`.
    """

    SPEC_CLASS = DataGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        anomalies: channel.BaseChannel,
        statistics: channel.BaseChannel,
        rejects: channel.BaseChannel,
        stop_on: str,
        max_rejected: float,
    ) -> None:
        """Names what is judged.

        Args:
            anomalies: ExampleAnomalies of ExampleValidator.
            statistics: ExampleStatistics that they were found in.
            rejects: Rejects of CatalogExampleGen, which are counted.
            stop_on: Severity of an anomaly from which on to fail: `error`, `warning` or `never`.
            max_rejected: Part of the rows, in [0, 1], above which to fail.
        """
        super().__init__(
            DataGateSpec(
                **{
                    executor.ANOMALIES: anomalies,
                    executor.STATISTICS: statistics,
                    executor.REJECTS: rejects,
                    executor.STOP_ON: stop_on,
                    executor.MAX_REJECTED: max_rejected,
                    executor.VERDICT: channel.Channel(type=DataGateVerdict),
                }
            )
        )
