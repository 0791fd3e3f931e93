"""The charts show the numbers that they are given."""

import numpy as np
import pytest

from components.report import charts


def test_a_distribution_draws_the_most_frequent_labels_first():
    chart = charts.distribution({f"label{n:03}": n + 1 for n in range(100)})
    (bars,) = chart["data"]
    assert bars["customdata"][0] == "label099"
    assert list(bars["x"]) == list(range(100, 100 - charts.MOST_BARS, -1))


def test_a_confusion_matrix_is_normalized_by_its_rows_with_errors_below_zero():
    pairs = np.array([[0, 0, 3], [0, 1, 1], [1, 1, 8], [-1, 1, 2]])
    (chart,) = charts.confusion(pairs, ["Shirt", "Shoe"])["data"]
    # Rows by support, the classes unknown to the vocabulary last.
    assert chart["z"] == [[1.0, -0.0], [-0.25, 0.75], [-1.0, -0.0]]
    assert chart["hovertext"][1][0] == "Shirt<br>taken for Shoe<br>1 of 4"


def test_every_row_of_a_whole_confusion_matrix_sums_to_one():
    generator = np.random.default_rng(0)
    matrix = generator.integers(0, 20, (9, 9))
    pairs = np.array([[t, p, matrix[t, p]] for t in range(9) for p in range(9)])
    (chart,) = charts.confusion(pairs, list("abcdefghi"))["data"]
    np.testing.assert_allclose(np.abs(chart["z"]).sum(axis=1), 1)


def test_of_many_classes_those_with_the_most_errors_are_shown():
    clean = [[index, index, 1000] for index in range(60)]
    wrong = [[index, 60 + index, 1] for index in range(10)]
    rows, columns = charts.confusion_classes(np.array(clean + wrong))
    assert len(columns) == charts.MOST_CLASSES
    assert set(range(10)) <= set(rows)
    assert set(range(60, 70)) <= set(columns)
    assert not set(range(60, 70)) & set(rows)


def test_training_curves_pair_train_and_eval_and_mark_the_best_epoch():
    epochs = [
        {"epoch": e, "loss": 1 / e, "val_loss": 2 / e, "category_accuracy": 0.5,
         "val_category_accuracy": 0.4, "category_loss": 1.0, "val_category_loss": 1.0,
         "gender_accuracy": 0.3, "val_gender_accuracy": 0.2}
        for e in (1, 2, 3)
    ]  # fmt: skip
    history = {"epochs": epochs, "best_epoch": 2}
    chart = charts.training_metrics(history, ["category", "subcategory", "gender"])
    assert [line["y"][0] for line in chart["data"]] == [0.4, 0.5, 0.2, 0.3]
    assert [line["line"]["color"] for line in chart["data"][::2]] == ["--series-1", "--series-3"]
    assert chart["layout"]["shapes"][0]["x0"] == 2
    assert chart["layout"]["yaxis"]["range"] == pytest.approx([0.2, 1.016])
    assert [line["y"] for line in charts.losses(history)["data"]] == [
        [1, 1 / 2, 1 / 3],
        [2, 1, 2 / 3],
    ]


def test_a_loss_that_is_no_number_leaves_a_gap():
    history = {"epochs": [{"epoch": 1, "loss": float("nan"), "val_loss": 1.0}], "best_epoch": 1}
    assert charts.losses(history)["data"][0]["y"] == [None]


def test_a_reliability_diagram_has_a_point_for_each_bin_with_answers():
    served = np.array([[10, 4.0, 5], [0, 0.0, 0], [30, 27.0, 24]])
    straight, before, after = charts.reliability(served, served * [1, 1.1, 1])["data"]
    assert straight["x"] == straight["y"] == [0, 1]
    assert (after["x"], after["y"]) == ([0.4, 0.9], [0.5, 0.8])
    assert before["x"] == pytest.approx([0.44, 0.99])
    assert after["marker"]["size"][1] > after["marker"]["size"][0]
    assert len(charts.reliability(served, None)["data"]) == 2
