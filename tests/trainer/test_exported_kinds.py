"""Every kind of model there is answers in TensorFlow's C++ as Keras does."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.model_canary import production
from schema import features
from trainer import preprocessing, signatures, training
from trainer.backbones import build_backbone
from trainer.fused_normalization import with_fused_normalization
from trainer.hierarchical_model import build_heads, build_model
from trainer.label_space import LabelSpace
from trainer.picture_decoding import decode_pictures


def model_for(catalog, backbone="small_residual", mirror_average=False, fused=False, **heads):
    network = build_backbone(backbone, image_height=40, image_width=32, filters=4, weights=None)
    if fused:
        network = with_fused_normalization(network)
    labels = LabelSpace.of(preprocessing.vocabularies(catalog.transform_output))
    of_heads = build_heads(
        network.output_shape[-1], labels, **{"dense_units": 8, "dropout": 0.5, "l2": 0.0, **heads}
    )
    return build_model(network, of_heads, mirror_average=mirror_average)


# Every backbone and every kind of heads. Neither knows more of the other than how many channels
# there are, so that a kind of heads needs no export of its own.
KINDS = {
    "efficientnetlite0, an embedding of its own": {
        "backbone": "efficientnetlite0",
        "embedding_size": 6,
    },
    "mobilenetv3small, plain heads": {"backbone": "mobilenetv3small", "heads": "plain"},
    "efficientnetv2b0, a softmax a type": {
        "backbone": "efficientnetv2b0",
        "attribute_classifier": "softmax_per_type",
    },
    "resnet50, a sigmoid a type, plain": {
        "backbone": "resnet50",
        "heads": "plain",
        "attribute_classifier": "sigmoid_per_type",
    },
    "mirror average and fused normalization": {"mirror_average": True, "fused": True},
}


def answers_in_production(folder, products):
    """All signatures' outputs, asked in one process of TensorFlow's C++."""
    files, examples = [x.image for x in products], [x.serialized() for x in products]
    labels = [f"subcategory={x.subcategory}".encode() for x in products]
    asked = [production.Call(name, {"image_bytes": files}) for name in features.PICTURE_SIGNATURES]
    asked.append(production.Call("explain", {"image_bytes": files, "label": labels}))
    asked += [
        production.Call(name, {"examples": examples})
        for name in (features.EVALUATE_SIGNATURE, features.LABELS_SIGNATURE)
    ]
    return {
        call.signature: answer
        for call, answer in zip(asked, production.ask(folder, asked), strict=True)
    }


def check(folder, model, products):
    answers = answers_in_production(folder, products)
    pictures, _ = decode_pictures(tf.constant([x.image for x in products]), *model.input_shape[1:3])
    expected = model(tf.cast(pictures, tf.float32), training=False)
    everything = answers["everything"]
    for level, scores in expected.items():
        name = {"embedding": "embedding", "attributes": "attribute_scores"}.get(
            level, f"{level}_scores"
        )
        np.testing.assert_allclose(everything[name], scores, atol=1e-5, err_msg=level)
        np.testing.assert_allclose(everything[name], answers["evaluate"][level], atol=1e-5)
    explained = answers["explain"]
    np.testing.assert_array_equal(explained["embedding"], everything["embedding"])
    np.testing.assert_allclose(explained["regions"].sum((1, 2)), everything["embedding"], atol=1e-5)
    assert explained["label_map"].shape == explained["regions"].shape[:3]
    assert explained["label_map"].any()
    for tolerant, strict in (
        ("tolerant", "serving_default"),
        ("tolerant_everything", "everything"),
    ):
        assert not any(answers[tolerant]["status"])
        for name, values in answers[strict].items():
            if values.dtype == object:
                np.testing.assert_array_equal(answers[tolerant][name], values)
            else:
                np.testing.assert_allclose(answers[tolerant][name], values, atol=1e-6)
    assert answers["transform_labels"]["category_label"].min() >= -1


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_answers_in_production(gendered_catalog, tmp_path, kind):
    keras.utils.set_random_seed(3)
    model = model_for(gendered_catalog, **KINDS[kind])
    folder = tmp_path / "serving"
    signatures.export(model, gendered_catalog.transform_output, str(folder))
    check(folder, model, gendered_catalog.splits["test"])


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
def test_a_model_without_attributes_answers_in_production(plain_catalog, tmp_path):
    model = model_for(plain_catalog)
    folder = tmp_path / "serving"
    signatures.export(model, plain_catalog.transform_output, str(folder))
    check(folder, model, plain_catalog.splits["test"])


@pytest.mark.slow
def test_a_model_trained_in_16_bits_answers_in_production_in_32(catalog, tmp_path):
    arguments = catalog.fn_args(tmp_path)
    arguments.custom_config["training"] |= {"epochs": 1, "mixed_precision": True}
    arguments.custom_config["training"] |= {"ema": 0.9, "schedule": "cosine"}
    training.run_fn(arguments)
    model = keras.models.load_model(tmp_path / "Format-Keras" / "model.keras")
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"
    answers = answers_in_production(tmp_path / "serving", catalog.splits["test"])
    assert answers["everything"]["category_scores"].sum(1) == pytest.approx(1, abs=1e-5)


def test_what_python_alone_can_answer_from_is_found_out(tmp_path):
    """A Keras model as a module's attribute, as it was exported once (keras-team/keras#20095)."""

    class Holder(tf.Module):
        def __init__(self):
            super().__init__()
            self.model = keras.Sequential([keras.layers.Input([2]), keras.layers.Dense(1)])

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
        def serve(self, image_bytes):
            lengths = tf.cast(tf.strings.length(image_bytes), tf.float32)
            return {"y": self.model(tf.stack([lengths, lengths], 1))}

    holder = Holder()
    tf.saved_model.save(holder, str(tmp_path), signatures=holder.serve)
    served = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    assert served(image_bytes=tf.constant([b"abc"]))["y"].shape == (1, 1)
    call = production.Call("serving_default", {"image_bytes": [b"abc"]})
    (answer,) = production.ask(Path(tmp_path), [call])
    assert "Could not find variable" in answer


def test_a_folder_without_a_model_and_a_missing_signature_are_named(tmp_path):
    module = tf.Module()
    double = tf.function(
        lambda x: {"y": x + x}, input_signature=[tf.TensorSpec([None], tf.string, "x")]
    )
    tf.saved_model.save(module, str(tmp_path / "sound"), signatures=double)
    with pytest.raises(production.ProductionError, match="no signature everything"):
        production.ask(tmp_path / "sound", [production.Call("everything", {"x": [b"a"]})])
    (answer,) = production.ask(
        tmp_path / "sound", [production.Call("serving_default", {"x": [b"a", b"\0" * 40]})]
    )
    assert answer["y"].tolist() == [b"aa", b"\0" * 80]
    graph = tmp_path / "sound" / "saved_model.pb"
    for content in (graph.read_bytes()[:100], b"damaged"):
        graph.write_bytes(content)
        with pytest.raises(production.ProductionError, match="cannot"):
            production.ask(tmp_path / "sound", [production.Call("serving_default", {"x": [b"a"]})])
