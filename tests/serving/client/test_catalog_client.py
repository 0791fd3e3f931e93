"""What a catalog system may rely on when it calls `CatalogClient`."""

from __future__ import annotations

import base64
import itertools
import json
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image

from schema.errors import UserError
from serving.client import (
    MAX_MESSAGE_BYTES,
    MAX_PICTURES_PER_REQUEST,
    CatalogClient,
    PictureRefused,
    Prediction,
    Refused,
    RequestFailed,
    Retries,
    pictures,
)
from serving.model_server import ModelServer
from tests.serving import color_model
from tests.serving.client.word_server import OLDER, Refusal, WordServer

RED = color_model.picture(255, 0, 0)
DARK_BLUE = color_model.picture(0, 0, 100)


def categories(results) -> list[str]:
    return [one.category if isinstance(one, Prediction) else f"-{one.reason}" for one in results]


def test_a_prediction_holds_what_the_model_gives(client: CatalogClient):
    red, blue = client.predict([RED, DARK_BLUE], everything=True)

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
    assert red.version == 7
    assert (blue.category, blue.subcategory) == ("blue", "dark blue")


def test_everything_is_all_scores_and_the_embedding(client: CatalogClient):
    (few,), (every,) = client.predict([RED]), client.predict([RED], everything=True)

    assert (len(few.subcategory_scores), len(every.subcategory_scores)) == (5, 6)
    assert (len(few.embedding), len(every.embedding)) == (0, 3)
    assert sum(every.subcategory_scores.values()) == pytest.approx(1)


def test_what_is_known_is_what_reaches_the_models_own_thresholds(client: CatalogClient):
    (red,), (gray,) = client.predict([RED]), client.predict([color_model.picture(90, 80, 80)])

    assert red.thresholds == {"category": 0.75, "subcategory": 0.5, "attributes": 0.625}
    assert red.known == {"category": "red", "subcategory": "bright red"}
    # By hand: softmax(4 * (90, 80, 80) / 255) gives red .37; dark is sigmoid(4 * (1 - 180/255)).
    assert gray.category_score == pytest.approx(0.369, abs=1e-3)
    assert gray.known == {}
    assert gray.attributes["tone=dark"] == pytest.approx(0.764, abs=1e-3)
    assert list(gray.attributes_above()) == ["tone=dark"]
    assert list(gray.attributes_above(0.2)) == ["tone=dark", "tone=bright"]


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
    assert prediction.thresholds["color"] == 0.875
    plain = json.loads(json.dumps(prediction.to_dict()))["extra_labels"]
    assert plain == {
        "color": {"label": "blue", "score": color.score, "scores": pytest.approx(color.scores)}
    }


def test_a_prediction_becomes_json(client: CatalogClient):
    (prediction,) = client.predict([RED], everything=True)

    plain = json.loads(json.dumps(prediction.to_dict()))
    assert plain["category"] == "red" and "embedding" not in plain
    assert plain["thresholds"]["category"] == 0.75
    assert len(prediction.to_dict(embedding=True)["embedding"]) == 3


def test_pictures_may_be_bytes_or_paths(client: CatalogClient, tmp_path: Path):
    file = tmp_path / "blue.jpg"
    file.write_bytes(color_model.picture(0, 0, 255, suffix="jpeg"))

    assert [p.category for p in client.predict([RED, file, str(file)])] == ["red", "blue", "blue"]


def test_status_names_the_version_that_answers(client: CatalogClient):
    (status,) = client.model_status()

    assert (status.version, status.state, status.error) == (7, "AVAILABLE", "")


def test_one_signature_can_be_asked_as_it_is(client: CatalogClient):
    outputs = client.outputs("tolerant_everything", [RED, b"none"])

    assert outputs["status"].tolist() == [b"", b"it is no picture"]
    assert outputs["category_scores"].shape == (2, 3)
    assert outputs["category_scores"][0].max() == pytest.approx(
        color_model.expected_scores(255, 0, 0).max(), abs=1e-6
    )
    with pytest.raises(RequestFailed, match="picture at index 1 cannot be decoded") as told:
        client.outputs("serving_default", [RED, b"none"])
    assert told.value.code is grpc.StatusCode.INVALID_ARGUMENT


