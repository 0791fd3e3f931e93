from __future__ import annotations

import http.client
import io

import numpy as np
import pytest
from PIL import Image

from schema.picture_figures import opened, upright_rgb
from serving.app import answers
from tests.serving.app import search_model

RED, BLUE = (220, 30, 20), (10, 40, 200)
WEIGHTS = search_model.WEIGHTS


@pytest.fixture(scope="module")
def vectors(model, products):
    recipe, found = search_model.vectors_of(model, [product.picture for product in products])
    return recipe, unit_blocks(recipe, found)


def unit_blocks(recipe, vectors):
    """By hand: every block at unit length."""
    made, start = vectors.astype(np.float64).copy(), 0
    for size in recipe.space.sizes.values():
        block = made[:, start : start + size]
        lengths = np.linalg.norm(block, axis=1, keepdims=True)
        block /= np.where(lengths > 0, lengths, 1)
        start += size
    return made


def parts_of(recipe, query, others, weights=WEIGHTS):
    """What each block adds to each product's score, by NumPy."""
    found, start = {}, 0
    for name, size in recipe.space.sizes.items():
        at = slice(start, start + size)
        found[name] = weights[name] * (others[:, at] @ query[at])
        start += size
    return found


def brute_force(recipe, query, vectors, products, k, keep=lambda product: True, **weights):
    """Ids by score, each group once."""
    scores = sum(parts_of(recipe, query, vectors, {**WEIGHTS, **weights}).values())
    order = sorted(range(len(products)), key=lambda at: (-scores[at], products[at].id))
    found, groups = [], set()
    for at in order:
        group = products[at].group or products[at].id
        if keep(products[at]) and group not in groups:
            groups.add(group)
            found.append((products[at].id, scores[at]))
    return found[:k]


def query_vector(model, vectors, content, crop=None):
    """A picture's, by the model itself and the catalog's recipe."""
    recipe, _ = vectors
    import tensorflow as tf

    from serving.search.recipe import Answers

    image = upright_rgb(opened(content))
    if crop:
        image = image.crop(crop)
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        content = buffer.getvalue()
    outputs = {name: of.numpy() for name, of in model.everything(tf.constant([content])).items()}
    return unit_blocks(recipe, recipe.vectors(Answers.of_outputs(outputs)[0], [image]))[0]


def assert_found(answer, expected):
    assert [hit["id"] for hit in answer["results"]] == [id_ for id_, _ in expected]
    assert [hit["score"] for hit in answer["results"]] == pytest.approx(
        [score for _, score in expected], abs=2e-5
    )


def test_a_picture_finds_what_brute_force_over_the_vectors_finds(
    each_app, model, vectors, products
):
    asked = search_model.picture(RED, BLUE)
    recipe, known = vectors

    answer = each_app.search(asked, k=15)

    query = query_vector(model, vectors, asked)
    assert_found(answer, brute_force(recipe, query, known, products, 15))
    assert (answer["model"], answer["version"]) == ("catalog", 5)
    assert answer["exact"] is (each_app.engine == "FAISS")
    by_id = {product.id: at for at, product in enumerate(products)}
    for hit in answer["results"]:
        row = by_id[hit["id"]]
        parts = parts_of(recipe, query, known[row : row + 1])
        assert hit["parts"] == pytest.approx({n: p[0] for n, p in parts.items()}, abs=2e-5)
        assert sum(hit["parts"].values()) == pytest.approx(hit["score"])
    answers.Found.model_validate(answer)
    assert answer["query"]["id"] is answer["query"]["fields"] is None and answer["took_ms"] > 0


def test_who_asks_for_it_has_every_product_compared(each_app):
    assert each_app.search(search_model.picture(RED), exact=True)["exact"] is True


def test_the_same_question_gets_the_same_answer(each_app):
    asked = search_model.picture(RED, BLUE)

    first, *others = [each_app.search(asked, k=20) | {"took_ms": 0} for _ in range(4)]

    assert all(other == first for other in others)


def test_filters_weights_and_exclusions_count_as_by_hand(each_app, model, vectors, products):
    asked = search_model.picture(BLUE)
    recipe, known = vectors

    answer = each_app.search(
        asked,
        k=8,
        where=["gender=Women", "season=Summer", "season=Winter"],
        weight=["colour=0", "kind=0.5"],
        exclude=["p20", "nobody"],
    )

    expected = brute_force(
        recipe,
        query_vector(model, vectors, asked),
        known,
        products,
        8,
        lambda p: p.fields["gender"] == "Women" and p.fields["season"] and p.id != "p20",
        colour=0.0,
        kind=0.5,
    )
    assert_found(answer, expected)


