"""The executor keeps Pusher's contract: what is blessed is pushed, what is not is not.

What becomes of a model that was pushed or rolled back before is told by the runner's tests.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts
from tfx.utils import proto_utils

from components import storage
from components.atomic_pusher import executor
from components.atomic_pusher.executor import AtomicPusherExecutor
from components.atomic_pusher.records import RECORD_FILE
from components.judge import judgement
from components.judge.artifacts import Judgement
from components.model_card.artifacts import ModelCard
from components.similarity_index.artifacts import SimilarityIndex
from schema import features
from schema.errors import UserError
from serving.client import Automatic


def _blessing(kind: type, blessed: bool):
    artifact = kind()
    artifact.set_int_custom_property("blessed", int(blessed))
    return artifact


def _push(
    tmp_path: Path,
    evaluator: bool = True,
    canary: bool = True,
    serving_root: str | None = None,
    evaluation: standard_artifacts.ModelEvaluation | None = None,
    judged: Judgement | None = None,
    model_card: ModelCard | None = None,
    similarity_index: SimilarityIndex | None = None,
):
    saved_model = tmp_path / "model" / "Format-Serving" / "saved_model.pb"
    saved_model.parent.mkdir(parents=True)
    saved_model.write_bytes(b"graph")
    model = standard_artifacts.Model()
    model.uri = str(tmp_path / "model")
    pushed_model = standard_artifacts.PushedModel()
    pushed_model.uri = str(tmp_path / "pushed")
    destination = pusher_pb2.PushDestination(
        filesystem=pusher_pb2.PushDestination.Filesystem(
            base_directory=serving_root or str(tmp_path / "serving" / "catalog")
        )
    )
    AtomicPusherExecutor().Do(
        {
            "model": [model],
            "model_blessing": [_blessing(standard_artifacts.ModelBlessing, evaluator)],
            "infra_blessing": [_blessing(standard_artifacts.InfraBlessing, canary)],
        }
        | ({"evaluation": [evaluation]} if evaluation else {})
        | ({"judgement": [judged]} if judged else {})
        | ({"model_card": [model_card]} if model_card else {})
        | ({"similarity_index": [similarity_index]} if similarity_index else {}),
        {"pushed_model": [pushed_model]},
        {
            "push_destination": proto_utils.proto_to_json(destination),
            "keep_versions": 2,
            "serving_state": "not there",
        },
    )
    return pushed_model


def test_a_blessed_model_goes_live_and_into_the_archive(tmp_path):
    pushed_model = _push(tmp_path)

    (version,) = (tmp_path / "serving" / "catalog").iterdir()
    assert (version / "saved_model.pb").read_bytes() == b"graph"
    assert (tmp_path / "pushed" / "saved_model.pb").read_bytes() == b"graph"
    assert pushed_model.get_int_custom_property("pushed") == 1
    assert pushed_model.get_string_custom_property("pushed_version") == version.name
    assert pushed_model.get_string_custom_property("pushed_destination") == str(version)
    assert pushed_model.get_string_custom_property("summary") == (
        f"version {version.name} pushed to {version.parent}"
    )


def test_an_index_goes_live_with_its_model(tmp_path):
    index = SimilarityIndex()
    index.uri = str(tmp_path / "index")
    folder = tmp_path / "index" / "similarity_index" / "index"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    (tmp_path / "index" / "quality.json").write_text("{}")

    pushed_model = _push(tmp_path, similarity_index=index)

    version = Path(pushed_model.get_string_custom_property("pushed_destination"))
    assert (version / features.INDEX_FOLDER / "index" / "manifest.json").read_text() == "{}"
    assert not list(version.rglob("quality.json"))


def test_a_version_tells_of_its_model_and_its_most_telling_figures(tmp_path, monkeypatch):
    @dataclasses.dataclass
    class Read:
        metrics: dict[str, float]

    figures = {
        "category/accuracy": 0.9,
        "category/overall_f1": 0.8,
        "subcategory/accuracy": 0.7,
        "subcategory/independent_accuracy": 0.6,
        "attributes/overall_f1": 0.5,
    }
    monkeypatch.setattr(executor, "read_evaluation", lambda uri: Read(figures))

    pushed_model = _push(tmp_path, evaluation=standard_artifacts.ModelEvaluation())

    version = Path(pushed_model.get_string_custom_property("pushed_destination"))
    assert json.loads((version / RECORD_FILE).read_text())["origin"] == {
        "model": str(tmp_path / "model"),
        "run": "",
        "metrics": {
            "category/accuracy": 0.9,
            "subcategory/accuracy": 0.7,
            "attributes/overall_f1": 0.5,
        },
        "automatic": {},
        "serving_state": "not there",
    }


def test_the_scores_from_which_on_nobody_must_look_travel_with_the_version(tmp_path):
    judged = Judgement()
    judged.uri = str(tmp_path / "judged")
    automatic = {
        "wanted": 0.98,
        "levels": {"category": {"threshold": 0.8}, "subcategory": {"threshold": None}},
        "attributes": {"fit=Slim": {"threshold": 0.7}},
    }
    judgement.write(judgement.Judgement((), automatic=automatic), judged.uri)
    pushed_model = _push(tmp_path, judged=judged)
    version = pushed_model.get_string_custom_property("pushed_destination")
    assert Automatic.of_version(version) == Automatic(0.98, {"category": 0.8}, {"fit=Slim": 0.7})


@pytest.fixture
def model_card(tmp_path) -> ModelCard:
    """A card's artifact."""
    card = ModelCard()
    card.uri = str(tmp_path / "card")
    Path(card.uri).mkdir()
    for name in ("model_card.md", "bom.cdx.json"):
        (Path(card.uri) / name).write_text(name)
    return card


