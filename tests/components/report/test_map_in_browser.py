"""The search's map in a real browser: what is seen of it, and how it is moved and asked."""

import dataclasses
import io
import re

import numpy as np
import pytest
from PIL import Image

from components.report import charts
from tests.in_browser import needs_chromium, problems

pytestmark = needs_chromium

KINDS = ["Tshirt", "Shoe", "Shirt"]
PAD = 18
"""Pixels around the map's products."""


class Map:
    """The map of an opened page.

    Attributes:
        page: the page.
        section: the map's part of it.
    """

    def __init__(self, page, data):
        self.page, self._data = page, data
        self.section = page.locator("#map-shown")
        self.section.scroll_into_view_if_needed()
        self._canvas = self.section.locator("canvas")
        self._canvas.wait_for()
        self._canvas.scroll_into_view_if_needed()

    def place(self, at):
        """Where a product is while all of the map is seen, in pixels of the window."""
        box = self._canvas.bounding_box()
        scale = (box["width"] - 2 * PAD) / self._data["side"]
        x = box["x"] + PAD + self._data["x"][at] * scale
        return x, box["y"] + box["height"] - PAD - self._data["y"][at] * scale

    def point_at(self, at):
        self.page.mouse.move(*self.place(at))

    def color(self, at):
        """The color of the canvas at a product."""
        self.page.wait_for_timeout(50)
        shot = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        return shot.getpixel(tuple(round(of) for of in self.place(at)))

    @property
    def card(self):
        """The lines of what is told of a product."""
        return [
            line for line in self.section.get_by_role("status").inner_text().split("\n") if line
        ]

    def tells(self, *lines):
        """Whether the card says this, now or within some seconds."""
        for _ in range(100):
            if self.card == [*lines]:
                return True
            self.page.wait_for_timeout(50)
        raise AssertionError(self.card)

    def told(self, at):
        """What the card says of a product: its id, and the fields that it has."""
        fields = self._data["fields"].items()
        codes = [(name, of["values"], of["of"][at]) for name, of in fields]
        said = [f"{name}: {values[code]}" for name, values, code in codes if code >= 0]
        return [self._data["ids"][at], *said]


@pytest.fixture
def opened_map(opened, contents):
    def run(of=contents, **more):
        return Map(opened(of, **more), of.search_map)

    return run


def looks_like(color, wanted):
    return np.abs(np.array(color) - wanted).max() < 60


def test_a_product_that_is_pointed_at_is_shown_with_its_picture_and_a_click_opens_it(opened_map):
    of = opened_map()
    of.point_at(42)
    of.section.locator(".map-card .picture").wait_for()
    assert of.tells(*of.told(42))
    assert of.section.locator(".map-card .picture[style*='0000.webp']").count() == 1
    of.page.mouse.click(*of.place(57))
    window = of.page.get_by_role("dialog")
    assert window.locator("h2").inner_text() == "p57"
    window.locator("li").wait_for()
    assert window.locator("li").count() == 1
    for said in of.told(57):
        assert said in window.inner_text()
    assert problems(of.page) == []


def test_a_product_that_the_page_has_no_picture_of_is_told_and_not_opened(opened_map):
    of = opened_map()
    of.point_at(98)
    assert of.tells("no picture here", *of.told(98))
    of.page.mouse.click(*of.place(98))
    of.page.wait_for_timeout(50)
    assert of.page.get_by_role("dialog").count() == 0


def test_every_value_has_its_color_and_one_is_looked_at_alone(opened_map):
    of = opened_map()
    legend = of.section.locator(".map-legend")
    assert legend.locator("li").all_inner_texts() == [
        *(f"{kind}\n25" for kind in KINDS),
        "others\n25",
    ]
    blue, red = (0, 119, 255), (238, 85, 119)
    # Every product's value is its number modulo four, less one.
    assert looks_like(of.color(41), blue) and looks_like(of.color(42), red)
    legend.get_by_role("button", name="Shoe").click()
    assert legend.get_by_role("button", name="Shoe").get_attribute("aria-pressed") == "true"
    assert not looks_like(of.color(41), blue) and looks_like(of.color(42), red)
    # What is not looked at is not met either.
    of.point_at(42)
    of.point_at(41)
    assert of.tells(*of.told(42))
    legend.get_by_role("button", name="Shoe").click()
    assert looks_like(of.color(41), blue)


