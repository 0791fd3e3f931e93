"""The page in a real browser, of the real app: what people see, click, press and hear."""

import base64
import re
import time
from urllib.parse import quote

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.in_browser import needs_chromium, problems
from tests.serving.app import search_model
from tests.serving.app.running import running

pytestmark = needs_chromium

PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)

RED, BLUE = (230, 20, 20), (20, 20, 230)
WEIGHTS = {"kind": 1.8, "gender": 0.7, "features": 0.7, "colour": 1.2}


@pytest.fixture(scope="module", autouse=True)
def answered(app, products):
    """Every model has answered once, which takes it long the first time."""
    files = {"picture": products[20].picture}
    for query in ({}, {"version": 3}, {"model": "plain"}):
        while app.http.post("/api/search", params=query, files=files).status_code != 200:
            time.sleep(0.5)
    app.post("explain", products[20].picture, result=products[21].id, label="gender=Women")


@pytest.fixture
def opened(browser, app):
    """Opens the page, and fails the test if it logs anything or asks another host for anything.

    Its `said` are what was said, its `asked` the requests.
    """
    said, asked = [], []
    contexts = []

    def run(address="", url=app.url, width=1280, **more):
        context = browser.new_context(viewport={"width": width, "height": 900}, **more)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))

        def note(request):
            asked.append(request)
            if not request.url.startswith((f"{url}/", f"blob:{url}/")):
                said.append(request.url)

        page.on("request", note)
        page.goto(f"{url}/{address}")
        page.locator("#catalog, #problem").filter(has_text=re.compile(".")).first.wait_for()
        return page

    run.said, run.asked = said, asked
    yield run
    for context in contexts:
        context.close()
    assert said == []


def choose_large(page, folder):
    """Chooses a file that is too large."""
    file = folder / "large.png"
    file.write_bytes(bytes(20_000_001))
    page.locator("#file").set_input_files(file)


def choose(page, content, name="picture.png", kind="image/png"):
    page.locator("#file").set_input_files({"name": name, "mimeType": kind, "buffer": content})


def settled(page):
    """Waits until what is asked for is shown."""
    page.locator("#list:not([aria-busy]) .open").first.wait_for()
    return ids(page)


def ids(page):
    return page.locator("#list > li").evaluate_all("all => all.map((of) => of.dataset.id)")


def found(answer):
    return [hit["id"] for hit in answer["results"]]


def expect_results(page, answer):
    """Waits until an answer's products are shown, in its order."""
    page.wait_for_function(
        "ids => JSON.stringify(ids) === JSON.stringify([...document.querySelectorAll("
        "'#list:not([aria-busy]) > li')].map((of) => of.dataset.id))",
        arg=found(answer),
    )


def transferred(content):
    """JavaScript of a DataTransfer that holds a picture, as `given`."""
    return f"""
        const text = atob("{base64.b64encode(content).decode()}");
        const bytes = Uint8Array.from(text, (of) => of.charCodeAt(0));
        const given = new DataTransfer();
        given.items.add(new File([bytes], "secret name.png", {{ type: "image/png" }}));
    """


def test_a_picture_of_a_product_finds_it_with_all_that_its_score_can_be(opened, products):
    page = opened()
    assert page.locator("#results").is_hidden()
    wanted = products[20]
    choose(page, wanted.picture)
    assert settled(page)[0] == wanted.id
    first = page.locator("#list > li").first
    assert first.locator("strong").inner_text().endswith(f"{sum(WEIGHTS.values()):.2f}")
    assert wanted.fields["name"] in first.inner_text()
    assert page.locator("#count").inner_text().startswith("15 of 60 products, the nearest first")
    # Every picture has a text, and lies in a place that is kept for it.
    for picture in page.locator("#list img").all():
        assert "product" in picture.get_attribute("alt").lower()
        assert picture.get_attribute("width") and picture.get_attribute("loading") == "lazy"
    [request] = [of for of in opened.asked if "/api/search" in of.url]
    assert "picture.png" not in (request.post_data_buffer or b"").decode("latin-1")