def test_an_older_model_is_asked_as_it_can_be(tmp_path: Path):
    color_model.save(color_model.OlderColorModel(), str(tmp_path / "catalog" / "1"))
    with ModelServer(tmp_path) as server, CatalogClient(server.endpoint) as client:
        (red,) = client.predict([RED])
        many = list(client.predict_many([RED, b"none", DARK_BLUE, b"", RED]))

    assert (red.category, len(red.embedding)) == ("red", 3)
    assert (red.thresholds, red.known) == ({}, {})
    assert list(red.attributes_above()) == ["tone=bright"]
    assert categories(many) == [
        *("red", "-cannot be decoded: it is no picture", "blue"),
        *("-cannot be decoded: it is no picture", "red"),
    ]


def test_no_pictures_give_no_predictions(asker: CatalogClient, words: WordServer):
    assert asker.predict([]) == [] == list(asker.predict_many([]))
    assert words.requests == []


def test_many_pictures_come_back_in_order(asker: CatalogClient, words: WordServer):
    asked = list(itertools.islice(itertools.cycle(["red", "green", "blue"]), 200))

    assert [p.category for p in asker.predict([word.encode() for word in asked])] == asked
    assert words.sizes == [64, 64, 64, 8]


def test_requests_are_bounded_in_bytes(
    asker: CatalogClient, words: WordServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pictures, "MAX_BYTES_PER_REQUEST", 8)
    giant = b"a picture of more bytes than a request holds"

    given = [b"red", b"red", b"red", giant, b"green", b"red"]
    found = list(asker.predict_many(given, concurrency=1))

    assert words.sizes == [2, 1, 1, 2]
    assert categories(found)[3:] == [f"-cannot be decoded: {giant.decode()}", "green", "red"]


def test_a_picture_that_cannot_be_decoded_is_named(asker: CatalogClient, tmp_path: Path):
    sound, broken = tmp_path / "sound.png", tmp_path / "broken.png"
    sound.write_bytes(b"red")
    broken.write_bytes(b"torn")
    # Beyond the first request, where the server's index is not the caller's.
    first_request = [sound] * MAX_PICTURES_PER_REQUEST

    with pytest.raises(PictureRefused, match=r"broken\.png cannot be decoded: torn") as told:
        asker.predict([*first_request, sound, broken, sound])
    assert (told.value.index, told.value.reason) == (65, "cannot be decoded: torn")
    with pytest.raises(UserError, match="Picture 65, given as bytes, cannot be decoded"):
        asker.predict([*first_request, b"red", b"none"])


def test_a_file_that_cannot_be_read_is_named(asker: CatalogClient, tmp_path: Path):
    with pytest.raises(PictureRefused, match=r"missing\.jpg cannot be read: No such file"):
        asker.predict([tmp_path / "missing.jpg"])
    with pytest.raises(PictureRefused, match="is no file"):
        asker.predict([tmp_path])


def test_a_picture_larger_than_a_message_is_refused_before_it_is_sent(
    asker: CatalogClient, words: WordServer, tmp_path: Path
):
    large = tmp_path / "large.png"
    with open(large, "wb") as file:
        file.truncate(MAX_MESSAGE_BYTES)

    with pytest.raises(PictureRefused, match=r"large\.png has 67,108,864 bytes, and a message"):
        asker.predict([large])
    found = list(asker.predict_many([b"red", large, bytes(MAX_MESSAGE_BYTES), b"blue"]))
    assert [type(one).__name__ for one in found] == [
        *("Prediction", "Refused", "Refused", "Prediction")
    ]
    assert sum(words.sizes) == 2


def test_one_bad_picture_costs_itself_alone(asker: CatalogClient, tmp_path: Path):
    given = [b"red", b"torn", tmp_path / "none.png", Refused("has no picture", "7"), b"blue"]

    found = list(asker.predict_many(given))

    assert [one.category for one in (found[0], found[4])] == ["red", "blue"]
    assert found[1] == Refused("cannot be decoded: torn", "Picture 1, given as bytes,")
    assert found[2] == Refused(
        "cannot be read: No such file or directory", str(tmp_path / "none.png")
    )
    assert found[3] is given[3]


