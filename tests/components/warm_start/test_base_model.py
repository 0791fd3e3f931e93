"""A training starts from the last blessed model that learned from other data than it does."""

import pytest
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx.types import standard_artifacts

from components.warm_start.base_model import LatestBlessedModelOfOtherData


class Past:
    """Trainings and verdicts in a metadata store, one after the other."""

    def __init__(self):
        config = mlmd.ConnectionConfig()
        config.fake_database.SetInParent()
        self.store = MetadataStore(config)
        self.artifact_type = self.store.put_artifact_type(mlmd.ArtifactType(name="Artifact"))
        self.execution_type = self.store.put_execution_type(mlmd.ExecutionType(name="Trainer"))
        self.models, self.blessings = [], []

    def examples(self):
        return self._stored(standard_artifacts.Examples())

    def trained(self, examples, blessed=True):
        """A model of some Examples, judged; the id of it."""
        model = self._stored(standard_artifacts.Model())
        [execution] = self.store.put_executions([mlmd.Execution(type_id=self.execution_type)])
        self.store.put_events(
            [
                mlmd.Event(artifact_id=examples.id, execution_id=execution, type=mlmd.Event.INPUT),
                mlmd.Event(artifact_id=model.id, execution_id=execution, type=mlmd.Event.OUTPUT),
            ]
        )
        blessing = self._stored(standard_artifacts.ModelBlessing())
        blessing.set_int_custom_property("blessed", int(blessed))
        blessing.set_int_custom_property("current_model_id", model.id)
        self.models.append(model)
        self.blessings.append(blessing)
        return model.id

    def base_of(self, examples):
        """The id of the model that a training on some Examples starts from."""
        found = LatestBlessedModelOfOtherData().resolve_artifacts(
            self.store,
            {"model": self.models, "model_blessing": self.blessings, "examples": [examples]},
        )
        assert found["examples"] == [examples]
        return [model.id for model in found["model"]]

    def _stored(self, artifact):
        [artifact.id] = self.store.put_artifacts([mlmd.Artifact(type_id=self.artifact_type)])
        return artifact


@pytest.fixture
def past():
    return Past()


def test_the_first_training_starts_from_nothing(past):
    assert past.base_of(past.examples()) == []


def test_the_last_blessed_model_is_taken(past):
    first, second, third = past.examples(), past.examples(), past.examples()
    past.trained(first)
    blessed = past.trained(second)
    past.trained(second, blessed=False)
    assert past.base_of(third) == [blessed]


def test_training_again_on_the_same_data_starts_from_the_same_model(past):
    old, new = past.examples(), past.examples()
    base = past.trained(old)
    assert past.base_of(new) == [base]
    past.trained(new)
    assert past.base_of(new) == [base], "else a second run would train anew, and so on forever"
    assert past.base_of(old) != [base]
