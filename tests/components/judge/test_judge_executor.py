"""The verdict on tables of answers, whose figures are those that scikit-learn finds."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn import metrics as truth

from components.judge import answers, executor, judgement
from components.judge.component import Judge
from components.judge.measures import measures
from components.predictions import answering, table
from schema.errors import UserError
from trainer.label_pairs import write_label_pairs


@pytest.fixture(scope="module")
def models(save_model, tmp_path_factory):
    """A model; and a worse one with another vocabulary, turned around and without "Apparel"."""
    return {
        "model": save_model(tmp_path_factory.mktemp("model")),
        "other": save_model(tmp_path_factory.mktemp("other"), order=(2, 1)),
        "older": save_model(tmp_path_factory.mktemp("older"), gender=False),
    }


@pytest.fixture(scope="module")
def tables(models, examples_folder, tmp_path_factory):
    """The folder of each model's answers about the test part, by several pictures a product."""
    [examples] = (examples_folder / "Split-test").glob("*.gz")
    folders = {}
    for name, model in models.items():
        folders[name] = tmp_path_factory.mktemp(f"answers-{name}")
        answering.answer(
            answering.Answerer(str(model / "Format-Serving")),
            str(examples),
            str(table.split_folder(folders[name], "test") / "part.parquet"),
            split="test",
            slices=["gender"],
            several_pictures=True,
        )
    return folders


@pytest.fixture
def judge(tmp_path):
    """Runs the step's executor on folders of answers; returns the verdict and its blessing."""
    from tfx import types
    from tfx.types import standard_artifacts

    from components.judge.artifacts import Judgement
    from components.predictions.artifacts import Predictions

    def run(candidate, last=None, gates=(), model="/the/model", before=None, **options):
        def artifact(kind, uri, number):
            made = kind()
            made.uri, made.id = str(uri), number
            return made

        inputs = {
            "model": [artifact(standard_artifacts.Model, model, 17)],
            "predictions": [artifact(Predictions, candidate, 2)],
        }
        if last:
            inputs["baseline_model"] = [artifact(standard_artifacts.Model, "/the/last", 11)]
            inputs["baseline_predictions"] = [artifact(Predictions, last, 3)]
        if before:
            judgement.write(before, tmp_path / "before")
            inputs["baseline_judgement"] = [artifact(Judgement, tmp_path / "before", 6)]
        component = Judge(
            types.Channel(type=standard_artifacts.Model),
            types.Channel(type=Predictions),
            gates=gates,
            slices=["gender"],
            attribute_threshold=0.75,
            **dict.fromkeys(("ledger", "inputs", "training"), ""),
            **options,
        )
        blessing = artifact(standard_artifacts.ModelBlessing, tmp_path / "blessing", 4)
        told = artifact(Judgement, tmp_path / "judgement", 5)
        executor.Executor().Do(
            inputs, {"blessing": [blessing], "judgement": [told]}, component.exec_properties
        )
        return judgement.read(told.uri), blessing

    return run


def gate(metric, **options):
    given = {"metric": metric, "slices": "overall", "blocks": "by_figure", "min_products": 30}
    return given | {"confidence": 0.95} | options


def test_a_model_as_good_as_the_last_one_is_blessed_in_tfx_own_form(judge, tables, tmp_path):
    told, blessing = judge(
        tables["model"], tables["model"], [gate("category/accuracy", at_least=0.5)]
    )
    assert told.blessed
    assert blessing.get_int_custom_property("blessed") == 1
    assert blessing.get_int_custom_property("current_model_id") == 17
    assert blessing.get_string_custom_property("current_model") == "/the/model"
    assert blessing.get_int_custom_property("baseline_model_id") == 11
    assert (tmp_path / "blessing" / "BLESSED").exists()
    assert {line.kind for line in told.lines if line.is_guard} == {"at_most_worse"}


def test_a_model_that_lost_a_class_is_refused_by_the_guards_alone(judge, tables, tmp_path):
    told, blessing = judge(tables["other"], tables["model"])
    assert not told.blessed
    assert blessing.get_int_custom_property("blessed") == 0
    assert (tmp_path / "blessing" / "NOT_BLESSED").exists()
    assert any(said.startswith("category/accuracy is ") for said in told.failures)
    assert all(said.startswith("category/accuracy") for said in told.failures)
    told, _ = judge(tables["other"], tables["model"], guards=False)
    assert told.lines == ()


def test_levels_that_the_last_model_did_not_know_are_not_compared(judge, tables):
    told, _ = judge(tables["model"], tables["older"])
    of_gender = [line.verdict for line in told.lines if line.metric == "gender/accuracy"]
    assert of_gender.count("not compared") == len(of_gender) - 1
    # Of those whose gender is unknown, nobody knows what would be right.
    assert of_gender.count("too few products") == 1
    assert told.blessed