def test_what_the_model_sees_is_listed_and_narrows_the_search(opened, app, products):
    page = opened()
    choose(page, products[20].picture)
    settled(page)
    seen = app.post("predict", products[20].picture)["seen"]
    rows = page.locator(".levels")
    for level in seen:
        if level["labels"]:
            best = level["labels"][0]
            said = best["label"].split("=")[-1]
            score = f"{best['score']:.2f}".removeprefix("0")
            row = rows.locator("li", has_text=said).filter(has_text=score)
            assert row.count() >= 1
    gender = next(of["labels"][0]["label"] for of in seen if of["level"] == "gender")
    rows.get_by_role("button", name=f"Only products with Gender {gender}").click()
    expect(page.locator("#chips")).to_contain_text(f"Gender: {gender}")
    expect_results(page, app.search(products[20].picture, where=f"gender={gender}"))


def test_pictures_are_pasted_and_dropped(opened, products):
    page = opened()
    page.evaluate(
        transferred(products[20].picture)
        + "dispatchEvent(new ClipboardEvent('paste', { clipboardData: given, bubbles: true }));"
    )
    assert settled(page)[0] == products[20].id
    page.evaluate(
        transferred(products[21].picture)
        + "const over = { dataTransfer: given, bubbles: true, cancelable: true };"
        "document.body.dispatchEvent(new DragEvent('dragover', over));"
    )
    expect(page.locator("body")).to_have_class("dropping")
    page.evaluate(
        transferred(products[21].picture)
        + "const over = { dataTransfer: given, bubbles: true, cancelable: true };"
        "document.body.dispatchEvent(new DragEvent('drop', over));"
    )
    expect(page.locator("#list > li").first).to_have_attribute("data-id", products[21].id)
    # And nothing was ever asked for under the name of a file.
    assert "dropping" not in (page.locator("body").get_attribute("class") or "")


def test_the_clipboard_is_pasted_by_its_button(opened, app, products):
    page = opened()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    wanted = products[20]
    page.evaluate(
        """async (id) => {
          const picture = await (await fetch(`api/images/${id}`)).blob();
          await navigator.clipboard.write([new ClipboardItem({ "image/png": picture })]);
        }""",
        wanted.id,
    )
    page.get_by_role("button", name="Paste").click()
    assert settled(page)[0] == wanted.id


def test_a_region_is_drawn_by_keys_and_by_the_pointer(opened, app):
    page = opened()
    halves = search_model.picture(RED, BLUE)
    choose(page, halves)
    settled(page)
    corner = page.get_by_role("slider", name="Top right corner")
    corner.focus()
    for _ in range(5):
        page.keyboard.press("Shift+ArrowLeft")
    assert corner.get_attribute("aria-valuetext") == "50 % from the left, 0 % from the top"
    page.keyboard.press("Enter")
    expect_results(page, app.search(halves, crop="0,0,.5,1"))
    assert "crop" not in page.url
    # The region moves as a whole, and not over the edge.
    box = page.get_by_role("slider", name="Region to search")
    box.focus()
    for _ in range(9):
        page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Enter")
    expect_results(page, app.search(halves, crop=".5,0,.5,1"))
    page.go_back()
    expect_results(page, app.search(halves, crop="0,0,.5,1"))
    box.focus()
    page.keyboard.press("Escape")
    expect_results(page, app.search(halves))

    size = page.locator("#stage .inner").bounding_box()
    at = lambda x, y: (size["x"] + x * size["width"], size["y"] + y * size["height"])  # noqa: E731
    page.mouse.move(*at(0.55, 0.3))
    page.mouse.down()
    page.mouse.move(*at(0.7, 0.5), steps=3)
    page.mouse.move(*at(0.95, 0.9), steps=3)
    page.mouse.up()
    expect_results(page, app.search(halves, crop=".55,.3,.4,.6"))
    page.get_by_role("button", name="Whole picture").click()
    expect_results(page, app.search(halves))


