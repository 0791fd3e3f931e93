"""What the gate says about anomalies that TFDV itself has found."""

import pandas as pd
import pytest
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from components.data_gate.findings import ERROR, NEVER, WARNING, Finding, findings, stopping

SCHEMA = text_format.Parse(
    """
    string_domain { name: "seasons" value: "Summer" value: "Winter" }
    feature {
      name: "season" type: BYTES domain: "seasons"
      presence { min_fraction: 1 min_count: 1 }
      shape { dim { size: 1 } }
    }
    feature {
      name: "aspect" type: FLOAT float_domain { min: 0.1 max: 10 }
      presence { min_count: 1 }
    }
    """,
    schema_pb2.Schema(),
)


def said(frame: pd.DataFrame, schema: schema_pb2.Schema = SCHEMA) -> list[Finding]:
    statistics = tfdv.generate_statistics_from_dataframe(frame)
    return findings("train", tfdv.validate_statistics(statistics, schema), statistics)


def sentences(frame: pd.DataFrame, schema: schema_pb2.Schema = SCHEMA) -> list[str]:
    return [one.sentence for one in said(frame, schema)]


def test_sound_data_are_nothing_to_speak_of() -> None:
    assert said(pd.DataFrame({"season": ["Summer", "Winter"], "aspect": [0.5, 1.5]})) == []


def test_labels_outside_the_domain_are_counted_and_the_most_frequent_is_named() -> None:
    seasons = ["Summer"] * 9 + ["Monsoon"] * 4 + ["Rain"] * 2
    (finding,) = said(pd.DataFrame({"season": seasons, "aspect": [1.0] * 15}))
    assert finding == Finding(
        "train",
        "season",
        ERROR,
        "`season` has 2 values outside its domain, e.g. 'Monsoon' in 4 rows",
    )


def test_a_domain_inside_the_feature_counts_as_well() -> None:
    schema = schema_pb2.Schema()
    feature = schema.feature.add(name="season", type=schema_pb2.BYTES)
    feature.string_domain.value.append("Summer")
    assert sentences(pd.DataFrame({"season": ["Summer", "Fall"]}), schema) == [
        "`season` has 1 value outside its domain, e.g. 'Fall' in 1 row"
    ]


def test_a_feature_that_some_rows_lack_is_counted() -> None:
    frame = pd.DataFrame({"season": ["Summer", None, None], "aspect": [1.0, 1.0, 1.0]})
    assert "`season` is missing in 2 of 3 rows" in sentences(frame)


def test_a_feature_that_all_rows_lack_is_named() -> None:
    assert "`season` is in the schema and in none of the Examples" in sentences(
        pd.DataFrame({"aspect": [1.0]})
    )


def test_a_feature_that_the_schema_does_not_know_is_named() -> None:
    frame = pd.DataFrame({"season": ["Summer"], "aspect": [1.0], "brand": ["x"]})
    assert sentences(frame) == ["`brand` is in the data and not in the schema"]


def test_numbers_out_of_bounds_are_given_with_their_bounds() -> None:
    frame = pd.DataFrame({"season": ["Summer"] * 3, "aspect": [0.01, 1.0, 25.0]})
    assert sentences(frame) == [
        "`aspect` has values from 0.01 to 25, and the schema allows 0.1 to 10"
    ]


def test_drift_names_the_distance() -> None:
    schema = schema_pb2.Schema()
    schema.CopyFrom(SCHEMA)
    schema.feature[0].drift_comparator.infinity_norm.threshold = 0.1
    before = tfdv.generate_statistics_from_dataframe(
        pd.DataFrame({"season": ["Summer"] * 4, "aspect": [1.0] * 4})
    )
    now = tfdv.generate_statistics_from_dataframe(
        pd.DataFrame({"season": ["Summer", "Winter"] * 2, "aspect": [1.0] * 4})
    )
    anomalies = tfdv.validate_statistics(now, schema, previous_statistics=before)
    (finding,) = findings("train", anomalies, now)
    assert "`season` is distributed differently" in finding.sentence
    assert "0.5" in finding.sentence


def test_a_split_without_products_is_an_error() -> None:
    anomalies = anomalies_pb2.Anomalies(data_missing=True)
    (finding,) = findings("test", anomalies, statistics_pb2.DatasetFeatureStatisticsList())
    assert finding == Finding("test", "", ERROR, "The split `test` has no products")


def test_too_small_a_split_is_told() -> None:
    schema = schema_pb2.Schema()
    schema.CopyFrom(SCHEMA)
    schema.dataset_constraints.min_examples_count = 5
    (sentence,) = sentences(pd.DataFrame({"season": ["Summer"], "aspect": [1.0]}), schema)
    assert sentence == (
        "The split `train`: The dataset has 1 examples, which is fewer than expected"
    )


@pytest.mark.parametrize(
    ("stop_on", "stops"), [(ERROR, ["bad"]), (WARNING, ["bad", "odd"]), (NEVER, [])]
)
def test_the_run_stops_on_the_severity_that_is_asked_for(stop_on: str, stops: list[str]) -> None:
    found = [Finding("train", "a", ERROR, "bad"), Finding("train", "b", WARNING, "odd")]
    assert [one.sentence for one in stopping(found, stop_on)] == stops
