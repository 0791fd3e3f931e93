"""The page in a real browser, from a disk with the network off: what people see, click and hear."""

import dataclasses
import io
import shutil

import numpy as np
import pytest
from PIL import Image

from components.report.single_file import single_file
from tests.in_browser import needs_chromium, problems

pytestmark = needs_chromium


DRAWN = {
    "slices": "#slices tbody tr",
    "confusions": "#confusions svg",
    "mistakes": "#mistakes li",
    "changes": "#changes select",
    "attributes": "#attributes tbody tr",
}


def see(page, section):
    """Brings a section into view, and waits until it is drawn."""
    page.locator(f"#{section}").scroll_into_view_if_needed()
    page.locator(DRAWN[section]).first.wait_for()
    return page.locator(f"#{section}")


@pytest.mark.parametrize("which", ["contents", "bare_contents"])
def test_every_section_is_drawn_when_it_comes_into_view(which, opened, request):
    page = opened(request.getfixturevalue(which))
    for section in page.locator("main section[id]").all():
        section.scroll_into_view_if_needed()
        page.wait_for_timeout(30)
    assert page.locator("text=Loading").count() == 0
    for drawn in ("#slices-shown table", "[data-confusion] svg"):
        assert page.locator(drawn).count() >= 1
    # Of a first run only how well its scores can be trusted.
    assert page.locator("svg.chart").count() == (2 if which == "bare_contents" else 10)


def test_slices_are_sorted_filtered_and_open_their_products(opened, contents):
    page = opened(contents)
    slices = see(page, "slices")
    slices.get_by_label("Level", exact=True).select_option(label="Category")
    names = slices.locator("tbody th button")
    assert names.all_inner_texts()[0] == "darkest tenth"
    slices.get_by_label("By", exact=True).select_option("gender")
    slices.get_by_label("Order", exact=True).select_option("products")
    assert names.all_inner_texts() == ["Women", "Men", "Kids", "unknown"]
    slices.get_by_role("button", name="Products").click()
    slices.get_by_role("button", name="Products").click()
    assert names.all_inner_texts() == ["unknown", "Kids", "Men", "Women"]
    slices.get_by_label("At least products").fill("10")
    assert names.all_inner_texts() == ["Women", "Men"]
    slices.get_by_label("surely below all").check()
    assert names.all_inner_texts() == ["Women"]
    assert slices.locator("td.low").inner_text() == "▼ .840"

    names.first.click()
    window = page.get_by_role("dialog")
    assert window.locator("h2").inner_text() == "gender: Women"
    # Every fourth of the 100 products is Women's in what the page knows.
    products = contents.products
    gender = products["slices"]["gender"]
    women = [at for at, code in enumerate(gender["of"]) if gender["values"][code] == "Women"]
    level = products["levels"]["category"]
    wrong = [at for at in women if level["truth"][at] != level["answer"][at]]
    assert f"Category wrong in {len(wrong)}." in window.inner_text()
    assert window.locator("li").count() == len(wrong)
    page.keyboard.press("Escape")
    assert page.get_by_role("dialog").count() == 0


def test_a_cell_of_the_confusion_matrix_opens_its_products(opened, contents):
    page = opened(contents)
    confusions = see(page, "confusions")
    matrix = confusions.locator("[data-confusion='1']")
    matrix.scroll_into_view_if_needed()
    matrix.get_by_role("button", name="Apparel").click()
    matrix.get_by_role("button", name="Tshirt").first.click()
    window = page.get_by_role("dialog")
    assert window.locator("h2").inner_text() == "Tshirt, taken for Shirt"
    assert "10 products." in window.inner_text()
    assert window.locator("li").count() == 10
    window.get_by_role("button", name="Close").click()
    matrix.get_by_label("Show", exact=True).select_option("Apparel")
    assert matrix.locator("svg text.name").all_text_contents() == ["Tshirt", "Shoe", "other"]
    before = matrix.locator("rect[data-cell]").count()
    matrix.get_by_label("mistakes alone").check()
    assert matrix.locator("rect[data-cell]").count() == before - 3


def test_classes_and_attributes_are_listed_with_their_figures(opened, contents):
    page = opened(contents)
    see(page, "confusions")
    classes = page.locator("[data-confusion='0'] details")
    classes.locator("summary").click()
    classes.locator("tbody tr").first.wait_for()
    [apparel, *_] = classes.locator("tbody tr").all()
    # 60 of 64 recognized, and 2 more that training never saw were taken for it.
    assert apparel.locator("th, td").all_inner_texts() == [
        *("Apparel", "64", ".968", ".938", ".952", "Footwear (4)")
    ]
    attributes = see(page, "attributes")
    attributes.get_by_role("button", name="Sports").click()
    window = page.get_by_role("dialog")
    assert "In use is .75" in window.inner_text()
    slider = window.get_by_label("From score")
    slider.fill("0")
    counts = contents.attribute_decisions["counts"][1][0]
    assert f"{counts[0]} rightly said, {counts[1]} wrongly" in window.inner_text()
    window.get_by_role("button", name="Missed").click()
    missed = contents.attribute_decisions["used"][1][2]
    assert f"{missed} products." in page.get_by_role("dialog").last.inner_text()


def test_mistakes_have_their_pictures_and_the_surest_comes_first(opened, contents):
    page = opened(contents)
    mistakes = see(page, "mistakes")
    mistakes.locator(".picture").first.scroll_into_view_if_needed()
    scores = [
        float(of)
        for of in mistakes.locator(".level:nth-child(3) small:first-of-type").all_inner_texts()
    ]
    assert len(scores) == 15 and scores == sorted(scores, reverse=True)
    picture = mistakes.locator(".picture[style]").first
    assert "0000.webp" in picture.evaluate("of => getComputedStyle(of).backgroundImage")
    shot = Image.open(io.BytesIO(picture.screenshot())).convert("RGB")
    np.testing.assert_allclose(shot.getpixel((48, 48)), (200, 0, 0), atol=12)


