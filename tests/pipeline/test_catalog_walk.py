"""A walk over a catalog: one row a product, and it goes on where it was cut off."""

import csv
import fcntl
import itertools

import pytest

from pipeline.catalog_table import CatalogTable
from pipeline.catalog_walk import walk
from schema.errors import UserError
from serving.client import CatalogClient
from tests.serving.client.word_server import OLDER, WordServer

COLORS = ("red", "green", "blue")


@pytest.fixture
def words():
    server = WordServer()
    yield server
    server.stop()


@pytest.fixture
def client(words):
    with CatalogClient(words.endpoint, timeout_s=5) as client:
        yield client


@pytest.fixture
def shop(tmp_path):
    """A catalog of a hundred products; three of them cannot be asked about."""
    images = tmp_path / "images"
    images.mkdir()
    lines = ["id,name"]
    for i, color in zip(range(100), itertools.cycle(COLORS)):  # noqa: B905
        (images / f"{i}.jpg").write_bytes(color.encode())
        lines.append(f'{i},"the {color}\none"')
    (images / "7.jpg").write_bytes(b"torn")
    (images / "8.jpg").unlink()
    lines[10] += ",too many"
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    return CatalogTable(tmp_path / "labels.csv", images)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "answers" / "predictions.csv"


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_row_of_the_catalog_has_one_in_their_order(shop, client, out):
    tally = walk(client, shop, out)

    found = rows(out)
    expected = [COLORS[i % 3] for i in range(100)]
    expected[7] = expected[8] = expected[9] = ""
    assert [row["category"] for row in found] == expected
    assert [row["row"] for row in found] == [str(i) for i in range(2, 102)]
    assert [row["id"] for row in found] == [str(i) if i != 9 else "" for i in range(100)]
    assert found[0]["picture"] == "0.jpg"
    assert (found[0]["category_known"], found[0]["subcategory_known"]) == ("yes", "no")
    assert [found[i]["refused"] for i in (7, 8, 9)] == [
        "cannot be decoded: torn",
        "no picture: no file 8.jpg or another suffix",
        "wrong number of fields: 3 fields, 2 columns",
    ]
    assert (tally.rows, tally.answered, tally.known["category_known"]) == (100, 97, 97)
    assert tally.refused == {"cannot be decoded": 1, "no picture": 1, "wrong number of fields": 1}


def test_a_column_may_name_the_picture(client, tmp_path, out):
    (tmp_path / "pics" / "a").mkdir(parents=True)
    (tmp_path / "pics" / "a" / "x.jpg").write_bytes(b"green")
    (tmp_path / "labels.csv").write_text("sku;file\n1; a/x.jpg \n2;../labels.csv\n")
    table = CatalogTable(tmp_path / "labels.csv", tmp_path / "pics", id="sku", picture="file")
    walk(client, table, out)
    first, second = rows(out)
    assert (first["category"], first["picture"]) == ("green", "a/x.jpg")
    assert second["refused"] == "picture outside the images folder: ../labels.csv"


def test_of_several_pictures_in_a_cell_the_first_is_asked_about(client, tmp_path, out):
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics" / "x.jpg").write_bytes(b"green")
    (tmp_path / "labels.csv").write_text('sku,file\n1,"x.jpg, y.jpg"\n2,"[\'x.jpg\']"\n')
    table = CatalogTable(
        tmp_path / "labels.csv",
        tmp_path / "pics",
        id="sku",
        picture="file",
        picture_separator=",",
    )
    walk(client, table, out)
    assert [row["picture"] for row in rows(out)] == ["x.jpg", "x.jpg"]


class Interrupted(Exception):
    """Whatever ends a walk."""


def interrupted_after(count):
    def look(tally):
        if tally.rows == count:
            raise Interrupted

    return look


@pytest.mark.parametrize("cut", [0, 1, 7, 20])
@pytest.mark.parametrize("count", [1, 9, 60, 99])
def test_a_walk_that_was_cut_off_goes_on_behind_the_last_whole_row(shop, client, out, count, cut):
    whole = out.with_name("whole.csv")
    walk(client, shop, whole)
    with pytest.raises(Interrupted):
        walk(client, shop, out, on_progress=interrupted_after(count))
    with open(out, "r+b") as file:
        file.truncate(len(out.read_bytes()) - cut)
    kept = max(out.read_bytes().count(b"\n") - 1, 0)
    asked = []

    tally = walk(client, shop, out, on_progress=lambda tally: asked.append(tally.rows))

    assert out.read_bytes() == whole.read_bytes()
    assert (tally.rows, tally.resumed, tally.answered) == (100, kept, 97)
    assert asked[0] == kept


def test_a_finished_walk_asks_nothing_more_than_what_the_answers_are_like(shop, client, words, out):
    walk(client, shop, out)
    before = sum(words.sizes)
    tally = walk(client, shop, out)
    assert (tally.rows, tally.resumed) == (100, 100)
    assert sum(words.sizes) == before + 1


