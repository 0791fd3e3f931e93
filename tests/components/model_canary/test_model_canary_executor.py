"""The canary's blessing is the one that TFX's Pusher looks for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tfx.components.pusher.executor import Executor as PusherExecutor
from tfx.types import artifact_utils, channel_utils, standard_artifacts

from components.model_canary.component import ModelCanary
from components.model_canary.executor import ANSWERS_FILE, Executor


def _bless(tmp_path: Path, split: Path) -> standard_artifacts.InfraBlessing:
    model = standard_artifacts.Model()
    model.uri = str(tmp_path / "model")
    examples = standard_artifacts.Examples()
    examples.uri = str(split.parent)
    examples.split_names = artifact_utils.encode_split_names(["train", "eval", "test"])
    blessing = standard_artifacts.InfraBlessing()
    blessing.uri = str(tmp_path / "blessing")
    Executor().Do(
        {"model": [model], "examples": [examples]},
        {"blessing": [blessing]},
        {"model_name": "catalog", "questions": 2},
    )
    return blessing


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model" / "Format-Serving"
    folder.parent.mkdir()
    return folder


def test_a_sound_model_is_blessed_for_pusher(tmp_path, split, candidate, model_folder):
    candidate().rename(model_folder)

    blessing = _bless(tmp_path, split)

    assert PusherExecutor().CheckBlessing({"infra_blessing": [blessing]})
    assert (tmp_path / "blessing" / "INFRA_BLESSED").exists()
    answers = json.loads((tmp_path / "blessing" / ANSWERS_FILE).read_text())
    assert [answer["prediction"]["category"] for answer in answers] == ["red", "green"]
    assert blessing.get_string_custom_property("summary").startswith("2 questions answered")


def test_a_broken_model_is_not_blessed_and_nothing_is_raised(tmp_path, split, model_folder):
    model_folder.mkdir()
    (model_folder / "saved_model.pb").write_bytes(b"not a model")

    blessing = _bless(tmp_path, split)

    assert not PusherExecutor().CheckBlessing({"infra_blessing": [blessing]})
    assert (tmp_path / "blessing" / "INFRA_NOT_BLESSED").exists()
    assert json.loads((tmp_path / "blessing" / ANSWERS_FILE).read_text()) == []
    assert blessing.get_string_custom_property("summary").startswith("not blessed: ")


def test_the_component_emits_an_infra_blessing():
    component = ModelCanary(
        model=channel_utils.as_channel([standard_artifacts.Model()]),
        examples=channel_utils.as_channel([standard_artifacts.Examples()]),
        model_name="catalog",
        questions=16,
    )

    assert component.outputs["blessing"].type is standard_artifacts.InfraBlessing