def test_bad_pictures_cost_themselves_alone_where_the_server_fails_them_all(
    asker: CatalogClient, words: WordServer
):
    words.signatures = OLDER
    given = [b"x" if i % 7 == 3 else b"red" for i in range(64)]

    found = list(asker.predict_many(given, pictures_per_request=64))

    assert categories(found) == [
        "-cannot be decoded: x" if i % 7 == 3 else "red" for i in range(64)
    ]
    # The signature that is not there is asked for once, and no picture again and again.
    assert words.asked.count("tolerant") == 1
    assert max(words.sizes[2:]) < 64


def test_a_request_that_is_refused_without_a_reason_is_divided(
    asker: CatalogClient, words: WordServer
):
    def mood(request):
        if b"blue" in request.inputs["image_bytes"].string_val:
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "something about a picture")

    words.mood = mood
    found = list(asker.predict_many([b"red", b"green", b"blue", b"red", b"green"]))

    assert categories(found) == [
        *("red", "green", "-is refused by the server: something about a picture"),
        *("red", "green"),
    ]


def test_a_request_above_the_servers_own_limit_is_divided():
    server = WordServer(**{"grpc.max_receive_message_length": 1000})
    try:
        with CatalogClient(server.endpoint, timeout_s=5) as client:
            found = list(client.predict_many([b"red", b"x" * 600, b"y" * 600, b"z" * 1200]))
    finally:
        server.stop()
    assert [type(one).__name__ for one in found] == ["Prediction"] + ["Refused"] * 3
    assert "cannot be decoded" in found[2].reason
    assert "is refused by the server" in found[3].reason and "larger than max" in found[3].reason


def test_a_model_that_refuses_every_picture_is_no_fault_of_the_pictures(
    asker: CatalogClient, words: WordServer
):
    def mood(request):
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "input size does not match signature")

    words.mood = mood
    with pytest.raises(RequestFailed, match="input size does not match"):
        list(asker.predict_many([b"red", b"green", b"blue"]))


def test_so_many_requests_travel_at_a_time_and_no_more(asker: CatalogClient, words: WordServer):
    together = threading.Barrier(3)
    words.mood = lambda request: together.wait(10)

    found = asker.predict_many([b"red"] * 12, concurrency=3, pictures_per_request=2)

    assert len(list(found)) == 12
    assert words.most_at_once == 3


def test_pictures_are_taken_only_as_results_are(asker: CatalogClient):
    taken = 0

    def given():
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield b"red"

    found = asker.predict_many(given(), concurrency=2, pictures_per_request=5)
    for _ in range(10):
        next(found)

    # What is being given, twice `concurrency` requests, and the one that closes the last.
    assert taken <= 10 + 4 * 5 + 1
    found.close()


def test_a_slow_first_request_does_not_change_the_order(asker: CatalogClient, words: WordServer):
    def mood(request):
        if b"red" in request.inputs["image_bytes"].string_val:
            time.sleep(0.3)

    words.mood = mood
    found = asker.predict_many([b"red", b"green", b"blue"], pictures_per_request=1)
    assert categories(found) == ["red", "green", "blue"]


def test_whoever_stops_in_the_middle_does_not_wait(asker: CatalogClient, words: WordServer):
    released = threading.Event()

    def mood(request):
        if b"blue" in request.inputs["image_bytes"].string_val:
            released.wait(30)

    words.mood = mood
    found = asker.predict_many([b"red", *[b"blue"] * 20], pictures_per_request=1)
    next(found)
    began = time.monotonic()
    found.close()
    waited_s = time.monotonic() - began
    released.set()
    assert waited_s < 5
    words.mood = lambda request: None
    assert asker.predict([b"red"])[0].category == "red"


@pytest.mark.parametrize("code", [
    grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED,
])  # fmt: skip
def test_a_busy_server_is_asked_again(asker: CatalogClient, words: WordServer, code):
    def mood(request):
        if len(words.requests) < 3:
            raise Refusal(code, "come again")

    words.mood = mood
    assert asker.predict([b"red"])[0].category == "red"
    assert len(words.requests) == 3
    assert len({one["x-request-id"] for one in words.metadata}) == 1


