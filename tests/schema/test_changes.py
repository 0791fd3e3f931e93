"""What a person is told about two schemas."""

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from schema.catalog import BASE_FILE, catalog_schema
from schema.changes import changes

DEMO_FILE = BASE_FILE.with_name("demo.pbtxt")


def schema(text: str) -> schema_pb2.Schema:
    return text_format.Parse(text, schema_pb2.Schema())


def feature(text: str) -> schema_pb2.Schema:
    return schema(f'feature {{ name: "x" {text} }}')


def test_a_schema_has_not_changed_against_itself() -> None:
    assert changes(catalog_schema(["gender"]), catalog_schema(["gender"])) == []


def test_where_a_list_stands_and_in_which_order_is_no_change() -> None:
    beside = schema(
        'string_domain { name: "d" value: "A" value: "B" } feature { name: "x" domain: "d" }'
        'feature { name: "y" }'
    )
    inside = schema(
        'feature { name: "y" } feature { name: "x" string_domain { value: "B" value: "A" } }'
    )
    assert changes(beside, inside) == []


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            'string_domain { value: "A" }',
            'string_domain { value: "A" value: "C" value: "B" }',
            ["`x` gained 2 values: C, B"],
        ),
        (
            'string_domain { value: "A" value: "B" }',
            'string_domain { value: "C" value: "B" }',
            ["`x` gained 1 value: C", "`x` lost 1 value: A"],
        ),
        ("", 'string_domain { value: "A" }', ["`x` is now closed to 1 value: A"]),
        ('string_domain { value: "A" }', "", ["`x` is now open to any value (before: 1 value)"]),
        (
            "int_domain { min: 8 max: 20000 }",
            "int_domain { min: 8 max: 30000 }",
            ["`x` may now be up to 30,000 (before: 20,000)"],
        ),
        (
            "int_domain { min: 8 max: 20000 }",
            "int_domain { min: 40 max: 20000 }",
            ["`x` may now only be down to 40 (before: 8)"],
        ),
        (
            "float_domain { min: 0 max: 1 }",
            "float_domain { min: 0.25 max: 0.5 }",
            ["`x` may now be 0.25 to 0.5 (before: 0 to 1)"],
        ),
        (
            "float_domain { min: 0 }",
            "float_domain { max: 2 }",
            [
                "`x` may now be as low as it likes (before: 0)",
                "`x` may now only be up to 2 (before: no limit)",
            ],
        ),
        ("type: INT", "type: FLOAT", ["`x` was integer and is now number"]),
        (
            "presence { min_fraction: 1 }",
            "presence { min_count: 0 }",
            ["`x` may be missing (before: it must be there in every product)"],
        ),
        (
            "shape { dim { size: 1 } }",
            "value_count { min: 0 }",
            ["`x` may now hold any number of values a product (before: 1 value)"],
        ),
        (
            "value_count { min: 2 max: 2 }",
            "value_count { min: 1 max: 3 }",
            ["`x` may now hold 1 to 3 values a product (before: 2 values)"],
        ),
        (
            "value_count { min: 1 max: 1 }",
            "value_count { min: 2 }",
            ["`x` may now hold 2 or more values a product (before: 1 value)"],
        ),
        (
            "",
            "drift_comparator { infinity_norm { threshold: 0.2 } }",
            ["`x` may now drift by 0.2 (before: as the config says)"],
        ),
        ("", "deprecated: true", ["`x` has also changed in deprecated"]),
    ],
)
def test_every_change_of_a_feature_is_a_sentence(before: str, after: str, told: list[str]) -> None:
    assert changes(feature(before), feature(after)) == told


def test_a_feature_that_came_or_went_is_told_with_what_is_asked_of_it() -> None:
    told = changes(catalog_schema(["brand"]), catalog_schema(["gender"]))
    assert told == [
        "`brand` is no longer in the schema",
        "`gender` is new: text, must be there in every product",
    ]


def test_a_long_list_is_cut_and_counted() -> None:
    values = " ".join(f'value: "v{number:02}"' for number in range(13))
    (told,) = changes(feature(""), feature(f"string_domain {{ {values} }}"))
    assert told == (
        "`x` is now closed to 13 values: v00, v01, v02, v03, v04, v05, v06, v07, v08, v09 "
        "and 3 more"
    )


def test_the_demo_closes_three_levels_and_changes_nothing_else() -> None:
    told = changes(catalog_schema([]), catalog_schema([], DEMO_FILE))
    assert [sentence.partition(" to ")[0] for sentence in told] == [
        "`category` is now closed",
        "`subcategory` is now closed",
        "`attributes` is now closed",
    ]


def test_what_is_asked_of_the_whole_is_told() -> None:
    assert changes(schema(""), schema("dataset_constraints { min_examples_count: 5 }")) != []


def test_a_new_feature_is_told_with_its_bounds_and_values() -> None:
    bounded = feature("type: INT float_domain { min: 0 max: 2 } presence { min_fraction: 0.5 }")
    (told,) = changes(schema(""), bounded)
    assert told == "`x` is new: integer, must be there in 50% of the products, 0 to 2"
    (told,) = changes(schema(""), feature('type: BYTES string_domain { value: "A" }'))
    assert told == "`x` is new: text, may be missing, one of 1 value: A"
