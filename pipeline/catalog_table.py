"""A catalog's CSV read row by row, each with the very text that it was made of.

The ingest reads a CSV to learn from it and rejects what it cannot learn from. Here rows without
labels are as good as others, and the text is kept so that the file can be written again with
nothing changed but what is meant to be.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from components.catalog_example_gen.csv_records import SEPARATOR_LINE
from components.catalog_example_gen.rejects import printable
from pipeline.config import Catalog
from schema.errors import UserError
from schema.labels import normalized

_DELIMITERS = ",;\t|"

# Encodings that begin with a mark, and what each mark says the rest is written in.
_MARKS = {
    "utf-8-sig": {codecs.BOM_UTF8: "utf-8", b"": "utf-8"},
    "utf-16": {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"},
    "utf-32": {codecs.BOM_UTF32_LE: "utf-32-le", codecs.BOM_UTF32_BE: "utf-32-be"},
}


@dataclass(frozen=True)
class CatalogTable:
    """Where a catalog's CSV and pictures are, and what its columns mean.

    Attributes:
        csv: The file.
        images: The folder of pictures.
        encoding: Text encoding of the CSV.
        id: Column that identifies a product.
        picture: Column with the picture's path below `images`; without it the picture is the file
            of the product's id.
        picture_separator: What separates several pictures in a cell, of which the first is asked
            about; None where each names one.
        category: Column of the first level; None where nobody said.
        subcategory: Column of the second level; None where nobody said.
        attributes: Attribute columns; None where nobody said.
        separator: What separates several labels in an attribute cell.
        links: Whether links may lead out of `images`.
    """

    csv: Path
    images: Path
    encoding: str = "utf-8-sig"
    id: str = "id"
    picture: str | None = None
    picture_separator: str | None = None
    category: str | None = None
    subcategory: str | None = None
    attributes: tuple[str, ...] | None = None
    separator: str = "|"
    links: bool = False

    @classmethod
    def from_options(cls, catalog: Catalog) -> CatalogTable:
        """What the config's section `catalog` says.

        Raises:
            UserError: the catalog has annotation files in place of a CSV.
        """
        if catalog.format != "csv":
            raise UserError(
                f"The config's catalog.format is {catalog.format}, and only a CSV can be walked. "
                "Name the pictures themselves: `seamline predict IMAGE...`."
            )
        return cls(
            csv=Path(catalog.folder, catalog.labels_csv),
            images=Path(catalog.folder, catalog.images),
            encoding=catalog.encoding,
            id=catalog.id,
            picture=catalog.picture,
            picture_separator=catalog.picture_separator,
            category=catalog.category,
            subcategory=catalog.subcategory,
            attributes=tuple(catalog.attributes),
            separator=catalog.separator,
            links=catalog.links,
        )


class Record(NamedTuple):
    """One row.

    Attributes:
        number: As a spreadsheet shows it: the header is row 1, and 0 is Excel's `sep=` above it.
        text: What it was made of, its line end included.
        fields: Its cells.
    """

    number: int
    text: str
    fields: list[str]


class CatalogCsv:
    """A catalog's CSV: its header, its dialect, and its rows as often as they are asked for.

    Args:
        path: The file; its cells may be separated by commas, semicolons, tabs or bars.
        encoding: A text encoding of Python.
        required: Columns that it must have, each once.

    Raises:
        UserError: It cannot be read in this encoding, is empty, or lacks a column.
    """

    def __init__(self, path: Path, encoding: str, required: Sequence[str]):
        self.path = path
        self._encoding = encoding
        with self._open() as file:
            self.mark, self.written_encoding = self._begins(file.read(4))
        self._lines_above = 0
        with self._open() as file, self._readable():
            records = self._records(file, ",")
            first = next(records, None)
            if first and SEPARATOR_LINE.fullmatch(first.text):
                self._lines_above = 1
                first = next(records, None)
            if first is None:
                raise UserError(f"{path} is empty. It must begin with a line of column names.")
        self.delimiter, self.header = _dialect(first.text, required)
        missing = [column for column in required if column not in self.header]
        if missing:
            there = ", ".join(f"`{printable(column)}`" for column in self.header)
            raise UserError(
                f"{path} has no column {', '.join(f'`{column}`' for column in missing)}. It has "
                f"{there}. Name the right one: with --id, --picture, --category or --subcategory, "
                "or in the config."
            )
        if doubled := [column for column in required if self.header.count(column) > 1]:
            raise UserError(
                f"{path} has the column `{doubled[0]}` more than once. Rename all but one."
            )

    def records(self) -> Iterator[Record]:
        """All rows, the header first; blank lines have no fields.

        Raises:
            UserError: The file is not in its encoding.
        """
        with self._open() as file, self._readable():
            yield from self._records(file, self.delimiter)

    def rows(self) -> Iterator[Record]:
        """The rows below the header that are not blank."""
        for record in self.records():
            if record.number > 1 and record.fields:
                yield record

    def encoded(self, text: str) -> bytes:
        """Text as it stands in the file.

        Raises:
            UnicodeEncodeError: The encoding has no such letter.
        """
        return text.encode(self.written_encoding, "surrogateescape")

    def _records(self, file: io.BufferedReader, delimiter: str) -> Iterator[Record]:
        text = io.TextIOWrapper(file, self._encoding, errors="surrogateescape", newline="")
        lines = _Lines(text)
        reader = csv.reader(lines, delimiter=delimiter)
        number = -self._lines_above
        while True:
            number += 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                # A cell above the csv module's limit of 131,072 characters: nearly always a quote
                # that is never closed.
                fields = [f"{error}, at line {reader.line_num:,}"]
            yield Record(number, lines.taken(), fields)

    def _open(self) -> io.BufferedReader:
        try:
            return open(self.path, "rb")
        except OSError as error:
            raise UserError(
                f"{self.path} cannot be read: {error.strerror}. Check the path."
            ) from error

    def _readable(self) -> _Readable:
        return _Readable(self.path, self._encoding)

    def _begins(self, content: bytes) -> tuple[bytes, str]:
        """The mark that the file begins with, and the encoding of what follows."""
        try:
            name = codecs.lookup(self._encoding).name
        except LookupError as error:
            raise UserError(
                f"`{self._encoding}` is not a text encoding. Name utf-8-sig, latin-1, cp1252 or "
                "another that Python knows, with --encoding or in the config."
            ) from error
        for mark, encoding in _MARKS.get(name, {}).items():
            if content.startswith(mark):
                return mark, encoding
        return b"", name


class _Readable:
    """Explains text in another encoding."""

    def __init__(self, path: Path, encoding: str):
        self._path, self._encoding = path, encoding

    def __enter__(self) -> None:
        """Nothing is to be done."""

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, UnicodeError):
            raise UserError(
                f"{self._path} is not in the encoding `{self._encoding}` ({error}). Name the one "
                "that it was saved in, with --encoding or in the config."
            ) from error


class _Lines:
    """The lines of a text, with those kept that were taken since one last asked."""

    def __init__(self, text: io.TextIOWrapper):
        self._text = text
        self._taken: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._text)
        self._taken.append(line)
        return line

    def taken(self) -> str:
        text = "".join(self._taken)
        self._taken.clear()
        return text


def _dialect(first: str, required: Sequence[str]) -> tuple[str, list[str]]:
    """The delimiter by which the header has most of the required columns, and the columns."""
    found = []
    shown = first.lstrip("\ufeff")
    for delimiter in _DELIMITERS:
        fields = next(csv.reader(io.StringIO(shown, newline=""), delimiter=delimiter), [])
        header = [normalized(column) for column in fields]
        while header and not header[-1]:
            header.pop()
        found.append((sum(column in header for column in required), delimiter, header))
    # The first of equals, and so the comma.
    _, delimiter, header = max(found, key=lambda one: one[0])
    return delimiter, header


def padded(fields: list[str], count: int) -> list[str]:
    """The fields without empty ones beyond the last column, which spreadsheets leave behind."""
    while len(fields) > count and not fields[-1].strip():
        fields = fields[:-1]
    return fields


def with_cells(text: str, delimiter: str, values: dict[int, str]) -> str | None:
    """A row's text with other cells in some places, and not a letter changed elsewhere.

    Args:
        text: The row, its line end included.
        delimiter: What separates its cells.
        values: The new cells by their places, from 0.

    Returns:
        The new text; None where the row's quotes are such that it would not say what it should.
    """
    body = text.rstrip("\r\n")
    line_end = text[len(body) :]
    outside = re.escape(delimiter)
    cell = re.compile(f'"[^"]*(?:""[^"]*)*"[^{outside}]*|[^{outside}]*')
    cells, at = [], 0
    while True:
        found = cell.match(body, at)
        cells.append(found[0])
        at = found.end() + 1
        if at > len(body):
            break
    expected = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
    if len(cells) != len(expected):
        return None
    for place, value in values.items():
        expected[place] = value
        quoted = cells[place].startswith('"') or re.search(f'[{outside}"\r\n]', value)
        cells[place] = '"' + value.replace('"', '""') + '"' if quoted else value
    changed = delimiter.join(cells) + line_end
    if list(csv.reader(io.StringIO(changed, newline=""), delimiter=delimiter)) != [expected]:
        return None
    return changed