def test_filters_narrow_and_are_taken_back(opened, app, products):
    page = opened()
    choose(page, products[20].picture)
    settled(page)
    gender = page.locator("#facets").get_by_role("list", name="Gender")
    women = [product for product in products if product.fields["gender"] == "Women"]
    row = gender.locator("li", has_text="Women")
    assert row.locator(".number").inner_text() == str(len(women))
    row.get_by_role("checkbox").check()
    expect(page.locator("#count")).to_contain_text(f"of {len(women)} products that pass")
    expect_results(page, app.search(products[20].picture, where="gender=Women"))
    # Counts of other fields are those that are left; a product has several tags.
    sale = sum("sale" in product.fields["tags"] for product in women)
    tags = page.locator("#facets").get_by_role("list", name="Tags")
    assert tags.locator("li", has_text="sale").locator(".number").inner_text() == str(sale)
    tags.locator("li", has_text="sale").get_by_role("checkbox").check()
    expect(page.locator("#count")).to_contain_text(f"{sale} products that pass")
    assert "where=gender%3DWomen&where=tags%3Dsale" in page.url
    # What was pressed keeps the focus.
    assert page.evaluate("document.activeElement.type") == "checkbox"
    page.get_by_role("button", name="Remove Gender: Women").click()
    expect(page.locator("#chips")).not_to_contain_text("Women")
    page.go_back()
    expect(row.get_by_role("checkbox")).to_be_checked()
    page.go_back()
    page.go_back()
    expect_results(page, app.search(products[20].picture))
    expect(page.locator("#chips")).to_be_hidden()


def test_more_like_this_leaves_the_product_and_its_doubles_out_and_back_returns(
    opened, app, products
):
    page = opened()
    choose(page, products[10].picture)
    before = settled(page)
    assert before[0] in {product.id for product in products[10:13]}
    tile = page.locator("#list > li").first
    # Three products have the same picture, and one stands for them.
    tile.get_by_role("button", name="+2 doubles").click()
    expect(tile.locator(".double")).to_have_count(2)
    tile.get_by_role("button", name="More like this").click()
    expect_results(page, app.search(id=before[0]))
    assert not {product.id for product in products[10:13]} & set(ids(page))
    assert f"id={before[0]}" in page.url
    assert page.evaluate("document.activeElement.id") == "results-title"
    [first, second, *_] = ids(page)
    page.get_by_role("button", name=f"Exclude {first}").click()
    expect(page.locator("#list > li").first).to_have_attribute("data-id", second)
    assert page.evaluate("document.activeElement.closest('li').dataset.id") == second
    page.go_back()
    page.go_back()
    expect(page.locator("#list > li").first).to_have_attribute("data-id", before[0])
    assert ids(page) == before and "id=" not in page.url


def test_keys_walk_through_the_products_and_open_them(opened, products):
    page = opened(f"?id={products[20].id}")
    all_ids = settled(page)
    page.locator(".open").first.focus()
    at = lambda: page.evaluate("document.activeElement.closest('li')?.dataset.id")  # noqa: E731
    columns = page.evaluate(
        "[...document.querySelectorAll('#list > li')].filter("
        "(of, at, all) => of.offsetTop === all[0].offsetTop).length"
    )
    for key, place in (("ArrowRight", 1), ("ArrowDown", 1 + columns), ("End", 14), ("Home", 0)):
        page.keyboard.press(key)
        assert at() == all_ids[place]
    # One product's buttons are stops of the Tab key, not those of all.
    assert page.locator("#list > li:has([tabindex='0'])").count() == 1
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    window = page.get_by_role("dialog")
    window.wait_for()
    page.keyboard.press("ArrowRight")
    expect(window.locator("h2")).to_contain_text(all_ids[2])
    page.keyboard.press("Escape")
    expect(window).to_be_hidden()
    assert at() == all_ids[2]
    assert "show=" not in page.url


def painted(page, canvas):
    """Whether something is drawn on a canvas."""
    return page.locator(canvas).evaluate(
        """of => {
          const copy = new OffscreenCanvas(16, 16).getContext("2d", { willReadFrequently: true });
          copy.drawImage(of, 0, 0, 16, 16);
          return copy.getImageData(0, 0, 16, 16).data.some((one) => one);
        }"""
    )


