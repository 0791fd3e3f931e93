"""CSV files as catalogs have them."""

import io
import itertools
import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from components.catalog_example_gen.rejects import Reason, Reject
from components.catalog_example_gen.rows import Columns, Product, Row, read_rows, survey
from schema.errors import UserError

COLUMNS = Columns(
    id="id",
    picture=None,
    category="kind",
    subcategory="type",
    attributes=("season",),
    slices=("gender",),
    separator="|",
)
BY_PATH = Columns("id", "file", "kind", "kind", (), (), "|")
HEADER = "id,kind,type,season,gender,name\n"
SOUND = "1,Top,Shirt,Summer,Men,x\n"


def rows(
    text: str | bytes,
    encoding: str = "utf-8-sig",
    columns: Columns = COLUMNS,
    domains: Mapping[str, Sequence[str]] | None = None,
) -> list[Row]:
    content = text if isinstance(text, bytes) else text.encode()
    return list(read_rows(io.BytesIO(content), encoding, columns, domains or {}))


def results(text: str | bytes, **options: object) -> list[Product | Reject]:
    return [row.result for row in rows(text, **options)]


def reasons(text: str | bytes, **options: object) -> list[tuple[int, str, str]]:
    """(row, column, reason) of every reject."""
    return [
        (one.row, one.column, one.reason)
        for one in results(text, **options)
        if isinstance(one, Reject)
    ]


def test_a_row_becomes_a_product_whose_attributes_name_their_group() -> None:
    assert rows(HEADER + "1,Top,Shirt,Summer,Men,x\n") == [
        Row("1", Product(2, "1", "Top", "Shirt", ("season=Summer",), ("Men",)))
    ]


@pytest.mark.parametrize(
    ("cell", "carried"),
    [
        (b"x", "x"),
        (b"  e\xcc\x81  two  blanks ", "  e\u0301  two  blanks "),
        (b'"12"" by\r\n7"", \x00\x1b[31m"', '12" by\r\n7", \0\x1b[31m'),
        ("\u200b\ufeff\U0001f45f\u202e".encode(), "\u200b\ufeff\U0001f45f\u202e"),
        (b"long " * 2_000, "long " * 2_000),
        (b"caf\xe9 \xff", "caf\ufffd \ufffd"),
        (b" \t ", ""),
        (b"", ""),
    ],
)
def test_a_field_is_carried_as_it_stands_and_costs_no_row(cell: bytes, carried: str) -> None:
    text = HEADER.encode() + b"1,Top,Shirt,Summer,Men," + cell + b"\n"
    assert results(text, columns=replace(COLUMNS, fields=("name",))) == [
        Product(2, "1", "Top", "Shirt", ("season=Summer",), ("Men",), fields=(carried,))
    ]


def test_a_field_that_is_the_column_of_pictures_is_judged_as_that() -> None:
    by_path = replace(BY_PATH, fields=("file", "price"))
    text = "id,file,kind,price\n1, a.jpg,Top,9\n2,../b.jpg,Top,9\n"
    sound, rejected = results(text, columns=by_path)
    assert sound.fields == (" a.jpg", "9")
    assert rejected.reason == Reason.OUTSIDE_IMAGES


def test_a_field_that_the_csv_does_not_have_is_named() -> None:
    with pytest.raises(UserError, match="labels.csv has no column `price`. It has .*`name`"):
        results(HEADER + SOUND, columns=replace(COLUMNS, fields=("name", "price")))


def test_several_attributes_in_a_cell_are_separated_and_doubles_dropped() -> None:
    (product,) = results(HEADER + "1,Top,Shirt, Summer | Fall||Summer,Men,x\n")
    assert product.attributes == ("season=Summer", "season=Fall")


def test_no_attribute_is_no_label_and_an_empty_slice_is_unknown() -> None:
    (product,) = results(HEADER + "1,Top,Shirt,,,x\n")
    assert product.attributes == ()
    assert product.slices == ("unknown",)