def test_the_figures_are_those_of_scikit_learn(tables, judged):
    read = answers.judged(
        table.read(tables["other"], "test"), table.read(tables["model"], "test"), ["gender"], 0.75
    )
    for of, order in ((read.last, [0, 1, 2]), (read.candidate, [2, 1])):
        found = measures(of)
        vocabulary = np.array(judged.vocabularies["category"])[order]
        said = vocabulary[judged.scores["category"][:, order].argmax(1)]
        assert found["category/accuracy"].figure(of) == pytest.approx(
            truth.accuracy_score(judged.category, said)
        )
        assert found["category/macro_f1"].figure(of) == pytest.approx(
            truth.f1_score(judged.category, said, average="macro", zero_division=0)
        )
        for value in ("Women", "Men", "Kids", "unknown"):
            chosen = judged.gender == value
            assert found["category/accuracy"].figure(
                of, read.slices["gender"][value]
            ) == pytest.approx(truth.accuracy_score(judged.category[chosen], said[chosen]))
    found = measures(read.last)
    known = judged.gender != "unknown"
    said = np.array(judged.vocabularies["gender"])[judged.scores["gender"].argmax(1)]
    assert found["gender/accuracy"].figure(read.last) == pytest.approx(
        truth.accuracy_score(judged.gender[known], said[known])
    )
    true = [
        [label in of for label in judged.vocabularies["attributes"]] for of in judged.attributes
    ]
    assert found["attributes/overall_f1"].figure(read.last) == pytest.approx(
        truth.f1_score(np.array(true), judged.scores["attributes"] >= 0.75, average="micro")
    )


def test_products_of_several_pictures_are_judged_by_the_mean_of_their_scores(judge, tables, judged):
    read = answers.judged_by_product(
        table.read(tables["model"], "test"), table.read(tables["model"], "test"), ["gender"], 0.75
    )
    names, first, of = np.unique(judged.product, return_index=True, return_inverse=True)
    assert len(read) == len(names) == 80
    for answered in (read.candidate, read.last):
        found = measures(answered)
        for level in ("category", "subcategory"):
            mean = np.array(
                [judged.scores[level][of == place].mean(axis=0) for place in range(len(names))]
            )
            said = np.array(judged.vocabularies[level])[mean.argmax(axis=1)]
            true = getattr(judged, level)[first]
            assert found[f"{level}/accuracy"].figure(answered) == pytest.approx(
                truth.accuracy_score(true, said)
            )
        brier = found["category/brier"].figure(answered)
    mean = np.array(
        [judged.scores["category"][of == place].mean(axis=0) for place in range(len(names))]
    )
    true = judged.category[first][:, None] == np.array(judged.vocabularies["category"])
    expected = ((mean - true) ** 2).sum(1) + (~true.any(axis=1))
    assert brier == pytest.approx(expected.mean(), abs=1e-6)
    gates = [gate("category/product_accuracy", at_least=1.0)]
    told, _ = judge(tables["model"], gates=gates, several_pictures=True, guards=False)
    [line] = told.lines
    assert (line.products, line.verdict) == (80, "blocks")


def test_the_last_models_answers_may_be_in_another_order_but_not_of_other_products(tables):
    candidate, last = (table.read(tables[name], "test") for name in ("other", "model"))
    there = answers.judged(candidate, last, ["gender"], 0.75)
    turned = answers.judged(candidate, last.take(list(range(119, -1, -1))), ["gender"], 0.75)
    for level, of in there.last.levels.items():
        for name in ("truth", "scores" if level == "attributes" else "answer"):
            np.testing.assert_array_equal(
                getattr(turned.last.levels[level], name), getattr(of, name)
            )
    with pytest.raises(UserError, match="was asked about other products"):
        answers.judged(candidate, last.slice(1), ["gender"], 0.75)


def test_a_slice_that_only_the_eval_part_has_is_told(judge, tables, tmp_path):
    folder = tmp_path / "both"
    of_test = pq.read_table(tables["model"] / "Split-test" / "part.parquet")
    women = np.array(of_test["slice/gender"]) == "Women"
    for split, rows in (("test", women), ("eval", ~women)):
        table.split_folder(folder, split).mkdir(parents=True)
        file = table.split_folder(folder, split) / "part.parquet"
        pq.write_table(of_test.filter(rows), file)
    told, _ = judge(folder, gates=[gate("category/accuracy", at_least=0.1, slices="gender")])
    assert told.warnings[:2] == [
        f"no product of the test part is of gender {value}, so no gate holds there"
        for value in ("Kids", "Men")
    ]


