"""The signature `explain`: regions that sum to the embedding, and Grad-CAM, in a Session."""

import functools

import grpc
import keras
import numpy as np
import pytest
import tensorflow as tf

from components.model_canary import production
from schema import features
from serving.client import CatalogClient, RequestFailed
from serving.model_server import ModelServer
from serving.model_server.errors import RequestError
from serving.model_server.saved_model import SavedModel
from trainer import preprocessing, signatures
from trainer.backbones import build_backbone
from trainer.hierarchical_model import EMBEDDING_PROJECTION, build_heads, build_model
from trainer.label_space import LabelSpace
from trainer.picture_decoding import decode_pictures

pytestmark = pytest.mark.slow

HEIGHT, WIDTH = 48, 32
PLACES = (3, 2)
"""The backbone's map has a place for 16 pixels."""


class Explained:
    """A model beside what is exported of it."""

    def __init__(self, catalog, folder, *, mirror_average=False, policy="float32", **heads):
        self.files = [x.image for x in catalog.splits["train"][:6]]
        self.labels = preprocessing.vocabularies(catalog.transform_output)
        self.mirror_average = mirror_average
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        keras.utils.set_random_seed(5)
        try:
            self.backbone = build_backbone(
                "small_residual", image_height=HEIGHT, image_width=WIDTH, filters=4, weights=None
            )
            self.heads = build_heads(
                self.backbone.output_shape[-1],
                LabelSpace.of(self.labels),
                **{"dense_units": 8, "dropout": 0.5, "l2": 0.0, **heads},
            )
        finally:
            keras.config.set_dtype_policy(before)
        self.model = build_model(self.backbone, self.heads, mirror_average=mirror_average)
        # Normalizations as a training leaves them: what folding must not lose.
        for layer in self.backbone.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                generator = np.random.default_rng(len(layer.name))
                layer.set_weights(
                    [generator.uniform(0.7, 1.4, x.shape) for x in layer.get_weights()]
                )
        self.folder = folder
        signatures.export(self.model, catalog.transform_output, str(folder))
        self.served = SavedModel(folder)

    def __call__(self, labels, files=None, signature="explain"):
        inputs = {"image_bytes": np.array(files or self.files, object)}
        if signature == "explain":
            inputs["label"] = np.array([label.encode() for label in labels], object)
        outputs = sorted(self.served.signature_defs[signature].outputs)
        found = self.served.run(inputs, outputs, None, signature)
        return dict(zip(outputs, found, strict=True))

    @property
    def none(self):
        return [""] * len(self.files)

    def maps(self):
        """The last convolution's maps by Keras, of the pictures and of their mirror images."""
        last = keras.Model(self.backbone.input, self.backbone.layers[-1].input)
        pictures, _ = decode_pictures(tf.constant(self.files), HEIGHT, WIDTH)
        pictures = tf.cast(pictures, tf.float32)
        sides = [pictures, pictures[:, :, ::-1]] if self.mirror_average else [pictures]
        return [tf.cast(last(side), tf.float32) for side in sides]

    def regions(self):
        """`regions` by the formula, from the unfolded model's maps."""
        kernel = np.eye(self.backbone.output_shape[-1])
        if any(layer.name == EMBEDDING_PROJECTION for layer in self.heads.layers):
            kernel = self.heads.get_layer(EMBEDDING_PROJECTION).get_weights()[0]
        maps = [np.asarray(of, np.float64) for of in self.maps()]
        maps[1:] = [of[:, :, ::-1] for of in maps[1:]]
        projected = np.mean(maps, axis=0) @ kernel / np.prod(PLACES)
        return projected / np.linalg.norm(projected.sum((1, 2)), axis=1)[:, None, None, None]

    def grad_cam(self, scores_layer, index):
        """Grad-CAM as published: channel weights are the mean gradients of the map itself."""
        scores = keras.Model(self.heads.input, self.heads.get_layer(scores_layer).output)
        maps = self.maps()
        with tf.GradientTape() as tape:
            tape.watch(maps)
            pooled = tf.add_n([tf.reduce_mean(of, (1, 2)) for of in maps]) / len(maps)
            score = scores(pooled, training=False)[:, index]
        summed = 0.0
        for of, gradient in zip(maps, tape.gradient(score, maps), strict=True):
            weights = np.asarray(gradient).mean((1, 2))
            weighted = np.einsum("nhwd,nd->nhw", np.asarray(of), weights)
            summed = summed + (weighted if of is maps[0] else weighted[:, :, ::-1])
        return np.maximum(summed, 0)