def test_why_adds_up_and_maps_show_where(opened, app, products):
    page = opened()
    choose(page, products[20].picture)
    shown = settled(page)[3]
    page.locator(".open").nth(3).click()
    window = page.get_by_role("dialog")
    why = window.locator(".why table")
    told = app.post("explain", products[20].picture, result=shown)
    parts = [float(of) for of in why.locator("tbody td:last-child").all_inner_texts()]
    weights = [float(of) for of in why.locator("tbody td:nth-child(3)").all_inner_texts()]
    assert weights == list(WEIGHTS.values())
    expected = [told["parts"][block] for block in WEIGHTS]
    np.testing.assert_allclose(parts, expected, atol=0.006)
    score = float(why.locator("tfoot td:last-child").inner_text())
    np.testing.assert_allclose(score, sum(parts), atol=0.021)
    bar = window.locator(".why .stack")
    widths = bar.locator("span").evaluate_all("all => all.map((of) => of.clientWidth)")
    whole = bar.bounding_box()["width"]
    share = np.maximum(expected, 0) / sum(WEIGHTS.values())
    np.testing.assert_allclose([of for of in widths if of], share * whole, atol=1)

    window.get_by_label("what the features add").check()
    features = f"{told['parts']['features']:.2f}".replace("0.", ".")
    expect(window.locator(".told")).to_contain_text(f"together {features} on either picture")
    assert painted(page, "dialog figure:nth-child(1) canvas")
    assert painted(page, "dialog figure:nth-child(2) canvas")
    window.get_by_label("where a label is seen").check()
    window.get_by_label("Level").select_option("gender")
    window.get_by_label("Label", exact=True).select_option("Women")
    expect(window.locator(".told")).to_contain_text("Where it sees Women")
    window.get_by_label("nothing").check()
    assert not painted(page, "dialog figure:nth-child(1) canvas")

    compared = {of["level"]: of for of in told["compared"]}
    table = window.get_by_role("table", name="What the model sees")
    for level, title in (("category", "Category"), ("subcategory", "Sub-category")):
        row = table.get_by_role("row", name=re.compile(f"^{title}"))
        query, result = compared[level]["query"][0], compared[level]["result"][0]
        assert query["label"] in row.locator("td").first.inner_text()
        assert result["label"] in row.locator("td").last.inner_text()
        differs = query["label"] != result["label"]
        assert row.locator(".mark").count() == differs
    page.go_back()
    expect(window).to_be_hidden()


def test_where_a_label_shows_is_painted_over_the_query(opened, products):
    page = opened()
    choose(page, products[20].picture)
    settled(page)
    page.get_by_role("slider", name="Top right corner").press("Shift+ArrowLeft")
    page.keyboard.press("Enter")
    page.wait_for_function("() => !document.querySelector('#list').ariaBusy")
    label = page.locator(".levels button[aria-pressed]").first
    label.click()
    expect(page.locator("#stage .frame")).to_have_class("frame heated")
    assert painted(page, "#stage canvas")
    assert page.locator(".levels button[aria-pressed='true']").count() == 1
    label.click()
    expect(page.locator("#stage .frame")).to_have_class("frame")


def test_any_two_products_are_compared(opened, app, products):
    page = opened(f"?id={products[20].id}")
    [first, second, *_] = settled(page)
    page.get_by_role("button", name=f"Compare {first}").click()
    expect(page.get_by_role("region", name="Comparison")).to_contain_text(first)
    page.get_by_role("button", name=f"Compare {second}").click()
    window = page.get_by_role("dialog")
    score = app.post("explain", id=first, result=second)["score"]
    expect(window.locator("tfoot td:last-child")).to_have_text(f"{score:.2f}".replace("0.", ".", 1))
    catalog = window.get_by_role("table", name="What the catalog says")
    of = {product.id: product.fields for product in products}
    row = catalog.get_by_role("row", name=re.compile("^Gender"))
    assert row.locator("td").all_inner_texts() == [of[first]["gender"], of[second]["gender"]]
    window.get_by_role("button", name="Close").click()
    expect(window).to_be_hidden()
    expect(page.get_by_role("region", name="Comparison")).to_be_hidden()


