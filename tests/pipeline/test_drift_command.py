"""`seamline drift`: what it says, to people and to schedulers, and what it refuses."""

import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow_data_validation as tfdv
from typer.testing import CliRunner

from components.evaluation.results import Evaluation
from pipeline.cli import app
from pipeline.drift import moment_ms
from schema.errors import UserError
from schema.picture_figures import picture_figures
from tests.components.live_traffic.conftest import Runs, texts, write_traffic
from tests.serving.color_model import picture

CATEGORIES = ("Bags", "Hats", "Shoes")
GENERATOR = np.random.default_rng(4)
PICTURES = [picture(*color) for color in GENERATOR.integers(20, 235, (300, 3)).tolist()]
DARK = [picture(*color) for color in GENERATOR.integers(0, 20, (300, 3)).tolist()]


def seamline(*arguments: object) -> tuple[int, str]:
    """Exit status, and all that it said on one line."""
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["drift", *map(str, arguments)])
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    """A workspace whose first run was pushed as the version 101."""
    runs = Runs(tmp_path / "work")
    runs.run(1)
    folder = runs.root / "artifacts"
    frame = pd.DataFrame({"category": np.repeat(CATEGORIES, 100)})
    measured = [picture_figures(one) for one in PICTURES]
    frame["image_height"] = np.array([one.image_height for one in measured])
    brightness = [one.image_brightness for one in measured]
    frame["image_brightness"] = np.array(brightness, np.float32)
    train = folder / "StatisticsGen/statistics/1/Split-train"
    train.mkdir()
    recorded = tfdv.generate_statistics_from_dataframe(frame)
    (train / "FeatureStats.pb").write_bytes(recorded.SerializeToString())
    assets = folder / "Trainer/model/1/Format-Serving/assets"
    assets.mkdir(parents=True)
    (assets / "category").write_text("\n".join(CATEGORIES) + "\n")
    (assets / "attributes").write_text("49d0cd50-04bb-48c0-bc6f-5b575dce351a\n")
    table = np.zeros((15, 3))
    table[13] = 150, 150 * 0.9, 138
    evaluation = Evaluation(
        example_count=150,
        metrics={},
        baseline={},
        slices={},
        confusion={"category": np.array([[0, 0, 50], [1, 1, 44], [1, 2, 6], [2, 2, 50]])},
        attribute_counts=np.zeros((0, 3), np.int64),
        reliability={"category": table},
        uncalibrated_reliability={},
    )
    monkeypatch.setattr("components.evaluation.results.read_evaluation", lambda folder: evaluation)
    return runs.root


def traffic(
    folder: Path, pictures=PICTURES, labels=CATEGORIES, score=0.9, refused=0, version=101
) -> Path:
    """A log of these pictures, answered with these labels in turn."""
    count = len(pictures)
    status = [""] * count
    status[:refused] = ["the file is damaged"] * refused
    return write_traffic(
        folder,
        pictures,
        {
            "category": texts([labels[index % len(labels)] for index in range(count)]),
            "category_score": np.full(count, score, np.float32),
            "category_threshold": np.full(count, 0.75, np.float32),
            "status": texts(status),
        },
        version=version,
    )


def test_where_nothing_has_moved_the_status_is_0(work, tmp_path):
    status, said = seamline(work, "--log", traffic(tmp_path / "log"))
    assert status == 0
    assert "catalog version 101: 300 different pictures in 300 records" in said
    # 138 of 150 were right, and the scores are as they were.
    assert re.search(r"category 0\.920 ± 0\.\d+ 0\.920 0\.900 0\.900 0\.0%", said)
    assert "the model's answers on the test part" in said
    assert said.endswith("nothing has moved")


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"labels": ("Bags", "Bags", "Hats")}, "drift: `category` has moved: 'Shoes' was 37.3% of"),
        ({"pictures": DARK}, "drift: `image_brightness` has moved: the median was 0."),
        (
            {"score": 0.5},
            "drift: `category`: by its scores its accuracy fell from 92.0% on the test part to "
            "about 52.0%",
        ),
        ({"refused": 90}, "drift: 90 of 300 records (30.0%) are of refused pictures, most of them"),
    ],
)
def test_what_has_moved_is_told_and_the_status_is_4(work, tmp_path, changed, sentence):
    status, said = seamline(work, "--log", traffic(tmp_path / "log", **changed))
    assert status == 4
    assert sentence in said
    assert said.count("drift: ") == 1


