"""A slice column may be called anything: its figures are those of its own values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.evaluation.eval_config import eval_config
from schema import features

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
def evaluation(examples_folder, save_model, values, evaluate_models, tmp_path_factory):
    """What the Evaluator makes of a catalog with all these slice columns."""
    import tensorflow as tf

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
    options = {"extra_labels": ["gender"], "joint_decoding": True, "calibrated": True}
    config = eval_config([*NAMES, "gender"], 0.75, **options)
    model = save_model(folder / "model")
    return evaluate_models(config, folder / "examples", model, slices=[*NAMES, "gender"])


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