def test_what_changed_sides_is_listed(opened, contents):
    page = opened(contents)
    changes = see(page, "changes")
    options = changes.get_by_label("Products", exact=True).locator("option").all_inner_texts()
    # The last model answered "Shoe" in three, all of them T-shirts that are recognized now.
    assert options == [
        *("Right before, wrong now: 0", "Wrong before, right now: 3", "Wrong in another way: 0")
    ]
    assert "None." in changes.inner_text()
    changes.get_by_label("Products", exact=True).select_option("better")
    assert changes.locator("li").count() == 3
    assert "before Shoe" in changes.locator("li").first.inner_text()


def test_a_page_without_its_folder_says_so(opened, contents, tmp_path):
    page = opened(contents)
    [beside] = (tmp_path / "report").glob("files-*")
    shutil.rmtree(beside)
    page.reload()
    page.locator("#slices").scroll_into_view_if_needed()
    page.get_by_text("is not beside this page").first.wait_for()
    assert all("ERR_FILE_NOT_FOUND" in said for said in opened.said)
    opened.said.clear()


EVIL = "<script>throw 1</script><img src=x onerror='throw 2'>"


@pytest.mark.parametrize(
    "name", [EVIL, "قميص", "男式衬衫", "a" * 300, "x=y", "'\"\\", "\u2028", "__proto__"]
)
def test_labels_of_any_kind_are_shown_as_they_are(name, opened, contents):
    def renamed(of):
        return [name if label in ("Apparel", "Tshirt", "Women") else label for label in of]

    products = dict(contents.products)
    products["levels"] = {
        level: {**of, "labels": renamed(of["labels"])} for level, of in products["levels"].items()
    }
    products["ids"] = [f"{name} {place}" for place in range(100)]
    products["slices"] = {name: products["slices"]["gender"]}
    page = opened(
        dataclasses.replace(
            contents,
            products=products,
            labels={level: renamed(of) for level, of in contents.labels.items()},
            parents={name: name, "Shoe": name, "Shirt": "Footwear"},
        )
    )
    confusions = see(page, "confusions")
    cells = confusions.locator("[data-confusion='0'] tbody td, [data-confusion='0'] tbody button")
    shown = cells.evaluate_all("all => all.map((of) => of.textContent)")
    assert name in shown
    mistakes = see(page, "mistakes")
    mistakes.locator("li").first.wait_for()
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_the_page_meets_wcag_2_2_aa(scheme, width, opened, contents):
    page = opened(contents, width=width, color_scheme=scheme)
    for section in page.locator("main section[id]").all():
        section.scroll_into_view_if_needed()
        page.wait_for_timeout(30)
    page.locator("details").evaluate_all("all => all.forEach((of) => (of.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert problems(page) == []
    page.locator("#slices tbody button").first.click()
    page.get_by_role("dialog").locator("h3").first.wait_for()
    assert problems(page) == []


def test_all_that_is_drawn_is_on_paper_too(opened, contents):
    page = opened(contents)
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.locator("#mistakes li").first.wait_for()
    for drawn in ("#slices tbody tr", "#confusions svg", "#attributes tbody tr"):
        assert page.locator(drawn).count() > 0
    assert page.locator("details:not([open]):visible").count() == 0
    assert page.locator("#gates details tbody tr").count() == 1


def test_a_page_of_very_many_classes_and_slices_stays_light(opened, contents):
    random = np.random.default_rng(3)
    pairs = np.unique(random.integers(0, 300, (3000, 2)), axis=0)
    confusion = np.c_[pairs, random.integers(1, 9, len(pairs))]
    names = [f"class {place}" for place in range(300)]
    evaluation = dataclasses.replace(
        contents.evaluation,
        confusion={"subcategory": confusion},
        slices={
            "gender": {
                f"g{n}": {**contents.evaluation.metrics, "example_count": 9} for n in range(500)
            }
        },
    )
    page = opened(
        dataclasses.replace(
            contents,
            evaluation=evaluation,
            labels={**contents.labels, "subcategory": names},
            parents={name: f"group {place % 20}" for place, name in enumerate(names)},
        )
    )
    assert page.evaluate("document.querySelectorAll('*').length") < 5000
    see(page, "slices")
    assert page.locator("#slices tbody tr").count() == 60
    see(page, "confusions")
    # All 20 categories are folded at first.
    assert page.locator("#confusions svg text.name").count() == 20
    page.locator("#confusions .fold").first.click()
    assert page.locator("#confusions svg text.name").count() == 19 + 15


def test_a_single_file_has_everything_inside(opened, contents, tmp_path):
    page = opened(contents)
    alone = tmp_path / "alone.html"
    alone.write_text(single_file(tmp_path / "report"), "utf-8")
    shutil.rmtree(tmp_path / "report")
    page.goto(alone.as_uri())
    for section in page.locator("main section[id]").all():
        section.scroll_into_view_if_needed()
        page.wait_for_timeout(30)
    assert page.locator("#slices tbody tr").count() == 4
    picture = page.locator("#mistakes .picture").first
    picture.scroll_into_view_if_needed()
    page.locator("#mistakes .picture[style]").first.wait_for()
    shot = Image.open(io.BytesIO(picture.screenshot())).convert("RGB")
    np.testing.assert_allclose(shot.getpixel((48, 48)), (200, 0, 0), atol=12)
    assert page.get_by_text("TFMA").count() == 0
