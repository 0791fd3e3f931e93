"""A catalog's CSV is read as it is, and written again with nothing changed but what should be."""

import csv
import gzip
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.catalog_table import CatalogCsv, CatalogTable, padded, with_cells
from pipeline.config import Catalog
from schema.errors import UserError


@pytest.fixture
def written(tmp_path):
    def write(content: bytes | str):
        path = tmp_path / "labels.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def test_rows_have_the_numbers_of_a_spreadsheet_and_blank_lines_none(written):
    path = written('id,name\r\n1,"two\nlines"\r\n\r\n2,b\r\n')
    rows = list(CatalogCsv(path, "utf-8", ["id"]).rows())
    assert [(row.number, row.fields) for row in rows] == [(2, ["1", "two\nlines"]), (4, ["2", "b"])]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_the_one_that_gives_the_columns(written, delimiter):
    catalog = CatalogCsv(written(f"id{delimiter}a b\n1{delimiter}x\n"), "utf-8-sig", ["id"])
    assert (catalog.delimiter, catalog.header) == (delimiter, ["id", "a b"])


@pytest.mark.parametrize(
    "heading", ['"long\nname";a b', "x\u2028y;a b", "x\x85y;a b", 'x;"in\r\ntwo";a b']
)
def test_the_delimiter_is_found_in_headings_of_several_lines(written, heading):
    content = f"{heading};id\n{'x;' * heading.count(';')}y;1\n"
    catalog = CatalogCsv(written(content), "utf-8-sig", ["id", "a b"])
    assert (catalog.delimiter, catalog.header[-2:]) == (";", ["a b", "id"])
    assert [row.fields[-1] for row in catalog.rows()] == ["1"]


@pytest.mark.parametrize(
    ("configured", "header"),
    [(",", ["x;id;a", "id"]), (";", ["x", "id", "a,id"]), ("|", ["x;id;a", "id"])],
)
def test_where_several_would_do_it_is_the_config_s(written, configured, header):
    path = written("x;id;a,id\n1;2;3,4\n")
    options = {"folder": "/shop", "category": "kind", "subcategory": "type"}
    table = CatalogTable.from_options(Catalog(**options, delimiter=configured))
    catalog = CatalogCsv(path, "utf-8", ["id"], delimiter=table.delimiter)
    assert catalog.header == header


@pytest.mark.parametrize("above", ["", "\ufeff", "\ufeff\ufeff", "sep=;\r\n", "\ufeffsep=;\n"])
@pytest.mark.parametrize("heading", ["a b", "a\u00a0b\u200b", " a b", '"a b"'])
def test_what_nobody_sees_and_the_line_above_the_header_do_not_matter(written, above, heading):
    content = f"{above}id;{heading}\n1;x\n"
    catalog = CatalogCsv(written(content), "utf-8", ["id", "a b"])
    assert catalog.header == ["id", "a b"]
    assert [(row.number, row.fields) for row in catalog.rows()] == [(2, ["1", "x"])]
    assert "".join(record.text for record in catalog.records()) == content


@pytest.mark.parametrize(
    ("encoding", "content", "mark"),
    [
        ("utf-8-sig", "\ufeffid\né\n".encode(), b"\xef\xbb\xbf"),
        ("utf-8-sig", "id\né\n".encode(), b""),
        ("utf-16", "\ufeffid\né\n".encode("utf-16-be"), b"\xfe\xff"),
        ("latin-1", "id\né\n".encode("latin-1"), b""),
    ],
)
def test_text_becomes_the_bytes_that_it_was(written, encoding, content, mark):
    catalog = CatalogCsv(written(content), encoding, ["id"])
    records = list(catalog.records())
    assert catalog.mark == mark
    assert records[1].fields == ["é"]
    assert mark + b"".join(catalog.encoded(record.text) for record in records) == content


def test_rows_below_a_quote_that_nobody_closed_are_rows(written):
    content = (
        'id,kind,name\n1,Shoe,a\n2,Bag,"b\n3,Shoe,c\n4,Bag,"d"\n5,Shoe,"two\nlines"\n6,Bag,"x\n'
    )
    catalog = CatalogCsv(written(content), "utf-8", ["id"], "kind")
    rows = list(catalog.rows())
    assert [(row.number, row.fields[0], bool(row.fault)) for row in rows] == [
        *((2, "1", False), (3, "2", True), (4, "3", False)),
        *((5, "4", False), (6, "5", False), (7, "6", True)),
    ]
    assert "opens in line 3" in rows[1].fault.found
    assert "".join(record.text for record in catalog.records()) == content