def test_rows_that_the_catalog_has_gained_are_asked_about(shop, client, out):
    walk(client, shop, out)
    with open(shop.csv, "a") as file:
        file.write("3,again\n")
    tally = walk(client, shop, out)
    assert (tally.rows, tally.resumed) == (101, 100)
    assert rows(out)[-1]["category"] == "red"


def test_another_version_of_the_model_is_named_and_begins_anew_if_asked(shop, client, words, out):
    with pytest.raises(Interrupted):
        walk(client, shop, out, on_progress=interrupted_after(30))
    before = out.read_bytes()
    words.version = 4
    with pytest.raises(UserError, match=r"begun with version 3 .* version 4 answers now.*--anew"):
        walk(client, shop, out)
    assert out.read_bytes() == before
    assert walk(client, shop, out, anew=True).resumed == 0
    assert {row["model_version"] for row in rows(out)} == {"4", ""}


def test_a_version_that_changes_on_the_way_stops_the_walk(shop, client, words, out):
    def mood(request):
        words.version = 3 if sum(words.sizes) < 60 else 4

    words.mood = mood
    with pytest.raises(UserError, match="Version 3 .* and version 4 answers row"):
        walk(client, shop, out, concurrency=1)
    assert {row["model_version"] for row in rows(out)} == {"3", ""}


def test_another_catalog_is_named(shop, client, out):
    walk(client, shop, out)
    before = out.read_bytes()
    lines = shop.csv.read_text().split("\n")
    shop.csv.write_text("\n".join([*lines[:5], *lines[7:]]))
    with pytest.raises(UserError, match=r"Row 4 of labels.csv is product '3', .* product '2'"):
        walk(client, shop, out)
    shop.csv.write_text("\n".join(lines[:5]) + "\n")
    with pytest.raises(UserError, match="has more rows than labels.csv"):
        walk(client, shop, out)
    assert out.read_bytes() == before


def test_another_model_with_other_labels_is_named(shop, client, words, out):
    walk(client, shop, out)
    words.extra = "gender"
    with pytest.raises(UserError, match="begun with the columns"):
        walk(client, shop, out)
    walk(client, shop, out, anew=True)
    assert rows(out)[0]["gender"] == "red"


def test_a_file_of_something_else_is_never_written_over(shop, client, out, tmp_path):
    out.parent.mkdir()
    out.write_text("id,price\n1,2\n")
    for anew in (False, True):
        with pytest.raises(UserError, match="was not written by this command"):
            walk(client, shop, out, anew=anew)
    assert out.read_text() == "id,price\n1,2\n"
    before = shop.csv.read_bytes()
    with pytest.raises(UserError, match="is the catalog itself"):
        walk(client, shop, shop.csv, anew=True)
    assert shop.csv.read_bytes() == before
    with pytest.raises(UserError, match="is no file"):
        walk(client, shop, tmp_path)


def test_a_broken_line_with_others_after_it_is_named(shop, client, out):
    walk(client, shop, out)
    lines = out.read_bytes().split(b"\n")
    lines[50] = b"nonsense"
    out.write_bytes(b"\n".join(lines))
    with pytest.raises(UserError, match="has a broken line behind row 50"):
        walk(client, shop, out)


def test_two_walks_do_not_write_one_file(shop, client, out):
    walk(client, shop, out)
    with open(out, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="Another walk is writing"):
            walk(client, shop, out)


def test_a_server_that_goes_away_leaves_what_was_answered(shop, words, out):
    def mood(request):
        if sum(words.sizes) > 40:
            raise RuntimeError("gone")

    words.mood = mood
    with (
        CatalogClient(words.endpoint, timeout_s=0.5) as client,
        pytest.raises(UserError, match="refused"),
    ):
        walk(client, shop, out, concurrency=1)
    assert 0 < len(rows(out)) < 100
    words.mood = lambda request: None
    with CatalogClient(words.endpoint) as client:
        assert walk(client, shop, out).rows == 100


def test_an_older_model_is_walked_as_well(shop, client, words, out):
    words.signatures = OLDER
    assert walk(client, shop, out).answered == 97
    assert rows(out)[0]["category_known"] == ""


def test_a_catalog_without_rows_is_named(client, tmp_path, out):
    (tmp_path / "labels.csv").write_text("id\n\n")
    with pytest.raises(UserError, match="has no rows"):
        walk(client, CatalogTable(tmp_path / "labels.csv", tmp_path), out)


def test_memory_does_not_grow_with_the_rows(client, tmp_path, out):
    """However many rows there are, a few requests' worth of them is held."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0.jpg").write_bytes(b"red")
    with open(tmp_path / "labels.csv", "w") as file:
        file.write("id\n")
        file.writelines(f"{i % 2}\n" for i in range(3000))
    most = 0
    table = CatalogTable(tmp_path / "labels.csv", tmp_path / "images")
    rows_of = client.predict_many

    def watched(questions, **options):
        nonlocal most
        given = 0

        def counted():
            nonlocal given
            for question in questions:
                given += 1
                yield question

        for taken, result in enumerate(rows_of(counted(), **options)):
            most = max(most, given - taken)
            yield result

    client.predict_many = watched
    assert walk(client, table, out, concurrency=2).answered == 1500
    assert most <= 4 * 32 + 33
