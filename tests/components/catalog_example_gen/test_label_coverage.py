"""Labels that no product of the train part has."""

from components.catalog_example_gen.label_coverage import (
    labels_of,
    outside_train,
    outside_train_sentences,
)
from components.catalog_example_gen.rows import Columns, Product

COLUMNS = Columns(
    "id", None, "kind", "type", ("season",), ("brand", "gender"), "|", extra_labels=("gender",)
)


def test_a_products_labels_are_those_that_a_model_names():
    product = Product(2, "1", "Top", "Shirt", ("season=Fall", "season=Summer"), ("Acme", "Men"))
    assert list(labels_of(product, COLUMNS)) == [
        ("category", "Top"),
        ("subcategory", "Shirt"),
        ("attributes", "season=Fall"),
        ("attributes", "season=Summer"),
        ("gender", "Men"),
    ]
    unknown = product._replace(slices=("Acme", "unknown"), attributes=())
    assert [level for level, _ in labels_of(unknown, COLUMNS)] == ["category", "subcategory"]


def test_labels_that_train_lacks_are_counted_over_the_other_splits():
    counted = [
        ("train", "category", "Top", 5),
        ("test", "category", "Top", 1),
        ("eval", "category", "Saree", 2),
        ("test", "category", "Saree", 1),
        ("train", "subcategory", "Saree", 1),
        ("test", "gender", "Kids", 1),
    ]
    assert outside_train(counted) == {"category": {"Saree": 3}, "gender": {"Kids": 1}}


def test_they_are_told_the_most_frequent_first():
    many = {f"label {number}": number for number in range(1, 8)}
    told = list(outside_train_sentences({"category": many, "gender": {"Kids": 1}}))
    assert told == [
        "7 labels of category are in eval or test alone, so that no model can learn them: "
        "`label 7` (7), `label 6` (6), `label 5` (5), `label 4` (4), `label 3` (3) and 2 more. "
        "Add products, or take them out of the catalog.",
        "1 label of gender is in eval or test alone, so that no model can learn it: `Kids` (1). "
        "Add products, or take it out of the catalog.",
    ]