def test_another_field_colors_it_and_of_many_values_each_can_be_found(opened_map):
    of = opened_map()
    assert of.section.get_by_label("Look at").count() == 0
    of.section.get_by_label("Color by").select_option("brand")
    legend = of.section.locator(".map-legend li")
    # Seven have a color; the last two have eleven products each.
    assert legend.count() == 8 and legend.last.inner_text() == "others\n22"
    assert not looks_like(of.color(43), (0, 119, 255))
    of.section.get_by_label("Look at").select_option(label="brand 7 (11)")
    assert looks_like(of.color(43), (0, 119, 255))
    assert not looks_like(of.color(45), (0, 119, 255))


def test_it_is_walked_and_opened_by_keyboard(opened_map):
    of = opened_map()
    of.section.get_by_role("application").focus()
    of.page.keyboard.press("ArrowRight")
    of.section.locator(".map-card p").first.wait_for()
    at = [f"p{place}" for place in range(97)].index(of.card[0])
    # The first is in the middle of the ten by ten.
    assert at in (44, 45, 54, 55)
    for key, further in (("ArrowRight", 1), ("ArrowUp", 10), ("ArrowLeft", -1), ("ArrowDown", -10)):
        at += further
        of.page.keyboard.press(key)
        assert of.tells(*of.told(at))
    of.page.keyboard.press("Enter")
    window = of.page.get_by_role("dialog")
    window.locator("li").wait_for()
    assert window.locator("h2").inner_text() == f"p{at}"
    of.page.keyboard.press("Escape")
    of.page.keyboard.press("Escape")
    assert of.tells()


def test_it_is_zoomed_and_moved(opened_map):
    of = opened_map()
    buttons = of.section.get_by_role("group", name="What is seen of the map")
    assert buttons.get_by_role("button", name="Move left").is_disabled()
    x, y = of.place(44)
    of.page.mouse.move(x, y)
    of.page.keyboard.down("Control")
    of.page.mouse.wheel(0, -300)
    of.page.keyboard.up("Control")
    of.page.wait_for_timeout(100)
    # What is under the pointer stays there, and its neighbors are further away.
    of.page.mouse.move(x + 1, y)
    assert of.tells(*of.told(44))
    neighbor = of.place(45)[0] - x
    of.page.mouse.click(x + neighbor, y)
    of.page.wait_for_timeout(50)
    assert of.page.get_by_role("dialog").count() == 0
    step = 4.48 * neighbor
    assert np.exp(300 / 200) == pytest.approx(4.48, abs=0.01)
    of.page.mouse.move(x, y)
    of.page.mouse.down()
    of.page.mouse.move(x - step / 2, y, steps=5)
    of.page.mouse.up()
    of.page.mouse.move(x + step / 2, y)
    assert of.tells(*of.told(45))
    assert of.page.get_by_role("dialog").count() == 0
    buttons.get_by_role("button", name="The whole map").click()
    of.point_at(13)
    assert of.tells(*of.told(13))
    assert buttons.get_by_role("button", name="Move up").is_disabled()


def test_the_wheel_alone_scrolls_the_page(opened_map):
    of = opened_map()
    of.point_at(44)
    before = of.page.evaluate("scrollY")
    of.page.mouse.wheel(0, -200)
    of.page.wait_for_timeout(400)
    assert of.page.evaluate("scrollY") < before
    button = of.section.get_by_role("button", name="Move left")
    assert button.is_disabled()


def test_a_finger_sees_a_product_first_and_opens_it_with_the_next_tap(opened_map):
    of = opened_map(width=360, has_touch=True)
    of.page.touchscreen.tap(*of.place(33))
    of.section.locator(".map-card .picture").wait_for()
    assert of.tells(*of.told(33))
    assert of.page.get_by_role("dialog").count() == 0
    of.page.touchscreen.tap(*of.place(33))
    of.page.get_by_role("dialog").wait_for()
    assert of.page.get_by_role("dialog").locator("h2").inner_text() == "p33"