def test_a_product_finds_others_than_itself_and_its_doubles(each_app, vectors, products):
    recipe, known = vectors
    twins = {products[at].id for at in (10, 11, 12)}

    answer = each_app.search(id=products[10].id, k=5)

    expected = brute_force(
        recipe, known[10], known, products, 5, lambda product: product.id not in twins
    )
    assert_found(answer, expected)
    assert answer["query"] == {
        "id": products[10].id,
        "fields": products[10].fields | {"tags": plain(products[10].fields["tags"])},
        "seen": None,
    }


def test_with_exclusions_its_doubles_stay_out_and_those_of_the_excluded_do_not(each_app, products):
    near = search_model.picture(RED)
    twins = {products[at].id for at in (10, 11, 12)}

    found = each_app.search(near, k=1000, exclude=[products[10].id])["results"]
    others = each_app.search(id=products[11].id, k=1000, exclude=["p30"])["results"]

    assert len(twins & {hit["id"] for hit in found}) == 1
    assert not (twins | {"p30"}) & {hit["id"] for hit in others}


def test_doubles_are_one_result_unless_they_are_not_to_be_folded(each_app, products):
    asked = products[10].picture

    folded, unfolded = each_app.search(asked, k=4), each_app.search(asked, k=4, fold=False)

    assert folded["results"][0]["folded"] == 2
    assert {hit["id"] for hit in unfolded["results"][:3]} == {
        products[at].id for at in (10, 11, 12)
    }
    assert [hit["folded"] for hit in unfolded["results"]] == [0, 0, 0, 0]


def test_nothing_close_is_said_by_the_threshold_and_of_no_threshold_nothing(each_app, products):
    asked = products[3].picture
    weights = [f"{name}={weight}" for name, weight in WEIGHTS.items()]

    assert each_app.search(asked, weight=weights)["nothing_close"] is False
    assert each_app.search(asked, model="plain")["nothing_close"] is None


def test_expansion_searches_from_between_the_first_five(each_app, model, vectors, products):
    recipe, known = vectors
    asked = search_model.picture((120, 130, 40), (20, 200, 100))
    query = query_vector(model, vectors, asked)
    scores = sum(parts_of(recipe, query, known).values())
    first = [id_ for id_, _ in brute_force(recipe, query, known, products, 5)]
    rows = [at for at, product in enumerate(products) if product.id in first]
    shares = np.maximum(scores[rows] / sum(WEIGHTS.values()), 0) ** 3
    moved = unit_blocks(recipe, (query + shares @ known[rows])[None])[0]

    answer = each_app.search(asked, k=10, expand=True)

    assert_found(answer, brute_force(recipe, moved, known, products, 10))


def test_a_crop_is_a_part_of_the_upright_picture(app, model, vectors, products):
    recipe, known = vectors
    image = Image.new("RGB", (60, 40), RED)
    image.paste(BLUE, (0, 0, 60, 10))
    exif = image.getexif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    # Turned by 90 degrees the blue part lies at the right.
    asked = buffer.getvalue()

    answer = app.search(asked, k=6, crop="0.75,0,0.25,1")

    box = (30, 0, 40, 60)
    query = query_vector(model, vectors, asked, box)
    assert_found(answer, brute_force(recipe, query, known, products, 6))
    assert answer["query"]["seen"][0]["labels"][0]["label"] == "blue"


def test_a_part_of_a_product_is_looked_at_as_a_picture_is(each_app, products):
    whole = each_app.search(id=products[10].id, crop="0,0,1,1", k=5)

    assert [hit["id"] for hit in whole["results"]] == [
        hit["id"] for hit in each_app.search(id=products[10].id, k=5)["results"]
    ]
    assert whole["query"]["seen"] is not None