KINDS = {
    "the features themselves, plain heads": {"heads": "plain"},
    "an embedding of its own": {"embedding_size": 6},
    "mirror average, an embedding of its own, a softmax a type": {
        "mirror_average": True,
        "embedding_size": 6,
        "attribute_classifier": "softmax_per_type",
    },
}


@pytest.fixture(scope="module")
def of_kind(gendered_catalog, tmp_path_factory):
    """Makes a model of a kind, once."""

    @functools.cache
    def make(kind):
        folder = tmp_path_factory.mktemp("explained") / "catalog" / "1"
        return Explained(gendered_catalog, folder, **KINDS[kind])

    return make


@pytest.fixture(params=KINDS)
def explained(request, of_kind):
    return of_kind(request.param)


@pytest.fixture
def plainest(of_kind):
    return of_kind("an embedding of its own")


def test_regions_sum_to_the_embedding_that_everything_gives(explained):
    answer = explained(explained.none)
    embedding = explained(None, signature="everything")["embedding"]
    np.testing.assert_array_equal(answer["embedding"], embedding)
    assert answer["regions"].shape == (6, *PLACES, embedding.shape[1])
    np.testing.assert_allclose(answer["regions"].sum((1, 2)), embedding, atol=1e-6)


def test_regions_are_what_each_place_of_the_last_map_adds(explained):
    found, expected = explained(explained.none)["regions"], explained.regions()
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())


def test_without_a_label_there_is_no_map_of_one(explained):
    labels = ["", "category=bars", ""] * 2
    maps = explained(labels)["label_map"]
    assert maps.shape == (6, *PLACES)
    assert not maps[[0, 2, 3, 5]].any()


@pytest.mark.parametrize("level", ["category", "subcategory", "gender"])
def test_a_labels_map_is_grad_cam_of_its_score(explained, level):
    for index, label in enumerate(explained.labels[level]):
        found = explained([f"{level}={label}"] * 6)["label_map"]
        expected = explained.grad_cam(f"{level}_scores", index)
        np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max() + 1e-9)


def test_an_attributes_map_is_grad_cam_of_its_score(plainest):
    for index, label in enumerate(plainest.labels["attributes"]):
        found = plainest([f"attributes={label}"] * 6)["label_map"]
        expected = plainest.grad_cam("attributes_scores", index)
        np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max() + 1e-9)


def test_every_picture_has_the_map_of_its_own_label(explained):
    names = [
        features.level_label(level, label) for level, of in explained.labels.items() for label in of
    ]
    alone = {name: explained([name] * 6)["label_map"] for name in names}
    asked = names[:6]
    together = explained(asked)["label_map"]
    for place, name in enumerate(asked):
        np.testing.assert_allclose(together[place], alone[name][place], atol=1e-6)
    assert any(of.any() for of in alone.values())


def test_more_pictures_than_go_through_at_once_are_explained_alike(plainest):
    labels = ["gender=Men", "", "category=bars", "subcategory=tall bars", "", ""]
    few = plainest(labels)
    many = plainest(labels * 12, files=plainest.files * 12)
    for name, of in few.items():
        np.testing.assert_allclose(many[name], np.concatenate([of] * 12), atol=1e-5)


