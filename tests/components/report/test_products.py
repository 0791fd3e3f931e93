"""What the page knows of single products is what the models answered about them."""

import dataclasses
import gzip

import numpy as np
import pytest
from tensorflow.core.example.example_pb2 import Example

from components.report import products
from schema import features
from schema.records import framed


def test_wrong_answers_come_first_the_surest_of_them_at_the_top(judged):
    order = products.worst_first(judged)
    assert sorted(order) == list(range(100))
    levels = [judged.candidate.levels[level] for level in ("category", "subcategory")]
    wrong = np.max([np.where(of.right, 0, of.score) for of in levels], axis=0)[order]
    count = np.count_nonzero(wrong)
    assert (np.diff(wrong[:count]) <= 0).all()
    assert not wrong[count:].any()
    # Then those of the three whom the last model had wrong that are right now.
    was_wrong = ~judged.last.levels["subcategory"].right
    assert (
        was_wrong[order[count:]].nonzero()[0].tolist()
        == [*range(3)][: was_wrong[order[count:]].sum()]
    )
    least = np.min([of.score for of in levels], axis=0)[order[count + 3 :]]
    assert (np.diff(least) >= 0).all()


def test_every_product_is_told_with_its_answers(judged, ids):
    told = products.told(judged, ids)
    places = [ids.index(name) for name in told["ids"]]
    assert (told["count"], told["pictures"], len(places)) == (100, 100, 100)
    for level, of in told["levels"].items():
        answers = judged.candidate.levels[level]
        assert of["labels"] == list(answers.labels)
        assert of["truth"] == answers.truth[places].tolist()
        assert of["answer"] == answers.answer[places].tolist()
        assert of["last"] == judged.last.levels[level].answer[places].tolist()
        np.testing.assert_allclose(np.array(of["score"]) / 1000, answers.score[places], atol=1e-3)
    attributes = judged.candidate.levels["attributes"]
    for place, true, said in zip(
        places, told["attributes"]["truth"], told["attributes"]["said"], strict=True
    ):
        assert true == attributes.truth[place].nonzero()[0].tolist()
        assert said == (attributes.scores[place] >= 0.75).nonzero()[0].tolist()
    gender = told["slices"]["gender"]
    assert [gender["values"][code] for code in gender["of"]] == [
        ["Women", "Men", "Kids", "unknown"][place % 4] for place in places
    ]


def test_of_more_products_than_a_page_bears_the_worst_are_told(judged, ids, monkeypatch):
    monkeypatch.setattr(products, "MOST_PRODUCTS", 10)
    monkeypatch.setattr(products, "MOST_PICTURES", 4)
    told = products.told(judged, ids)
    assert told["ids"] == [ids[place] for place in products.worst_first(judged)[:10]]
    assert (told["count"], told["pictures"]) == (100, 4)


def test_what_nobody_knows_is_no_mistake(judged):
    levels = dict(judged.candidate.levels)
    sub = levels["subcategory"]
    levels["subcategory"] = dataclasses.replace(sub, truth=np.full(100, features.NOT_GIVEN))
    levels["category"] = dataclasses.replace(
        levels["category"], truth=levels["category"].answer.copy()
    )
    judged = dataclasses.replace(
        judged, candidate=dataclasses.replace(judged.candidate, levels=levels), last=None
    )
    least = np.minimum(sub.score, levels["category"].score)
    assert products.worst_first(judged).tolist() == np.argsort(least, kind="stable").tolist()


def test_a_sub_category_stands_under_the_category_that_it_mostly_has(judged):
    assert products.parents(judged) == {
        # 98 of 100 categories in order: 2 new, 60 and 4 apparel, then footwear.
        "Tshirt": "Apparel",
        "Shoe": "Apparel",
        "Shirt": "Footwear",
    }


def test_attributes_are_counted_at_every_score(judged):
    told = products.attribute_counts(judged)
    assert (told["labels"], told["threshold"]) == (["season=Summer", "usage=Sports"], 0.75)
    of = judged.candidate.levels["attributes"]
    for place, score in enumerate(told["grid"]):
        said = of.scores >= score
        assert told["counts"][1][place] == [
            (said & of.truth)[:, 1].sum(),
            (said & ~of.truth)[:, 1].sum(),
            (~said & of.truth)[:, 1].sum(),
        ]
    assert told["used"].sum(axis=1).tolist() == [of.truth[:, 0].sum(), of.truth[:, 1].sum()]


def test_coverage_ends_with_all_answers_and_says_where_the_chosen_score_stands(judged):
    told = products.coverages(judged, {"category": 0.95, "subcategory": None})
    category = judged.candidate.levels["category"]
    assert told["category"]["points"][-1] == pytest.approx((1.0, category.right.mean()))
    accepted = category.score >= 0.95
    assert told["category"]["chosen"] == pytest.approx(
        (accepted.mean(), category.right[accepted].mean())
    )
    assert told["subcategory"]["chosen"] is None
    both = category.right & judged.candidate.levels["subcategory"].right
    assert told["subcategory"]["points"][-1][1] == pytest.approx(both.mean())


def test_the_wanted_pictures_are_read_out_of_the_examples(tmp_path):
    def example(name):
        of = Example()
        of.features.feature["id"].bytes_list.value.append(name.encode())
        of.features.feature["image"].bytes_list.value.append(f"picture {name}".encode())
        return framed(of.SerializeToString())

    files = []
    for part, names in enumerate((["a", "b"], ["ü"])):
        files.append(str(tmp_path / f"{part}.gz"))
        with gzip.open(files[-1], "wb") as file:
            file.write(b"".join(map(example, names)))
    assert products.read_pictures(files, ["ü", "a", "missing"]) == {
        "a": b"picture a",
        "ü": "picture ü".encode(),
    }