def test_slices_of_few_queries_are_gray(opened, contents):
    page = opened(contents)
    page.locator("#visual-search > details summary").click()
    rows = page.locator("#visual-search tbody tr[class]")
    rows.first.wait_for()
    # Of Women's 40 were asked for.
    assert rows.locator("th").all_inner_texts() == ["Kids\ngender"]


def test_the_list_has_the_same_products(opened_map):
    of = opened_map()
    of.section.locator("summary").click()
    rows = of.section.locator("tbody tr")
    rows.first.wait_for()
    assert rows.count() == 50
    assert rows.nth(6).locator("th, td").all_inner_texts() == ["p6", "Shoe", "brand 6"]
    rows.nth(6).get_by_role("button").click()
    assert of.page.get_by_role("dialog").locator("h2").inner_text() == "p6"


def test_on_paper_it_is_light(opened_map):
    of = opened_map(color_scheme="dark")
    assert looks_like(of.color(41), (0, 136, 255))
    assert looks_like(of.color(43), (255, 221, 68))
    of.page.emulate_media(media="print", color_scheme="dark")
    of.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    has = """(canvas, colors) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return colors.map((color) => data.some((_, at) => at % 4 === 0 && data[at + 3] > 200 &&
        color.every((part, of) => Math.abs(data[at + of] - part) < 30)));
    }"""
    # Olive is on paper what is yellow in the dark.
    found = of.section.locator("canvas").evaluate(has, [[136, 153, 0], [255, 221, 68]])
    assert found == [True, False]
    for of_the_screen in (".controls", ".map-card", ".map-list"):
        assert not of.section.locator(of_the_screen).is_visible()


@pytest.mark.parametrize("name", ["<img src=x onerror='throw 2'>", "قميص", "a" * 300, "__proto__"])
def test_names_of_any_kind_are_shown_as_they_are(name, opened_map, contents):
    fields = {name: {"values": [name, "b"], "of": [place % 2 for place in range(100)]}}
    ids = [name, *contents.search_map["ids"][1:]]
    changed = {**contents.search_map, "fields": fields, "ids": ids}
    of = opened_map(dataclasses.replace(contents, search_map=changed), width=360)
    assert of.section.locator(".map-legend bdi").first.text_content() == name
    of.point_at(2)
    of.section.locator(".map-card .picture").wait_for()
    assert of.section.locator(".map-card bdi").first.text_content() == name
    of.section.locator("summary").click()
    assert of.section.locator("tbody th").first.text_content() == name
    assert of.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_without_fields_or_products_there_is_still_a_map(opened_map, contents):
    bare = dataclasses.replace(
        contents,
        products={},
        attribute_decisions={},
        search_map={**contents.search_map, "fields": {}, "way": "PCA"},
    )
    of = opened_map(bare)
    assert of.section.locator(".map-legend li").all_inner_texts() == ["products\n100"]
    of.point_at(3)
    assert of.tells("no picture here", "p3")
    assert "says nothing" not in of.section.inner_text()


def test_the_still_has_the_shapes_of_the_page(opened_map, contents):
    of = opened_map()
    of.section.get_by_label("Color by").select_option("brand")
    page = of.section.locator(".map-legend polygon").evaluate_all(
        "all => all.map((of) => of.getAttribute('points'))"
    )
    brand = {"brand": contents.search_map["fields"]["brand"]}
    still = str(charts.search_map({**contents.search_map, "fields": brand}).svg)
    drawn = re.findall(r'<polygon points="([^"]*)"', still)[-8:]

    def corners(text):
        points = np.array([point.split(",") for point in text.split()], float)
        return points - points.mean(0)

    for shown, of_still in zip(page, drawn, strict=True):
        np.testing.assert_allclose(corners(of_still) / 5, corners(shown), atol=0.03)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_nobody_is_kept_out(scheme, width, opened_map):
    of = opened_map(color_scheme=scheme, width=width)
    of.point_at(12)
    of.section.locator(".map-card .picture").wait_for()
    of.section.locator(".map-legend button").first.click()
    of.section.locator("summary").click()
    of.section.locator("tbody tr").first.wait_for()
    assert problems(of.page) == []
    assert of.page.evaluate("document.documentElement.scrollWidth") <= width
