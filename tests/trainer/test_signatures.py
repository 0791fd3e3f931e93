"""What is saved answers as the model does, in every signature."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer import preprocessing, signatures
from trainer.backbones import build_backbone
from trainer.hierarchical_model import build_heads, build_model
from trainer.label_space import LabelSpace


def model_for(catalog):
    backbone = build_backbone(
        "small_residual", image_height=40, image_width=30, filters=4, weights=None
    )
    labels = LabelSpace.of(preprocessing.vocabularies(catalog.transform_output))
    heads = build_heads(backbone.output_shape[-1], labels, dense_units=8, dropout=0.5, l2=0.0)
    return build_model(backbone, heads)


def test_an_extra_label_is_answered_and_judged_like_a_category(gendered_catalog, tmp_path):
    model = model_for(gendered_catalog)
    signatures.export(model, gendered_catalog.transform_output, str(tmp_path))
    served = tf.saved_model.load(str(tmp_path)).signatures
    products = gendered_catalog.splits["test"]
    answer = served["serving_default"](tf.constant([x.image for x in products]))
    scores, labels = answer["gender_scores"].numpy(), answer["gender_labels"].numpy()
    assert sorted(labels[0]) == [b"Men", b"Women"]
    likeliest = labels[np.arange(len(labels)), scores.argmax(1)]
    np.testing.assert_array_equal(answer["gender"].numpy(), likeliest)
    np.testing.assert_allclose(answer["gender_score"].numpy(), scores.max(1))
    truth = served["transform_labels"](tf.constant([x.serialized() for x in products]))
    assert [
        labels[0][index].decode() if index >= 0 else "unknown"
        for index in truth["gender_label"].numpy()
    ] == [x.extras["gender"] for x in products]


@pytest.fixture(scope="module")
def exported(catalog, tmp_path_factory):
    """(model, folder of its SavedModel)."""
    folder = str(tmp_path_factory.mktemp("exported") / "serving")
    model = model_for(catalog)
    signatures.export(model, catalog.transform_output, folder)
    return model, folder


@pytest.fixture(scope="module")
def loaded(exported):
    return tf.saved_model.load(exported[1]).signatures


def expected_outputs(model, products):
    pictures = np.stack([tf.io.decode_jpeg(x.image).numpy() for x in products])
    return model(pictures.astype("float32"), training=False)


@pytest.fixture(scope="module")
def products(catalog):
    """More than one chunk of 64, and not a whole number of them."""
    return catalog.splits["train"][:130]


def test_evaluate_gives_the_models_outputs(exported, loaded, products):
    examples = tf.constant([x.serialized() for x in products])
    outputs = loaded["evaluate"](examples=examples)
    expected = expected_outputs(exported[0], products)
    assert set(outputs) == {"category", "subcategory", "attributes", "embedding"}
    for name, values in expected.items():
        np.testing.assert_allclose(outputs[name], values, rtol=1e-4, atol=1e-5)


def test_serving_names_the_likeliest_labels_with_their_scores(exported, loaded, catalog, products):
    outputs = loaded["serving_default"](image_bytes=tf.constant([x.image for x in products]))
    expected = expected_outputs(exported[0], products)
    for level in ("category", "subcategory"):
        vocabulary = preprocessing.vocabulary(catalog.transform_output, level)
        scores = expected[level].numpy()
        assert [x.decode() for x in outputs[level].numpy()] == [
            vocabulary[index] for index in scores.argmax(1)
        ]
        np.testing.assert_allclose(outputs[f"{level}_score"], scores.max(1), rtol=1e-4)
        np.testing.assert_allclose(outputs[f"{level}_scores"], scores, rtol=1e-4, atol=1e-5)
        rows = outputs[f"{level}_labels"].numpy()
        assert rows.shape == scores.shape
        assert {tuple(row) for row in rows} == {tuple(x.encode() for x in vocabulary)}
    attributes = preprocessing.vocabulary(catalog.transform_output, "attributes")
    assert [x.decode() for x in outputs["attributes"].numpy()[-1]] == attributes
    np.testing.assert_allclose(
        outputs["attribute_scores"], expected["attributes"], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(np.linalg.norm(outputs["embedding"], axis=1), 1, rtol=1e-4)


def test_transform_labels_gives_the_true_labels(loaded, catalog):
    products = catalog.splits["eval"]
    outputs = loaded["transform_labels"](examples=tf.constant([x.serialized() for x in products]))
    vocabulary = preprocessing.vocabulary(catalog.transform_output, "subcategory")
    names = [vocabulary[i] if i >= 0 else None for i in outputs["subcategory_label"].numpy()]
    assert names == [x.subcategory for x in products[:-1]] + [None]
    assert outputs["category_label"].dtype == tf.int64
    assert outputs["attributes_label"].numpy().sum(1).tolist() == [1.0] * 47 + [0.0]


@pytest.mark.parametrize("signature", ["serving_default", "evaluate"])
def test_an_undecodable_picture_is_an_invalid_argument_with_its_index(
    loaded, products, with_labels, signature
):
    broken = [*products[:70], with_labels(image=b"no picture"), *products[70:80]]
    batch = (
        {"image_bytes": tf.constant([x.image for x in broken])}
        if signature == "serving_default"
        else {"examples": tf.constant([x.serialized() for x in broken])}
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="index 70 cannot be decoded"):
        loaded[signature](**batch)


def test_an_empty_batch_has_empty_answers(loaded):
    outputs = loaded["serving_default"](image_bytes=tf.zeros([0], tf.string))
    assert {len(values) for values in outputs.values()} == {0}
    assert outputs["category_scores"].shape == (0, 2)


def test_the_vocabularies_travel_with_the_model(exported):
    assets = {file.name for file in (Path(exported[1]) / "assets").iterdir()}
    assert assets == {"category", "subcategory", "attributes"}


def test_the_keras_file_beside_it_is_the_same_model(exported, products):
    model = keras.models.load_model(str(Path(exported[1]) / signatures.KERAS_FILE))
    expected = expected_outputs(exported[0], products[:5])
    for name, values in expected_outputs(model, products[:5]).items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
def test_one_category_and_no_attributes_are_served(plain_catalog, tmp_path):
    model = model_for(plain_catalog)
    signatures.export(model, plain_catalog.transform_output, str(tmp_path))
    served = tf.saved_model.load(str(tmp_path)).signatures
    products = plain_catalog.splits["test"]
    outputs = served["serving_default"](image_bytes=tf.constant([x.image for x in products]))
    assert outputs["category"].numpy().tolist() == [b"all"] * 10
    assert outputs["attributes"].shape == (10, 0)
    assert outputs["attribute_scores"].shape == (10, 0)
    labels = served["transform_labels"](examples=tf.constant([x.serialized() for x in products]))
    assert labels["attributes_label"].shape == (10, 0)
