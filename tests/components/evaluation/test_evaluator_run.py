"""TFX's Evaluator, run with our metrics and bounds on SavedModels, against scikit-learn."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as truth

import schema
from components.evaluation.eval_config import eval_config
from components.evaluation.results import metrics_json, read_evaluation

SLICES = ["gender"]


@pytest.fixture(scope="module")
def evaluate(examples_folder, schema_folder, tmp_path_factory):
    """Runs the Evaluator; returns what it wrote, read back, and whether it blessed."""
    from tfx.components.evaluator.executor import Executor
    from tfx.types import standard_artifacts
    from tfx.utils import proto_utils

    def run(config, model, baseline=None):
        folder = tmp_path_factory.mktemp("evaluation")

        def artifact(kind, uri, number):
            made = kind()
            made.uri, made.id = str(uri), number
            return made

        examples = artifact(standard_artifacts.Examples, examples_folder, 1)
        examples.split_names = '["test"]'
        examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
        inputs = {
            "examples": [examples],
            "model": [artifact(standard_artifacts.Model, model, 2)],
            "schema": [artifact(standard_artifacts.Schema, schema_folder, 6)],
        }
        if baseline is not None:
            inputs["baseline_model"] = [artifact(standard_artifacts.Model, baseline, 3)]
        blessing = artifact(standard_artifacts.ModelBlessing, folder / "blessing", 4)
        outputs = {
            "evaluation": [artifact(standard_artifacts.ModelEvaluation, folder / "out", 5)],
            "blessing": [blessing],
        }
        Executor(
            Executor.Context(
                beam_pipeline_args=["--runner=FnApiRunner"], tmp_dir=str(folder), unique_id="1"
            )
        ).Do(
            inputs,
            outputs,
            {
                "eval_config": proto_utils.proto_to_json(config),
                "example_splits": json.dumps(["test"]),
            },
        )
        evaluation = read_evaluation(str(folder / "out"))
        assert blessing.get_int_custom_property("blessed") == int(evaluation.blessed)
        assert (folder / "blessing" / "BLESSED").exists() == evaluation.blessed
        return evaluation

    return run


@pytest.fixture(scope="module")
def schema_folder(tmp_path_factory):
    """The features every catalog has, and the slice column."""
    folder = tmp_path_factory.mktemp("schema")
    catalog = (Path(schema.__file__).parent / "catalog.pbtxt").read_text()
    # The fixture's Examples carry no picture statistics.
    required = [block for block in catalog.split("feature {") if "image_" not in block]
    gender = ' name: "gender" type: BYTES value_count { min: 1 max: 1 } }'
    (folder / "schema.pbtxt").write_text("feature {".join([*required, gender]))
    return folder


@pytest.fixture(scope="module")
def model(save_model, tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("candidate"))


@pytest.fixture(scope="module")
def other_model(save_model, tmp_path_factory):
    """Has another vocabulary: turned around, and "Apparel" missing."""
    return save_model(tmp_path_factory.mktemp("baseline"), order=(2, 1))


@pytest.fixture(scope="module")
def first_run(evaluate, model):
    """No baseline, no threshold that a person set, but a regression bound."""
    return evaluate(eval_config(SLICES, {}, {"category/accuracy": 0.0}, 0.75), model)


@pytest.fixture(scope="module")
def second_run(evaluate, model, other_model):
    """The worse model is the candidate, the better one the baseline."""
    config = eval_config(
        SLICES,
        {"category/accuracy": 0.95, "subcategory/accuracy": 0.1},
        {"category/overall_f1": 0.01, "subcategory/accuracy": 0.0},
        0.75,
    )
    return evaluate(config, model=other_model, baseline=model)


def expected(judged, chosen):
    """All figures of the products `chosen`, by scikit-learn."""
    found = {}
    for level, labels in (("category", judged.category), ("subcategory", judged.subcategory)):
        vocabulary = judged.vocabularies[level]
        true = [vocabulary.index(label) if label in vocabulary else -1 for label in labels[chosen]]
        predicted = judged.scores[level][chosen].argmax(axis=1)
        found[f"{level}/accuracy"] = truth.accuracy_score(true, predicted)
        found |= _precision_recall_f1(f"{level}/overall", true, predicted, "weighted")
    true = np.array(
        [[label in of for label in judged.vocabularies["attributes"]] for of in judged.attributes]
    )[chosen]
    predicted = judged.scores["attributes"][chosen] >= 0.75
    found |= _precision_recall_f1("attributes/overall", true, predicted, "micro")
    found |= _precision_recall_f1("attributes/macro", true, predicted, "macro")
    return found


def short(value):
    """Three decimals, without the leading zero."""
    return f"{value:.3f}".removeprefix("0")


def _precision_recall_f1(prefix, true, predicted, average):
    three = truth.precision_recall_fscore_support(true, predicted, average=average, zero_division=0)
    return {
        f"{prefix}_{figure}": value
        for figure, value in zip(("precision", "recall", "f1"), three[:3], strict=True)
    }


def test_metrics_over_all_products_equal_scikit_learn(first_run, judged):
    everyone = np.ones(len(judged.gender), bool)
    assert first_run.example_count == len(judged.gender)
    assert first_run.metrics == pytest.approx(expected(judged, everyone))


@pytest.mark.parametrize("gender", ["Women", "Men", "unknown"])
def test_metrics_of_every_slice_equal_scikit_learn(first_run, judged, gender):
    chosen = judged.gender == gender
    assert first_run.slices["gender"][gender] == pytest.approx(
        {**expected(judged, chosen), "example_count": chosen.sum()}
    )


def test_the_confusion_counts_every_product_once_and_unknown_classes_as_errors(first_run, judged):
    confusion = first_run.confusion["category"]
    assert confusion[:, 2].sum() == len(judged.category)
    unknown = confusion[confusion[:, 0] == -1]
    assert unknown[:, 2].sum() == (judged.category == "Saree").sum() > 0


def test_the_attribute_counts_have_each_attributes_support(first_run, judged):
    true_positives, _, false_negatives = first_run.attribute_counts.T
    for index, label in enumerate(judged.vocabularies["attributes"]):
        support = sum(label in of for of in judged.attributes)
        assert true_positives[index] + false_negatives[index] == support


def test_a_first_run_without_thresholds_is_blessed_whatever_may_not_regress(first_run):
    assert first_run.blessed
    assert first_run.failures == []
    assert first_run.baseline == {}


def test_a_baseline_with_another_vocabulary_is_judged_by_its_own(second_run, first_run):
    assert second_run.baseline == pytest.approx(first_run.metrics)


def test_failed_thresholds_are_told_in_words(second_run, judged):
    vocabulary = ["Accessories", "Footwear"]
    predicted = judged.scores["category"][:, [2, 1]].argmax(axis=1)
    accuracy = np.mean(
        [vocabulary[p] == t for p, t in zip(predicted, judged.category, strict=True)]
    )
    fall = second_run.baseline["category/overall_f1"] - second_run.metrics["category/overall_f1"]
    assert not second_run.blessed
    assert sorted(second_run.failures) == [
        f"category/accuracy is {short(accuracy)}, must be at least .950",
        (
            f"category/overall_f1 fell by {short(fall)} against the last blessed model, "
            "at most .010 allowed"
        ),
    ]


def test_a_bound_that_is_met_exactly_is_met(evaluate, model, first_run):
    bounds = {name: value for name, value in first_run.metrics.items()}
    regression = {name: 0.0 for name in bounds}
    again = evaluate(eval_config([], bounds, regression, 0.75), model, baseline=model)
    assert again.blessed, again.failures


def test_a_catalog_without_attributes_is_judged_by_its_two_levels(
    evaluate, save_model, tmp_path, first_run
):
    bare = save_model(tmp_path, attributes=False)
    evaluation = evaluate(eval_config(SLICES, {}, {}, 0.75, attributes=False), bare)
    assert evaluation.metrics == {
        name: pytest.approx(value)
        for name, value in first_run.metrics.items()
        if not name.startswith("attributes/")
    }
    assert evaluation.attribute_counts.shape == (0, 3)


def test_attribute_columns_that_held_no_label_do_no_harm(evaluate, save_model, tmp_path):
    bare = save_model(tmp_path, attributes=False)
    evaluation = evaluate(eval_config(SLICES, {}, {}, 0.75), bare)
    assert evaluation.blessed
    assert evaluation.attribute_counts.shape == (0, 3)


def test_the_plain_form_survives_json_and_names_every_label(first_run, judged):
    plain = metrics_json(first_run, judged.vocabularies)
    assert json.loads(json.dumps(plain)) == plain
    labels = plain["labels"]
    assert set(labels["category"]) == {*judged.vocabularies["category"], "(not in the train part)"}
    assert list(labels["attributes"]) == judged.vocabularies["attributes"]
    assert labels["category"]["Apparel"]["support"] == (judged.category == "Apparel").sum()
