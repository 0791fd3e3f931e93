"""The page in a real browser, from a disk with the network off, worked through by keyboard."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page
from tensorflow.core.example.example_pb2 import Example

from components.catalog_example_gen.corrections import Decision, read_corrections
from components.catalog_example_gen.rows import Columns
from components.label_review import page as review_page
from components.label_review import review
from pipeline.config import Catalog
from schema.records import framed
from tests.components.label_review.shop import OPTIONS, Shop
from tests.in_browser import needs_chromium, problems

pytestmark = needs_chromium

EARLIER = [
    Decision(2, "p300", "category", "Bag", "keep", ""),
    Decision(3, "=p9", "category", "Bag", "change", "Top"),
]


def examples(shop: Shop, folder: Path) -> str:
    """A file of Examples with a red picture of each product."""
    red = io.BytesIO()
    Image.new("RGB", (96, 96), (200, 0, 0)).save(red, "PNG")
    path = folder / "examples.gz"
    with gzip.open(path, "wb") as file:
        for name in shop.ids:
            of = Example()
            of.features.feature["id"].bytes_list.value.append(name.encode())
            of.features.feature["image"].bytes_list.value.append(red.getvalue())
            file.write(framed(of.SerializeToString()))
    return str(path)


def written(shop: Shop, folder: Path) -> tuple[Path, list[list[str]]]:
    """The page of a shop with two flipped labels, a wrong gender and a wrong colour; and its rows.

    Names and labels are such as would do harm in a page that took them for HTML.
    """
    shop.pairs = [
        (
            category,
            subcategory.replace("Tee", "<script>alert(1)</script>").replace("Purse", "محفظة"),
        )
        for category, subcategory in shop.pairs
    ]
    shop.flip([20, 60], seed=1)
    shop.colours[80] = [shop.colours[80][0]]
    found = review.review(
        shop.written(),
        extra_labels=["gender"],
        groups=["colour"],
        answered=[],
        conflicts=[],
        decided=(),
        options=OPTIONS,
    )
    review_page.write(
        found, folder, name="shop", decisions=EARLIER, examples=[examples(shop, shop.folder)]
    )
    rows = [[found.products.ids[one.place], one.level, one.given] for one in found.suspects]
    return folder / review_page.PAGE_FILE, rows


class Opened:
    """A page and what it said that it should not have said."""

    def __init__(self, page: Page, rows: list[list[str]]) -> None:
        self.page = page
        self.rows = rows
        self.said: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("dialog", lambda dialog: self.said.append(dialog.message))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(("file:", "data:", "blob:"))
                else self.said.append(request.url)
            ),
        )

    def shows(self, row: list[str]) -> bool:
        return row[0] in self.page.locator("#what").inner_text()

    def saved(self) -> list[list[str]]:
        """The rows of the file that the page saves."""
        with self.page.expect_download() as download:
            self.page.get_by_role("button", name="Save corrections.csv").click()
        assert download.value.suggested_filename == "corrections.csv"
        text = Path(download.value.path()).read_text("utf-8-sig")
        return list(csv.reader(io.StringIO(text, newline="")))


@pytest.fixture(scope="module")
def page_and_rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[str]]]:
    folder = tmp_path_factory.mktemp("shop")
    return written(Shop(folder), folder / "review")


@pytest.fixture
def opened(browser: Browser, page_and_rows: tuple[Path, list[list[str]]]) -> Iterator[Any]:
    """Opens the page as in a browser that nobody has used: what it keeps is a context's own."""
    file, rows = page_and_rows
    made = []

    def run(**more: Any) -> Opened:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **more})
        one = Opened(context.new_page(), rows)
        made.append(one)
        one.page.goto(file.as_uri())
        return one

    yield run
    said = [words for one in made for words in one.said]
    for one in made:
        one.page.context.close()
    assert said == []


def test_it_is_worked_through_by_keyboard_and_saved(opened: Any, tmp_path: Path) -> None:
    one = opened()
    rows = one.rows
    assert len(rows) >= 4
    assert one.shows(rows[0])
    one.page.keyboard.press("k")
    assert one.shows(rows[1])
    assert "Kept. Next: " in one.page.locator("#status").inner_text()
    one.page.keyboard.press("u")
    one.page.keyboard.press("c")
    assert one.shows(rows[3])
    assert one.page.locator("#told").inner_text().endswith("1 kept, 1 changed, 1 unsure.")
    one.page.keyboard.press("z")
    assert one.shows(rows[2])
    one.page.keyboard.press("ArrowLeft")
    assert one.shows(rows[2]), "what is decided is not shown again"
    one.page.keyboard.press("ArrowRight")
    assert one.shows(rows[3])
    one.page.keyboard.press("ArrowLeft")
    one.page.keyboard.press("c")

    head, *lines = one.saved()
    assert head == ["id", "level", "given", "decision", "corrected"]
    assert lines[0] == ["p300", "category", "Bag", "keep", ""]
    assert lines[1] == ["'=p9", "category", "Bag", "change", "Top"]
    assert [line[:4] for line in lines[2:5]] == [
        [*rows[0], "keep"],
        [*rows[1], "unsure"],
        [*rows[2], "change"],
    ]

    # What the page saves is what the ingest reads.
    path = tmp_path / "corrections.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *lines])
    columns = Columns.from_options(
        Catalog(
            folder=".",
            category="category",
            subcategory="subcategory",
            slices=["gender"],
            attributes=["colour"],
        ).model_dump()
    )
    assert "=p9" in read_corrections(str(path), columns).of_product


