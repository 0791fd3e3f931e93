"""DataGate: lets the run go on only if the data are what the schema says."""

from __future__ import annotations

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.catalog_example_gen.artifacts import Rejects
from components.data_gate import executor
from components.data_gate.artifacts import DataGateVerdict
from components.ledger import recording


class DataGateSpec(component_spec.ComponentSpec):
    """What goes in and what comes out."""

    PARAMETERS = {
        executor.STOP_ON: component_spec.ExecutionParameter(type=str),
        executor.MAX_REJECTED: component_spec.ExecutionParameter(type=float),
        executor.MAX_AMBIGUOUS: component_spec.ExecutionParameter(type=float),
        executor.DRIFT: component_spec.ExecutionParameter(type=float, optional=True),
        executor.SKEW: component_spec.ExecutionParameter(type=float, optional=True),
        recording.LEDGER: component_spec.ExecutionParameter(type=str),
        recording.INPUTS: component_spec.ExecutionParameter(type=str),
        executor.CODE: component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        executor.ANOMALIES: component_spec.ChannelParameter(
            type=standard_artifacts.ExampleAnomalies
        ),
        executor.STATISTICS: component_spec.ChannelParameter(
            type=standard_artifacts.ExampleStatistics
        ),
        executor.PREVIOUS_STATISTICS: component_spec.ChannelParameter(
            type=standard_artifacts.ExampleStatistics, optional=True
        ),
        executor.REJECTS: component_spec.ChannelParameter(type=Rejects),
    }
    OUTPUTS = {executor.VERDICT: component_spec.ChannelParameter(type=DataGateVerdict)}


class DataGate(base_component.BaseComponent):
    """Fails when too many rows were rejected or the data are not what they should be.

    ExampleValidator itself only takes notes, and compares with the schema alone; that the data have
    drifted or that the splits differ is found here. Steps that must not see bad data name this
    component in `add_upstream_nodes`, or read its output `verdict`.
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
        max_ambiguous: float,
        drift: float | None = None,
        skew: float | None = None,
        previous_statistics: channel.BaseChannel | None = None,
        *,
        ledger: str,
        inputs: str,
        code: str = "",
    ) -> None:
        """Names what is judged.

        Args:
            anomalies: ExampleAnomalies of ExampleValidator.
            statistics: ExampleStatistics that they were found in.
            rejects: Rejects of CatalogExampleGen, which are counted.
            stop_on: Severity of an anomaly from which on to fail: `error`, `warning` or `never`.
            max_rejected: Part of the rows, in [0, 1], above which to fail.
            max_ambiguous: Part of the products, in [0, 1], with several different pictures of their
                name above which to fail.
            drift: Distance of the train part from `previous_statistics` above which to warn; None
                never does.
            skew: Distance of another split from train above which to warn; None never does.
            previous_statistics: ExampleStatistics of an earlier run, or none.
            ledger: Path or URL of the ledger, which learns of data that pass.
            inputs: Fingerprint of the catalog and of all that made Examples of it.
            code: Fingerprint of this package's sources; another one judges anew.
        """
        super().__init__(
            DataGateSpec(
                **{
                    executor.ANOMALIES: anomalies,
                    executor.STATISTICS: statistics,
                    executor.REJECTS: rejects,
                    executor.STOP_ON: stop_on,
                    executor.MAX_REJECTED: max_rejected,
                    executor.MAX_AMBIGUOUS: max_ambiguous,
                    executor.DRIFT: drift,
                    executor.SKEW: skew,
                    recording.LEDGER: ledger,
                    recording.INPUTS: inputs,
                    executor.CODE: code,
                    executor.PREVIOUS_STATISTICS: previous_statistics,
                    executor.VERDICT: channel.Channel(type=DataGateVerdict),
                }
            )
        )