def test_what_is_seen_is_what_the_model_says(app):
    told = app.search(search_model.picture(RED))["query"]["seen"]
    seen = {one["level"]: one["labels"] for one in told}

    powers = np.exp(4 * np.array(RED) / 255)
    assert list(seen) == ["category", "subcategory", "gender", "attributes"]
    assert [label["label"] for label in seen["category"]] == ["red", "green", "blue"]
    assert [label["score"] for label in seen["category"]] == pytest.approx(
        (powers / powers.sum()).tolist(), abs=1e-5
    )
    assert len(seen["subcategory"]) == 5
    bright = 1 / (1 + np.exp(-4 * (2 * RED[0] / 255 - 1)))
    assert {label["label"]: label["score"] for label in seen["attributes"]} == pytest.approx(
        {"tone=bright": bright, "season=Summer": RED[0] / 255}, abs=1e-5
    )
    assert app.post("predict", search_model.picture(RED))["seen"] == told


def test_every_version_can_be_asked_by_its_number(app, products):
    older = app.search(products[40].picture, version=3, k=1000)

    assert older["version"] == 3
    assert {hit["id"] for hit in older["results"]} <= {product.id for product in products[:30]}


def test_models_tell_what_there_is(each_app):
    told = each_app.get("/api/models")

    answers.Models.model_validate(told)
    assert told["default"] == "catalog"
    catalog, plain = told["models"]
    assert catalog["version"] == 5
    assert catalog["versions"] == [
        {"version": 5, "products": 60, "live": True},
        {"version": 3, "products": 30, "live": True},
    ]
    assert {block["name"]: block["weight"] for block in catalog["blocks"]} == WEIGHTS
    about = {block["name"]: block["about"] for block in catalog["blocks"]}
    assert about["kind"].startswith("What kind of product") and "color" in about["colour"]
    assert about["gender"] == "What the model says of its gender."
    assert catalog["fields"] == ["gender", "season", "tags", "name"]
    assert catalog["ready"] and catalog["problem"] is None
    assert catalog["engine"] == plain["engine"] == each_app.engine
    assert catalog["exact"] is (each_app.engine == "FAISS")
    assert catalog["labels"]["subcategory"] == list(search_model.SUBCATEGORIES)
    assert plain["name"] == "plain" and plain["explains"] is False


def plain(cell):
    """A cell as JSON has it: one of several is a text, none of them null."""
    if isinstance(cell, list):
        return None if not cell else cell[0] if len(cell) == 1 else cell
    return cell


def test_a_product_is_told_with_its_doubles_whatever_its_id(each_app, products):
    for product in products:
        answer = each_app.http.get(f"/api/products/{quoted(product.id)}")
        assert answer.status_code == 200, product.id
        told = answer.json()
        answers.Product.model_validate(told)
        assert told["id"] == product.id
        assert told["fields"] == {name: plain(cell) for name, cell in product.fields.items()}
        group = product.group or product.id
        assert told["group"] == group
        assert told["doubles"] == sorted(
            other.id
            for other in products
            if (other.group or other.id) == group and other.id != product.id
        )


