"""Labels that contradict each other."""

import pytest

from components.catalog_example_gen.conflicts import LabelConflicts
from components.catalog_example_gen.rows import Product


def found(*products: Product, slices: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    labels = LabelConflicts(slices)
    for product in products:
        labels.add(product)
    return [tuple(conflict) for conflict in labels.found()]


def product(row: int, **labels: object) -> Product:
    usual = Product(row, f"p{row}", "Bags", "Totes", (), ())
    return usual._replace(**labels)


@pytest.mark.parametrize(
    ("usual", "odd"),
    [
        ("Bags", "BAGS"),
        ("Hand Bags", "Handbags"),
        ("Bags", "\uff22ags"),
        ("T-Shirts", "T\u2013Shirts"),
        ("Stra\u00dfe", "STRASSE"),
        ("می\u200cخ", "میخ"),
    ],
)
@pytest.mark.parametrize("level", ["category", "subcategory", "attributes", "gender"])
def test_spellings_of_one_label_are_a_conflict_at_every_level(level, usual, odd):
    def labelled(row: int, label: str) -> Product:
        if level == "gender":
            return product(row, slices=(label,))
        if level == "attributes":
            return product(row, attributes=(f"kind={label}",), slices=("x",))
        return product(row, **{level: label}, slices=("x",))

    products = [labelled(2, usual), labelled(3, odd), labelled(4, usual)]
    (conflict,) = [one for one in found(*products, slices=("gender",)) if one[0] == "spelling"]
    text = "kind={}" if level == "attributes" else "{}"
    assert conflict == (
        "spelling",
        text.format(usual),
        "3",
        "p3",
        f"{level}: {text.format(usual)!r} (2), {text.format(odd)!r} (1)",
    )


def test_labels_of_two_levels_or_groups_may_look_alike():
    products = [
        product(2, subcategory="bags", attributes=("a=Red",), slices=("bags", "RED")),
        product(3, subcategory="bags", attributes=("b=red",), slices=("bags", "RED")),
    ]
    assert found(*products, slices=("one", "two")) == []


def test_a_sub_category_of_several_categories_is_a_conflict():
    products = [product(2), product(3, category="Shoes"), product(4)]
    assert found(*products) == [
        ("several_categories", "Totes", "3", "p3", "categories: 'Bags' (2), 'Shoes' (1)")
    ]
