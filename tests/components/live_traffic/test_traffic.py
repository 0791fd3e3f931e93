"""What is counted in a log."""

import os
import time

import numpy as np
import pytest

from components.live_traffic.traffic import read_log
from schema import live_traffic
from schema.errors import UserError
from schema.picture_figures import picture_figures
from tests.components.live_traffic.conftest import texts
from tests.serving.color_model import picture

PICTURES = [picture(200, 20, 20), picture(20, 200, 20), picture(20, 20, 200)]


def answers(**changed) -> dict[str, np.ndarray]:
    outputs = {
        "category": texts(["Bags", "Shoes", "Bags"]),
        "category_score": np.array([0.9, 0.5, 0.7], np.float32),
        "category_threshold": np.full(3, 0.6, np.float32),
        "gender": texts(["Men", "Men", "Women"]),
        "gender_score": np.array([0.8, 0.8, 0.8], np.float32),
        "attributes": texts(["a=1", "b=1"] * 3).reshape(3, 2),
        "attribute_scores": np.array([[0.8, 0.3], [0.7, 0.6], [0.2, 0.1]], np.float32),
        "attributes_threshold": np.full(3, 0.65, np.float32),
        "status": texts(["", "", ""]),
    }
    return outputs | changed


def test_labels_scores_attributes_and_figures_are_counted(write_log):
    log = read_log(write_log(PICTURES, answers()), "catalog")

    assert (log.latest, dict(log.numbers), dict(log.others)) == (7, {7: 3}, {})
    traffic = log.versions[7]
    assert (traffic.answered, traffic.asked, traffic.repeats) == (3, 3, 0)
    assert set(traffic.levels) == {"category", "gender"}
    category = traffic.levels["category"]
    assert dict(category.labels) == {"Bags": 2, "Shoes": 1}
    assert category.scores == pytest.approx([0.9, 0.5, 0.7])
    assert category.unsure == 1
    assert dict(traffic.levels["gender"].labels) == {"Men": 2, "Women": 1}
    attributes = traffic.attributes
    assert dict(attributes.labels) == {"a=1": 2}
    assert attributes.named == [1, 1, 0]
    assert attributes.scores == pytest.approx([0.8, 0.7, 0])
    assert attributes.expected == pytest.approx({"a=1": 1.7, "b=1": 1.0})
    assert attributes.threshold == pytest.approx(0.65)
    expected = [picture_figures(one).image_brightness for one in PICTURES]
    assert traffic.figures["image_brightness"] == pytest.approx(expected)


def test_answers_count_once_a_picture_and_refusals_every_time(write_log):
    outputs = {name: np.repeat(values[:1], 6, axis=0) for name, values in answers().items()}
    refused = ["", "", "", "it has 20 x 4,000 pixels", "it has 7 x 9 pixels", "the file is damaged"]
    pictures = [PICTURES[0], PICTURES[1], PICTURES[0], b"a", b"b", b"b"]
    log = read_log(write_log(pictures, outputs | {"status": texts(refused)}), "catalog")
    traffic = log.versions[7]
    assert (traffic.answered, traffic.repeats, traffic.asked) == (2, 1, 6)
    assert traffic.most_repeated == 2
    assert dict(traffic.refused) == {"it has # x # pixels": 2, "the file is damaged": 1}
    assert dict(traffic.levels["category"].labels) == {"Bags": 2}


def test_versions_of_one_model_count_together_and_other_models_apart(write_log):
    write_log(PICTURES, answers(), version=7)
    write_log(PICTURES[:1], {"category": texts(["Hats"])}, model="shoes")
    time.sleep(0.002)
    folder = write_log(PICTURES[:2], answers(), version=9)
    log = read_log(folder, "catalog", first=lambda version: 7)
    assert (log.latest, dict(log.numbers), dict(log.others)) == (7, {7: 3, 9: 2}, {"shoes": 1})
    assert (log.versions[7].answered, log.versions[7].repeats) == (3, 2)
    log = read_log(folder, "catalog")
    assert log.latest == 9
    assert {number: of.answered for number, of in log.versions.items()} == {7: 3, 9: 2}


def test_only_the_records_of_the_time_that_is_asked_for_count(write_log):
    before = time.time_ns() // 1_000_000
    folder = write_log(PICTURES, answers())
    after = time.time_ns() // 1_000_000 + 1
    assert read_log(folder, "catalog", before, after).versions[7].answered == 3
    assert read_log(folder, "catalog", after).versions == {}
    assert read_log(folder, "catalog", 0, before).versions == {}
    # A file that was last written before needs not be read.
    (path,) = live_traffic.whole_files(folder)
    path.write_bytes(b"no records")
    os.utime(path, (1, 1))
    assert read_log(folder, "catalog", before).damaged == {}


def test_a_damaged_file_is_read_up_to_there_and_named(write_log):
    folder = write_log(PICTURES, answers())
    (path,) = live_traffic.whole_files(folder)
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    log = read_log(folder, "catalog")
    assert log.versions[7].answered == 2
    assert log.damaged[path.name].startswith("a record is cut short at byte")


def test_where_there_is_no_log_it_says_what_writes_one(tmp_path):
    with pytest.raises(UserError, match=r"no log in .*nowhere. A server writes one with --traffic"):
        read_log(tmp_path / "nowhere", "catalog")
    assert read_log(tmp_path, "catalog").versions == {}
