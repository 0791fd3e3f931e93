"""What the page tells of the search is what the step measured, and what it means."""

import dataclasses

import pytest

from components.report import visual_search
from components.report.page import render_page
from tests.components.report.conftest import search_told


def with_search(contents, **more):
    return dataclasses.replace(contents, search={**contents.search, **more})


def test_each_figure_is_told_with_its_interval_and_what_it_means(contents):
    told = visual_search.section(contents)
    rows = {row["title"]: row for row in told["figures"]}
    assert list(rows) == [
        *("Hits in the first 15", "All labels alike", "nDCG of the first 15"),
        *("Mean average precision", "Recall at 1", "Recall at 10"),
    ]
    hits = rows["Hits in the first 15"]
    assert hits["micro"]["value"] == 0.8
    assert hits["micro"]["interval"] == pytest.approx((0.75, 0.85))
    assert hits["macro"]["value"] == pytest.approx(0.6)
    assert (hits["chance"], hits["best"]) == (0.1, 0.98)
    assert hits["means"] == "Of the first 15 products, the share with the same article."
    assert rows["All labels alike"]["means"].endswith("the same article, gender and colour.")
    assert (told["products"], told["queries"], told["lone"]) == (1200, 42, 2)


def test_blocks_are_told_with_their_weights_and_those_that_do_not_count_by_name(contents):
    told = visual_search.section(contents)
    assert [(row["title"], row["weight"]) for row in told["blocks"]] == [
        *(("all blocks", None), ("kind", 1.8), ("colour", 1.2))
    ]
    assert told["heads"][2] == "nDCG of the first 15"
    assert [row["cells"][2]["value"] for row in told["blocks"]] == pytest.approx([0.7, 0.63, 0.35])
    assert told["unused"] == ["season"]


def test_slices_are_told_and_those_without_a_figure_say_so(contents):
    table = visual_search.section(contents)["slices"]
    assert [head["title"] for head in table["heads"]] == [
        *("Slice", "Queries", "Hits in the first 15", "All labels alike", "nDCG of the first 15")
    ]
    women, kids = table["rows"]
    assert women[0] == {"text": "Women", "note": "gender", "sort": "gender: Women"}
    assert women[1:3] == [40, {"text": ".800", "note": ".750 to .850", "sort": 0.8}]
    assert kids[1:3] == [0, {"text": "–", "sort": -9}]


def test_where_products_are_alike_by_one_column_there_is_no_figure_of_all(contents):
    of_one = search_told(1)
    for figures in (of_one["micro"], of_one["macro"], *of_one["slices"]["gender"].values()):
        del figures["all_alike/precision_at_15"]
    told = visual_search.section(
        with_search(contents, alike=["article"], quality={"all blocks": of_one})
    )
    assert "All labels alike" not in [row["title"] for row in told["figures"]]
    assert told["heads"] == [
        *("Hits in the first 15", "nDCG of the first 15", "Mean average precision")
    ]
    [ndcg] = [row for row in told["figures"] if row["title"].startswith("nDCG")]
    assert ndcg["means"].endswith("in which what is alike comes first.")


def test_what_is_searched_and_how_stands_on_the_page(contents):
    html = render_page(contents).html
    assert "1,200 products can be searched by pictures." in " ".join(html.split())
    assert "<code>seamline app WORKSPACE</code>" in html
    assert "All of them are compared" in html and "below .614:" in html
    assert "Not counted, by a weight of 0: season." in html
    near = {"recall": 0.9935, "probes": 12, "lists": 1024}
    html = " ".join(render_page(with_search(contents, approximation=near)).html.split())
    assert "finds .994 of the nearest 15, looking through 12 of its 1,024 parts" in html
    assert "All of them are compared" not in html


def test_a_search_that_nobody_could_judge_is_told_without_figures(contents):
    unjudged = with_search(contents, quality={}, threshold=None)
    unjudged = dataclasses.replace(unjudged, search_map={**contents.search_map, "ids": []})
    page = render_page(unjudged)
    assert 'id="visual-search"' in page.html
    assert "Nothing close" not in page.html
    assert 'id="map-shown"' not in page.html and "map" not in page.data


def test_without_a_search_there_is_no_section(bare_contents):
    assert visual_search.section(bare_contents) == {}
    page = render_page(bare_contents)
    assert "visual-search" not in page.html.replace("visual-search-title", "")
    assert "map" not in page.data
