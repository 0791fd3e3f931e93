"""TFMA, run with our metrics on what SavedModels say, against scikit-learn."""

import json
import re

import numpy as np
import pytest
from sklearn import metrics as truth
from tensorflow_model_analysis.proto.config_pb2 import ConfidenceIntervalOptions

from components.evaluation.eval_config import eval_config
from components.evaluation.results import metrics_json

SLICES = ["gender"]


@pytest.fixture(scope="module")
def evaluate(evaluate_models, examples_folder):
    """Runs the Evaluator on what models say; returns what it wrote, read back."""

    def run(bounds, model, baseline=None, several_pictures=False):
        slices = ["gender", "shot"]
        return evaluate_models(bounds, examples_folder, model, baseline, slices, several_pictures)

    return run


@pytest.fixture(scope="module")
def model(save_model, tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("candidate"))


@pytest.fixture(scope="module")
def other_model(save_model, tmp_path_factory):
    """Has another vocabulary: turned around, and "Apparel" missing."""
    return save_model(tmp_path_factory.mktemp("baseline"), order=(2, 1))


@pytest.fixture(scope="module")
def first_run(evaluate, model):
    """No baseline."""
    return evaluate(config(), model)


def config(slices=SLICES, **changes):
    """The configuration of a catalog that has everything."""
    everything = {"extra_labels": ["gender"], "joint_decoding": True, "calibrated": True}
    return eval_config(slices, 0.75, **everything | changes)


@pytest.fixture(scope="module")
def second_run(evaluate, model, other_model):
    """The worse model is the candidate, the better one the baseline."""
    return evaluate(config(), model=other_model, baseline=model)


def expected(judged, chosen):
    """All figures of the products `chosen`, by scikit-learn and by counting one by one."""
    found = {}
    for level in ("category", "subcategory", "gender"):
        labels, vocabulary = getattr(judged, level), judged.vocabularies[level]
        known = chosen & (labels != "unknown")
        if not known.any():
            continue
        true = np.array([vocabulary.index(of) if of in vocabulary else -1 for of in labels[known]])
        scores = {name: of[known] for name, of in judged.scores.items()}
        predicted = scores[level].argmax(axis=1)
        found[f"{level}/accuracy"] = truth.accuracy_score(true, predicted)
        found |= _precision_recall_f1(f"{level}/overall", true, predicted, "weighted")
        found |= _precision_recall_f1(f"{level}/macro", true, predicted, "macro")
        found[f"{level}/balanced_accuracy"] = truth.recall_score(
            true, predicted, labels=np.unique(true), average="macro", zero_division=0
        )
        order = np.argsort(-scores[level], axis=1, kind="stable")
        for k in (3, 5):
            among = [label in first for label, first in zip(true, order[:, :k], strict=True)]
            found[f"{level}/top{k}_accuracy"] = np.mean(among)
        one_hot = true[:, None] == np.arange(len(vocabulary))
        # What is in no vocabulary has a column of its own, to which no probability goes.
        squares = ((scores[level].astype(float) - one_hot) ** 2).sum(axis=1) + (true < 0)
        found[f"{level}/brier"] = squares.mean()
        for prefix, of in (("", scores[level]), ("uncalibrated_", scores[f"{level}_uncalibrated"])):
            error = calibration_error(of.max(axis=1), of.argmax(axis=1) == true)
            found[f"{level}/{prefix}calibration_error"] = error
        if level != "gender":
            independent = scores[f"{level}_independent"].argmax(axis=1)
            found[f"{level}/independent_accuracy"] = truth.accuracy_score(true, independent)
            found[f"{level}/changed_by_decoding"] = np.mean(independent != predicted)
    for name, suffix in (("pair_accuracy", ""), ("independent_pair_accuracy", "_independent")):
        found[f"subcategory/{name}"] = np.mean(
            [
                all(
                    judged.vocabularies[level][judged.scores[level + suffix][row].argmax()]
                    == getattr(judged, level)[row]
                    for level in ("category", "subcategory")
                )
                for row in np.flatnonzero(chosen)
            ]
        )
    right = {
        level: np.array(judged.vocabularies[level])[judged.scores[level].argmax(1)][chosen]
        == getattr(judged, level)[chosen]
        for level in ("category", "subcategory")
    }
    within = right["category"] & ~right["subcategory"]
    found["subcategory/wrong_within_category"] = within.mean()
    found["subcategory/wrong_across_categories"] = np.mean(~right["category"])
    found["subcategory/tree_distance"] = np.mean(2 * within + 4 * ~right["category"])
    true = np.array(
        [[label in of for label in judged.vocabularies["attributes"]] for of in judged.attributes]
    )[chosen]
    predicted = judged.scores["attributes"][chosen] >= 0.75
    found |= _precision_recall_f1("attributes/overall", true, predicted, "micro")
    found |= _precision_recall_f1("attributes/macro", true, predicted, "macro")
    for prefix, name in (("", "attributes"), ("uncalibrated_", "attributes_uncalibrated")):
        scores = judged.scores[name][chosen]
        error = calibration_error(scores.ravel(), true.ravel())
        found[f"attributes/{prefix}calibration_error"] = error
    return found


