"""The model that a training starts from: the last blessed one that learned from other data."""

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.dsl.components.common import resolver
from tfx.types import standard_artifacts

from components.evaluation.baseline import latest_blessed

_INPUT = metadata_store_pb2.Event.INPUT
_OUTPUT = metadata_store_pb2.Event.OUTPUT


class LatestBlessedModelOfOtherData(resolver.ResolverStrategy):
    """The model that was blessed last and was not trained on this run's Examples.

    Those that were must be left out: after a blessed run the last one is this run's, and a second
    run with nothing changed would train anew, from what the first has learned, and so on forever.

    Inputs: `model` and `model_blessing` with all artifacts of the pipeline, and `examples` with
    those of this run. Outputs the same keys with at most one model and its blessing.
    """

    def resolve_artifacts(
        self, store: MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Returns the model, or empty lists where no model of other data was ever blessed."""
        examples = {artifact.id for artifact in input_dict["examples"]}
        found = {"model": [], "model_blessing": [], "examples": input_dict["examples"]}
        for model, blessing in latest_blessed(input_dict["model"], input_dict["model_blessing"]):
            if not examples & _learned_from(store, model.id):
                return found | {"model": [model], "model_blessing": [blessing]}
        return found


def _learned_from(store: MetadataStore, model_id: int) -> set[int]:
    """The ids of everything that the training of a model read."""
    made = [
        event.execution_id
        for event in store.get_events_by_artifact_ids([model_id])
        if event.type == _OUTPUT
    ]
    read = store.get_events_by_execution_ids(made) if made else []
    return {event.artifact_id for event in read if event.type == _INPUT}


def base_model_resolver(examples: types.BaseChannel) -> resolver.Resolver:
    """The pipeline node that finds what a training on `examples` starts from."""
    return resolver.Resolver(
        strategy_class=LatestBlessedModelOfOtherData,
        model=types.Channel(type=standard_artifacts.Model),
        model_blessing=types.Channel(type=standard_artifacts.ModelBlessing),
        examples=examples,
    ).with_id("BaseModel")
