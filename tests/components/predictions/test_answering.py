"""What Examples say of products: by the table's column, nothing made up, nothing lost."""

import pytest
import tensorflow as tf

from components.predictions import table
from components.predictions.answering import batches, told, truths


def feature(*values):
    if values and isinstance(values[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    if values and isinstance(values[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[x.encode() for x in values]))


def parsed(**features):
    example = tf.train.Example()
    for name, values in features.items():
        example.features.feature[name].CopyFrom(feature(*values))
    return example.features.feature


SHOE = {
    "id": ["7"],
    "group": ["5"],
    "product": ["p1"],
    "category": ["Shoe"],
    "subcategory": ["Flat"],
    "attributes": ["season=Fall", "fit=wide"],
    "gender": ["unknown"],
    "slice:id": ["x"],
    "image_height": [80],
    "image_brightness": [0.25],
}
TOP = {"id": ["8"], "category": ["Top"], "subcategory": ["Tee"], "gender": ["Men"]}


def test_whole_numbers_and_fractions_are_told_and_what_is_missing_is_none():
    columns = told([parsed(**SHOE), parsed(**TOP)], "eval", ["gender", "id"])
    assert columns["id"] == ["7", "8"]
    assert columns["split"] == ["eval", "eval"]
    # Alone in its product and group, where nobody says otherwise.
    assert columns["product"] == ["p1", "8"]
    assert columns["group"] == ["5", "8"]
    assert columns["image_height"] == [80, None]
    assert columns["image_brightness"] == [0.25, None]
    by_slice = [columns[table.slice_name(column)] for column in ("gender", "id")]
    assert by_slice == [["unknown", "Men"], ["x", "unknown"]]


def test_a_label_that_nobody_knows_is_no_truth():
    levels = ["category", "subcategory", "attributes", "gender", "id"]
    assert truths([parsed(**SHOE), parsed(**TOP)], levels) == {
        "category": ["Shoe", "Top"],
        "subcategory": ["Flat", "Tee"],
        "attributes": [["season=Fall", "fit=wide"], []],
        "gender": [None, "Men"],
        "id": ["x", None],
    }


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (3, [3]), (4, [3, 1]), (6, [3, 3])])
def test_examples_come_so_many_at_a_time(count, sizes):
    found = list(batches(iter([b"x"] * count), 3))
    assert [len(batch) for batch in found] == sizes