def test_limits_can_be_given(work, tmp_path):
    log = traffic(tmp_path / "log", labels=("Bags", "Bags", "Hats"), score=0.5, refused=90)
    limits = ("--max-drift", 1, "--max-drop", 1, "--max-refused", 1)
    assert seamline(work, "--log", log, *limits)[0] == 0
    assert seamline(work, "--log", log, *limits[2:])[0] == 4
    assert seamline(work, "--log", log, *limits[:4])[0] == 4
    assert seamline(work, "--log", log, *limits[:2], *limits[4:])[0] == 4


def test_a_config_says_what_may_be_and_where_its_runs_are(work, tmp_path):
    config = tmp_path / "shop.yaml"
    config.write_text(
        "name: shop\n"
        "catalog: {folder: nowhere, category: kind, subcategory: type}\n"
        "checks: {drift: 0.9}\n"
        "serving: {model_name: clothes}\n"
    )
    log = traffic(tmp_path / "log", labels=("Bags", "Bags", "Hats"))
    status, said = seamline(config, "--log", log, "--workspace", work)
    assert status == 1
    assert "has 0 records of clothes" in said
    assert "Other models in it, for --model: catalog (300)." in said
    assert seamline(config, "--log", log, "--workspace", work, "--model", "catalog")[0] == 0
    status, said = seamline(work, "--log", log, "--workspace", work)
    assert (status, "--workspace goes with a CONFIG" in said) == (1, True)


def test_json_has_the_same_for_programs(work, tmp_path):
    log = traffic(tmp_path / "log", labels=("Bags", "Bags", "Hats"))
    result = CliRunner().invoke(app, ["drift", str(work), "--log", str(log), "--json"])
    assert result.exit_code == 4
    found = json.loads(result.output)
    assert found["drifted"] is True
    assert found["findings"] == [found["levels"][0]["sentence"]]
    assert (found["model"], found["version"], found["versions"]) == ("catalog", 101, {"101": 300})
    assert (found["records"], found["answered"], found["refused"]) == (300, 300, 0)
    assert found["levels"][0]["bars"][0] == {
        "name": "Shoes",
        "then": pytest.approx(56 / 150),
        "now": 0.0,
    }
    assert found["accuracies"][0]["estimate"] == pytest.approx(0.92, abs=1e-6)
    assert found["compared_with"].endswith("artifacts/Trainer/model/1")
    for moment in (found["first"], found["last"]):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", moment)


def test_too_little_traffic_tells_nothing(work, tmp_path):
    log = traffic(tmp_path / "log", PICTURES[:99])
    status, said = seamline(work, "--log", log)
    assert status == 1
    assert "has 99 records of catalog version 101 in this time, and it takes 100" in said
    assert "--traffic_log_rate" in said
    traffic(log, PICTURES[:1])
    status, said = seamline(work, "--log", log)
    assert status == 0
    assert "99 different pictures were answered; of fewer than 100 nothing is judged but" in said


def test_the_version_of_the_latest_record_is_compared_and_the_others_named(work, tmp_path):
    log = traffic(tmp_path / "log", version=55)
    traffic(log, PICTURES[:150])
    status, said = seamline(work, "--log", log)
    assert status == 0
    assert "catalog version 101: 150 different pictures" in said
    assert "note: 300 more records are of version 55, which is not in the serving folder" in said
    status, said = seamline(work, "--log", log, "--version", 55)
    assert status == 1
    assert "Version 55 was not pushed by a run of" in said


def test_without_a_log_or_with_a_time_that_is_none_it_says_what_to_do(work, tmp_path):
    status, said = seamline(work, "--log", tmp_path / "nowhere")
    assert (status, "There is no log in" in said) == (1, True)
    status, said = seamline(work, "--log", traffic(tmp_path / "log"), "--since", "yesterday")
    assert status == 1
    assert "'yesterday' is no time. Write how long ago it was, as 90m, 24h, 7d or 2w" in said
    status, said = seamline(work, "--log", tmp_path / "log", "--until", "2020-01-01")
    assert (status, "has 0 records of catalog" in said) == (1, True)
    assert seamline(work, "--log", tmp_path / "log", "--since", "1h")[0] == 0


def test_times_are_ago_or_of_a_time_zone():
    now = datetime(2026, 11, 26, 12, tzinfo=timezone.utc)
    for text, ago in (
        ("90m", timedelta(minutes=90)),
        ("24h", timedelta(hours=24)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(weeks=2)),
        ("2026-11-25T12:00:00Z", timedelta(days=1)),
        ("2026-11-26T13:00+02:00", timedelta(hours=1)),
    ):
        assert moment_ms(text, now) == (now - ago).timestamp() * 1000
    assert moment_ms("2026-11-20") == datetime(2026, 11, 20).timestamp() * 1000
    for text in ("", "7", "7y", "-1d", "20.11.2026"):
        with pytest.raises(UserError, match="is no time"):
            moment_ms(text)
