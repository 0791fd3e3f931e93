"""What is saved answers as the model does, in every signature, through TensorFlow's C++."""

import dataclasses
import io
from pathlib import Path

import grpc
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import prediction_log_pb2

from schema import features
from serving.model_server.errors import RequestError
from serving.model_server.saved_model import SavedModel
from trainer import calibration, input_pipeline, preprocessing, signatures
from trainer.backbones import build_backbone
from trainer.decoding import JointDecoding
from trainer.hierarchical_model import build_heads, build_model
from trainer.label_space import LabelSpace
from trainer.picture_model import WARMUP_FILE


def model_for(catalog):
    backbone = build_backbone(
        "small_residual", image_height=40, image_width=30, filters=4, weights=None
    )
    labels = LabelSpace.of(preprocessing.vocabularies(catalog.transform_output))
    heads = build_heads(backbone.output_shape[-1], labels, dense_units=8, dropout=0.5, l2=0.0)
    return build_model(backbone, heads)


class Exported:
    """An exported model in a Session, as TensorFlow Serving has it."""

    def __init__(self, folder):
        self._model = SavedModel(Path(folder))

    def __call__(self, signature, values=None, **inputs):
        outputs = sorted(self._model.signature_defs[signature].outputs)
        if not inputs:
            (name,) = self._model.signature_defs[signature].inputs
            inputs = {name: values}
        inputs = {name: np.array([*of], object) for name, of in inputs.items()}
        found = self._model.run(inputs, outputs, None, signature)
        return dict(zip(outputs, found, strict=True))


def test_an_extra_label_is_answered_and_judged_like_a_category(gendered_catalog, tmp_path):
    model = model_for(gendered_catalog)
    signatures.export(model, gendered_catalog.transform_output, str(tmp_path / "serving"))
    served = Exported(tmp_path / "serving")
    products = gendered_catalog.splits["test"]
    answer = served("everything", [x.image for x in products])
    scores, labels = answer["gender_scores"], answer["gender_labels"]
    assert sorted(labels[0]) == [b"Men", b"Women"]
    likeliest = labels[np.arange(len(labels)), scores.argmax(1)]
    np.testing.assert_array_equal(answer["gender"], likeliest)
    np.testing.assert_allclose(answer["gender_score"], scores.max(1))
    truth = served("transform_labels", [x.serialized() for x in products])
    assert [
        "unknown" if index == features.NOT_GIVEN else labels[0][index].decode()
        for index in truth["gender_label"]
    ] == [x.extras["gender"] for x in products]


def test_a_value_that_train_never_had_is_told_apart_from_one_that_is_not_given(gendered_catalog):
    output = gendered_catalog.transform_output
    product = dataclasses.replace(gendered_catalog.splits["test"][0], extras={"gender": "Kids"})
    labels = input_pipeline.transformed_labels(
        input_pipeline.parse_labels(tf.constant([product.serialized()]), output),
        output.transform_features_layer(),
        len(preprocessing.vocabulary(output, "attributes")),
    )
    assert labels["gender_label"].numpy().tolist() == [features.NOT_IN_TRAIN]


@pytest.fixture(scope="module")
def exported(catalog, tmp_path_factory):
    """(model, folder of its SavedModel)."""
    folder = str(tmp_path_factory.mktemp("exported") / "serving")
    model = model_for(catalog)
    signatures.export(model, catalog.transform_output, folder)
    return model, folder


@pytest.fixture(scope="module")
def loaded(exported):
    return Exported(exported[1])


def expected_outputs(model, products):
    pictures = np.stack([np.asarray(Image.open(io.BytesIO(x.image))) for x in products])
    return model(pictures.astype("float32"), training=False)


@pytest.fixture(scope="module")
def products(catalog):
    """More than one chunk of 64, and not a whole number of them."""
    return catalog.splits["train"][:130]


