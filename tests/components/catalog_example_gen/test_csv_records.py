"""Every line of a CSV belongs to a record, however its quotes stand."""

import codecs
import gzip
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from components.catalog_example_gen.csv_records import CsvRecords, Lines, Record
from components.catalog_example_gen.rejects import Reason
from schema.errors import UserError

HEADER = "id,kind,text,color"


def read(text: str | bytes, encoding: str = "utf-8-sig", delimiter: str = ","):
    content = text.encode() if isinstance(text, str) else text
    records = CsvRecords(io.BytesIO(content), encoding, delimiter, "labels.csv")
    records.require(["id", "kind", "color"], "id", "kind")
    return records


def read_all(text: str | bytes, **options: str) -> tuple[CsvRecords, list[Record]]:
    records = read(text, **options)
    return records, list(records)


WORDS = st.text("abc äß,;'", max_size=8)

# A kind of record, and what it is made of.
ROWS = st.tuples(st.sampled_from(["sound", "quoted", "several lines"]), st.lists(WORDS, max_size=4))
STRAY = st.tuples(st.sampled_from(["opens", "opens text", "closes", "lone"]), st.just([]))
BLANK = st.tuples(st.just("blank"), st.just([]))


def written(number: int, kind: str, words: list[str]) -> str:
    name = ("Top", "Bag")[number % 2]
    return {
        "sound": f"{number},{name},{' '.join(words).replace(',', ' ')},red",
        "quoted": f'{number},{name},"x{", ".join(words)} ""y""",red',
        # Never as many fields as a row.
        "several lines": f'{number},{name},"x' + "\n".join([*words, ",,,,,", "end"]) + '",red',
        "opens": f'{number},{name},text,"red',
        "opens text": f'{number},{name},"text,red',
        "closes": f'{number},{name},text,red"',
        "lone": f'{number},{name},te"xt,red',
        "blank": "",
    }[kind]


@given(st.lists(st.one_of(ROWS, ROWS, STRAY, BLANK), max_size=20), st.sampled_from(["\n", "\r\n"]))
@example([("opens", []), ("sound", ["a"]), ("sound", ["b"]), ("closes", [])], "\n")
@example([("sound", []), ("opens text", []), ("sound", []), ("quoted", ["a"])], "\n")
@example([("opens", []), ("several lines", ["a"]), ("sound", [])], "\r\n")
def test_a_stray_quote_costs_its_own_row_alone(made, line_end):
    lines = [written(number, kind, words) for number, (kind, words) in enumerate(made)]
    text = "\n".join([HEADER, *lines, ""]).replace("\n", line_end)
    records, found = read_all(text)
    sound = {
        str(number)
        for number, (kind, _) in enumerate(made)
        if kind in ("sound", "quoted", "several lines", "closes", "lone")
    }
    opened = {str(number) for number, (kind, _) in enumerate(made) if kind.startswith("opens")}
    accepted = [one.fields[0] for one in found if not one.fault and len(one.fields) == 4]
    assert len(accepted) == len(set(accepted))
    assert set(accepted) <= sound | opened
    faulty = {one.fields[0] for one in found if one.fault}
    assert faulty <= opened
    assert sound <= set(accepted)
    assert opened <= faulty | set(accepted)
    assert sum(records.lines) == text.count("\n")
    assert records.lines.rows == sum(one.line_count for one in found)


@given(st.text('ab,"\n\r ', max_size=80))
def test_lines_add_up_whatever_the_text(text):
    records, found = read_all(HEADER + "\n" + text)
    physical = len(io.StringIO(HEADER + "\n" + text, newline="").readlines())
    assert sum(records.lines) == physical
    assert records.lines.rows == sum(one.line_count for one in found)
    starts = [one.first_line for one in found]
    assert starts == sorted(set(starts))


def test_a_quote_that_ends_at_the_next_rows_quote_is_named():
    rows = [f"{number},Top,text,red" for number in range(20)]
    rows[2] = '2,Top,text,"red'
    rows[3] = '3,Top,"text, and more",red'
    _, found = read_all("\n".join([HEADER, *rows]))
    (faulty,) = [one for one in found if one.fault]
    assert (faulty.number, faulty.first_line, faulty.line_count) == (4, 4, 1)
    assert (faulty.fault.column, faulty.fault.reason) == ("color", Reason.STRAY_QUOTE)
    assert found[3].fields == ["3", "Top", "text, and more", "red"]


def test_fifteen_rows_that_one_cell_would_hold_are_rows_again():
    rows = [f"{number},{('Top', 'Bag')[number > 4]},text,red" for number in range(30)]
    rows[5] = '5,Bag,text,"red'
    rows[20] = '20,Bag,text,red"'
    records, found = read_all("\n".join([HEADER, *rows]))
    assert [one.fields[0] for one in found] == [str(number) for number in range(30)]
    (faulty,) = [one for one in found if one.fault]
    assert faulty.fault.found.startswith("a quote opens in line 7 and closes in line 22")
    assert records.lines == Lines(header=1, rows=30, blank=0)
    (sentence,) = records.sentences()
    assert sentence.startswith("labels.csv, column `color`: a quote opens in line 7")


def test_text_of_several_lines_stays_one_cell():
    text = "Soft, warm, light, red\nWashable, at 30, or 40, degrees\n\nand nothing more"
    _, found = read_all(f'{HEADER}\n1,Top,"{text}",red\n2,Bag,x,red\n')
    assert [one.fields for one in found] == [["1", "Top", text, "red"], ["2", "Bag", "x", "red"]]