def test_no_pictures_have_no_explanations(plainest):
    found = plainest.served.run(
        {"image_bytes": np.array([], object), "label": np.array([], object)},
        ["embedding", "regions", "label_map"],
        None,
        "explain",
    )
    assert [of.shape for of in found] == [(0, 6), (0, *PLACES, 6), (0, *PLACES)]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["", "category=hats"], "label at index 1 is unknown: category=hats \\(wanted is LEVEL="),
        (["bars", ""], "label at index 0 is unknown: bars "),
        (["", "season=Summer"], "label at index 1 is unknown: season=Summer "),
        (["category=bars"], "1 labels for 2 pictures; give one label a picture"),
        (["category=bars"] * 3, "3 labels for 2 pictures"),
    ],
)
def test_labels_that_make_no_sense_are_named(plainest, labels, said):
    with pytest.raises(RequestError, match=said) as refusal:
        plainest(labels, files=plainest.files[:2])
    assert refusal.value.code is grpc.StatusCode.INVALID_ARGUMENT


def test_a_label_of_any_bytes_is_refused_in_few_words(plainest):
    label = np.array([b"\xff\x00" * 5000], object)
    with pytest.raises(RequestError, match="label at index 0 is unknown") as refusal:
        plainest.served.run(
            {"image_bytes": np.array(plainest.files[:1], object), "label": label},
            ["label_map"],
            None,
            "explain",
        )
    assert len(refusal.value.message) < 2000


def test_a_picture_that_cannot_be_decoded_is_named(plainest):
    with pytest.raises(RequestError, match="picture at index 1 cannot be decoded: it is no JPEG"):
        plainest(["", ""], files=[plainest.files[0], b"no picture"])


def test_tensorflows_c_explains_and_refuses_alike(plainest):
    labels = [b"subcategory=tall bars", b"attributes=color=red", b"", b"gender=Men", b"", b""]
    asked = {"image_bytes": plainest.files, "label": labels}
    answer, refusal = production.ask(
        plainest.folder,
        [
            production.Call("explain", asked),
            production.Call("explain", asked | {"label": [*labels[:5], b"gender=Kids"]}),
        ],
    )
    for name, of in plainest([label.decode() for label in labels]).items():
        np.testing.assert_allclose(answer[name], of, atol=1e-6)
    assert answer["label_map"].any()
    assert "code 3" in refusal and "label at index 5 is unknown: gender=Kids" in refusal


def test_a_client_is_answered_over_grpc(plainest):
    labels = ["subcategory=tall bars", "attributes=color=red", "", "gender=Men", "", ""]
    with (
        ModelServer(plainest.folder.parents[1]) as server,
        CatalogClient(server.endpoint, timeout_s=60) as client,
    ):
        answer = client.outputs("explain", plainest.files, inputs={"label": labels})
        for name, of in plainest(labels).items():
            np.testing.assert_allclose(answer[name], of, atol=1e-5)
        with pytest.raises(RequestFailed, match="label at index 0 is unknown: gender=Kids") as told:
            client.outputs("explain", plainest.files, inputs={"label": "gender=Kids"})
        assert told.value.code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_network_in_16_bits_is_explained_as_far_as_these_go(gendered_catalog, tmp_path, policy):
    explained = Explained(gendered_catalog, tmp_path / "1", policy=policy, embedding_size=6)
    answer = explained(["gender=Men"] * 6)
    embedding = explained(None, signature="everything")["embedding"]
    np.testing.assert_array_equal(answer["embedding"], embedding)
    np.testing.assert_allclose(answer["regions"].sum((1, 2)), embedding, atol=0.02)
    expected = explained.grad_cam("gender_scores", explained.labels["gender"].index("Men"))
    np.testing.assert_allclose(answer["label_map"], expected, atol=0.05 * expected.max())


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
def test_without_attributes_the_other_levels_are_explained(plain_catalog, tmp_path):
    explained = Explained(plain_catalog, tmp_path / "1")
    found = explained(["subcategory=tall bars"] * 6)["label_map"]
    expected = explained.grad_cam(
        "subcategory_scores", explained.labels["subcategory"].index("tall bars")
    )
    np.testing.assert_allclose(found, expected, atol=2e-3 * expected.max())
    with pytest.raises(RequestError, match="label at index 0 is unknown: attributes=color=red"):
        explained(["attributes=color=red"] * 6)
