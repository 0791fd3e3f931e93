"""What a catalog system may rely on when it calls `CatalogClient`."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from schema.errors import UserError
from serving import client as client_module
from serving.client import CatalogClient
from serving.model_server import ModelServer
from tests.serving import color_model

RED = color_model.picture(255, 0, 0)
DARK_BLUE = color_model.picture(0, 0, 100)


def test_a_prediction_holds_what_the_model_gives(client: CatalogClient):
    red, blue = client.predict([RED, DARK_BLUE])

    red_score, green_score, _ = color_model.expected_scores(255, 0, 0)
    assert red.category == "red"
    assert red.category_score == pytest.approx(red_score, abs=1e-6)
    assert red.category_scores["green"] == pytest.approx(green_score, abs=1e-6)
    bright = 1 / (1 + np.exp(-4))
    assert red.subcategory == "bright red"
    assert red.subcategory_score == pytest.approx(red_score * bright, abs=1e-6)
    assert red.attributes == pytest.approx(
        {"tone=bright": bright, "tone=dark": 1 - bright}, abs=1e-6
    )
    assert np.linalg.norm(red.embedding) == pytest.approx(1)
    assert (blue.category, blue.subcategory) == ("blue", "dark blue")


def test_a_model_without_extra_labels_gives_none(client: CatalogClient):
    assert client.predict([RED])[0].extra_labels == {}


def test_extra_labels_are_found_in_the_answer(tmp_path: Path):
    model = color_model.ColorModel(extra_label="color")
    color_model.save(model, str(tmp_path / "catalog" / "1"))
    with ModelServer(tmp_path) as server, CatalogClient(server.endpoint) as client:
        (prediction,) = client.predict([DARK_BLUE])

    color = prediction.extra_labels["color"]
    expected = color_model.expected_scores(0, 0, 100)
    assert list(prediction.extra_labels) == ["color"]
    assert (color.label, color.score) == ("blue", pytest.approx(expected[2], abs=1e-6))
    assert color.scores["red"] == pytest.approx(expected[0], abs=1e-6)
    assert list(color.scores)[0] == "blue"
    plain = json.loads(json.dumps(prediction.to_dict()))["extra_labels"]
    assert plain == {
        "color": {"label": "blue", "score": color.score, "scores": pytest.approx(color.scores)}
    }


def test_scores_come_highest_first(client: CatalogClient):
    (prediction,) = client.predict([color_model.picture(0, 100, 200)])

    assert [label for label, _ in prediction.top_categories(2)] == ["blue", "green"]
    assert len(prediction.top_subcategories(4)) == 4
    for scores in (prediction.subcategory_scores, prediction.attributes):
        assert list(scores.values()) == sorted(scores.values(), reverse=True)


def test_attributes_above_a_threshold_reach_it(client: CatalogClient):
    (prediction,) = client.predict([RED])

    assert list(prediction.attributes_above()) == ["tone=bright"]
    assert list(prediction.attributes_above(prediction.attributes["tone=bright"])) == [
        "tone=bright"
    ]


def test_a_prediction_becomes_json(client: CatalogClient):
    (prediction,) = client.predict([RED])

    plain = json.loads(json.dumps(prediction.to_dict()))
    assert plain["category"] == "red" and "embedding" not in plain
    assert len(prediction.to_dict(embedding=True)["embedding"]) == 3


def test_pictures_may_be_bytes_or_paths(client: CatalogClient, tmp_path: Path):
    file = tmp_path / "blue.jpg"
    file.write_bytes(color_model.picture(0, 0, 255, suffix="jpeg"))

    assert [p.category for p in client.predict([RED, file, str(file)])] == ["red", "blue", "blue"]


def test_no_pictures_give_no_predictions(client: CatalogClient):
    assert client.predict([]) == []


def test_many_pictures_come_back_in_order(client: CatalogClient):
    count = 2 * client_module.MAX_PICTURES_PER_REQUEST + 5
    colors = ["red", "green", "blue"]
    pictures = [color_model.picture(*(255 * (color == c) for c in colors)) for color in colors]

    predictions = client.predict([pictures[i % 3] for i in range(count)])

    assert [p.category for p in predictions] == [colors[i % 3] for i in range(count)]


def test_requests_are_bounded_in_bytes(client: CatalogClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client_module, "MAX_BYTES_PER_REQUEST", int(2.5 * len(RED)))
    sent = []
    ask = client._ask
    monkeypatch.setattr(
        client,
        "_ask",
        lambda method, request: (
            sent.append(len(request.inputs["image_bytes"].string_val)) or ask(method, request)
        ),
    )

    assert len(client.predict([RED] * 5)) == 5
    assert sent == [2, 2, 1]


def test_a_picture_that_cannot_be_decoded_is_named(client: CatalogClient, tmp_path: Path):
    sound, broken = tmp_path / "sound.png", tmp_path / "broken.png"
    sound.write_bytes(RED)
    broken.write_bytes(RED[:40])
    # Beyond the first request, where the server's index is not the caller's.
    first_request = [sound] * client_module.MAX_PICTURES_PER_REQUEST

    with pytest.raises(UserError, match=r"broken\.png cannot be decoded"):
        client.predict([*first_request, sound, broken, sound])
    with pytest.raises(UserError, match="Picture 65, given as bytes"):
        client.predict([*first_request, RED, b""])


def test_a_file_that_cannot_be_read_is_named(client: CatalogClient, tmp_path: Path):
    with pytest.raises(UserError, match=r"missing\.jpg: No such file"):
        client.predict([tmp_path / "missing.jpg"])


def test_a_picture_larger_than_a_message_is_refused_before_it_is_sent(client: CatalogClient):
    with pytest.raises(UserError, match="at most 64 MB"):
        client.predict([bytes(client_module.MAX_MESSAGE_BYTES)])


def test_a_model_that_is_not_served_is_named(server: ModelServer):
    with CatalogClient(server.endpoint, "shoes") as client:
        with pytest.raises(UserError, match="no model named 'shoes'"):
            client.predict([RED])
        with pytest.raises(UserError, match="no model named 'shoes'"):
            client.model_status()


def test_a_server_that_is_away_is_named_with_the_remedy():
    told = pytest.raises(UserError, match=r"localhost:1 .*seamline serve WORKSPACE")
    with CatalogClient("localhost:1", timeout_s=0.3) as client, told:
        client.predict([RED])


def test_a_server_that_comes_up_within_the_timeout_is_waited_for(saved_model: Path, tmp_path: Path):
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "1").symlink_to(saved_model)
    # Ports are given out again late, so the one that this server had is still free.
    with ModelServer(tmp_path) as first:
        port = int(first.endpoint.rpartition(":")[2])
    late = ModelServer(tmp_path, port=port)
    starting = threading.Timer(0.5, late.start)
    starting.start()
    try:
        with CatalogClient(f"127.0.0.1:{port}", timeout_s=20) as client:
            assert client.predict([RED])[0].category == "red"
    finally:
        starting.join()
        late.stop()


def test_a_server_that_does_not_finish_in_time_is_named(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(server._served, "predict", lambda *args, **options: time.sleep(1))
    told = pytest.raises(UserError, match=f"{server.endpoint} did not answer within 0.2 s")
    with CatalogClient(server.endpoint, timeout_s=0.2) as client, told:
        client.predict([RED])


def test_status_names_the_version_that_answers(client: CatalogClient):
    (status,) = client.model_status()

    assert (status.version, status.state, status.error) == (7, "AVAILABLE", "")


def test_a_foreign_model_is_refused(tmp_path: Path):
    class Foreign(color_model.ColorModel):
        """Answers, but not all that is asked."""

        def answer(self, image_bytes):
            return {"category": image_bytes}

    color_model.save(Foreign(), str(tmp_path / "catalog" / "1"))
    told = pytest.raises(UserError, match="answer lacks attribute_scores")
    with ModelServer(tmp_path) as server, CatalogClient(server.endpoint) as client, told:
        client.predict([RED])


def test_the_client_does_not_import_tensorflow():
    loaded = subprocess.run(
        [sys.executable, "-c", "import serving.client, sys; print('tensorflow' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stdout.strip() == "False"