def test_a_picture_is_served_as_it_was_indexed_whatever_its_id(each_app, products):
    for product in products[:12]:
        answer = each_app.http.get(f"/api/images/{quoted(product.id)}")
        assert answer.content == product.picture
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["x-content-type-options"] == "nosniff"
    again = each_app.http.get("/api/images/p20", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 200
    again = each_app.http.get("/api/images/p20", headers={"if-none-match": again.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    # Which version is the newest may change, what is in one may not.
    assert again.headers["cache-control"] == "private, no-cache"
    named = each_app.http.get("/api/images/p20", params={"version": 5})
    assert named.headers["cache-control"] == "private, max-age=86400, immutable"
    assert each_app.http.get("/api/images/nobody").headers["cache-control"] == "no-store"


def test_head_tells_what_get_does_and_the_connection_goes_on(app):
    for path in ("/", "/healthz", "/api/models", "/api/images/p20", "/static/index.html"):
        head, get = app.http.head(path), app.http.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(get.content))
        assert head.headers.get("etag") == get.headers.get("etag")
    assert app.http.head("/api/search").status_code == 405


def quoted(id_):
    from urllib.parse import quote

    return quote(id_, safe="")


def test_facets_count_under_the_other_fields_filters(each_app, products):
    where = {"gender": ["Women"], "season": ["Summer"], "tags": ["new", "sale"]}
    query = [f"{name}={value}" for name, values in where.items() for value in values]

    told = each_app.get("/api/facets", where=query)

    answers.Facets.model_validate(told)

    def passes(product, left_out=None):
        return all(
            set(values) & set(several(product.fields[name]))
            for name, values in where.items()
            if name != left_out
        )

    assert told["count"] == sum(map(passes, products))
    assert set(told["fields"]) == {"gender", "season", "tags"}
    for name, facet in told["fields"].items():
        counts = {}
        for product in products:
            if passes(product, name):
                for value in several(product.fields[name]):
                    counts[value] = counts.get(value, 0) + 1
        expected = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        assert [(one["value"], one["count"]) for one in facet["values"]] == expected
        assert facet["more"] == 0


def several(cell):
    if cell is None:
        return []
    return [cell] if isinstance(cell, str) else cell


REFUSED = [
    ("search", {"k": 0}, 400, "k"),
    ("search", {"k": "many"}, 400, "k"),
    ("search", {"k": 10**9}, 400, "k"),
    ("search", {"colour": "red"}, 400, "colour"),
    ("search", {"where": "gender"}, 400, "field=value"),
    ("search", {"where": "size=L"}, 400, "size"),
    ("search", {"where": "gender=Woman"}, 400, "Women"),
    ("search", {"weight": "shape=1"}, 400, "shape"),
    ("search", {"weight": "colour"}, 400, "block=number"),
    ("search", {"weight": "colour=-1"}, 400, "colour=-1"),
    ("search", {"weight": "colour=nan"}, 400, "colour=nan"),
    ("search", {"weight": "colour=1e300"}, 400, "1000"),
    ("search", {"weight": ["colour=1", "colour=2"]}, 400, "twice"),
    ("search", {"weight": [f"{name}=0" for name in WEIGHTS]}, 400, "0"),
    ("search", {"crop": "1,2,3"}, 400, "crop"),
    ("search", {"crop": "0.5,0.5,0.6,0.1"}, 400, "crop"),
    ("search", {"crop": "0.5,0.5,0,0.1"}, 400, "crop"),
    ("search", {"crop": "0.5,0.5,0.001,0.1"}, 400, "outside"),
    ("search", {"crop": "0.5,0.5,0.1,0.1"}, 400, "small"),
    ("search", {"fold": "perhaps"}, 400, "fold"),
    ("search", {"version": -1}, 400, "version"),
    ("search", {"version": 4}, 404, "5, 3"),
    ("search", {"version": 10**25}, 400, "version"),
    ("search", {"model": "catalogue"}, 404, "catalog, plain"),
    ("search", {"model": "../catalog"}, 404, "catalog, plain"),
    ("search", {"where": ["gender=Men"] * 501}, 400, "500"),
    ("predict", {"k": 3}, 400, "k"),
    ("explain", {}, 400, "result"),
    ("explain", {"result": "nobody"}, 404, "nobody"),
    ("explain", {"result": "p20", "label": "subcategory"}, 400, "LEVEL=LABEL"),
    ("explain", {"label": "size=L"}, 400, "category, subcategory, gender"),
    ("explain", {"label": "subcategory=purple"}, 400, "purple"),
]


@pytest.mark.parametrize(("path", "query", "status", "word"), REFUSED)
def test_what_makes_no_sense_is_refused_in_a_sentence(each_app, path, query, status, word):
    told = each_app.post(path, search_model.picture(RED), status=status, **query)

    assert set(told) == {"detail"}
    assert word in told["detail"] and told["detail"].endswith((".", ".)"))


def test_a_parameter_that_counts_once_is_not_taken_twice(app):
    answer = app.http.post("/api/search?k=1&k=2", json={"id": "p20"})

    assert answer.status_code == 400 and '"k"' in answer.json()["detail"]


@pytest.mark.parametrize(("count", "word"), [(5_000, b"more than 2,000"), (10_000, b"Malformed")])
def test_thousands_of_filters_are_refused_and_the_next_is_answered(app, count, word):
    connection = http.client.HTTPConnection(app.http.base_url.host, app.http.base_url.port)

    connection.request("GET", f"/api/facets?{'&'.join(['where=a=b'] * count)}")
    answer = connection.getresponse()

    assert answer.status == 400 and word in answer.read()
    connection.close()
    assert app.search(id="p20")["results"]


@pytest.mark.parametrize("path", ["/api/products/nobody", "/api/images/nobody", "/api/nothing",
                                  "/api/products/", "/static/nothing.js", "/static/../api.py",
                                  "/static/%2e%2e/api.py", "/static/%00", "/static/"])  # fmt: skip
def test_what_is_not_there_is_404_in_a_sentence(app, path):
    assert app.get(path, 404)["detail"].endswith((".", "does."))


def test_a_method_that_is_not_there_is_405(app):
    answer = app.http.get("/api/search")

    assert answer.status_code == 405 and answer.headers["allow"] == "POST"


def test_an_unknown_product_is_404(each_app):
    assert "nobody" in each_app.search(id="nobody", status=404)["detail"]
    assert "nobody" in each_app.post("explain", id="nobody", result="p20", status=404)["detail"]


PICTURES = [
    (b"", 415),
    (b"GIF89a", 415),
    (b"%PDF-1.4 no picture", 415),
    (search_model.picture(RED)[:60], 400),
    (search_model.picture(RED, suffix="jpeg")[:400], 400),
]


@pytest.mark.parametrize(("content", "status"), PICTURES)
def test_no_picture_gets_its_status(app, content, status):
    for path, query in (("search", {}), ("predict", {}), ("search", {"crop": "0,0,1,1"})):
        assert app.post(path, content, status=status, **query)["detail"].endswith(".")


def test_a_bomb_is_refused_by_its_header(app):
    buffer = io.BytesIO()
    Image.new("1", (19_000, 19_000)).save(buffer, "PNG")
    assert len(buffer.getvalue()) < 1_000_000

    for query in ({}, {"crop": "0,0,0.5,0.5"}):
        assert "large" in app.search(buffer.getvalue(), status=413, **query)["detail"]
    small = io.BytesIO()
    Image.new("RGB", (4, 4)).save(small, "PNG")
    assert "small" in app.search(small.getvalue(), status=400)["detail"]


def test_what_only_the_model_finds_too_large_is_too_large(app):
    buffer = io.BytesIO()
    Image.new("1", (5_001, 5_000)).save(buffer, "PNG")

    told = app.post("predict", buffer.getvalue(), status=413)["detail"]

    assert told.startswith("The picture cannot be used: ") and told.endswith(".")


def test_a_jpeg_of_a_thousand_scans_is_refused(app):
    buffer = io.BytesIO()
    Image.new("RGB", (3000, 3000)).save(buffer, "JPEG", progressive=True)
    start = buffer.getvalue().rindex(b"\xff\xda")
    scan = buffer.getvalue()[start:-2]
    bomb = buffer.getvalue()[:-2] + scan * 500 + b"\xff\xd9"

    for query in ({}, {"crop": "0,0,0.5,0.5"}):
        assert "scans" in app.search(bomb, status=413, **query)["detail"]


def test_every_answer_carries_what_keeps_others_out(app):
    for path in ("/", "/api/models", "/api/nothing", "/api/images/p20", "/healthz"):
        headers = app.http.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'self'; img-src 'self'")
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_another_hosts_name_and_another_sites_page_are_refused(app):
    for host, status in (("localhost:1", 200), ("127.0.0.1", 200), ("[::1]:8080", 200),
                         ("evil.example", 403), ("localhost.evil.example:80", 403)):  # fmt: skip
        assert app.http.get("/api/models", headers={"host": host}).status_code == status
    for site, status in (("same-origin", 200), ("none", 200), ("cross-site", 403)):
        answer = app.http.post("/api/search", json={"id": "p20"}, headers={"sec-fetch-site": site})
        assert answer.status_code == status


def test_it_is_alive_and_ready(each_app):
    assert each_app.http.get("/healthz").text == "ok"
    assert each_app.http.get("/readyz").text == "ready"


def test_the_description_has_every_path_and_no_other_status(app):
    told = app.get("/openapi.json")

    assert set(told["paths"]) >= {"/api/models", "/api/facets", "/api/search", "/api/predict",
                                  "/api/explain", "/api/products/{id_}", "/api/images/{id_}",
                                  "/healthz", "/readyz"}  # fmt: skip
    body = told["paths"]["/api/search"]["post"]["requestBody"]["content"]
    assert set(body) == {"multipart/form-data", "application/json"}
    names = {one["name"] for one in told["paths"]["/api/search"]["post"]["parameters"]}
    assert names == {"model", "version", "k", "where", "exclude", "weight", "fold", "exact",
                     "expand", "crop"}  # fmt: skip
    for path in told["paths"].values():
        for operation in path.values():
            assert "422" not in operation["responses"]
    for unwanted in ("/docs", "/redoc"):
        assert app.http.get(unwanted).status_code == 404