def test_a_slice_that_the_last_model_was_judged_on_and_that_is_gone_is_told(judge, tables):
    def value(*products):
        return {f"level{number}/accuracy": {"products": of} for number, of in enumerate(products)}

    before = judgement.Judgement(
        (),
        slices={
            "gender": {"Women": value(70), "Elders": value(48, 1000), "Nobody": {}},
            "season": {"Summer": value(5)},
        },
    )
    told, _ = judge(tables["model"], before=before, guards=False)
    # Of what nobody knew the labels, nobody was judged.
    assert told.gone == {"gender": {"Elders": 1000}}
    assert told.warnings == [
        "no product of the test part is of gender Elders; the last blessed model was judged on "
        "1,000 of them"
    ]
    assert told.blessed
    # Where a gate names it, the gate's own warning is enough.
    gates = [gate("category/accuracy", at_least=0.0, slices="gender=Elders")]
    told, _ = judge(tables["model"], before=before, gates=gates, guards=False)
    assert told.warnings == [
        "no product of the test part is of gender Elders, so no gate holds there"
    ]
    assert judge(tables["model"])[0].gone == {}


def test_what_can_be_labelled_without_a_person_is_chosen_on_eval(judge, tables, tmp_path):
    of_test = pq.read_table(tables["model"] / "Split-test" / "part.parquet")
    for split in ("test", "eval"):
        table.split_folder(tmp_path / "both", split).mkdir(parents=True)
        pq.write_table(of_test, table.split_folder(tmp_path / "both", split) / "part.parquet")
    told, _ = judge(tmp_path / "both", automatic=0.6)
    assert told.automatic["wanted"] == 0.6
    of_category = told.automatic["levels"]["category"]
    scores = np.array([scores[0] for scores in of_test["category/scores"].to_pylist()])
    right = np.array(of_test["category/true_rank"]) == 1
    accepted = scores >= of_category["threshold"]
    assert of_category["precision"] == right[accepted].mean() >= 0.6
    assert judge(tmp_path / "both")[0].automatic == {}
    assert judge(tables["model"], automatic=0.6)[0].automatic == {}


def test_answers_below_a_category_that_training_never_saw_them_with_are_inconsistent(
    judge, tables, judged, tmp_path
):
    labels = {level: judged.vocabularies[level] for level in ("category", "subcategory")}
    pairs = np.zeros([len(of) for of in labels.values()], np.int64)
    said = [judged.scores[level].argmax(axis=1) for level in labels]
    # What is answered for the first product is the only pair that training saw.
    pairs[said[0][0], said[1][0]] = 3
    write_label_pairs(pairs, labels, str(tmp_path / "model" / "Format-Serving"))
    told, _ = judge(tables["model"], tables["model"], model=tmp_path / "model")
    name = "subcategory/hierarchical_consistency"
    consistent = pairs[tuple(said)] > 0
    assert 0 < consistent.mean() < 1
    assert told.figures[name]["value"] == told.figures[name]["last"] == consistent.mean()
    for value in ("Women", "Men"):
        of_slice = told.slices["gender"][value][name]
        assert of_slice["value"] == consistent[judged.gender == value].mean()
    gates = [gate(name, at_least=1.0)]
    assert not judge(tables["model"], gates=gates, model=tmp_path / "model")[0].blessed
    assert name not in judge(tables["model"])[0].figures
    with pytest.raises(UserError, match="cannot be asked of this model"):
        judge(tables["model"], gates=gates)


def test_a_test_part_without_products_is_named(judge, tmp_path):
    with pytest.raises(UserError, match="No product of the test part was answered"):
        judge(tmp_path)


def test_gates_travel_as_json(tables, judge):
    cross = gate("category/accuracy", at_least=0.0, slices=["gender=Women", "gender"])
    told, _ = judge(tables["model"], gates=[json.loads(json.dumps(cross))], guards=False)
    assert [line.slice for line in told.lines] == [{"gender": "Women"}]


def test_attributes_and_picture_figures_are_slices_as_well(tables, judged):
    of = table.read(tables["model"], "test")
    # The Examples of this test have no picture figures.
    assert of["image_brightness"].null_count == 120
    read = answers.judged(of, None, ["gender"], 0.75)
    assert read.columns == ("gender",)
    assert read.slices["image_brightness"] == {}
    for label, where in read.slices["attributes"].items():
        assert where.tolist() == [label in own for own in judged.attributes]
    assert list(read.slices["attributes"]) == judged.vocabularies["attributes"]


def test_the_ends_of_a_picture_figure_are_its_tenths():
    figure = np.random.default_rng(1).permutation(np.arange(100.0))
    found = answers.ends(figure, "dark", "bright")
    assert sorted(figure[found["dark"]]) == list(range(11))
    assert sorted(figure[found["bright"]]) == list(range(89, 100))
    assert sum(found.values()).tolist() == [1] * 100
    # Nearly all alike: no end is made of what is not different.
    alike = answers.ends(np.array([5.0] * 98 + [1.0, np.nan]), "small", "large")
    assert {name: int(where.sum()) for name, where in alike.items()} == {"those between": 99}
    assert answers.ends(np.array([np.nan]), "small", "large") == {}