def test_what_counts_is_weighed_anew_and_put_back(opened, app, products):
    page = opened(f"?id={products[20].id}")
    usual = settled(page)
    page.get_by_role("slider", name="Kind").fill("0")
    page.get_by_role("slider", name="Gender").fill("0")
    expect_results(page, app.search(id=products[20].id, weight=["kind=0", "gender=0"]))
    assert "weight=kind%3D0&weight=gender%3D0" in page.url
    page.get_by_role("button", name="Reset the weights").click()
    expect_results(page, app.search(id=products[20].id))
    assert ids(page) == usual and "weight" not in page.url
    for slider in page.get_by_role("slider", name=re.compile("Kind|Gender|Features|Colour")).all():
        slider.fill("0")
    expect(page.locator("#message")).to_contain_text("The weights of all blocks are 0")
    assert ["400" in said for said in opened.said] == [True]
    opened.said.clear()


def test_another_model_and_an_earlier_version_answer(opened, app, products):
    page = opened()
    choose(page, products[20].picture)
    settled(page)
    expect(page.locator("#catalog")).to_have_text("60 products, searched by FAISS")
    page.get_by_label("Model", exact=True).select_option("plain")
    expect_results(page, app.search(products[20].picture, model="plain"))
    # It gives no maps, so that none are offered.
    assert page.locator(".levels button[aria-pressed]").count() == 0
    page.locator(".open").first.click()
    window = page.get_by_role("dialog")
    window.locator(".why table").wait_for()
    window.get_by_role("table", name="What the model sees").wait_for()
    assert window.get_by_label("what the features add").count() == 0
    page.keyboard.press("Escape")
    expect(window).to_be_hidden()
    page.get_by_label("Model", exact=True).select_option("catalog")
    page.get_by_label("Version").select_option("3")
    expect_results(page, app.search(products[20].picture, model="catalog", version=3))
    expect(page.locator("#count")).to_contain_text("of 30 products")
    assert "model=catalog&version=3" in page.url


def test_the_address_holds_what_is_asked_but_never_the_picture(opened, app, products):
    asked = f"?model=catalog&id={products[20].id}&where=gender%3DMen&weight=colour%3D3&k=30"
    page = opened(f"{asked}&fold=false&expand=true")
    expect_results(
        page,
        app.search(
            id=products[20].id, where="gender=Men", weight="colour=3", k=30, fold=False, expand=True
        ),
    )
    assert page.get_by_label("Products", exact=True).input_value() == "30"
    assert page.get_by_role("slider", name="Colour").input_value() == "3"
    assert page.get_by_label("Expand").is_checked()
    assert not page.get_by_label("One of each double").is_checked()
    choose(page, products[21].picture)
    expect_results(
        page,
        app.search(
            products[21].picture,
            **{"where": "gender=Men", "weight": "colour=3", "k": 30, "fold": False, "expand": True},
        ),
    )
    assert "id=" not in page.url and len(page.url) < 200
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("The picture is not kept")
    page.go_back()
    expect(page.locator("#results-title")).to_have_text(f"Products like {products[20].id}")


def test_part_of_a_product_is_searched_without_it_and_its_doubles(opened, app, products):
    page = opened(f"?id={products[10].id}&crop=0,0,.5,1")
    shown = settled(page)
    assert not {product.id for product in products[10:13]} & set(shown)
    assert shown == found(app.search(id=products[10].id, crop="0,0,.5,1"))


def test_ids_of_any_kind_are_searched_opened_and_drawn(opened, app, products):
    page = opened()
    for wanted in products[:7]:
        field = page.get_by_label("or a product's id")
        field.fill(wanted.id)
        # A line break is lost in a field; addresses keep it.
        if "\n" in wanted.id:
            page.goto(f"{app.url}/?id={quote(wanted.id)}")
        else:
            field.press("Enter")
        expect_results(page, app.search(id=wanted.id))
        picture = page.locator("#stage img")
        page.wait_for_function("of => of.naturalWidth === 32", arg=picture.element_handle())
        page.locator(".open").first.click()
        page.get_by_role("dialog").get_by_role("table", name="What the catalog says").wait_for()
        page.keyboard.press("Escape")