def test_the_card_travels_with_the_version(tmp_path, model_card):
    pushed_model = _push(tmp_path, model_card=model_card)
    version = Path(pushed_model.get_string_custom_property("pushed_destination"))
    assert sorted(path.name for path in (version / "assets.extra").iterdir()) == [
        "bom.cdx.json",
        "model_card.md",
        RECORD_FILE.name,
    ]
    assert (version / "assets.extra" / "model_card.md").read_text() == "model_card.md"


def test_older_versions_than_the_option_allows_are_removed(tmp_path):
    for number in ("1", "2"):
        folder = tmp_path / "serving" / "catalog" / number
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"older")

    summary = _push(tmp_path).get_string_custom_property("summary")

    assert summary.endswith("; version 1 removed")
    assert not (tmp_path / "serving" / "catalog" / "1").exists()


def test_nothing_goes_live_when_the_disk_is_full_before(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copytree", full)

    with pytest.raises(UserError, match=r"disk of .*pushed is full"):
        _push(tmp_path)
    assert not (tmp_path / "serving").exists()


def test_a_bucket_gets_the_model_and_what_goes_with_it(tmp_path, bucket_url, model_card):
    pushed_model = _push(tmp_path, serving_root=f"{bucket_url}/catalog", model_card=model_card)
    number = pushed_model.get_string_custom_property("pushed_version")
    destination = pushed_model.get_string_custom_property("pushed_destination")
    assert destination == f"{bucket_url}/catalog/{number}"
    assert storage.files(destination) == [
        "assets.extra/bom.cdx.json",
        "assets.extra/model_card.md",
        RECORD_FILE.as_posix(),
        "saved_model.pb",
    ]
    assert (tmp_path / "pushed" / "saved_model.pb").read_bytes() == b"graph"
    assert pushed_model.get_int_custom_property("pushed") == 1
    assert pushed_model.get_string_custom_property("summary") == (
        f"version {number} pushed to {bucket_url}/catalog"
    )


def test_what_was_not_blessed_does_not_go_to_a_bucket(tmp_path, bucket_url):
    pushed_model = _push(tmp_path, evaluator=False, serving_root=f"{bucket_url}/catalog")
    assert pushed_model.get_string_custom_property("summary") == (
        "not pushed: the Judge did not bless the model"
    )
    assert storage.files(bucket_url) == []


def test_a_bucket_that_is_not_there_is_told_before_anything_is_written(tmp_path, bucket_url):
    with pytest.raises(UserError, match="There is no bucket nowhere-at-all"):
        _push(tmp_path, serving_root="s3://nowhere-at-all/catalog")
    assert not (tmp_path / "pushed").exists()


@pytest.mark.parametrize(
    ("blessings", "judge"),
    [
        ({"evaluator": False}, "Judge"),
        ({"canary": False}, "canary"),
        ({"evaluator": False, "canary": False}, "Judge"),
    ],
)
def test_a_model_that_is_not_blessed_is_not_pushed(tmp_path, blessings, judge):
    pushed_model = _push(tmp_path, **blessings)

    assert not (tmp_path / "serving").exists()
    assert pushed_model.get_int_custom_property("pushed") == 0
    assert pushed_model.get_string_custom_property("summary") == (
        f"not pushed: the {judge} did not bless the model"
    )
