"""Pairs of labels travel with the model and come back as they were."""

import json

import numpy as np

from trainer.label_pairs import PAIRS_FILE, read_label_pairs, write_label_pairs

LABELS = {"category": ["Bags", 'a"|\nb'], "subcategory": ["Tote", "靴", "x"], "attributes": []}


def test_pairs_that_training_saw_come_back_by_name(tmp_path):
    write_label_pairs(np.array([[5, 0, 1], [0, 2, 0]]), LABELS, str(tmp_path))
    assert read_label_pairs(str(tmp_path)) == {("Bags", "Tote"), ("Bags", "x"), ('a"|\nb', "靴")}
    assert json.loads((tmp_path / PAIRS_FILE).read_text(encoding="utf-8")) == {
        "Bags": {"Tote": 5, "x": 1},
        'a"|\nb': {"靴": 2},
    }


def test_a_model_that_came_without_them_has_none(tmp_path):
    assert read_label_pairs(str(tmp_path)) is None