def test_what_its_own_caller_gave_up_is_not_asked_again(words: WordServer):
    released = threading.Event()
    words.mood = lambda request: released.wait(30)
    client = CatalogClient(words.endpoint)
    told: list[BaseException] = []

    def ask():
        try:
            client.predict([b"red"])
        except RequestFailed as error:
            told.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    while not words.requests:
        time.sleep(0.01)
    client.close()
    asking.join(10)
    released.set()
    assert [error.code for error in told] == [grpc.StatusCode.CANCELLED]
    assert len(words.requests) == 1


def test_what_will_not_pass_is_not_asked_again(asker: CatalogClient, words: WordServer):
    def mood(request):
        raise Refusal(grpc.StatusCode.INTERNAL, "it broke")

    words.mood = mood
    with pytest.raises(RequestFailed, match=r"refused \(INTERNAL\): it broke \(request ") as told:
        asker.predict([b"red"])
    assert len(words.requests) == 1
    assert told.value.request_id == words.metadata[0]["x-request-id"]


def test_a_server_that_stays_busy_is_named_when_the_time_is_over(words: WordServer):
    def mood(request):
        raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full")

    words.mood = mood
    told = pytest.raises(RequestFailed, match="was too busy for 0.5 s")
    with CatalogClient(words.endpoint, timeout_s=0.5) as client, told:
        client.predict([b"red"])
    assert len(words.requests) > 1


def test_retries_keep_to_a_share_of_the_requests(words: WordServer):
    def mood(request):
        raise Refusal(grpc.StatusCode.UNAVAILABLE, "loading")

    words.mood = mood
    few = Retries(first_s=0.001, longest_s=0.002, share=0, per_second=1e-6, at_once=5)
    with CatalogClient(words.endpoint, timeout_s=1, retries=few) as client:
        for _ in range(10):
            with pytest.raises(RequestFailed):
                client.predict([b"red"])
    assert len(words.requests) == 10 + 5


def test_an_attempt_that_hangs_is_given_up_for_another(words: WordServer):
    def mood(request):
        if len(words.requests) == 1:
            time.sleep(1)

    words.mood = mood
    with CatalogClient(words.endpoint, timeout_s=10, attempt_timeout_s=0.2) as client:
        assert client.predict([b"red"])[0].category == "red"
    assert len(words.requests) == 2


def test_a_server_that_does_not_finish_in_time_is_named(words: WordServer):
    words.mood = lambda request: time.sleep(1)
    told = pytest.raises(RequestFailed, match=f"{words.endpoint} did not answer within 0.2 s")
    with CatalogClient(words.endpoint, timeout_s=0.2) as client, told:
        client.predict([b"red"])


def test_all_pictures_together_have_a_deadline_of_their_own(
    asker: CatalogClient, words: WordServer
):
    words.mood = lambda request: time.sleep(0.2)
    told = pytest.raises(RequestFailed, match="within the time that all pictures together")
    with told:
        list(
            asker.predict_many([b"red"] * 20, timeout_s=0.5, concurrency=1, pictures_per_request=1)
        )
    with told:
        asker.predict([b"red"] * 640, timeout_s=0.5)


def test_a_server_that_is_away_is_named_with_the_remedy():
    told = pytest.raises(UserError, match=r"localhost:1 .*seamline serve WORKSPACE")
    with CatalogClient("localhost:1", timeout_s=0.3) as client, told:
        client.predict([RED])


def test_a_server_that_comes_up_within_the_timeout_is_waited_for():
    first = WordServer()
    first.stop()
    late: list[WordServer] = []
    # Ports are given out again late, so the one that this server had is still free.
    starting = threading.Timer(0.5, lambda: late.append(WordServer(port=first.port)))
    starting.start()
    try:
        with CatalogClient(first.endpoint, timeout_s=20) as client:
            assert client.predict([b"red"])[0].category == "red"
    finally:
        starting.join()
        late[0].stop()