def test_many_stray_quotes_are_counted_behind_the_first_three():
    rows = [f'{number},Top,text,"red' for number in range(10)]
    records, found = read_all("\n".join([HEADER, *rows]))
    assert [one.fault.reason for one in found] == [Reason.STRAY_QUOTE] * 10
    assert [*records.sentences()][3:] == ["7 more quotes of that kind are in rejects.csv."]


def test_a_quote_in_the_first_of_many_rows_is_given_up_after_131072_letters():
    rows = [f"{number},Top,text,red" for number in range(20_000)]
    rows[0] = '0,Top,"text,red'
    records, found = read_all("\n".join([HEADER, *rows]))
    assert "is not closed in 131,072 letters" in found[0].fault.found
    assert len(found) == 20_000
    assert not any(one.fault for one in found[1:])


def test_a_cell_of_one_huge_line_is_a_fault_of_its_own():
    _, found = read_all(f"{HEADER}\n1,Top,{'x' * 200_000},red\n2,Top,x,red\n")
    assert found[0].fault.reason == Reason.TOO_LONG
    assert found[1].fields == ["2", "Top", "x", "red"]


def test_a_quote_in_the_header_is_named():
    with pytest.raises(UserError, match="quote that opens in line 1 closes in line 3"):
        read('id,"kind,text,color\n1,Top,x,red\n2,Top"x,x,red\n')


@pytest.mark.parametrize("marks", ["", "\ufeff", "\ufeff\ufeff"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "UTF8"])
def test_byte_order_marks_are_no_letters(marks, encoding):
    records = read(f'{marks}"id",kind,text,color\n1,Top,x,red\n', encoding=encoding)
    assert records.header == ["id", "kind", "text", "color"]


@pytest.mark.parametrize(
    "heading", ["kind\u200b", "\u00adkind", "\u00a0kind ", "ki\u2060nd", "kind\t"]
)
def test_what_nobody_sees_in_a_heading_does_not_matter(heading):
    assert read(f"id,{heading},text,color\n").header[1] == "kind"


@pytest.mark.parametrize("letter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_a_line_that_names_the_delimiter_is_followed(letter, quote):
    text = f"{quote}sep={letter}{quote}\r\n" + f"{HEADER}\r\n1,Top,x,red\r\n".replace(",", letter)
    records, (record,) = read_all(text)
    assert record.fields == ["1", "Top", "x", "red"]
    assert records.lines == Lines(header=2, rows=1)


@pytest.mark.parametrize(("delimiter", "letter"), [(";", ";"), ("tab", "\t"), ("|", "|")])
def test_another_delimiter_is_guessed_and_works_when_set(delimiter, letter):
    text = f'{HEADER},"price, EUR"\n1,Top,x,red,3\n'.replace(",", letter).replace(
        f"price{letter}", "price,"
    )
    with pytest.raises(UserError, match="separated by (tabs|`.`): set `catalog.delimiter` to "):
        read(text)
    _, (record,) = read_all(text, delimiter=delimiter)
    assert record.fields == ["1", "Top", "x", "red", "3"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("letter", [",", "\t"])
def test_an_encoding_that_its_mark_tells_is_named(encoding, letter):
    text = f"{HEADER}\n1,Top,x,red\n".replace(",", letter).encode(encoding)
    with pytest.raises(UserError) as error:
        read(text)
    assert f"Set it to {encoding}." in str(error.value)
    assert ("`catalog.delimiter` to tab as well" in str(error.value)) == (letter == "\t")
    delimiter = "tab" if letter == "\t" else ","
    _, (record,) = read_all(text, encoding=encoding, delimiter=delimiter)
    assert record.fields == ["1", "Top", "x", "red"]


def test_utf_16_without_a_mark_and_utf_8_under_another_name_are_named():
    text = f"{HEADER}\n1,Top,x,red\n"
    with pytest.raises(UserError, match="utf-16-le or utf-16-be"):
        read(text.encode("utf-16-le"))
    with pytest.raises(UserError, match="mark of UTF-8, and `catalog.encoding` is iso8859-1"):
        read(codecs.BOM_UTF8 + text.encode(), encoding="latin-1")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (gzip.compress(HEADER.encode()), "is gzip, not a CSV. Unpack it"),
        (b"PK\x03\x04" + bytes(50), "is a workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is a workbook"),
        (b"<!doctype html><html>", "is a web page"),
        (b"PAR1" + bytes(50), "is a Parquet file"),
    ],
    ids=["gzip", "xlsx", "xls", "html", "parquet"],
)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_a_file_that_is_no_csv_is_named(content, expected, encoding):
    with pytest.raises(UserError) as error:
        read(content, encoding=encoding)
    assert expected in str(error.value)
    assert str(error.value).isprintable()


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=4))
def test_no_heading_reaches_a_terminal_unescaped(headings):
    text = io.StringIO(newline="")
    text.write("\x1b[31m,")
    text.write(",".join('"' + heading.replace('"', '""') + '"' for heading in headings))
    with pytest.raises(UserError) as error:
        read(text.getvalue() + "\n")
    assert str(error.value).isprintable()


@pytest.mark.parametrize("encoding", ["utf-9", "base64", "rot13"])
def test_an_encoding_that_is_none_of_text_is_named(encoding):
    with pytest.raises(UserError, match=f"`{encoding}` is not a text encoding"):
        read(HEADER, encoding=encoding)
