"""A first schema, inferred from statistics that TFDV itself has computed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from schema.catalog import BASE_FILE, catalog_schema, read_schema, write_schema
from schema.inference import infer_schema

PRODUCTS = 300


def frame(**columns: object) -> pd.DataFrame:
    """Sound products; each of `columns` replaces one."""
    number = np.arange(PRODUCTS)
    usual = {
        "id": [f"p{one}" for one in number],
        "category": [["Bags", "Topwear", "Topwear"][one % 3] for one in number],
        "subcategory": [f"type {one % 50}" for one in number],
        "attributes": [[f"season={'Summer' if one % 4 else 'Winter'}"] for one in number],
        "name": [f"name {one // 2}" for one in number],
        "image_height": number % 100 + 100,
        "image_width": np.full(PRODUCTS, 60),
        "image_aspect": np.linspace(0.5, 2.0, PRODUCTS).astype(np.float32),
        "image_brightness": np.linspace(0.3, 0.94, PRODUCTS).astype(np.float32),
        "image_sharpness": np.linspace(0.01, 0.2, PRODUCTS).astype(np.float32),
    }
    return pd.DataFrame(usual | columns)


def statistics(products: pd.DataFrame) -> statistics_pb2.DatasetFeatureStatistics:
    return tfdv.generate_statistics_from_dataframe(products).datasets[0]


def by_name(schema: schema_pb2.Schema) -> dict[str, schema_pb2.Feature]:
    return {feature.name: feature for feature in schema.feature}


@pytest.fixture(scope="module")
def inferred():
    halves = frame()[:150], frame()[150:]
    return infer_schema(catalog_schema(["name"]), [statistics(half) for half in halves])


def test_labels_that_come_again_are_closed_to_those_of_all_splits(inferred) -> None:
    schema = by_name(inferred.schema)
    assert schema["category"].string_domain.value == ["Bags", "Topwear"]
    assert sorted(schema["subcategory"].string_domain.value) == sorted(
        {f"type {number}" for number in range(50)}
    )
    assert schema["attributes"].string_domain.value == ["season=Summer", "season=Winter"]
    assert (
        "`category` is closed to 2 values, the most frequent first: Topwear, Bags"
        in inferred.sentences
    )


def test_what_seldom_comes_again_and_the_id_stay_open(inferred) -> None:
    schema = by_name(inferred.schema)
    for name in ("name", "id"):
        assert not schema[name].HasField("string_domain")
    assert (
        "`name` stays open: 150 values in 300 labels come again too seldom to be a list"
        in inferred.sentences
    )


def test_more_values_than_anybody_keeps_by_hand_stay_open() -> None:
    many = pd.concat([frame(category=[f"c{one}" for one in range(PRODUCTS)])] * 9)
    schema, sentences = infer_schema(catalog_schema([]), [statistics(many)])
    assert not by_name(schema)["category"].HasField("string_domain")
    assert "`category` stays open: 300 or more different values, too many for a list" in sentences


def test_pictures_are_bounded_with_half_as_much_again(inferred) -> None:
    schema = by_name(inferred.schema)
    height, width = schema["image_height"].int_domain, schema["image_width"].int_domain
    assert (height.min, height.max) == (66, 299)  # 100 / 1.5, 199 * 1.5
    assert (width.min, width.max) == (40, 90)
    assert "`image_width` may be 40 to 90 (found: 60 to 60)" in inferred.sentences
    aspect = schema["image_aspect"].float_domain
    assert (aspect.min, aspect.max) == pytest.approx((0.333, 3.0))
    brightness = schema["image_brightness"].float_domain
    assert (brightness.min, brightness.max) == pytest.approx((0.2, 0.96))  # 1 - .06 / 1.5


def test_bounds_are_never_wider_than_the_base_unless_the_data_are() -> None:
    found = frame(image_height=[9, 15_000] * 150, image_aspect=np.float32([0.05, 2.0] * 150))
    schema = by_name(infer_schema(catalog_schema([]), [statistics(found)]).schema)
    assert (schema["image_height"].int_domain.min, schema["image_height"].int_domain.max) == (
        8,
        20_000,
    )
    assert schema["image_aspect"].float_domain.min == pytest.approx(0.05)


def test_the_data_that_it_was_inferred_from_fit_it(inferred, tmp_path: Path) -> None:
    path = tmp_path / "shop.pbtxt"
    write_schema(inferred.schema, path, [*inferred.sentences, "a\nline break"])
    schema = read_schema(path)
    assert schema == inferred.schema
    assert path.read_text().startswith("# `category` is closed to 2 values")
    measured = tfdv.generate_statistics_from_dataframe(frame())
    assert not tfdv.validate_statistics(measured, schema).anomaly_info


def test_a_column_without_a_value_stays_open() -> None:
    nothing = frame(attributes=[None] * PRODUCTS)
    schema, sentences = infer_schema(catalog_schema([]), [statistics(nothing)])
    assert "`attributes` stays open: no product has any" in sentences
    assert not by_name(schema)["attributes"].HasField("string_domain")


def test_lists_of_an_older_schema_are_left_behind() -> None:
    demo = catalog_schema([], BASE_FILE.with_name("demo.pbtxt"))
    schema = infer_schema(demo, [statistics(frame())]).schema
    assert not schema.string_domain
    assert by_name(schema)["category"].string_domain.value == ["Bags", "Topwear"]


@pytest.mark.parametrize(("different", "is_closed"), [(60, True), (61, False), (75, False)])
def test_a_list_has_five_rows_a_value(different: int, is_closed: bool) -> None:
    products = frame(name=[f"name {one % different}" for one in range(PRODUCTS)])
    [feature] = [
        one
        for one in infer_schema(catalog_schema(["name"]), [statistics(products)]).schema.feature
        if one.name == "name"
    ]
    assert (len(feature.string_domain.value) == different) == is_closed


def test_bounds_have_three_digits_rounded_outwards() -> None:
    aspect = np.full(PRODUCTS, 1.0)
    aspect[:2] = 0.7411, 1.2347
    products = frame(image_aspect=aspect.astype(np.float32))
    schema = infer_schema(catalog_schema(["name"]), [statistics(products)]).schema
    domain = by_name(schema)["image_aspect"].float_domain
    # .7411 / 1.5 is .49406..., 1.2347 * 1.5 is 1.85205.
    assert (domain.min, domain.max) == pytest.approx((0.494, 1.853), abs=1e-6)
