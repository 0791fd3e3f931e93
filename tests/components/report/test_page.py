"""What the page says, and that it needs nothing but itself."""

import dataclasses
import re

import numpy as np
import pytest

from components.data_gate.findings import Finding
from components.report import page
from components.report.page import render_page


def text_of(html):
    """The page's text without tags, scripts and runs of white space."""
    html = re.sub(r"<(script|style)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_a_pushed_model_is_told_with_its_version_and_place(contents):
    told = page.verdict(contents)
    assert (told["state"], told["headline"]) == ("good", "Live as version 17")
    assert "/shop/serving/catalog/17" in told["text"]


def test_a_model_that_is_not_blessed_is_told_with_every_reason(bare_contents):
    told = page.verdict(bare_contents)
    assert (told["state"], told["headline"]) == ("bad", "Not blessed")
    assert told["reasons"] == ["category/accuracy is .940, must be at least .950; on 100 products"]


def test_gates_are_listed_those_that_block_first_and_passing_guards_are_counted(
    contents, bare_contents
):
    told = page.gates_section(contents)
    assert [row["verdict"] for row in told["rows"]] == [
        *("vanished", "passes", "passes", "too few products")
    ]
    assert told["told"] == "1 pass"
    assert [row["where"] for row in told["guards"]] == ["gender Women"]
    assert told["rows"][2]["asked"] == "worse by at most .010"
    assert told["rows"][2]["change"] == pytest.approx(0.02)
    html = page.render_page(contents)
    assert "Guards that nobody has to ask for: 1 pass" in html
    [row] = page.gates_section(bare_contents)["rows"]
    assert row["blocks"]
    assert "✕ blocks" in page.render_page(bare_contents)


def test_what_can_be_labelled_without_a_person_is_told_with_the_lanes(contents, bare_contents):
    told = page.automatic_section(contents)
    assert [row["title"] for row in told["rows"]] == ["Category", "Sub-category"]
    assert [row["accepted"] for row in told["lanes"]] == [0, 80, 20]
    html = page.render_page(contents)
    assert "A person looks" in html
    assert "80<small>80.0 %</small>" in html
    assert "Attribute by attribute" in html
    assert page.automatic_section(bare_contents) == {}
    assert "Without a person" not in page.render_page(bare_contents)


def test_a_model_that_the_canary_stopped_is_told_with_what_it_found(contents):
    stopped = dataclasses.replace(
        contents, canary_passed=False, canary_summary="not blessed: no answer", pushed_version=""
    )
    told = page.verdict(stopped)
    assert (told["headline"], told["reasons"]) == ("Stopped by the canary", ["no answer"])


def test_a_blessed_model_that_nobody_pushed_is_not_called_live(contents):
    told = page.verdict(dataclasses.replace(contents, pushed_version=""))
    assert (told["state"], told["headline"]) == ("warn", "Blessed, not pushed")


def test_key_figures_carry_their_change_against_the_last_blessed_model(contents):
    found = {card["title"]: card for card in page.cards(contents)}
    assert found["Category accuracy"]["value"] == ".940"  # 94 of 100
    assert found["Category accuracy"]["change"] == pytest.approx(0.02)
    assert found["Sub-category accuracy"]["value"] == ".850"  # 85 of 100
    assert found["Attributes F1"]["value"] == ".700"  # 2 * 35 / (45 + 55)
    assert found["Gender accuracy"]["value"] == ".944"  # 85 of the 90 whose gender is known
    assert found["Test products"]["value"] == "100"


def test_the_trials_of_a_search_are_listed_with_what_they_tried(contents):
    trials = [
        {"score": 0.8125, "model.heads": "plain", "training.learning_rate": 0.00123456},
        {"score": 0.75, "model.heads": "message_passing", "training.learning_rate": 0.01},
    ]
    text = text_of(render_page(dataclasses.replace(contents, trials=trials)))
    assert (
        "Mean model.heads training.learning_rate .812 plain 0.001235 .750 message_passing" in text
    )
    assert "Hyperparameter search" not in text_of(render_page(contents))


def test_slices_are_ordered_by_support_and_those_that_are_surely_low_are_marked(contents):
    table, made = page.slice_tables(contents)
    assert made["column"] == "brightness of the picture"
    dark, between = made["rows"]
    assert dark["cells"] == [{"value": 0.6, "low": True, "interval": [0.4, 0.8]}]
    assert (dark["support"], between["support"]) == (10, 0)
    assert [row["value"] for row in table["rows"]] == ["Women", "Men", "Kids", "unknown"]
    women, _, kids, unknown = table["rows"]
    assert [cell["low"] for cell in women["cells"]] == [True, *[False] * 6]
    assert women["cells"][0]["interval"] == [0.7, 0.85]
    assert kids["small"] and not any(cell["low"] for cell in kids["cells"])
    assert table["heads"][-1] == "Gender accuracy"
    assert unknown["cells"][-1] == {"value": None, "low": False, "interval": None}
    assert "<small>.700 to .850</small>" in page.render_page(contents)


def test_the_most_frequent_confusions_come_first_with_their_share(contents):
    pairs = page.most_confused(contents.evaluation.confusion["category"], ["Apparel", "Footwear"])
    assert pairs == [
        {
            "truth": "Apparel",
            "prediction": "Footwear",
            "count": 4,
            "share": pytest.approx(4 / 64),
        },
        {"truth": "(not in the train part)", "prediction": "Apparel", "count": 2, "share": 1.0},
    ]


def test_attributes_stand_with_group_value_and_figures(contents):
    summer, sports = page.attribute_rows(contents)
    assert (summer["group"], summer["value"], summer["support"]) == ("season", "Summer", 50)
    assert (summer["precision"], summer["recall"]) == (0.75, 0.6)
    assert sports["small"] and not summer["small"]


def test_an_answer_shows_what_was_right_missed_and_too_much(contents):
    wrong, right = (page.answer_card(answer, 0.75) for answer in contents.answers)
    assert [level["right"] for level in wrong["levels"]] == [True, False, False]
    assert (wrong["levels"][2]["title"], wrong["levels"][2]["said"]) == ("Gender", "Women")
    # The catalog does not say what the second one's gender is.
    assert right["levels"][2]["right"]
    assert wrong["attributes"] == [
        {"label": "season=Summer", "state": "missed"},
        {"label": "usage=Sports", "state": "extra"},
    ]
    assert right["right"] and right["attributes"] == []
    assert wrong["image"].startswith("data:image/png;base64,")


def test_the_page_tells_everything(contents):
    text = text_of(render_page(contents))
    for told in (
        "1,022 rows in the catalog, 1,000 accepted, 5 rejected.",
        "20 pictures are more than one a row.",
        "30 rows belong to products of other rows.",
        "4 rows name pictures like `1.0`.",
        "7 rows were left out by the class cap.",
        "1 picture belongs to no row.",
        "says 50 in its first line and lists 46.",
        "no picture",
        "images/p2.jpg",
        "train gender error gender has 1 value outside its domain.",
        "26 places where the catalog contradicts itself.",
        "The first 1 picture whose products disagree",
        "p9 subcategory: &#39;Shirt&#39; (1), &#39;Tshirt&#39; (1) 17 (p9), 4 (p10) All 25",
        "2 (p0), 3 (p1), 4 (p2), 5 (p3), 6 (p4), 7 (p5) and 3 more",
        "All 25 are in conflicts.csv of the ingest step.",
        "How far the train part has moved since the last run",
        "Best epoch 2 of 3, stopped early; 1.5 minutes of training.",
        "By gender",
        "Last blessed",
        "training.learning_rate",
        "Sub-category .850 .860 ▼ .010 3 Both .840 .810 ▲ .030",
        "Error .040, without calibration .090; temperature 1.60",
        "1 of 2 with category and sub-category right.",
    ):
        assert told in text


def test_what_is_missing_leaves_no_empty_heading(bare_contents):
    html = render_page(bare_contents)
    text = text_of(html)
    assert "There is no earlier blessed model to compare with." in text
    assert "1,005 accepted, none rejected" in text
    assert "Every feature of every part fits the schema." in text
    assert "Not one product of the test part was taken for another class." in text
    sections = ("conflicts", "drift", "slices", "attributes", "answers", "training", "decoding")
    for section in sections:
        assert f'id="{section}"' not in html
        assert f'href="#{section}"' not in html


def test_a_calibration_error_that_rose_is_marked_as_worse(contents):
    html = render_page(contents)
    row = html[html.index(">Calibration error<") :]
    assert '<span class="change down">▲ .020</span>' in row[: row.index("</tr>")]


def test_calibration_is_told_level_by_level_with_its_temperature(contents):
    drawn = {}
    told = page.calibration_section(contents, drawn)
    assert [level["title"] for level in told] == [
        "Category",
        "Sub-category",
        "Gender",
        "Attributes",
    ]
    # (|12 - 10| + |78 - 76|) / 100 and |90 - 99| / 100.
    assert (told[0]["error"], told[0]["before"]) == (0.04, 0.09)
    assert [level["temperature"] for level in told] == [1.3, 1.6, None, 0.9]
    assert len(drawn) == 4


def test_conflicts_are_counted_by_kind_and_stand_with_what_to_do(contents):
    told = page.conflicts_section(contents)
    assert told["total"] == 26
    assert [(kind["count"], len(kind["rows"])) for kind in told["kinds"]] == [
        (25, 1),
        (1, 1),
        (0, 0),
    ]
    assert all(kind["remedy"] for kind in told["kinds"])


def test_a_catalog_without_conflicts_is_told_so_and_an_ingest_that_did_not_look_is_not(contents):
    none = dict.fromkeys(contents.conflict_counts, 0)
    sound = dataclasses.replace(contents, conflict_counts=none, conflicts=[])
    assert "contradicts itself nowhere" in text_of(render_page(sound))
    silent = dataclasses.replace(contents, conflict_counts={}, conflicts=[])
    assert "contradicts itself" not in text_of(render_page(silent))


def test_distances_stand_in_a_row_a_feature_and_what_is_too_far_is_marked(contents):
    told = page.distances_section(contents)
    assert told["heads"] == ["Train since last run", "Test from train"]
    gender, season = told["rows"]
    assert (gender["feature"], [cell["far"] for cell in gender["cells"]]) == (
        "gender",
        [False, True],
    )
    assert (season["feature"], season["cells"][1]) == ("season", None)


def test_at_most_fifty_rejects_are_listed(contents):
    row = contents.rejects[0]
    many = dataclasses.replace(
        contents,
        rejects=[{**row, "id": f"x{number}"} for number in range(60)],
        ingest={**contents.ingest, "rejected": 60},
    )
    html = render_page(many)
    assert "x49" in html and "x50" not in html
    assert "All 60 are in rejects.csv" in text_of(html)


def test_labels_of_the_catalog_cannot_break_the_page(contents):
    evil = "</script><script>alert(1)</script>"
    labels = {**contents.labels, "category": [evil, "Footwear"]}
    finding = Finding("train", "x", "error", f"`{evil}` has {evil}")
    counts = {**contents.class_counts, "category": {evil: 3}}
    html = render_page(
        dataclasses.replace(
            contents, labels=labels, class_counts=counts, name="<b>winter</b>", findings=[finding]
        )
    )
    assert evil not in html
    assert "<b>winter" not in html


def test_the_page_is_one_small_file_that_asks_nothing_of_the_net(contents):
    html = render_page(contents)
    assert len(html.encode()) < 8_000_000
    assert "default-src 'none'" in html
    without_scripts = re.sub(r"<script\b.*?</script>", "", html, flags=re.DOTALL)
    assert not re.search(r'(src|href)="(?!#|data:)|url\(|@import', without_scripts)


def test_hundreds_of_classes_still_fit(contents):
    generator = np.random.default_rng(3)
    pairs = np.unique(generator.integers(0, 300, (3000, 2)), axis=0)
    confusion = np.c_[pairs, generator.integers(1, 9, len(pairs))]
    many = dataclasses.replace(
        contents,
        evaluation=dataclasses.replace(
            contents.evaluation, confusion={"category": confusion, "subcategory": confusion}
        ),
        labels={**contents.labels, **dict.fromkeys(("category", "subcategory"), ["x"] * 300)},
    )
    assert "The 30 of 300 classes with the most errors." in text_of(render_page(many))
