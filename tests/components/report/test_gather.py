"""Artifacts' folders are read as what the steps of a run write into them."""

import json

import apache_beam as beam
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2
from tensorflow_transform.tf_metadata import dataset_metadata

from components.catalog_example_gen.conflicts import (
    KINDS,
    Conflict,
    write_conflicts,
    write_counts,
)
from components.catalog_example_gen.rejects import Reason, Reject, write_rejects
from components.report import gather
from components.report.contents import Expectation
from schema.catalog import BASE_FILE, catalog_schema


def test_rejects_come_back_as_the_ingest_writes_them(tmp_path):
    reject = Reject(3, "p3", "category", Reason.EMPTY_LABEL, 'an "empty", cell')
    with open(tmp_path / "rejects.csv", "wb") as file:
        write_rejects([reject], file)
    (tmp_path / "summary.json").write_text(json.dumps({"rows": 9}))
    counts, (row,) = gather.read_ingest(str(tmp_path))
    assert counts == {"rows": 9}
    assert row == {key: str(value) for key, value in reject._asdict().items()}


def test_class_counts_are_those_of_the_train_part(tmp_path):
    statistics = statistics_pb2.DatasetFeatureStatisticsList()
    feature = statistics.datasets.add().features.add()
    feature.path.step.append("category")
    for label, count in (("Apparel", 7), ("Footwear", 2)):
        feature.string_stats.rank_histogram.buckets.add(label=label, sample_count=count)
    file = tmp_path / "Split-train" / "FeatureStats.pb"
    file.parent.mkdir()
    file.write_bytes(statistics.SerializeToString())
    assert gather.read_class_counts(str(tmp_path), ["category", "gender"]) == {
        "category": {"Apparel": 7, "Footwear": 2},
        "gender": {},
    }


def test_conflicts_are_counted_and_so_many_of_a_kind_as_the_page_lists_are_read(tmp_path):
    found = [
        Conflict("same_picture", f"p{n}", "2 3", "a|b", "Shirt, Tshirt") for n in range(10, 40)
    ]
    spelled = Conflict("spelling", "Tee\n shirt", "4 5", "c|d", 'T-Shirt (2), "t-shirt" (1)')
    with open(tmp_path / "conflicts.csv", "wb") as file:
        counts = write_conflicts([spelled, *found], file)
    with open(tmp_path / "conflicts.json", "wb") as file:
        write_counts(counts, file)
    told, listed = gather.read_conflicts(str(tmp_path))
    assert told == {**dict.fromkeys(KINDS, 0), "same_picture": 30, "spelling": 1}
    assert [row["value"] for row in listed] == [*(f"p{n}" for n in range(10, 30)), "Tee\n shirt"]
    assert listed[-1] == spelled._asdict()


def test_an_ingest_that_looked_for_no_conflicts_leaves_none(tmp_path):
    assert gather.read_conflicts(str(tmp_path / "nowhere")) == ({}, [])


def test_the_catalogs_schema_is_told_feature_by_feature(tmp_path):
    (tmp_path / "schema.pbtxt").write_text(
        BASE_FILE.read_text()
        + 'feature { name: "size" type: BYTES domain: "sizes" }'
        + 'string_domain { name: "sizes" value: "S" value: "M" }'
    )
    told = {of.feature: of for of in gather.read_schema(str(tmp_path))}
    assert "image" not in told
    assert told["category"] == Expectation("category", "text", True, "")
    assert told["attributes"].required is False
    assert told["image_height"].allowed == "at least 8, at most 20,000"
    assert told["size"].allowed == "one of S, M"


def test_a_canary_that_got_no_answer_leaves_no_gallery(tmp_path):
    assert gather.read_answers(str(tmp_path)) == []


def test_vocabularies_come_in_the_order_of_their_indices_and_may_be_empty(tmp_path):
    def preprocessing_fn(inputs):
        for level in ("category", "subcategory", "attributes", "gender"):
            tft.vocabulary(inputs[level], vocab_filename=level)
        return {"category_label": inputs["category"], "gender_label": inputs["gender"]}

    metadata = dataset_metadata.DatasetMetadata(
        schema_pb2.Schema(
            feature=[
                feature
                for feature in catalog_schema(["gender"]).feature
                if feature.name in ("category", "subcategory", "attributes", "gender")
            ]
        )
    )
    rows = [
        {
            "category": [category],
            "subcategory": [subcategory],
            "attributes": [],
            "gender": ["Men"],
        }
        for category, subcategory in (("A", "x"), ("B", "y"), ("B", "x"), ("B", "x"))
    ]
    with (
        beam.Pipeline(runner="FnApiRunner") as pipeline,
        tft_beam.Context(temp_dir=str(tmp_path / "temp")),
    ):
        data = pipeline | beam.Create(rows)
        fn = (data, metadata) | tft_beam.AnalyzeDataset(preprocessing_fn)
        _ = fn | tft_beam.WriteTransformFn(str(tmp_path / "graph"))
    assert gather.read_labels(str(tmp_path / "graph")) == {
        "category": ["B", "A"],
        "subcategory": ["x", "y"],
        "attributes": [],
        "gender": ["Men"],
    }


def test_trials_come_without_what_keras_tuner_notes_for_itself(tmp_path):
    written = [
        {"trial_id": "3", "score": 0.9, "model.dropout": 0.1, "tuner/epochs": 4},
        {"trial_id": "0", "score": 0.8, "model.dropout": 0.3, "tuner/epochs": 2},
    ]
    (tmp_path / "tuner_results.json").write_text(json.dumps(written))
    assert gather.read_trials(str(tmp_path)) == [
        {"score": 0.9, "model.dropout": 0.1},
        {"score": 0.8, "model.dropout": 0.3},
    ]
