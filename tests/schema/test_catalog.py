"""The schema of a catalog: base file, slice columns, closed levels."""

from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from pipeline.demo_catalog import COLORS, SUBCATEGORIES
from schema import features
from schema.catalog import BASE_FILE, catalog_schema, label_domains, write_schema
from schema.errors import UserError

DEMO_FILE = BASE_FILE.with_name("demo.pbtxt")


def by_name(schema: schema_pb2.Schema) -> dict[str, schema_pb2.Feature]:
    return {feature.name: feature for feature in schema.feature}


def test_the_base_schema_has_every_feature_of_an_example() -> None:
    expected = {*features.RESERVED} - {features.EMBEDDING, features.GROUP}
    with_product = by_name(catalog_schema([], several_pictures=True))
    assert set(with_product) == expected
    count = with_product["product"].value_count
    assert (count.min, count.max) == (1, 1)
    assert set(by_name(catalog_schema([]))) == expected - {features.PRODUCT}
    assert label_domains(catalog_schema([])) == {}


def test_a_slice_column_becomes_a_required_feature_of_one_value() -> None:
    gender = by_name(catalog_schema(["gender"]))["gender"]
    assert gender.type == schema_pb2.BYTES
    assert gender.presence.min_fraction == 1
    assert [dim.size for dim in gender.shape.dim] == [1]


def test_what_the_file_says_about_a_slice_column_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "own.pbtxt"
    more = 'feature { name: "gender" type: BYTES string_domain { value: "Men" } }'
    path.write_text(BASE_FILE.read_text() + more)
    schema = catalog_schema(["gender"], path)
    assert [feature.name for feature in schema.feature].count("gender") == 1
    assert by_name(schema)["gender"].string_domain.value == ["Men"]


def test_a_slice_column_named_like_something_of_our_own_becomes_another_feature() -> None:
    schema = by_name(catalog_schema(["id", "category_label", "gender"]))
    assert {"slice:id", "slice:category_label", "gender"} < schema.keys()
    assert schema["slice:id"].presence.min_fraction == 1


def test_labels_of_the_file_are_normalized_as_those_of_the_catalog_are(tmp_path: Path) -> None:
    path = tmp_path / "own.pbtxt"
    more = """
        feature { name: "gender" string_domain { value: "De\u0301\u00a0a" value: "D\u00e9 a" } }
        string_domain { name: "kinds" value: "T\u00adop" }
    """
    path.write_text(BASE_FILE.read_text() + more, encoding="utf-8")
    schema = catalog_schema([], path)
    assert by_name(schema)["gender"].string_domain.value == ["D\u00e9 a"]
    assert schema.string_domain[0].value == ["Top"]
    assert not by_name(schema)["category"].HasField("string_domain")


def test_a_level_is_closed_by_a_domain_inside_or_beside_its_feature() -> None:
    schema = text_format.Parse(
        """
        string_domain { name: "kinds" value: "Top" value: "Bag" }
        feature { name: "category" domain: "kinds" }
        feature { name: "subcategory" }
        feature { name: "attributes" string_domain { value: "season=Summer" } }
        feature { name: "gender" string_domain { value: "Men" } }
        """,
        schema_pb2.Schema(),
    )
    assert label_domains(schema) == {"category": ["Top", "Bag"], "attributes": ["season=Summer"]}


def test_a_domain_that_is_not_there_is_named() -> None:
    schema = schema_pb2.Schema()
    schema.feature.add(name="category", domain="kinds")
    with pytest.raises(UserError, match="`category` names the domain `kinds`"):
        label_domains(schema)


def test_the_demo_schema_closes_exactly_the_labels_that_are_drawn() -> None:
    domains = label_domains(catalog_schema(["gender"], DEMO_FILE))
    assert domains["category"] == list(SUBCATEGORIES)
    assert domains["subcategory"] == [kind for group in SUBCATEGORIES.values() for kind in group]
    colors = [label for label in domains["attributes"] if label.startswith("colour=")]
    assert colors == [features.attribute_label("colour", name) for name in COLORS]


def test_the_demo_schema_differs_from_the_base_in_its_domains_alone() -> None:
    demo = catalog_schema([], DEMO_FILE)
    del demo.string_domain[:]
    for feature in demo.feature:
        if feature.HasField("domain"):
            feature.ClearField("domain")
    assert demo == catalog_schema([])


def test_a_written_schema_reads_back(tmp_path: Path) -> None:
    schema = catalog_schema(["gender"], DEMO_FILE)
    path = tmp_path / "deep" / "schema.pbtxt"
    write_schema(schema, path)
    assert catalog_schema(["gender"], path) == schema


def test_a_bad_schema_file_is_named_with_its_fault(tmp_path: Path) -> None:
    path = tmp_path / "bad.pbtxt"
    with pytest.raises(UserError, match=r"bad.pbtxt cannot be read"):
        catalog_schema([], path)
    path.write_text("feature { nome: 1 }")
    with pytest.raises(UserError, match=r"bad.pbtxt is not a TFMD schema .*nome"):
        catalog_schema([], path)
    path.write_text('feature { name: "category" }')
    with pytest.raises(UserError, match="nothing about the feature subcategory, attributes"):
        catalog_schema([], path)
