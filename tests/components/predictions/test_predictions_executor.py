"""The step, run by Beam on SavedModels that repeat the scores which the Examples carry."""

from pathlib import Path

import numpy as np
import pytest

from components.predictions import answering, table
from components.predictions.component import Predictions
from schema.errors import UserError


@pytest.fixture(scope="module")
def model(save_model, tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def run(examples_folder, tmp_path):
    """Runs the step's executor on a model, None for none; returns its artifact."""
    from tfx import types
    from tfx.types import standard_artifacts

    from components.predictions.artifacts import Predictions as PredictionsArtifact
    from pipeline.beam_runner import LOCAL

    def asked(model, splits=("test",)):
        def artifact(kind, uri):
            made = kind()
            made.uri = str(uri)
            return made

        examples = artifact(standard_artifacts.Examples, examples_folder)
        examples.split_names = '["test"]'
        made = artifact(PredictionsArtifact, tmp_path / "predictions")
        inputs = {"examples": [examples], "model": [artifact(standard_artifacts.Model, model)]}
        component = Predictions(
            types.Channel(type=standard_artifacts.Examples),
            types.Channel(type=standard_artifacts.Model),
            splits=splits,
            slices=["gender"],
            resume_dir=str(tmp_path / "resume"),
        )
        executor_class = component.executor_spec.executor_class
        executor_class(
            executor_class.Context(
                beam_pipeline_args=[*LOCAL], tmp_dir=str(tmp_path), unique_id="1"
            )
        ).Do(inputs, {"predictions": [made]}, component.exec_properties)
        return made

    return asked


def test_every_product_of_the_split_is_answered_as_the_model_does(run, model, judged, tmp_path):
    made = run(model)
    assert made.get_string_custom_property("summary") == "120 products of test answered"
    found = table.read(made.uri, "test")
    assert found["id"].to_pylist() == [str(row) for row in range(120)]
    assert found["product"].to_pylist() == judged.product.tolist()
    # The Examples of this test name no groups.
    assert found["group"].to_pylist() == found["id"].to_pylist()
    assert found["slice/gender"].to_pylist() == judged.gender.tolist()
    assert table.labels_of(found.schema) == judged.vocabularies
    assert found["category/true"].to_pylist() == judged.category.tolist()
    assert found["attributes/true"].to_pylist() == judged.attributes
    expected = [None if value == "unknown" else value for value in judged.gender]
    assert found["gender/true"].to_pylist() == expected
    for level in ("category", "subcategory", "gender"):
        best = [labels[0] for labels in found[f"{level}/labels"].to_pylist()]
        codes = judged.scores[level].argmax(1)
        assert best == [judged.vocabularies[level][code] for code in codes]
    np.testing.assert_array_equal(
        np.stack(found["attributes/scores"].to_numpy()), judged.scores["attributes"]
    )
    assert not (tmp_path / "resume").exists() or not list((tmp_path / "resume").iterdir())


def test_a_killed_step_goes_on_with_the_files_that_it_was_not_done_with(run, model, monkeypatch):
    answered = []
    ask = answering.answer

    def killed(model, examples, output, **told):
        ask(model, examples, output, **told)
        raise KeyboardInterrupt

    monkeypatch.setattr(answering, "answer", killed)
    with pytest.raises((KeyboardInterrupt, RuntimeError)):
        run(model)
    monkeypatch.setattr(answering, "answer", lambda *_, **__: answered.append(1))
    made = run(model)
    assert not answered
    assert table.read(made.uri, "test").num_rows == 120


def test_half_a_file_of_a_killed_step_is_not_taken_for_a_whole_one(run, model, monkeypatch):
    rows = table.rows
    batches = []

    def full_disk(*arguments):
        batches.append(1)
        if len(batches) == 2:
            raise OSError(28, "No space left on device")
        return rows(*arguments)

    monkeypatch.setattr(table, "rows", full_disk)
    with pytest.raises(Exception, match="No space left"):
        run(model)
    monkeypatch.setattr(table, "rows", rows)
    assert table.read(run(model).uri, "test").num_rows == 120


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path} holds no model that can be asked"):
        answering.Answerer(str(tmp_path))
