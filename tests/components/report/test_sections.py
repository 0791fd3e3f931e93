"""What the written part of the page says."""

import dataclasses
import re

import pytest

from components.data_gate.findings import Finding
from components.report import page, sections


def render_page(contents):
    return page.render_page(contents).html


def text_of(html):
    """The page's text without tags, scripts and runs of white space."""
    html = re.sub(r"<(script|style)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_a_pushed_model_is_told_with_its_version_and_place(contents):
    told = sections.verdict(contents)
    assert (told["state"], told["headline"]) == ("good", "Live as version 17")
    assert "/shop/serving/catalog/17" in told["text"]


def test_a_model_that_is_not_blessed_is_told_with_every_reason(bare_contents):
    told = sections.verdict(bare_contents)
    assert (told["state"], told["headline"]) == ("bad", "Not blessed")
    assert told["reasons"] == ["category/accuracy is .940, must be at least .950; on 100 products"]


def test_gates_are_listed_those_that_block_first_and_passing_guards_are_counted(
    contents, bare_contents
):
    told = sections.gates_section(contents)
    assert [row["verdict"] for row in told["rows"]] == [
        *("vanished", "passes", "passes", "too few products")
    ]
    assert told["told"] == "1 pass"
    assert [row[1] for row in told["guards"]["rows"]] == ["gender Women"]
    assert told["rows"][2]["asked"] == "worse by at most .010"
    assert told["rows"][2]["change"] == pytest.approx(0.02)
    html = render_page(contents)
    assert "Guards that nobody has to ask for: 1 pass" in html
    [row] = sections.gates_section(bare_contents)["rows"]
    assert row["blocks"]
    assert "✕ blocks" in render_page(bare_contents)


def test_of_very_many_lines_of_gates_most_are_drawn_when_they_are_unfolded(contents):
    [one, *_] = [line for line in contents.judgement.lines if not line.is_guard]
    lines = [dataclasses.replace(one, metric=f"category/f{place}") for place in range(100)]
    many = dataclasses.replace(
        contents, judgement=dataclasses.replace(contents.judgement, lines=tuple(lines))
    )
    told = sections.gates_section(many)
    assert len(told["rows"]) == sections.MOST_GATES
    assert len(told["more"]["rows"]) == 100 - sections.MOST_GATES
    assert len(told["more"]["heads"]) == len(told["more"]["rows"][0])
    assert "40 more lines" in text_of(render_page(many))


def test_what_can_be_labelled_without_a_person_is_told_with_the_lanes(contents, bare_contents):
    told = sections.automatic_section(contents)
    assert [row["title"] for row in told["rows"]] == ["Category", "Sub-category"]
    assert [row["accepted"] for row in told["lanes"]] == [0, 80, 20]
    html = render_page(contents)
    assert "A person looks" in html
    assert "80<small>80.0 %</small>" in html
    assert "Attribute by attribute" in html
    assert sections.automatic_section(bare_contents) == {}
    assert "Without a person" not in render_page(bare_contents)


def test_a_model_that_the_canary_stopped_is_told_with_what_it_found(contents):
    stopped = dataclasses.replace(
        contents, canary_passed=False, canary_summary="not blessed: no answer", pushed_version=""
    )
    told = sections.verdict(stopped)
    assert (told["headline"], told["reasons"]) == ("Stopped by the canary", ["no answer"])


def test_a_blessed_model_that_nobody_pushed_is_not_called_live(contents):
    told = sections.verdict(dataclasses.replace(contents, pushed_version=""))
    assert (told["state"], told["headline"]) == ("warn", "Blessed, not pushed")


def test_key_figures_carry_their_change_against_the_last_blessed_model(contents):
    found = {card["title"]: card for card in sections.cards(contents)}
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


def test_an_answer_shows_what_was_right_missed_and_too_much(contents):
    wrong, right = (sections.answer_card(answer, 0.75) for answer in contents.answers)
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
        "2026-11-20 20:00 live as 20 100 .800",
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
    missing = ("conflicts", "drift", "attributes", "answers", "training", "decoding")
    for section in (*missing, "runs", "changes", "mistakes"):
        assert f'id="{section}"' not in html
        assert f'href="#{section}"' not in html


def test_a_calibration_error_that_rose_is_marked_as_worse(contents):
    html = render_page(contents)
    row = html[html.index(">Calibration error<") :]
    assert '<span class="change down">▲ .020</span>' in row[: row.index("</tr>")]


def test_calibration_is_told_level_by_level_with_its_temperature(contents):
    told = sections.calibration_section(contents)
    assert [level["title"] for level in told] == [
        "Category",
        "Sub-category",
        "Gender",
        "Attributes",
    ]
    # (|12 - 10| + |78 - 76|) / 100 and |90 - 99| / 100.
    assert (told[0]["error"], told[0]["before"]) == (0.04, 0.09)
    assert [level["temperature"] for level in told] == [1.3, 1.6, None, 0.9]
    assert [level["chart"].name for level in told][::3] == [
        *("reliability-category", "reliability-attributes")
    ]


def test_conflicts_are_counted_by_kind_and_stand_with_what_to_do(contents):
    told = sections.conflicts_section(contents)
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
    told = sections.distances_section(contents)
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


def test_a_second_run_is_told_beside_the_first_the_latest_at_the_top(contents):
    two = dataclasses.replace(contents, runs=contents.runs[:2])
    told = sections.runs_section(two)
    assert [(row["run"], row["state"]) for row in told["rows"]] == [
        (2, "live as 20"),
        (1, "not blessed"),
    ]
    assert told["heads"] == ["Category accuracy"]
    assert sections.runs_section(dataclasses.replace(contents, runs=contents.runs[:1])) == {}
    pushed_nothing = {**contents.runs[1], "live": None}
    [latest, _] = sections.runs_section(
        dataclasses.replace(contents, runs=[contents.runs[0], pushed_nothing])
    )["rows"]
    assert latest["state"] == "blessed, not pushed"


def test_levels_are_told_but_for_attributes_that_there_are_none_of(contents, bare_contents):
    assert sections.levels(contents) == ["category", "subcategory", "attributes", "gender"]
    assert sections.levels(bare_contents) == ["category", "subcategory"]


def test_counts_that_an_ingest_did_not_note_are_none(contents):
    told = sections.data_section(dataclasses.replace(contents, ingest={"rows": 3}))
    counts = ("rejected", "further", "belonging", "capped", "not_sampled", "unreferenced")
    assert [told[name] for name in counts] == [0] * 6
    # The last of the labels, by number and then by name, are those that are not drawn.
    many = dataclasses.replace(
        contents, class_counts={"category": {f"c{place:02}": 100 - place for place in range(33)}}
    )
    [level] = sections.data_section(many)["distributions"]
    assert [row["label"] for row in level["rows"]] == [f"c{place:02}" for place in range(30)]
    assert (level["classes"], level["hidden"], level["hidden_products"]) == (33, 3, 70 + 69 + 68)
    assert level["rows"][1]["share"] == 0.99


def test_what_people_did_to_labels_is_told_and_where_the_others_are(contents):
    told = dataclasses.replace(
        contents,
        corrections=["Labels that people corrected: 2 of category (2 in test)."],
        label_review="47 labels to look at (30 of category, 17 of gender)",
    )
    html = render_page(told)
    assert '<a href="label_review.html">' in html
    text = text_of(html)
    assert "Labels that people corrected: 2 of category (2 in test)." in text
    assert "47 labels to look at (30 of category, 17 of gender). They are worked through on" in text
    assert "Labels that people look at" not in text_of(render_page(contents))