def test_na_is_a_value_like_any_other() -> None:
    (product,) = results(HEADER + "NA,NA,NA,NA,NA,NA\n")
    assert product == Product(2, "NA", "NA", "NA", ("season=NA",), ("NA",))


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_marks_do_not_matter(line_end: str, mark: str) -> None:
    text = mark + (HEADER + SOUND + "2,Top,Shirt,Summer,Men,x\n").replace("\n", line_end)
    assert [one.id for one in results(text)] == ["1", "2"]


def test_quoted_commas_quotes_and_line_breaks_stay_in_their_cell() -> None:
    text = HEADER + '1,"Top, ""wide""",Shirt,Summer,Men,"two\nlines"\n2,Top,Shirt,,,x\n'
    first, second = results(text)
    assert first.category == 'Top, "wide"'
    assert (second.id, second.row) == ("2", 3)


def test_blanks_around_cells_and_blank_lines_and_empty_trailing_fields_are_forgiven() -> None:
    (product,) = results(HEADER + "\n 1 , Top ,Shirt,Summer,Men,x,,\n\n")
    assert (product.row, product.id, product.category) == (3, "1", "Top")


def test_latin_1_is_read_on_request() -> None:
    (product,) = results((HEADER + "1,Jupé,Shirt,,,x\n").encode("latin-1"), encoding="latin-1")
    assert product.category == "Jupé"


def test_bytes_in_another_encoding_reject_their_row_alone() -> None:
    text = (HEADER + "1,Jupé,Shirt,,,x\n").encode("latin-1") + b"2,Top,Shirt,,,x\n"
    first, second = results(text)
    assert first == Reject(2, "1", "kind", Reason.BAD_ENCODING, "Jup\\udce9")
    assert second.id == "2"


def test_a_column_that_is_not_read_may_hold_anything() -> None:
    (product,) = results(HEADER.encode() + b"1,Top,Shirt,,,\xff\xfe\n")
    assert product.id == "1"


@pytest.mark.parametrize(
    ("row", "column", "reason"),
    [
        ("1,Top,Shirt", "", Reason.WRONG_FIELDS),
        ("1,Top,Shirt,Summer,Men,x,more", "", Reason.WRONG_FIELDS),
        (",Top,Shirt,Summer,Men,x", "id", Reason.EMPTY_ID),
        ("1, ,Shirt,Summer,Men,x", "kind", Reason.EMPTY_LABEL),
        ("1,Top,,Summer,Men,x", "type", Reason.EMPTY_LABEL),
        ("1,Topp,Shirt,Summer,Men,x", "kind", Reason.UNKNOWN_LABEL),
        ("1,Top,Shirt,Monsoon,Men,x", "season", Reason.UNKNOWN_LABEL),
        ("../../etc/passwd,Top,Shirt,Summer,Men,x", "id", Reason.OUTSIDE_IMAGES),
    ],
)
def test_a_faulty_row_is_rejected_with_its_column_and_reason(
    row: str, column: str, reason: Reason
) -> None:
    domains = {"category": ["Top"], "attributes": ["season=Summer"]}
    text = HEADER + SOUND.replace("1", "9") + row + "\n"
    assert reasons(text, domains=domains) == [(3, column, reason)]


def test_an_open_level_takes_any_label() -> None:
    assert reasons(HEADER + "1,Top,Anything,Any,Men,x\n", domains={"category": ["Top"]}) == []


@pytest.mark.parametrize("path", ["../x.jpg", "a/../../x.jpg", "/etc/passwd", ".."])
def test_a_picture_path_may_not_leave_its_folder(path: str) -> None:
    (row,) = rows(f"id,file,kind\n1,{path},Top\n", columns=BY_PATH)
    # An absolute path may be that of a picture in the folder, which is looked for later.
    assert row.picture == ("" if ".." in path else path)
    assert row.result == Reject(2, "1", "file", Reason.OUTSIDE_IMAGES, path)


def test_a_picture_path_is_made_plain() -> None:
    (row,) = rows("id,file,kind\n1,./men//a/../x.jpg,Top\n", columns=BY_PATH)
    assert row.picture == "men/x.jpg"


