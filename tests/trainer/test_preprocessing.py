"""Labels become indices of vocabularies that the train split alone determines."""

import numpy as np
import tensorflow as tf

from trainer import input_pipeline, preprocessing


def labels_of(catalog, products):
    output = catalog.transform_output
    return input_pipeline.transformed_labels(
        input_pipeline.parse_labels(tf.constant([x.serialized() for x in products]), output),
        output.transform_features_layer(),
        len(preprocessing.vocabulary(output, "attributes")),
    )


def test_vocabularies_hold_the_labels_of_train_alone(catalog):
    output = catalog.transform_output
    train = catalog.splits["train"]
    for level, found in {
        "category": {x.category for x in train},
        "subcategory": {x.subcategory for x in train},
        "attributes": {label for x in train for label in x.attributes},
    }.items():
        vocabulary = preprocessing.vocabulary(output, level)
        assert sorted(vocabulary) == sorted(found)
    assert any(x.category == "rings" for x in catalog.splits["eval"])


def test_labels_are_indices_of_their_vocabulary_and_minus_one_where_train_has_none(catalog):
    products = catalog.splits["eval"]
    labels = labels_of(catalog, products)
    for level in ("category", "subcategory"):
        vocabulary = preprocessing.vocabulary(catalog.transform_output, level)
        wanted = [
            vocabulary.index(getattr(x, level)) if getattr(x, level) in vocabulary else -1
            for x in products
        ]
        np.testing.assert_array_equal(labels[f"{level}_label"], wanted)
        assert labels[f"{level}_label"].dtype == tf.int64
        assert wanted[-1] == -1


def test_attributes_are_multi_hot(catalog, with_labels):
    output = catalog.transform_output
    vocabulary = preprocessing.vocabulary(output, "attributes")
    products = [
        with_labels(attributes=("color=red", "color=blue")),
        with_labels(attributes=()),
        with_labels(attributes=("color=green", "color=gold", "color=green")),
    ]
    expected = [
        [float(label in product.attributes) for label in vocabulary] for product in products
    ]
    labels = labels_of(catalog, products)["attributes_label"]
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == tf.float32


def test_a_catalog_without_attributes_has_none(plain_catalog):
    output = plain_catalog.transform_output
    assert preprocessing.vocabulary(output, "attributes") == []
    labels = labels_of(plain_catalog, plain_catalog.splits["eval"])
    assert labels["attributes_label"].shape == (10, 0)
    assert labels["category_label"].numpy().tolist() == [0] * 10
