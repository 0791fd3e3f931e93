"""Rows that are one product: no row lost, the first with labels speaks, every picture once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.catalog_example_gen.products import gathered
from components.catalog_example_gen.rejects import Reason
from components.catalog_example_gen.rows import Columns, Product, ProductRow


def columns(product: str | None = "handle", picture_separator: str | None = None) -> Columns:
    return Columns(
        *("id", "file", "kind", "type", (), (), "|"),
        product=product,
        picture_separator=picture_separator,
    )


def row(number: int, *pictures: str, kind: str = "", name: str = "p", **more: str) -> ProductRow:
    first, *further = pictures or [""]
    product = Product(number, f"sku{number}", kind, kind, (), (), product=name, **more)
    return ProductRow(first, product, tuple(further))


# Which pictures and labels each row of a product has.
ROWS = st.lists(
    st.tuples(
        st.lists(st.sampled_from("abcd"), max_size=3, unique=True), st.sampled_from(["", "x", "y"])
    ),
    min_size=1,
    max_size=8,
)


@given(ROWS)
def test_every_row_and_every_picture_comes_to_one_end(described) -> None:
    rows = [row(n, *files, kind=kind) for n, (files, kind) in enumerate(described, start=2)]
    product = gathered(rows, columns())
    files = {file for files, _ in described for file in files}
    labels = [kind for _, kind in described if kind]

    ends = len(product.pictured) + len(product.rejects) + product.belonging
    assert len(rows) + product.further == ends
    assert {name for name, _ in product.pictured} == (files if labels else set())
    assert len({one.id for _, one in product.pictured}) == len(product.pictured)
    assert {one.category for _, one in product.pictured} <= set(labels[:1])
    assert bool(product.rejects) == (not files or not labels)
    assert bool(product.conflict) == (bool(product.pictured) and len(set(labels)) > 1)


def test_the_first_row_with_labels_speaks_for_the_pictures_of_all() -> None:
    rows = [row(2, "a.jpg"), row(3, "b.jpg", kind="Shoe", split="test"), row(4, kind="Bag")]
    product = gathered(rows, columns())
    assert [(name, one.row, one.id) for name, one in product.pictured] == [
        ("a.jpg", 2, "p"),
        ("b.jpg", 3, "p/b.jpg"),
    ]
    assert {(one.category, one.split, one.product) for _, one in product.pictured} == {
        ("Shoe", "test", "p")
    }
    assert (product.rejects, product.belonging, product.further) == ([], 1, 0)
    assert product.conflict.kind == "one_product"
    assert product.conflict.rows == "3 4"
    assert "category: 'Bag' (1), 'Shoe' (1)" in product.conflict.found


def test_the_row_that_speaks_for_the_labels_says_the_fields_of_all_pictures() -> None:
    rows = [
        row(2, "a.jpg", fields=("9", "red")),
        row(3, "b.jpg", kind="Shoe", fields=("7", "")),
        row(4, "c.jpg", kind="Shoe", fields=("8", "blue")),
    ]
    assert [one.fields for _, one in gathered(rows, columns()).pictured] == 3 * [("7", "")]


def test_variants_without_labels_and_pictures_belong_to_their_product() -> None:
    product = gathered([row(2, "a.jpg", kind="Shoe"), row(3), row(4, "a.jpg"), row(5)], columns())
    assert [name for name, _ in product.pictured] == ["a.jpg"]
    assert (product.rejects, product.belonging, product.conflict) == ([], 3, None)


@pytest.mark.parametrize(
    ("rows", "reason", "column", "rejected"),
    [
        ([row(2, kind="Shoe"), row(3)], Reason.MISSING_PICTURE, "file", [2]),
        ([row(2), row(3, "a.jpg"), row(4, "b.jpg")], Reason.EMPTY_LABEL, "kind", [3, 4]),
    ],
)
def test_a_product_that_lacks_pictures_or_labels_is_rejected(
    rows, reason, column, rejected
) -> None:
    product = gathered(rows, columns())
    assert [(one.row, one.reason, one.column) for one in product.rejects] == [
        (number, reason, column) for number in rejected
    ]
    assert product.pictured == []
    assert product.belonging == len(rows) - len(rejected)


def test_several_pictures_in_a_cell_are_all_shown_and_a_doubled_id_is_still_one() -> None:
    rows = [row(2, "a.jpg", "b.jpg", "a.jpg", kind="Shoe"), row(3, "c.jpg", kind="Shoe")]
    product = gathered(rows, columns(product=None, picture_separator=","))
    assert [(name, one.id) for name, one in product.pictured] == [
        ("a.jpg", "sku2"),
        ("b.jpg", "p/b.jpg"),
    ]
    assert [(one.row, one.reason) for one in product.rejects] == [(3, Reason.DOUBLED_ID)]
    assert product.further == 1