def test_an_empty_picture_path_is_a_missing_picture() -> None:
    text = "id,file,kind\n1,,Top\n"
    assert reasons(text, columns=BY_PATH) == [(2, "file", Reason.MISSING_PICTURE)]


def test_a_rejected_row_still_tells_its_picture() -> None:
    (row,) = rows(HEADER + "77,,Shirt,,,x\n")
    assert row.picture == "77"


def test_a_quote_that_is_never_closed_rejects_its_row_alone() -> None:
    text = HEADER + '9,"Top,Shirt,,,x\n' + SOUND * 10_000
    first, *others = results(text)
    assert first[:4] == (2, "9", "kind", Reason.STRAY_QUOTE)
    assert {one.id for one in others} == {"1"}
    assert len(others) == 10_000


def test_a_row_of_several_lines_and_too_many_fields_is_rejected_with_its_lines() -> None:
    (one,) = results(HEADER + '1,Top,Shirt,Summer,Men,"x\nand y",more\n')
    assert one.reason == Reason.WRONG_FIELDS
    assert one.found.startswith("7 fields in lines 2 to 3, 6 columns: ")


def test_a_missing_column_is_named_with_those_that_are_there() -> None:
    with pytest.raises(UserError, match=r"no column `season`.* has `id`, `kind`, `type`, `gender`"):
        rows("id,kind,type,gender\n1,a,b,c\n")


def test_another_delimiter_than_the_comma_is_guessed() -> None:
    with pytest.raises(UserError, match="separated by `;`: set `catalog.delimiter` to ';'"):
        rows(HEADER.replace(",", ";") + SOUND)


@pytest.mark.parametrize("column", ["id", "kind", "type", "season", "gender"])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a\x00b", Reason.CONTROL_CHARACTER),
        ("\x1b[31m", Reason.CONTROL_CHARACTER),
        ("x" * 201, Reason.TOO_LONG),
        ("x" * 10_000, Reason.TOO_LONG),
    ],
    ids=["nul", "escape", "201 letters", "10,000 letters"],
)
def test_text_that_cannot_be_a_label_rejects_its_row(column: str, text: str, reason: str) -> None:
    row = {"id": "1", "kind": "Top", "type": "Shirt", "season": "", "gender": "", "name": ""}
    (one,) = results(HEADER + ",".join((row | {column: text}).values()) + "\n")
    assert (one.column, one.reason) == (column, reason)
    assert one.found.isprintable()
    assert len(one.found) <= 1000


@pytest.mark.parametrize("column", ["id", "kind", "type", "season", "gender"])
def test_text_in_other_bytes_is_normalized_everywhere(column: str) -> None:
    row = {"id": "1", "kind": "Top", "type": "Shirt", "season": "s", "gender": "m", "name": ""}
    odd = '"\ufeffDe\u0301col\u00adlete\u0301\r\n\u00a0 B\u200b"'
    (one,) = results(HEADER + ",".join((row | {column: odd}).values()) + "\n")
    said = [one.id, one.category, one.subcategory, *one.attributes, *one.slices]
    assert sum(text.removeprefix("season=") == "D\u00e9collet\u00e9 B" for text in said) == 1


def test_a_list_in_an_attribute_cell_gives_its_items() -> None:
    (one,) = results(HEADER + '1,Top,Shirt,"[""Sum|mer"", ""Fall""]",Men,x\n')
    assert one.attributes == ("season=Sum|mer", "season=Fall")


FLAGS = Columns(
    "id", None, "kind", "kind", (), (), "|", flags={"pattern": ["striped", "dots"], "fit": ["slim"]}
)


@pytest.mark.parametrize("yes", ["1", "1.0", "TRUE", " yes ", "Y"])
@pytest.mark.parametrize("no", ["0", "0.0", "-1", "False", "no", ""])
def test_a_flag_is_a_label_where_it_says_yes(yes: str, no: str) -> None:
    text = f"id,kind,striped,dots,slim\n1,Top,{yes},{no},{yes}\n"
    (one,) = results(text, columns=FLAGS)
    assert one.attributes == ("pattern=striped", "fit=slim")