def test_a_model_that_is_not_served_is_named(server: ModelServer):
    with CatalogClient(server.endpoint, "shoes") as client:
        with pytest.raises(UserError, match="no model named 'shoes'"):
            client.predict([RED])
        with pytest.raises(UserError, match="no model named 'shoes'"):
            client.model_status()


def test_a_version_or_a_label_can_be_asked_for(server: ModelServer, words: WordServer):
    with CatalogClient(server.endpoint, version=7) as client:
        assert client.predict([RED])[0].version == 7
    with (
        CatalogClient(server.endpoint, version=8) as client,
        pytest.raises(UserError, match="no version 8 of a model named 'catalog'"),
    ):
        client.predict([RED])
    with CatalogClient(words.endpoint, label="stable") as client:
        client.predict([b"red"])
    assert words.requests[0].model_spec.version_label == "stable"
    with pytest.raises(UserError, match="version 1 and label 'stable'"):
        CatalogClient(words.endpoint, version=1, label="stable")


def test_another_version_may_have_what_the_last_one_lacked(asker: CatalogClient, words: WordServer):
    words.signatures = OLDER
    assert asker.predict([b"red"])[0].known == {}
    words.signatures, words.version = (*OLDER, "tolerant"), 4
    assert asker.predict([b"red"])[0].version == 4
    assert asker.predict([b"red"])[0].known == {"category": "red"}
    assert words.asked == ["tolerant", "serving_default", "serving_default", "tolerant"]


def test_a_request_can_be_given_an_id_and_a_key(words: WordServer):
    with CatalogClient(words.endpoint, api_key="s3cret") as client:
        client.predict([b"red"], request_id="order-17")
        client.predict([b"red"])
    assert words.metadata[0]["x-request-id"] == "order-17"
    assert words.metadata[0]["authorization"] == "Bearer s3cret"
    assert len(words.metadata[1]["x-request-id"]) == 32


@pytest.mark.parametrize("value", ["", "two\nlines", "schlüssel", " x"])
def test_what_cannot_be_sent_beside_a_message_is_refused_at_once(words: WordServer, value):
    with pytest.raises(UserError, match="The API key must be one line of printable") as told:
        CatalogClient(words.endpoint, api_key=value)
    assert not value.strip() or value.strip() not in str(told.value).split()
    with (
        CatalogClient(words.endpoint) as client,
        pytest.raises(UserError, match="The request id"),
    ):
        client.predict([b"red"], request_id=value)


def test_a_wrong_key_is_named(words: WordServer):
    def mood(request):
        raise Refusal(grpc.StatusCode.UNAUTHENTICATED, "no such key")

    words.mood = mood
    with (
        CatalogClient(words.endpoint, api_key="wrong") as client,
        pytest.raises(RequestFailed, match=r"refuses this API key \(no such key\)"),
    ):
        client.predict([b"red"])
    with (
        CatalogClient(words.endpoint) as client,
        pytest.raises(RequestFailed, match="wants an API key"),
    ):
        client.predict([b"red"])