def calibration_error(scores, right, bins=15):
    """Guo et al. 2017, equation 5, answer by answer."""
    error = 0.0
    for low, high in zip(np.arange(bins) / bins, np.arange(1, bins + 1) / bins, strict=True):
        inside = [
            (score, hit)
            for score, hit in zip(scores, right, strict=True)
            if low <= score < high or score == high == 1
        ]
        if inside:
            mean_score, share = np.mean(inside, axis=0)
            error += len(inside) / len(scores) * abs(share - mean_score)
    return error


def short(value):
    """Three decimals, without the leading zero."""
    return f"{value:.3f}".removeprefix("0")


def _precision_recall_f1(prefix, true, predicted, average):
    three = truth.precision_recall_fscore_support(true, predicted, average=average, zero_division=0)
    return {
        f"{prefix}_{figure}": value
        for figure, value in zip(("precision", "recall", "f1"), three[:3], strict=True)
    }


def test_metrics_over_all_products_are_those_of_scikit_learn_and_of_counting(first_run, judged):
    everyone = np.ones(len(judged.gender), bool)
    assert first_run.example_count == len(judged.gender)
    assert first_run.metrics == pytest.approx(expected(judged, everyone))


@pytest.mark.parametrize("gender", ["Women", "Men", "Kids", "unknown"])
def test_metrics_of_every_slice_are_too_and_nothing_is_said_of_labels_that_nobody_knows(
    first_run, judged, gender
):
    chosen = judged.gender == gender
    assert ("gender/accuracy" in first_run.slices["gender"][gender]) == (gender != "unknown")
    assert first_run.slices["gender"][gender] == pytest.approx(
        {**expected(judged, chosen), "example_count": chosen.sum()}
    )


def test_metrics_are_computed_for_every_attribute_and_for_crosses_that_are_asked_for(
    evaluate, model, judged
):
    evaluation = evaluate(config(["gender"], crosses=[["gender", "shot"]]), model)
    assert list(evaluation.slices) == ["attributes", "gender", "gender x shot"]
    for label, found in evaluation.slices["attributes"].items():
        chosen = np.array([label in of for of in judged.attributes])
        assert found == pytest.approx({**expected(judged, chosen), "example_count": chosen.sum()})
    crossed = evaluation.slices["gender x shot"]
    assert sum(of["example_count"] for of in crossed.values()) == len(judged.gender)
    chosen = (judged.gender == "Women") & (np.arange(len(judged.gender)) % 2 == 1)
    assert crossed["Women x worn"] == pytest.approx(
        {**expected(judged, chosen), "example_count": chosen.sum()}
    )


def test_figures_are_read_where_tfma_puts_intervals_around_them(evaluate, model, first_run):
    bounds = config([])
    # Everything is computed twenty times, so two of the category's metrics are enough.
    del bounds.metrics_specs[2:]
    of_category = bounds.metrics_specs[1].metrics
    kept = [one for one in of_category if re.search('"(accuracy|confusion)"', one.config)]
    del of_category[:]
    of_category.extend(kept)
    bounds.options.compute_confidence_intervals.value = True
    bounds.options.confidence_intervals.method = ConfidenceIntervalOptions.POISSON_BOOTSTRAP
    evaluation = evaluate(bounds, model)
    expected = first_run.metrics["category/accuracy"]
    assert evaluation.metrics == {"category/accuracy": pytest.approx(expected)}
    np.testing.assert_array_equal(evaluation.confusion["category"], first_run.confusion["category"])


def test_the_confusion_counts_every_product_once_and_unknown_classes_as_errors(first_run, judged):
    confusion = first_run.confusion["category"]
    assert confusion[:, 2].sum() == len(judged.category)
    unknown = confusion[confusion[:, 0] == -1]
    assert unknown[:, 2].sum() == (judged.category == "Saree").sum() > 0


def test_of_an_extra_label_unknown_products_are_left_out_and_values_new_to_the_model_are_errors(
    first_run, judged
):
    confusion = first_run.confusion["gender"]
    assert confusion[:, 2].sum() == (judged.gender != "unknown").sum()
    assert confusion[confusion[:, 0] == -1][:, 2].sum() == (judged.gender == "Kids").sum() > 0


