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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from components.catalog_example_gen.csv_records import DELIMITERS, CsvRecords, Record
from components.catalog_example_gen.rejects import printable
from pipeline.config import Catalog
from schema.errors import UserError

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
        delimiter: One of `DELIMITERS`, which separates the CSV's cells if it gives as many columns
            as any.
        id: Column that identifies a product.
        picture: Column with the picture's path below `images`; without it the picture is the file
            of the product's id.
        picture_separator: What separates several pictures in a cell, of which the first is asked
            about; None where each names one.
        category: Column of the first level; None where nobody said.
        subcategory: Column of the second level; None where nobody said.
        attributes: Attribute columns; None where nobody said.
        separator: What separates several labels in an attribute cell.
        flags: Columns of 0 and 1, each an attribute, by the group that they make up.
        links: Whether links may lead out of `images`.
    """

    csv: Path
    images: Path
    encoding: str = "utf-8-sig"
    delimiter: str = ","
    id: str = "id"
    picture: str | None = None
    picture_separator: str | None = None
    category: str | None = None
    subcategory: str | None = None
    attributes: tuple[str, ...] | None = None
    separator: str = "|"
    flags: Mapping[str, Sequence[str]] = field(default_factory=dict)
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
            delimiter=catalog.delimiter,
            id=catalog.id,
            picture=catalog.picture,
            picture_separator=catalog.picture_separator,
            category=catalog.category,
            subcategory=catalog.subcategory,
            attributes=tuple(catalog.attributes),
            separator=catalog.separator,
            flags=catalog.flags,
            links=catalog.links,
        )


class CatalogCsv:
    """A catalog's CSV: its header, its dialect, and its rows as often as they are asked for.

    Args:
        path: The file; its cells are separated by that of `DELIMITERS` by which its header has most
            of the required columns.
        encoding: A text encoding of Python.
        required: Columns that it must have, each once; the first says what a row is about.
        category: The column of the first level, where somebody named it.
        delimiter: The one of those that is taken where several are equal.

    Attributes:
        header: The columns' names, as `labels.normalized` has them.
        delimiter: What separates cells.
        mark: The byte order mark that the file begins with.
        written_encoding: The encoding of what follows.

    Raises:
        UserError: It cannot be read in this encoding, is none of text, is empty, or lacks a column.
    """

    def __init__(
        self,
        path: Path,
        encoding: str,
        required: Sequence[str],
        category: str | None = None,
        delimiter: str = ",",
    ):
        self.path = path
        self._encoding = encoding
        self._required = required
        self._category = category
        with self._open() as file:

            def columns_by(name: str) -> int:
                file.seek(0)
                header = self._records(file, name).header
                return sum(column in header for column in required)

            self._delimiter = max((delimiter, *DELIMITERS), key=columns_by)
            file.seek(0)
            records = self._records(file, self._delimiter)
            self.header, self.delimiter = records.header, records.delimiter
            file.seek(0)
            self.mark, self.written_encoding = _begins(file.read(4), encoding)
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
        """Everything: the header and what is above it as row 1, rows, and blank lines.

        Raises:
            UserError: The file is not in its encoding.
        """
        with self._open() as file:
            records = self._records(file, self._delimiter)
            category = self._category if self._category in self.header else None
            records.look_at(self._required[0], category)
            yield Record(1, records.header, 1, records.lines.header, records.head)
            yield from records.with_blanks()

    def rows(self) -> Iterator[Record]:
        """The rows below the header that are not blank."""
        for record in self.records():
            if is_row(record):
                yield record

    def encoded(self, text: str) -> bytes:
        """Text as it stands in the file.

        Raises:
            UnicodeEncodeError: The encoding has no such letter.
        """
        return text.encode(self.written_encoding, "surrogateescape")

    def _records(self, file: io.BufferedReader, delimiter: str) -> CsvRecords:
        options = "--encoding, or catalog.encoding", None
        return CsvRecords(file, self._encoding, delimiter, str(self.path), options)

    def _open(self) -> io.BufferedReader:
        try:
            return open(self.path, "rb")
        except OSError as error:
            raise UserError(
                f"{self.path} cannot be read: {error.strerror}. Check the path."
            ) from error


def is_row(record: Record) -> bool:
    """Whether a record is neither the header nor blank; it may be a faulty one."""
    return record.number > 1 and not record.is_blank


def _begins(content: bytes, encoding: str) -> tuple[bytes, str]:
    """The mark that a file begins with, and the encoding of what follows."""
    name = codecs.lookup(encoding).name
    for mark, follows in _MARKS.get(name, {}).items():
        if content.startswith(mark):
            return mark, follows
    return b"", name


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