def test_a_foreign_model_is_refused(tmp_path: Path):
    class Foreign(color_model.OlderColorModel):
        """Answers, but not all that is asked."""

        def answer(self, image_bytes):
            return {"category": image_bytes}

    color_model.save(Foreign(), str(tmp_path / "catalog" / "1"))
    told = pytest.raises(UserError, match="answer lacks attribute_scores")
    with ModelServer(tmp_path) as server, CatalogClient(server.endpoint) as client, told:
        client.predict([RED])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"concurrency": 0}, "concurrency is 0"),
        ({"pictures_per_request": 65}, "from 1 to 64"),
        ({"pictures_per_request": 0}, "from 1 to 64"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_asked(asker, options, said):
    with pytest.raises(UserError, match=said):
        asker.predict_many([b"red"], **options)


def test_a_time_must_be_above_zero():
    with pytest.raises(UserError, match="timeout_s is 0"):
        CatalogClient("localhost:1", timeout_s=0)


def test_threads_may_share_a_client(asker: CatalogClient):
    found: list[list[str]] = [[] for _ in range(4)]

    def ask(slot: int) -> None:
        for _ in range(20):
            found[slot] += categories(asker.predict([b"red", b"blue"]))

    threads = [threading.Thread(target=ask, args=[slot]) for slot in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [["red", "blue"] * 20] * 4


@pytest.mark.parametrize("given", [RED, bytearray(RED), "shoe.png", Path("shoe.png")])
def test_a_single_picture_is_answered_by_its_prediction_alone(client, tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    Path("shoe.png").write_bytes(RED)

    assert client.predict(given).category == "red"
    assert client.predict([given])[0].category == "red"
    assert categories(client.predict_many(given)) == ["red"]


def test_any_iterable_of_pictures_is_several(client):
    for several in ((RED, RED), iter([RED, RED]), {1: RED, 2: RED}.values(), np.array([RED, RED])):
        assert categories(client.predict(several)) == ["red", "red"]


def test_a_single_picture_is_a_batch_of_one_of_a_signature(client):
    assert client.outputs("everything", RED)["category"].tolist() == [b"red"]
    with pytest.raises(UserError, match="Picture 1 is of the type str, not bytes"):
        client.outputs("everything", [RED, "shoe.jpg"])


def test_a_signatures_further_inputs_have_a_text_for_each_picture(asker, words):
    asker.outputs("everything", [b"red", b"blue"], inputs={"label": ["größe=XL", b"\xff"]})
    asker.outputs("everything", [b"red", b"blue"], inputs={"label": "category=red"})
    asker.outputs("everything", b"red", inputs={"label": "category=red"})
    asker.outputs("everything", [], inputs={"label": []})

    sent = [request.inputs for request in words.requests]
    assert [list(of["label"].string_val) for of in sent] == [
        ["größe=XL".encode(), b"\xff"],
        [b"category=red"] * 2,
        [b"category=red"],
        [],
    ]
    for of in sent:
        assert of.keys() == {"image_bytes", "label"}
        assert of["label"].tensor_shape == of["image_bytes"].tensor_shape


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (["a"], "The input label has 1 texts for 2 pictures. Give one a picture"),
        (["a", 7], "Text 1 of the input label is of the type int. Give str or bytes"),
    ],
)
def test_further_inputs_that_are_no_texts_are_not_sent(asker, words, label, said):
    with pytest.raises(UserError, match=said):
        asker.outputs("everything", [b"red", b"blue"], inputs={"label": label})
    assert not words.requests


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("data:image/png;base64,iVBORw0KGgo" + 99 * "A", "is a data URL, not the path of a pict"),
        (base64.b64encode(RED).decode(), "is base64 text, not the path of a picture; give the b"),
        (base64.b64encode(RED * 99).decode(), "is base64 text, not the path of a picture; give"),
        ("https://shop.example/shoe.jpg", "is an address, not the path of a picture; give the"),
        (Path("https://shop.example/shoe.jpg"), "is an address, not the path of a picture; give"),
        (base64.b64encode(RED), "Picture 0, given as bytes, is base64 text, not a picture; give"),
        (b"shoe.jpg", "Picture 0, given as bytes, is a file's name, not a picture; give the byt"),
        (b"<!DOCTYPE html><html>", "given as bytes, is a web page, not a picture"),
        ("shoe.jpg", "shoe.jpg cannot be read: No such file or directory"),
        ("shoe\0.jpg", "cannot be read: embedded null byte"),
    ],
)
def test_what_is_no_picture_is_called_by_what_it_is(client, given, said):
    for several in (given, [given]):
        with pytest.raises(PictureRefused) as refused:
            client.predict(several)
        assert said in str(refused.value)
        assert len(str(refused.value)) < 250


@pytest.mark.parametrize(
    "given", [None, 7, {"b64": "aaaa"}, Image.new("RGB", (2, 2)), np.zeros((1, 4, 4, 3), np.uint8)]
)
def test_what_holds_no_encoded_pictures_is_refused_before_anything_is_asked(client, given):
    for ask in (client.predict, client.predict_many):
        with pytest.raises(UserError, match="is neither a picture nor a list of them. Give the"):
            ask(given)
    with pytest.raises(PictureRefused, match="Picture 0 is a .*, not a picture; give the bytes"):
        client.predict([given])
