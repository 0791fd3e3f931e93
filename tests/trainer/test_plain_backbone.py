"""A backbone with ImageNet's weights alone answers with its embedding, and explains it."""

import io
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageDraw
from tensorflow_serving.apis import prediction_log_pb2

from components.model_canary import production
from schema import features
from schema.errors import UserError
from serving.client import CatalogClient, RequestFailed
from serving.model_server import ModelServer
from serving.model_server.saved_model import SavedModel
from trainer.backbones import applications, build_backbone
from trainer.picture_decoding import decode_pictures
from trainer.picture_model import WARMUP_FILE
from trainer.plain_backbone import export_backbone

pytestmark = pytest.mark.slow

SIDE, PLACES, CELL = 128, 4, 32
"""The picture's side and the map's; a place stands above a cell of so many pixels."""

_SHIRT = np.array(
    [(30, 5), (42, 12), (58, 12), (70, 5), (100, 30), (86, 45), (74, 35), (74, 99), (26, 99)]
    + [(26, 35), (14, 45), (0, 30)]
)


def shirt(color, left, top, side):
    """A shirt on a bright ground, (SIDE, SIDE, 3)."""
    picture = Image.new("RGB", (SIDE, SIDE), (235, 235, 235))
    draw = ImageDraw.Draw(picture)
    draw.polygon([tuple(point) for point in (left, top) + _SHIRT * side / 100], fill=color)
    for y in top + np.array([0.45, 0.6, 0.75]) * side:
        draw.line([(left + 0.3 * side, y), (left + 0.7 * side, y)], fill="white", width=2)
    return np.array(picture)


