"""Every label of the rows that the ingest accepts is in the vocabularies that Transform makes."""

import csv
import io

import pytest
import tensorflow as tf

from components.catalog_example_gen.rejects import Reason
from components.catalog_example_gen.rows import Columns, Product, read_rows
from schema import features
from trainer import input_pipeline, preprocessing

COLUMNS = Columns("id", None, "kind", "type", ("season",), ("brand",), "|")

# All blanks, signs and invisible letters, and some of the others.
LETTERS = [
    *map(
        chr, (*range(0x250), *range(0x600, 0x620), *range(0x2000, 0x2070), *range(0x3000, 0x3010))
    ),
    *map(chr, (*range(0x300, 0xD800, 97), *range(0xF900, 0x10000, 19), 0xFEFF, 0xFFFD, 0xFFFE)),
    *("\U0001f468\u200d\U0001f469", "\U0001f1e9\U0001f1ea", "\U000e0001", "\U0010ffff"),
]

# What vocabularies, their files and their readers could take for something else.
STRANGE = [
    *("", " ", "-1", "0", "NaN", "None", "null", "true", "=", "a=b=c", '"', "'", "\\n", "%s", "{}"),
    *("a,b", "a;b", "a\tb", "a\nb", "a\r\nb", "a\rb", "\n", "x" * 200, "x" * 201, "y" * 10_000),
    *("__MISSING__", "<UNK>", "[UNK]", "49d0cd50-04bb-48c0-bc6f-5b575dce351a", "unknown"),
]


@pytest.fixture(scope="module")
def results():
    """What the ingest makes of a row for each label, which stands in every column of it."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(["id", "kind", "type", "season", "brand"])
    labels = [*(f"a{letter}b" for letter in LETTERS), *LETTERS, *STRANGE]
    for number, label in enumerate(labels):
        writer.writerow([number, label, label, label, label])
    content = file.getvalue().encode("utf-8", "surrogateescape")
    return [
        row.result for row in read_rows(io.BytesIO(content), "utf-8-sig", COLUMNS, {}, "any.csv")
    ]


@pytest.fixture(scope="module")
def transformed(results, with_labels, make_catalog, tmp_path_factory):
    """The accepted rows, and a catalog of Examples of them with a Transform graph."""
    accepted = [one for one in results if isinstance(one, Product)]
    products = [
        with_labels(
            id=one.id,
            image=b"",
            category=one.category,
            subcategory=one.subcategory,
            attributes=one.attributes,
            extras={"brand": one.slices[0]},
        )
        for one in accepted
    ]
    return accepted, make_catalog(tmp_path_factory.mktemp("any"), {"train": products}, ["brand"])


def test_a_row_is_accepted_or_rejected_with_the_reason(results):
    reasons = {one.reason for one in results if not isinstance(one, Product)}
    assert reasons == {Reason.CONTROL_CHARACTER, Reason.TOO_LONG, Reason.EMPTY_LABEL}
    # Control characters, blanks and invisible letters alone.
    assert sum(not isinstance(one, Product) for one in results) < 200


def test_the_vocabularies_are_the_labels_of_the_accepted_rows(transformed):
    rows, catalog = transformed
    found = preprocessing.vocabularies(catalog.transform_output)
    assert {level: set(labels) for level, labels in found.items()} == {
        "category": {one.category for one in rows},
        "subcategory": {one.subcategory for one in rows},
        "attributes": {label for one in rows for label in one.attributes},
        "brand": {value for one in rows for value in one.slices} - {"unknown"},
    }
    assert all(len(labels) == len(set(labels)) for labels in found.values())


def test_every_label_has_the_index_of_its_place_in_the_vocabulary(transformed):
    rows, catalog = transformed
    output = catalog.transform_output
    vocabulary = preprocessing.vocabularies(output)
    places = {
        level: {label: place for place, label in enumerate(vocabulary[level])}
        for level in ("category", "brand")
    }
    layer = output.transform_features_layer()
    # So many attributes make large matrices.
    for start in range(0, len(rows), 500):
        examples = [one.serialized() for one in catalog.splits["train"][start : start + 500]]
        labels = layer(input_pipeline.parse_labels(tf.constant(examples), output))
        some = rows[start : start + 500]
        assert labels["category_label"].numpy().tolist() == [
            places["category"][one.category] for one in some
        ]
        assert labels["brand_label"].numpy().tolist() == [
            places["brand"].get(one.slices[0], features.NOT_GIVEN) for one in some
        ]
        assert labels["attributes_label"].numpy().sum(1).tolist() == [
            len(one.attributes) for one in some
        ]