EVIL = "<img src=x onerror='throw 1'>"


@pytest.mark.parametrize("name", [EVIL, "قميص \u202eknits", "a" * 10_000, "__proto__"])
def test_names_of_any_kind_are_shown_as_they_are(name, opened, products):
    page = opened(width=360)

    def rename(route):
        answer = route.fetch().json()
        for hit in answer.get("results", []):
            hit["fields"] = {**hit["fields"], "name": name, "gender": name}
        for level in (answer.get("query") or {}).get("seen") or []:
            level["labels"] = [{"label": name, "score": 0.5}]
        for field in answer["fields"].values() if "fields" in answer else ():
            field["values"] = [{"value": name, "count": 1}]
        route.fulfill(json=answer)

    page.route(re.compile("api/(search|facets)"), rename)
    choose(page, products[20].picture)
    settled(page)
    page.locator("details").evaluate_all("all => all.forEach((of) => (of.open = true))")
    shown = page.locator("#list .name").first.inner_text()
    assert shown.startswith(name[:50].strip())
    assert name[:50] in page.locator(".levels li").first.inner_text()
    assert page.locator("#facets label bdi").first.text_content() == name
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator(".open").first.click()
    expect(page.get_by_role("dialog").locator("h2")).to_contain_text(name[:50].strip())
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_what_is_no_picture_or_too_large_is_said(opened, tmp_path):
    page = opened()
    choose(page, b"not a picture", "letter.jpg", "image/jpeg")
    expect(page.locator("#message h3")).to_have_text(re.compile("picture|searched"))
    assert any(status in opened.said[0] for status in ("400", "415"))
    opened.said.clear()
    before = len(opened.asked)
    choose_large(page, tmp_path)
    expect(page.get_by_role("alert")).to_contain_text("The picture is too large")
    choose(page, b"text", "letter.txt", "text/plain")
    expect(page.get_by_role("alert")).to_contain_text("letter.txt is none that can be read")
    # Neither was sent.
    assert len(opened.asked) == before


def test_nothing_close_is_said_above_the_nearest(opened, app):
    page = opened()
    content = search_model.picture((0, 255, 0), (255, 0, 255))
    answer = app.search(content, weight=["kind=0", "gender=0", "features=0"])
    assert answer["nothing_close"]
    page.goto(f"{app.url}/?weight=kind%3D0&weight=gender%3D0&weight=features%3D0")
    choose(page, content)
    expect(page.locator("#message")).to_contain_text("Nothing here is close")
    assert ids(page) == found(answer)


def test_filters_that_leave_nothing_offer_to_be_cleared(opened, products):
    page = opened(f"?id={products[20].id}&where=gender%3DMen&where=season%3DSummer")
    rest = [of.id for of in products if of.fields["gender"] == "Men"]
    more = "".join(f"&exclude={of}" for of in rest if re.fullmatch(r"\w+", of))
    page.goto(page.url + more)
    page.wait_for_function("() => document.querySelector('#list:not([aria-busy])')")
    page.get_by_role("button", name="Clear all").click()
    assert len(settled(page)) == 15