def test_a_flag_that_says_something_else_rejects_its_row() -> None:
    text = "id,kind,striped,dots,slim\n1,Top,2,0,1\n2,Top,0,maybe,1\n"
    assert reasons(text, columns=FLAGS) == [
        (2, "striped", Reason.NOT_A_FLAG),
        (3, "dots", Reason.NOT_A_FLAG),
    ]


def test_a_schema_that_lists_a_label_in_other_bytes_allows_it() -> None:
    domains = {"category": ["De\u0301collete\u0301"]}
    assert reasons(HEADER + "1,D\u00e9collet\u00e9,Shirt,,,x\n", domains=domains) == []


def test_a_doubled_column_is_refused() -> None:
    with pytest.raises(UserError, match="`kind` more than once"):
        rows("id,kind,kind,type,season,gender\n")


def test_an_empty_file_and_a_wrong_encoding_are_told_apart() -> None:
    with pytest.raises(UserError, match="is empty"):
        rows("")
    with pytest.raises(UserError, match="`utf-9` is not a text encoding"):
        rows(HEADER, encoding="utf-9")
    with pytest.raises(UserError, match="not in the encoding `utf-16`"):
        rows(HEADER, encoding="utf-16")


def surveyed(text: str, columns: Columns = COLUMNS):
    return survey(io.BytesIO(text.encode()), "utf-8-sig", columns)


def test_the_survey_counts_the_rows_of_each_category_and_not_blank_lines() -> None:
    found = surveyed(HEADER + SOUND + "\n" + "2, Bag,Tote,,,x\n3,Bag,Tote,,,x\n4\n")
    assert found.rows == 4
    assert found.sizes == {"Top": 1, "Bag": 2, "": 1}


def test_a_csv_without_rows_or_with_one_category_is_refused() -> None:
    with pytest.raises(UserError, match="no rows"):
        surveyed(HEADER)
    with pytest.raises(UserError, match="fewer than two different values in column `kind`"):
        surveyed(HEADER + SOUND + "2,,Shirt,,,x\n")


BY_SPLIT = replace(BY_PATH, picture=None, split="part")


def test_a_column_gives_the_split_by_any_of_its_names() -> None:
    names = ["train", "val", " Validation ", "eval", "TEST", "query", "gallery"]
    lines = [f"{number},Top,{name}" for number, name in enumerate(names)]
    products = results("\n".join(["id,kind,part", *lines]), columns=BY_SPLIT)
    assert [product.split for product in products] == [
        *("train", "eval", "eval", "eval", "test", "test", "test")
    ]


def test_a_split_of_another_name_or_none_rejects_its_row() -> None:
    text = "id,kind,part\n1,Top,holdout\n2,Top,\n3,Top,train\n"
    assert reasons(text, columns=BY_SPLIT) == [
        (2, "part", Reason.UNKNOWN_SPLIT),
        (3, "part", Reason.UNKNOWN_SPLIT),
    ]


def test_the_survey_tells_which_splits_the_csv_gives() -> None:
    text = "id,kind,part\n1,Top,train\n2,Bag,query\n3,Bag,what\n"
    assert surveyed(text, BY_SPLIT).splits == {"train", "test"}
    assert surveyed(HEADER + SOUND + "2,Bag,Tote,,,x\n").splits == set()


class _Endless(io.RawIOBase):
    """A CSV of so many rows that is nowhere whole."""

    def __init__(self, number_of_rows: int) -> None:
        self._lines = itertools.chain(
            [HEADER.encode()],
            (f"{n},Top,Shirt,Été,Men,x\n".encode("latin-1") for n in range(number_of_rows)),
        )
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:
        while len(self._left) < len(buffer) and (line := next(self._lines, None)):
            self._left += line
        taken, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


def test_a_long_csv_is_read_in_as_little_memory_as_a_short_one() -> None:
    peaks = []
    for number in (2_000, 20_000):
        tracemalloc.start()
        read = read_rows(io.BufferedReader(_Endless(number)), "latin-1", COLUMNS, {})
        assert sum(row.result.attributes == ("season=Été",) for row in read) == number
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