@pytest.mark.parametrize("blank_above", ["", "\n", " \r\n\r\n"])
@pytest.mark.parametrize("category", [None, "kind", "not there"])
def test_nothing_of_a_file_is_lost_whatever_stands_where(written, blank_above, category):
    content = f'sep=;\n{blank_above}id;kind\n\n1;"a\n\n2;b\n;;\n"3;c'
    catalog = CatalogCsv(written(content), "utf-8", ["id"], category)
    assert "".join(record.text for record in catalog.records()) == content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(b"id\n1\n", mtime=0), "is gzip, not a CSV. Unpack it"),
        (b"PK\x03\x04rest", "is a workbook"),
        ("\ufeffid\n1\n".encode("utf-16-le"), "byte order mark of UTF-16, and `--encoding, or"),
        ("id,name\n1,a\n".encode("utf-16-le"), "has no column"),
    ],
)
def test_what_is_no_csv_in_this_encoding_is_named(written, content, said):
    with pytest.raises(UserError, match=said):
        CatalogCsv(written(content), "utf-8-sig", ["id"])


@given(st.binary(max_size=200))
def test_any_bytes_become_the_bytes_that_they_were(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "labels.csv"
    path.write_bytes(b"id,name\n" + content)
    catalog = CatalogCsv(path, "utf-8-sig", ["id"])
    assert b"".join(catalog.encoded(record.text) for record in catalog.records()) == (
        b"id,name\n" + content
    )


@pytest.mark.parametrize(
    ("content", "encoding", "said"),
    [
        ("", "utf-8", "is empty"),
        ("sku,name\n", "utf-8", "has no column `id`. It has `sku`, `name`"),
        ("id,id\n", "utf-8", "has the column `id` more than once"),
        ("id\n", "utf-99", "is not a text encoding"),
        (b"\x00\xd8\x00\x00i", "utf-16", "is not in the encoding `utf-16`"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(written, content, encoding, said):
    with pytest.raises(UserError, match=said):
        list(CatalogCsv(written(content), encoding, ["id"]).records())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.csv cannot be read: No such file"):
        CatalogCsv(tmp_path / "none.csv", "utf-8", ["id"])


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("1,,x\r\n", {1: "new"}, "1,new,x\r\n"),
        ('1,"",x', {1: "new"}, '1,"new",x'),
        ("1,  ,x\n", {1: "a,b"}, '1,"a,b",x\n'),
        ('"say ""hi"", ok",,', {1: 'a "b"', 2: "c"}, '"say ""hi"", ok","a ""b""",c'),
        ('a"b"c,,d\n', {1: "new"}, 'a"b"c,new,d\n'),
        ('"a"b,,"two\nlines"\n', {1: "new"}, '"a"b,new,"two\nlines"\n'),
        ("1,,,,\n", {1: "new"}, "1,new,,,\n"),
        ('"a\rb",\n', {1: "x\ry"}, '"a\rb","x\ry"\n'),
    ],
)
def test_cells_are_changed_and_all_around_them_stays(text, values, expected):
    assert with_cells(text, ",", values) == expected


def test_a_row_whose_quotes_never_end_is_left_alone():
    assert with_cells('1,,"never, never\n', ",", {1: "new"}) is None


cells = st.text(st.sampled_from('ab ,;"\n='), max_size=6)


@given(
    st.lists(cells, min_size=2, max_size=6),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(",;"),
    st.sampled_from(["\n", "\r\n", ""]),
    cells,
    st.data(),
)
def test_any_row_says_the_same_but_for_the_changed_cell(fields, quoting, mark, end, value, data):
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=mark, quoting=quoting, lineterminator="\r\n").writerow(fields)
    row = text.getvalue().removesuffix("\r\n") + end
    place = data.draw(st.integers(0, len(fields) - 1))
    changed = with_cells(row, mark, {place: value})
    assert changed is not None
    read = list(csv.reader(io.StringIO(changed, newline=""), delimiter=mark))
    assert read == [[*fields[:place], value, *fields[place + 1 :]]]
    assert changed.endswith(end)


def test_empty_cells_beyond_the_last_column_do_not_count():
    assert padded(["1", "a", "", " "], 2) == ["1", "a"]
    assert padded(["1", "a", "b"], 2) == ["1", "a", "b"]


def test_a_config_says_what_the_columns_are():
    catalog = Catalog(
        folder="shop", id="sku", picture="file", category="kind", subcategory="type",
        attributes=["season"], separator="/", encoding="latin-1",
    )  # fmt: skip
    table = CatalogTable.from_options(catalog)
    assert (str(table.csv), str(table.images)) == ("shop/labels.csv", "shop/images")
    assert (table.id, table.picture, table.category, table.subcategory) == (
        *("sku", "file", "kind", "type"),
    )
    assert (table.attributes, table.separator, table.encoding) == (("season",), "/", "latin-1")
    with pytest.raises(UserError, match="deepfashion_fine, and only a CSV can be walked"):
        CatalogTable.from_options(Catalog(folder="df", format="deepfashion_fine"))