def test_the_reliability_tables_hold_every_answer_and_every_right_one(first_run, judged):
    for tables in (first_run.reliability, first_run.uncalibrated_reliability):
        assert list(tables) == ["category", "subcategory", "attributes", "gender"]
        assert tables["attributes"][:, 0].sum() == 4 * len(judged.category)
        assert tables["attributes"][:, 2].sum() == sum(map(len, judged.attributes))
    answers, scores, right = first_run.reliability["category"].sum(axis=0)
    assert answers == len(judged.category)
    assert right / answers == pytest.approx(first_run.metrics["category/accuracy"])
    assert scores == pytest.approx(judged.scores["category"].max(axis=1).sum())


def test_the_attribute_counts_have_each_attributes_support(first_run, judged):
    true_positives, _, false_negatives = first_run.attribute_counts.T
    for index, label in enumerate(judged.vocabularies["attributes"]):
        support = sum(label in of for of in judged.attributes)
        assert true_positives[index] + false_negatives[index] == support


def test_a_baseline_with_another_vocabulary_is_judged_by_its_own(second_run, first_run):
    assert second_run.baseline == pytest.approx(first_run.metrics)


def test_products_of_several_pictures_are_judged_by_the_mean_of_their_scores(
    evaluate, model, other_model, judged, first_run
):
    bounds = config(several_pictures=True)
    evaluation = evaluate(bounds, model, baseline=other_model, several_pictures=True)
    names, first, of = np.unique(judged.product, return_index=True, return_inverse=True)
    assert len(names) == 80
    mean = {
        level: np.array([scores[of == place].mean(axis=0) for place in range(len(names))])
        for level, scores in judged.scores.items()
    }
    expected = {}
    for level in ("category", "subcategory", "gender"):
        true, vocabulary = getattr(judged, level)[first], np.array(judged.vocabularies[level])
        right = vocabulary[mean[level].argmax(axis=1)] == true
        expected[f"{level}/product_accuracy"] = right[true != "unknown"].mean()
    true = [
        [label in judged.attributes[row] for label in judged.vocabularies["attributes"]]
        for row in first
    ]
    for kind, average in (("overall", "micro"), ("macro", "macro")):
        expected[f"attributes/product_{kind}_f1"] = truth.f1_score(
            np.array(true), mean["attributes"] >= 0.75, average=average, zero_division=0
        )
    assert evaluation.metrics == pytest.approx({**first_run.metrics, **expected})
    assert evaluation.baseline["category/product_accuracy"] < expected["category/product_accuracy"]


def test_a_baseline_that_does_not_know_the_extra_label_is_compared_in_the_rest(
    evaluate, model, save_model, tmp_path, first_run
):
    older = save_model(tmp_path, gender=False, compared=False)
    evaluation = evaluate(config(), model, baseline=older)
    assert evaluation.metrics == pytest.approx(first_run.metrics)
    assert not any(name.startswith("gender") for name in evaluation.baseline)
    assert evaluation.baseline["category/accuracy"] == first_run.metrics["category/accuracy"]
    # It serves what it would serve without decoding and calibration.
    assert evaluation.baseline["category/changed_by_decoding"] == 0
    before, after = (
        evaluation.baseline[f"category/{name}calibration_error"] for name in ("uncalibrated_", "")
    )
    assert before == after


def test_what_is_switched_off_is_not_measured(evaluate, save_model, tmp_path, first_run):
    plain = save_model(tmp_path, compared=False)
    evaluation = evaluate(config(joint_decoding=False, calibrated=False), plain)
    assert evaluation.metrics == {
        name: pytest.approx(value)
        for name, value in first_run.metrics.items()
        if not re.search("independent|decoding|uncalibrated", name)
    }
    assert evaluation.uncalibrated_reliability == {}


def test_a_catalog_without_attributes_is_judged_by_its_two_levels(
    evaluate, save_model, tmp_path, first_run
):
    bare = save_model(tmp_path, attributes=False)
    evaluation = evaluate(config(attributes=False), bare)
    assert evaluation.metrics == {
        name: pytest.approx(value)
        for name, value in first_run.metrics.items()
        if not name.startswith("attributes/")
    }
    assert evaluation.attribute_counts.shape == (0, 3)


def test_attribute_columns_that_held_no_label_do_no_harm(evaluate, save_model, tmp_path):
    bare = save_model(tmp_path, attributes=False)
    evaluation = evaluate(config(), bare)
    assert evaluation.attribute_counts.shape == (0, 3)


def test_the_plain_form_survives_json_and_names_every_label(first_run, judged):
    plain = metrics_json(first_run, judged.vocabularies)
    assert json.loads(json.dumps(plain)) == plain
    labels = plain["labels"]
    assert set(labels["category"]) == {*judged.vocabularies["category"], "(not in the train part)"}
    assert list(labels["attributes"]) == judged.vocabularies["attributes"]
    assert labels["category"]["Apparel"]["support"] == (judged.category == "Apparel").sum()