def test_evaluate_gives_the_models_outputs(exported, loaded, products):
    outputs = loaded("evaluate", [x.serialized() for x in products])
    expected = expected_outputs(exported[0], products)
    assert set(outputs) == {"category", "subcategory", "attributes", "embedding"}
    for name, values in expected.items():
        np.testing.assert_allclose(outputs[name], values, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def refined(gendered_catalog, tmp_path_factory):
    """(model before calibration, temperatures, pairs, signatures) with all that is optional."""
    catalog = gendered_catalog
    model = model_for(catalog)
    before = keras.models.clone_model(model)
    before.set_weights(model.get_weights())
    labels = preprocessing.vocabularies(catalog.transform_output)
    counts = input_pipeline.count_labels([catalog.pattern("train")], catalog.transform_output)
    batches = input_pipeline.evaluation_batches(
        [catalog.pattern("eval")],
        catalog.transform_output,
        products=10,
        image_height=40,
        image_width=30,
        batch_size=8,
    )
    temperatures = calibration.calibrate(model, batches, LabelSpace.of(labels))
    folder = str(tmp_path_factory.mktemp("refined") / "serving")
    signatures.export(
        model,
        catalog.transform_output,
        folder,
        pairs=counts.pairs,
        temperatures=temperatures,
        thresholds={"category": 0.6},
    )
    return before, temperatures, counts.pairs, Exported(folder)


def test_evaluate_gives_what_would_be_served_without_decoding_and_without_calibration(
    refined, gendered_catalog
):
    before, temperatures, pairs, served = refined
    products = [x for split in gendered_catalog.splits.values() for x in split]
    raw = {name: x.numpy() for name, x in expected_outputs(before, products).items()}
    outputs = served("evaluate", [x.serialized() for x in products])
    levels = {"category", "subcategory", "attributes", "gender"}
    assert set(temperatures) == levels
    assert set(outputs) == {
        *levels,
        "embedding",
        "category_independent",
        "subcategory_independent",
        *(f"{level}_uncalibrated" for level in levels),
    }

    def cooled(level):
        powers = raw[level] ** (1 / temperatures[level])
        return powers / powers.sum(1, keepdims=True)

    def check(name, values):
        np.testing.assert_allclose(outputs[name], values, rtol=1e-3, atol=1e-5, err_msg=name)

    decoding = JointDecoding(pairs)
    check("category_independent", cooled("category"))
    check("subcategory_independent", cooled("subcategory"))
    for name, values in zip(
        ("category", "subcategory"),
        decoding(np.float32(cooled("category")), np.float32(cooled("subcategory"))),
        strict=True,
    ):
        check(name, values)
    for name, values in zip(
        ("category", "subcategory"),
        decoding(raw["category"], raw["subcategory"]),
        strict=True,
    ):
        check(f"{name}_uncalibrated", values)
    check("gender", cooled("gender"))
    check("gender_uncalibrated", raw["gender"])
    check("attributes_uncalibrated", raw["attributes"])
    odds = (raw["attributes"] / (1 - raw["attributes"])) ** (1 / temperatures["attributes"])
    check("attributes", odds / (1 + odds))


def test_what_is_served_is_what_is_judged(refined, gendered_catalog):
    *_, served = refined
    products = gendered_catalog.splits["train"]
    judged = served("evaluate", [x.serialized() for x in products])
    answer = served("everything", [x.image for x in products])
    for level in ("category", "subcategory", "gender"):
        np.testing.assert_allclose(answer[f"{level}_scores"], judged[level], rtol=1e-5)
        np.testing.assert_allclose(answer[f"{level}_score"], judged[level].max(1))
    np.testing.assert_allclose(answer["attribute_scores"], judged["attributes"], rtol=1e-5)
    np.testing.assert_allclose(answer["embedding"], judged["embedding"], atol=1e-6)
    trained = {(x.category, x.subcategory) for x in products}
    answered = zip(answer["category"], answer["subcategory"], strict=True)
    assert {(c.decode(), s.decode()) for c, s in answered} <= trained
    assert not any("independent" in name or "uncalibrated" in name for name in answer)


def test_python_and_production_give_the_same_answers(exported, loaded, products):
    by_python = tf.saved_model.load(exported[1]).signatures["everything"](
        image_bytes=tf.constant([x.image for x in products])
    )
    for name, values in loaded("everything", [x.image for x in products]).items():
        if values.dtype == object:
            np.testing.assert_array_equal(by_python[name].numpy(), values)
        else:
            np.testing.assert_allclose(by_python[name], values, atol=1e-6)


def test_thresholds_are_the_models_own(refined, gendered_catalog):
    answer = refined[-1]("serving_default", [x.image for x in gendered_catalog.splits["test"][:2]])
    np.testing.assert_allclose(answer["category_threshold"], [0.6, 0.6])
    for level in ("subcategory", "attributes", "gender"):
        np.testing.assert_allclose(answer[f"{level}_threshold"], [0.75, 0.75])


def test_everything_names_all_labels_with_their_scores(exported, loaded, catalog, products):
    outputs = loaded("everything", [x.image for x in products])
    expected = expected_outputs(exported[0], products)
    for level in ("category", "subcategory"):
        vocabulary = preprocessing.vocabulary(catalog.transform_output, level)
        scores = expected[level].numpy()
        assert [x.decode() for x in outputs[level]] == [
            vocabulary[index] for index in scores.argmax(1)
        ]
        np.testing.assert_allclose(outputs[f"{level}_score"], scores.max(1), rtol=1e-4)
        np.testing.assert_allclose(outputs[f"{level}_scores"], scores, rtol=1e-4, atol=1e-5)
        rows = outputs[f"{level}_labels"]
        assert rows.shape == scores.shape
        assert {tuple(row) for row in rows} == {tuple(x.encode() for x in vocabulary)}
    attributes = preprocessing.vocabulary(catalog.transform_output, "attributes")
    assert [x.decode() for x in outputs["attributes"][-1]] == attributes
    np.testing.assert_allclose(
        outputs["attribute_scores"], expected["attributes"], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(np.linalg.norm(outputs["embedding"], axis=1), 1, rtol=1e-4)


def test_the_default_signature_names_the_best_few_highest_first(loaded, products, monkeypatch):
    files = [x.image for x in products]
    everything, best = loaded("everything", files), loaded("serving_default", files)
    assert "embedding" not in best
    for labels, scores in (
        ("category_labels", "category_scores"),
        ("subcategory_labels", "subcategory_scores"),
        ("attributes", "attribute_scores"),
    ):
        order = np.argsort(-everything[scores], axis=1, kind="stable")[:, : best[scores].shape[1]]
        np.testing.assert_allclose(
            best[scores], np.take_along_axis(everything[scores], order, 1), rtol=1e-6
        )
        np.testing.assert_array_equal(
            best[labels], np.take_along_axis(everything[labels], order, 1)
        )
    for name in ("category", "subcategory"):
        np.testing.assert_array_equal(best[name], best[f"{name}_labels"][:, 0])
        np.testing.assert_array_equal(best[f"{name}_score"], best[f"{name}_scores"][:, 0])
    assert best["subcategory_labels"].shape[1] == min(5, everything["subcategory_labels"].shape[1])


@pytest.mark.parametrize("signature", ["tolerant", "tolerant_everything"])
def test_a_bad_picture_costs_itself_alone_where_that_is_asked_for(loaded, products, signature):
    files = [x.image for x in products[:70]]
    strict = {"tolerant": "serving_default", "tolerant_everything": "everything"}[signature]
    expected = loaded(strict, files)
    with_bad = [*files[:66], b"no picture", *files[66:], b""]
    answer = loaded(signature, with_bad)
    assert answer["status"][66] == b"it is no JPEG, PNG, GIF, BMP or WebP"
    assert answer["status"][-1] == b"it is empty"
    good = np.flatnonzero(answer["status"] == b"")
    assert len(good) == 70
    assert answer.keys() - expected.keys() == {"status"}
    for name, values in expected.items():
        if values.dtype == object:
            np.testing.assert_array_equal(answer[name][good], values)
            assert set(answer[name][[66, -1]].ravel()) == {b""}
        else:
            np.testing.assert_allclose(answer[name][good], values, rtol=1e-5, atol=1e-6)
            assert not answer[name][[66, -1]].any()


def test_transform_labels_gives_the_true_labels(loaded, catalog):
    products = catalog.splits["eval"]
    outputs = loaded("transform_labels", [x.serialized() for x in products])
    vocabulary = preprocessing.vocabulary(catalog.transform_output, "subcategory")
    names = [vocabulary[i] if i >= 0 else None for i in outputs["subcategory_label"]]
    assert names == [x.subcategory for x in products[:-1]] + [None]
    assert outputs["category_label"].dtype == np.int64
    assert outputs["attributes_label"].sum(1).tolist() == [1.0] * 47 + [0.0]


@pytest.mark.parametrize("signature", ["serving_default", "everything", "evaluate"])
def test_an_undecodable_picture_is_an_invalid_argument_with_its_index(
    loaded, products, with_labels, signature
):
    broken = [*products[:70], with_labels(image=b"no picture"), *products[70:80]]
    values = [x.serialized() if signature == "evaluate" else x.image for x in broken]
    with pytest.raises(RequestError, match="index 70 cannot be decoded: it is no JPEG") as refusal:
        loaded(signature, values)
    assert refusal.value.code is grpc.StatusCode.INVALID_ARGUMENT


def test_an_empty_batch_has_empty_answers(loaded):
    for signature in features.PICTURE_SIGNATURES:
        outputs = loaded(signature, [])
        assert {len(values) for values in outputs.values()} == {0}
        assert outputs["category_scores"].shape == (0, 2)


def test_requests_to_warm_up_with_are_part_of_the_model(exported, loaded):
    records = tf.data.TFRecordDataset(str(Path(exported[1], WARMUP_FILE)))
    requests = [
        prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        for record in records.as_numpy_iterator()
    ]
    asked = {request.model_spec.signature_name for request in requests}
    assert asked == {
        *features.PICTURE_SIGNATURES,
        features.EXPLAIN_SIGNATURE,
        features.EVALUATE_SIGNATURE,
    }
    for request in requests:
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        answer = loaded(request.model_spec.signature_name, **inputs)
        assert {len(of) for of in answer.values()} == {len(of) for of in inputs.values()}


def test_the_vocabularies_travel_with_the_model(exported):
    assets = {file.name for file in (Path(exported[1]) / "assets").iterdir()}
    assert assets == {"category", "subcategory", "attributes"}


def test_the_keras_model_is_beside_it_and_not_in_it(exported, products):
    assert not list(Path(exported[1]).rglob("*.keras"))
    model = keras.models.load_model(signatures.keras_file(exported[1]))
    expected = expected_outputs(exported[0], products[:5])
    for name, values in expected_outputs(model, products[:5]).items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
def test_one_category_and_no_attributes_are_served(plain_catalog, tmp_path):
    model = model_for(plain_catalog)
    signatures.export(model, plain_catalog.transform_output, str(tmp_path / "serving"))
    served = Exported(tmp_path / "serving")
    products = plain_catalog.splits["test"]
    for signature in features.PICTURE_SIGNATURES:
        outputs = served(signature, [x.image for x in products])
        assert outputs["category"].tolist() == [b"all"] * 10
        assert outputs["attributes"].shape == (10, 0)
        assert outputs["attribute_scores"].shape == (10, 0)
    labels = served("transform_labels", [x.serialized() for x in products])
    assert labels["attributes_label"].shape == (10, 0)