def test_a_server_that_goes_away_is_waited_for(browser, root, model_server, opened, products):
    with running(root, model_server.endpoint) as app:
        page = opened(f"?id={products[20].id}", url=app.url)
        [first, *_] = settled(page)
    page.get_by_role("button", name="More like this").first.click()
    expect(page.locator("#message")).to_contain_text("The server is away")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#message")).to_contain_text("The server is away")
    assert all("ERR_CONNECTION" in said for said in opened.said)
    # When something answers again, the page goes on by itself with what was asked last.
    answer = {"results": [], "model": "catalog", "version": 5, "exact": True, "took_ms": 1}
    answer |= {"nothing_close": None, "query": {"id": first, "fields": {}, "seen": None}}
    models = {"models": [], "default": "catalog"}
    model = {"name": "catalog", "version": 5, "versions": [], "products": 60, "blocks": []}
    model |= {"fields": [], "exact": True, "ready": True, "problem": None, "labels": {}}
    models["models"].append(model | {"explains": False})
    page.route("**/readyz", lambda route: route.fulfill(body="ready"))
    page.route("**/api/models", lambda route: route.fulfill(json=models))
    page.route("**/api/facets*", lambda route: route.fulfill(json={"count": 60, "fields": {}}))
    page.route("**/api/search*", lambda route: route.fulfill(json=answer))
    expect(page.locator("#message")).to_contain_text("No product is left", timeout=15_000)
    opened.said.clear()


def test_where_there_is_no_index_the_page_says_what_makes_one(tmp_path, model_server, opened):
    with running(tmp_path, model_server.endpoint) as app:
        page = opened(url=app.url)
        expect(page.locator("#problem")).to_contain_text("There is no catalog to search yet")
        page.get_by_role("button", name="Look again").click()
        expect(page.locator("#problem")).to_contain_text("There is no catalog to search yet")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_the_page_meets_wcag_2_2_aa(scheme, width, opened, products, tmp_path):
    page = opened(width=width, color_scheme=scheme, reduced_motion="reduce")
    assert problems(page) == []
    choose(page, products[20].picture)
    settled(page)
    page.locator("details").evaluate_all("all => all.forEach((of) => (of.open = true))")
    page.get_by_role("checkbox", name="Women").check()
    settled(page)
    page.locator(".levels button[aria-pressed]").first.click()
    page.get_by_role("button", name=re.compile("^Compare p")).first.click()
    page.locator("#stage .heated").wait_for()
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert problems(page) == []
    page.locator(".open").nth(2).click()
    window = page.get_by_role("dialog")
    window.get_by_label("where a label is seen").check()
    window.get_by_role("table", name="What the model sees").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert problems(page) == []
    window.get_by_role("button", name="Close").click()
    choose_large(page, tmp_path)
    page.get_by_role("alert").get_by_role("heading").wait_for()
    assert problems(page) == []


def test_nothing_jumps_while_products_come(opened, products):
    page = opened()
    page.evaluate(
        "globalThis.shifts = []; new PerformanceObserver((list) => list.getEntries().forEach("
        "(of) => of.hadRecentInput || shifts.push(of.value))).observe("
        "{ type: 'layout-shift', buffered: true })"
    )
    choose(page, products[20].picture)
    settled(page)
    page.wait_for_timeout(600)
    page.get_by_role("button", name="More like this").first.click()
    page.wait_for_timeout(800)
    assert page.evaluate("shifts.reduce((sum, one) => sum + one, 0)") < 0.1


def test_maps_say_in_words_where_most_of_them_is(opened):
    page = opened()
    most = "async (map) => (await import('/static/heat.js')).most(map)"
    assert page.evaluate(most, [[0, 0], [0, 3]])["zone"] == "bottom right"
    inner = [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    told = page.evaluate(most, inner)
    assert told["zone"] == "middle"
    # The middle third, from 1/3 to 2/3, covers 2/3 of each inner place, from 1/4 to 1/2, both ways.
    assert told["share"] == pytest.approx(4 / 9)
    assert page.evaluate(most, [[-1, -2]]) is None


def test_an_address_says_all_of_a_state_but_the_picture(opened):
    page = opened()
    asked, read = page.evaluate(
        """async () => {
          const { NOTHING, fromAddress, toAddress } = await import('/static/state.js');
          const asked = { ...NOTHING, model: "a b", version: "3", id: "x/=&?#é", k: 60,
            crop: [0.1, 0.2, 0.3, 0.4], where: [["color", "x=y=z"]],
            exclude: ["1", "2"], weights: { "colour=": 0.5 }, fold: false, exact: true, show: "q" };
          return [asked, fromAddress(toAddress(asked), null)];
        }"""
    )
    assert asked == read
