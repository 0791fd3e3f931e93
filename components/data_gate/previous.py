"""Which statistics a run's are compared with."""

from tfx import types
from tfx.dsl.components.common import resolver
from tfx.types import standard_artifacts

from components.data_gate.artifacts import DataGateVerdict

STATISTICS_ID = "statistics_id"
"""Property of a verdict: the id of the statistics that passed."""


class LatestOtherPassedStatistics(resolver.ResolverStrategy):
    """The statistics that passed the gate last and are not this run's.

    Data that were stopped at the gate never became a model, so they are no measure. And the run's
    own must be left out: after a run they are the latest, so a second run with nothing changed
    would compare anew.

    Inputs: `statistics` and `verdict` with all artifacts of the pipeline, and `current` with this
    run's statistics. Outputs the same keys with at most one of the statistics and its verdict.
    """

    def resolve_artifacts(
        self, store: object, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Returns the statistics, or empty lists where no others ever passed."""
        current = {artifact.id for artifact in input_dict["current"]}
        others = {one.id: one for one in input_dict["statistics"] if one.id not in current}
        found = {"statistics": [], "verdict": [], "current": input_dict["current"]}
        for verdict in sorted(input_dict["verdict"], key=lambda artifact: -artifact.id):
            passed = verdict.get_int_custom_property(STATISTICS_ID)
            if passed in others:
                return found | {"statistics": [others[passed]], "verdict": [verdict]}
        return found


def previous_statistics_resolver(current: types.BaseChannel) -> resolver.Resolver:
    """The pipeline node that finds what `current`, this run's ExampleStatistics, is compared to."""
    return resolver.Resolver(
        strategy_class=LatestOtherPassedStatistics,
        statistics=types.Channel(type=standard_artifacts.ExampleStatistics),
        verdict=types.Channel(type=DataGateVerdict),
        current=current,
    ).with_id("PreviousStatistics")