def test_another_label_can_be_chosen(opened: Any) -> None:
    one = opened()
    row = next(row for row in one.rows if row[1] == "subcategory" or row[1] == "category")
    one.page.get_by_label("Level", exact=True).select_option(row[1])
    one.page.locator("body").click(position={"x": 5, "y": 5})
    one.page.keyboard.press("o")
    chosen = one.page.locator("#fields select").first
    assert chosen.evaluate("one => one === document.activeElement")
    labels = chosen.locator("option").all_inner_texts()
    other = next(label for label in labels if label not in (row[2], chosen.input_value()))
    chosen.select_option(other)
    one.page.keyboard.press("Escape")
    assert one.page.locator("#change").evaluate("one => one === document.activeElement")
    one.page.keyboard.press("Enter")
    assert [*row, "change", other] in one.saved()


def test_a_changed_category_takes_its_sub_category_along(opened: Any) -> None:
    one = opened()
    row = next((row for row in one.rows if row[1] == "category"), None)
    assert row is not None
    one.page.get_by_label("Level", exact=True).select_option("category")
    one.page.get_by_role("button", name="Change").click()
    lines = [line for line in one.saved() if line[0] == row[0]]
    assert [line[1] for line in lines] == ["category", "subcategory"]
    assert {line[3] for line in lines} == {"change"}


def test_attributes_of_a_group_are_chosen_together(opened: Any) -> None:
    one = opened()
    row = next(row for row in one.rows if row[1] == "colour")
    one.page.get_by_label("Level", exact=True).select_option("colour")
    one.page.locator("#fields select").select_option(["red", "green"])
    one.page.get_by_role("button", name="Change").click()
    assert [*row, "change", "green|red"] in one.saved()


def test_decisions_are_there_when_the_page_is_opened_again(opened: Any) -> None:
    one = opened()
    one.page.keyboard.press("k")
    one.page.reload()
    assert one.shows(one.rows[1])
    one.page.get_by_label("Show").select_option("keep")
    assert one.shows(one.rows[0])
    assert "you decided: kept" in one.page.locator("#state").inner_text()


def test_it_ends_and_can_be_undone_from_there(opened: Any) -> None:
    one = opened()
    for _ in one.rows:
        one.page.keyboard.press("k")
    assert one.page.locator("#done-title").evaluate("one => one === document.activeElement")
    one.page.keyboard.press("z")
    assert one.shows(one.rows[-1])


def test_single_keys_can_be_turned_off(opened: Any) -> None:
    one = opened()
    one.page.get_by_label("Single keys decide").uncheck()
    one.page.keyboard.press("k")
    assert one.shows(one.rows[0])


def test_pictures_and_neighbors_are_drawn_out_of_sheets(opened: Any) -> None:
    one = opened()
    one.page.wait_for_load_state("networkidle")
    assert one.page.locator(".tile").count() == 4
    for tile in one.page.locator(".tile").all():
        assert "Picture of product p" in (tile.get_attribute("aria-label") or "")
        shot = Image.open(io.BytesIO(tile.screenshot())).convert("RGB")
        red, green, _ = shot.getpixel((shot.width // 2, shot.height // 2))
        assert red > 150 and green < 60


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_people_out(opened: Any, scheme: str) -> None:
    one = opened(color_scheme=scheme)
    assert problems(one.page) == []


def test_it_fits_a_phone(opened: Any) -> None:
    one = opened(viewport={"width": 360, "height": 700})
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 360
    for button in one.page.locator(".decide button").all():
        box = button.bounding_box()
        assert box and box["height"] >= 24 and box["width"] >= 24


def test_a_catalog_without_suspects_has_a_page_that_says_so(
    browser: Browser, shop: Shop, tmp_path: Path
) -> None:
    found = review.Review(
        review.Products.of(review.frozen.described(shop.written()), [], []), [], [], None
    )
    review_page.write(found, tmp_path / "review", name="<b>", decisions=[], examples=[])
    page = browser.new_page()
    page.goto((tmp_path / "review" / review_page.PAGE_FILE).as_uri())
    assert "There is nothing to look at." in page.inner_text("main")
    assert page.inner_text("h1") == "<b>: labels that are probably wrong"
    assert json.loads(page.inner_text("#page-data") or "{}") is not None