def encoded(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


SHIRTS = [
    shirt(color, left, top, 64)
    for left, top in [(0, 0), (64, 0), (0, 64), (64, 64), (32, 32), (10, 50)]
    for color in [(30, 60, 160), (180, 30, 40)]
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    exported = tmp_path_factory.mktemp("plain") / "catalog" / "1"
    export_backbone("efficientnetlite0", SIDE, SIDE, str(exported))
    return exported


@pytest.fixture(scope="module")
def explained(folder):
    """Pictures to embeddings and regions."""
    model = SavedModel(folder)

    def explain(pictures):
        files = np.array([encoded(pixels) for pixels in pictures], object)
        inputs = {"image_bytes": files, "label": np.array([b""] * len(files), object)}
        return model.run(inputs, ["embedding", "regions"], None, "explain")

    return explain


def test_tensorflows_c_gives_the_direction_of_the_features(folder):
    files = [encoded(pixels) for pixels in SHIRTS[:3]]
    backbone = build_backbone(
        "efficientnetlite0", image_height=SIDE, image_width=SIDE, filters=1, weights="imagenet"
    )
    pictures, _ = decode_pictures(tf.constant(files), SIDE, SIDE)
    found = np.asarray(backbone(tf.cast(pictures, tf.float32), training=False))
    expected = found / np.linalg.norm(found, axis=1, keepdims=True)

    asked = ("serving_default", "tolerant", "everything")
    calls = [production.Call(name, {"image_bytes": files}) for name in asked]
    calls.append(production.Call("explain", {"image_bytes": files, "label": [b""] * 3}))
    *answers, explanation = production.ask(folder, calls)
    for call, answer in zip(calls, answers, strict=False):
        tolerant = "tolerant" in call.signature
        assert answer.keys() == ({"embedding", "status"} if tolerant else {"embedding"})
        np.testing.assert_allclose(answer["embedding"], expected, atol=1e-4)
    np.testing.assert_array_equal(explanation["embedding"], answers[0]["embedding"])
    np.testing.assert_allclose(explanation["regions"].sum((1, 2)), expected, atol=1e-4)
    assert explanation["label_map"].shape == (3, PLACES, PLACES)
    assert not explanation["label_map"].any()


def test_bad_pictures_and_labels_are_refused_over_grpc(folder):
    good = encoded(SHIRTS[0])
    with (
        ModelServer(folder.parents[1]) as server,
        CatalogClient(server.endpoint, timeout_s=60) as client,
    ):
        tolerant = client.outputs("tolerant_everything", [good, b"none"])
        assert [bool(reason) for reason in tolerant["status"]] == [False, True]
        assert not tolerant["embedding"][1].any()
        explanation = client.outputs("explain", good, inputs={"label": ""})
        np.testing.assert_allclose(
            explanation["regions"].sum((1, 2)), tolerant["embedding"][:1], atol=1e-5
        )
        for ask, said in (
            (lambda: client.outputs("everything", [good, b"none"]), "picture at index 1 cannot be"),
            (
                lambda: client.outputs("explain", good, inputs={"label": "category=Shirts"}),
                "label at index 0 is unknown: category=Shirts",
            ),
        ):
            with pytest.raises(RequestFailed, match=said) as told:
                ask()
            assert told.value.code is grpc.StatusCode.INVALID_ARGUMENT


def test_what_it_warms_up_with_asks_every_signature(folder):
    records = tf.data.TFRecordDataset(str(Path(folder, WARMUP_FILE))).as_numpy_iterator()
    logs = [prediction_log_pb2.PredictionLog.FromString(record).predict_log for record in records]
    assert {log.request.model_spec.signature_name for log in logs} == {
        *features.PICTURE_SIGNATURES,
        features.EXPLAIN_SIGNATURE,
    }


def test_the_hottest_quarter_of_a_picture_matters_more_than_the_coldest(explained):
    """Hidden behind gray, it costs more of the similarity that the heat is the parts of."""
    (result,), _ = explained([shirt((30, 60, 160), 16, 16, 96)])
    embeddings, regions = explained(SHIRTS)
    heat = (regions @ result).reshape(len(SHIRTS), -1)
    np.testing.assert_allclose(heat.sum(1), embeddings @ result, atol=1e-5)

    def similarity_without(cells):
        hidden = np.array(SHIRTS)
        for pixels, of in zip(hidden, cells, strict=True):
            for y, x in zip(*divmod(of, PLACES), strict=True):
                pixels[CELL * y : CELL * (y + 1), CELL * x : CELL * (x + 1)] = 128
        return explained(hidden)[0] @ result

    order = np.argsort(heat, axis=1)
    hottest, coldest = similarity_without(order[:, -4:]), similarity_without(order[:, :4])
    assert (hottest < coldest).mean() >= 0.9
    assert (coldest - hottest).mean() > 0.05


def test_with_the_mirror_average_a_picture_and_its_mirror_image_have_one_embedding(tmp_path):
    folder = tmp_path / "1"
    export_backbone("efficientnetlite0", 64, 64, str(folder), mirror_average=True)
    files = [encoded(SHIRTS[1]), encoded(SHIRTS[1][:, ::-1])]
    call = production.Call("explain", {"image_bytes": files, "label": [b"", b""]})
    [answer] = production.ask(folder, [call])
    one, mirrored = answer["regions"]
    np.testing.assert_allclose(*answer["embedding"], atol=1e-4)
    np.testing.assert_allclose(one, mirrored[:, ::-1], atol=1e-4)
    np.testing.assert_allclose(one.sum((0, 1)), answer["embedding"][0], atol=1e-5)


def test_weights_that_cannot_be_had_are_a_sentence(tmp_path, monkeypatch):
    def without_a_net(**options):
        raise Exception("URL fetch failure")

    resnet = applications.APPLICATIONS["resnet50"]._replace(network=without_a_net)
    monkeypatch.setitem(applications.APPLICATIONS, "resnet50", resnet)
    with pytest.raises(UserError, match="weights .* `resnet50` cannot be downloaded"):
        export_backbone("resnet50", 64, 64, str(tmp_path / "1"))
    with pytest.raises(UserError, match="`small_residual` does not come in"):
        export_backbone("small_residual", 64, 64, str(tmp_path / "1"))
    assert not (tmp_path / "1").exists()
