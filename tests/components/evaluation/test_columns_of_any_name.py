"""A slice column may be called anything: its figures are those of its own values."""

import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.evaluation.eval_config import eval_config
from components.evaluation.results import read_evaluation
from schema import features
from schema.catalog import catalog_schema, write_schema

NAMES = [
    *("category_label", "subcategory_label", "attributes_label", "gender_label", "care_label"),
    *("id", "image", "image_bytes", "image_height", "product", "category", "attributes"),
    *(
        "embedding",
        "labels",
        "features",
        "predictions",
        "status",
        "example_count",
        "__raw_record__",
    ),
    *(
        "a.b",
        "a/b",
        "a b",
        "a\\b",
        "x:y",
        "a[0]",
        "*",
        "%",
        "'",
        '"',
        "$",
        "-",
        "1st",
        "Größe",
        "京",
    ),
    *("slice:id", "slice:slice:id", "slice:", "Target gender (product.metafields.target-gender)"),
]


@given(st.one_of(st.sampled_from(NAMES), st.text(min_size=1)))
def test_a_slice_columns_feature_is_nobody_elses_and_tells_the_column(name):
    feature = features.slice_feature(name)
    assert features.slice_column(feature) == name
    assert feature not in features.RESERVED
    assert not feature.endswith("_label") or feature.startswith("slice:")


def test_most_columns_become_features_of_their_own_name():
    assert [*map(features.slice_feature, ["gender", "Größe", "a b"])] == ["gender", "Größe", "a b"]


@pytest.fixture(scope="module")
def values(judged):
    """For each column a value of every product, unlike those of the others."""
    generator = np.random.default_rng(3)
    return {
        name: [f"{number}-{side}" for side in generator.choice(["a", "b", "c"], len(judged.gender))]
        for number, name in enumerate(NAMES)
    }


@pytest.fixture(scope="module")
def evaluation(examples_folder, save_model, values, tmp_path_factory):
    """What the Evaluator makes of a catalog with all these slice columns."""
    import tensorflow as tf
    from tfx.components.evaluator.executor import Executor
    from tfx.types import standard_artifacts
    from tfx.utils import proto_utils

    from pipeline.pipeline import BEAM_ARGS

    folder = tmp_path_factory.mktemp("named")
    (source,) = examples_folder.glob("Split-test/*")
    (folder / "examples" / "Split-test").mkdir(parents=True)
    target = str(folder / "examples" / "Split-test" / source.name)
    with tf.io.TFRecordWriter(target, "GZIP") as writer:
        for row, record in enumerate(tf.data.TFRecordDataset(str(source), "GZIP")):
            example = tf.train.Example.FromString(record.numpy())
            for name, of_rows in values.items():
                feature = example.features.feature[features.slice_feature(name)]
                assert not feature.WhichOneof("kind")
                feature.bytes_list.value.append(of_rows[row].encode())
            writer.write(example.SerializeToString())
    schema = catalog_schema([*NAMES, "gender"])
    # The fixture's Examples have no picture statistics.
    for feature in [x for x in schema.feature if x.name in features.PICTURE_STATISTICS]:
        schema.feature.remove(feature)
    write_schema(schema, folder / "schema" / "schema.pbtxt")

    def artifact(kind, uri, number):
        made = kind()
        made.uri, made.id = str(uri), number
        return made

    examples = artifact(standard_artifacts.Examples, folder / "examples", 1)
    examples.split_names = '["test"]'
    examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    model = save_model(folder / "model")
    options = {"extra_labels": ["gender"], "joint_decoding": True, "calibrated": True}
    config = eval_config([*NAMES, "gender"], 0.75, **options)
    context = Executor.Context(
        beam_pipeline_args=[*BEAM_ARGS], tmp_dir=str(folder / "scratch"), unique_id="1"
    )
    Executor(context).Do(
        {
            "examples": [examples],
            "model": [artifact(standard_artifacts.Model, model, 2)],
            "schema": [artifact(standard_artifacts.Schema, folder / "schema", 3)],
        },
        {
            "evaluation": [artifact(standard_artifacts.ModelEvaluation, folder / "out", 4)],
            "blessing": [artifact(standard_artifacts.ModelBlessing, folder / "blessing", 5)],
        },
        {
            "eval_config": proto_utils.proto_to_json(config),
            "example_splits": json.dumps(["test"]),
        },
    )
    return read_evaluation(os.fspath(folder / "out"))


@pytest.mark.parametrize("name", NAMES)
def test_the_figures_of_a_slice_are_those_of_its_values(evaluation, judged, values, name):
    found = evaluation.slices[name]
    of_rows = np.array(values[name])
    assert found.keys() == set(of_rows)
    right = np.array(judged.vocabularies["category"])[judged.scores["category"].argmax(1)]
    for value, of in found.items():
        chosen = of_rows == value
        assert of["example_count"] == chosen.sum()
        assert of["category/accuracy"] == pytest.approx(
            (right == judged.category)[chosen].mean(), abs=1e-6
        )


def test_no_other_slice_appears(evaluation):
    assert evaluation.slices.keys() == {*NAMES, "gender"}
