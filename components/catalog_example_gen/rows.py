"""Reads the CSV row by row, never the whole file, and checks what a row alone can tell."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple, TypeAlias

from components.catalog_example_gen.column_notes import ColumnNotes
from components.catalog_example_gen.csv_records import CsvRecords, Lines, Record
from components.catalog_example_gen.rejects import Reason, Reject, printable
from components.catalog_example_gen.splits import GIVEN
from components.storage import is_url
from schema import features
from schema.errors import UserError
from schema.labels import (
    HAS,
    HAS_NOT,
    MOST_LETTERS,
    has_control,
    items,
    normalized,
    without_invisible,
)


@dataclass(frozen=True)
class Columns:
    """What the CSV's columns mean; the options of the same names in `pipeline.config.Catalog`.

    `split` is the option `split.column`.
    """

    id: str
    picture: str | None
    category: str
    subcategory: str
    attributes: tuple[str, ...]
    slices: tuple[str, ...]
    separator: str
    split: str | None = None
    product: str | None = None
    picture_separator: str | None = None
    flags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    extra_labels: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()

    @classmethod
    def from_options(
        cls, catalog: Mapping[str, Any], split: Mapping[str, Any] | None = None
    ) -> Columns:
        """Picks the columns from the config's sections `catalog` and `split`."""
        return cls(
            id=catalog["id"],
            picture=catalog["picture"],
            category=catalog["category"],
            subcategory=catalog["subcategory"],
            attributes=tuple(catalog["attributes"]),
            slices=tuple(catalog["slices"]),
            separator=catalog["separator"],
            split=split["column"] if split else None,
            product=catalog.get("product"),
            picture_separator=catalog.get("picture_separator"),
            flags=catalog["flags"],
            extra_labels=tuple(catalog["extra_labels"]),
            fields=tuple(catalog["fields"]),
        )

    @property
    def several_pictures(self) -> bool:
        """Whether a product may have several pictures, and so several Examples."""
        return bool(self.product or self.picture_separator)

    @property
    def names(self) -> list[str]:
        """Every column that is read, each once, in a fixed order."""
        return list(dict.fromkeys([*self.judged, *self.fields]))

    @property
    def judged(self) -> list[str]:
        """The columns whose cells must be sound, each once, in a fixed order."""
        picture = [self.picture] if self.picture else []
        split = [self.split] if self.split else []
        product = [self.product] if self.product else []
        flags = [column for columns in self.flags.values() for column in columns]
        levels = [self.category, self.subcategory, *self.attributes, *flags]
        return list(dict.fromkeys([self.id, *product, *picture, *levels, *self.slices, *split]))


_LIST_MARKS = " []\"'"

_UNDECODED = re.compile("[\ud800-\udfff]")


Box: TypeAlias = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels of the upright picture; x2 and y2 are the first outside."""


class Product(NamedTuple):
    """A row whose cells are sound; its picture has not been looked at.

    Attributes:
        row: Number of the row as a spreadsheet shows it: the header is row 1.
        id: Identifies the product.
        category: Label of the first level.
        subcategory: Label of the second level.
        attributes: Labels of the third level, as `features.attribute_label` writes them.
        slices: Values of the slice columns, in their order.
        split: The split that the catalog itself gives; empty where it does not.
        box: The part of the picture to keep; None for all of it.
        product: The name that all pictures of one product share; empty where each product has one
            picture. A row that only belongs to such a product may have empty labels.
        corrected: The levels whose labels are people's corrections; see `corrections`.
        fields: Cells of the fields, in their order, as they stand in the row; empty where there is
            nothing but blanks.
    """

    row: int
    id: str
    category: str
    subcategory: str
    attributes: tuple[str, ...]
    slices: tuple[str, ...]
    split: str = ""
    box: Box | None = None
    product: str = ""
    corrected: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()


class Row(NamedTuple):
    """A row of the catalog: a product or the reason why it is none.

    Attributes:
        picture: The name under which its picture is looked up: the id, or the path below the
            folder of pictures. Empty where the row does not tell.
        result: What became of it.
        further: The names of more pictures, where a cell has several.
    """

    picture: str
    result: Product | Reject
    further: tuple[str, ...] = ()


class ProductRow(NamedTuple):
    """A `Row` that is a product."""

    picture: str
    result: Product
    further: tuple[str, ...] = ()


@dataclass(frozen=True)
class Survey:
    """What one quick reading of the rows tells.

    Attributes:
        rows: Rows below the header, blank lines not counted.
        sizes: How many of them each category has; "" where a row has none.
        splits: The splits that the catalog itself gives to some row; none where it does not.
        notes: Sentences on what is odd, but harms nothing.
        lines: How the lines of the CSV are divided; None where there is none.
    """

    rows: int
    sizes: Mapping[str, int]
    splits: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    lines: Lines | None = None


def read_rows(
    file: IO[bytes],
    encoding: str,
    columns: Columns,
    domains: Mapping[str, Sequence[str]],
    name: str = "labels.csv",
    delimiter: str = ",",
) -> Iterator[Row]:
    """Yields every row of the CSV. Cells are normalized; blank lines are skipped.

    Args:
        file: The CSV, as `CsvRecords` reads it. Undecodable bytes reject their row only.
        encoding: A text encoding of Python.
        columns: What to read.
        domains: The allowed labels of the levels that the schema closes.
        name: The file in messages.
        delimiter: What separates fields, one of `csv_records.DELIMITERS`.

    Raises:
        UserError: There is no header, a column is missing or there twice, or the encoding is no
            encoding, or cannot be that of the file.
    """
    records = _records(file, encoding, delimiter, columns, name)
    parse = RowParser(columns, domains)
    for record in records:
        yield parse(record, records.header)


def glance(
    file: IO[bytes],
    encoding: str,
    columns: Columns,
    name: str = "labels.csv",
    delimiter: str = ",",
) -> None:
    """Reads the CSV until two categories were met, to refuse early what `survey` would refuse.

    Raises:
        UserError: As `survey`.
    """
    records = _records(file, encoding, delimiter, columns, name)
    category_at = records.header.index(columns.category)
    rows = 0
    categories: set[str] = set()
    for record in records:
        rows += 1
        categories.update(map(normalized, record.fields[category_at : category_at + 1]))
        if len(categories - {""}) > 1:
            break
    _require_something_to_learn(rows, categories, columns.category, name)


def survey(
    file: IO[bytes],
    encoding: str,
    columns: Columns,
    name: str = "labels.csv",
    delimiter: str = ",",
) -> Survey:
    """Reads the CSV once: counts its rows and lines, learns its splits, and what is odd in it.

    Raises:
        UserError: As `read_rows`; the CSV has no row; or no two rows differ in their category.
    """
    records = _records(file, encoding, delimiter, columns, name)
    category_at = records.header.index(columns.category)
    split_at = records.header.index(columns.split) if columns.split else len(records.header)
    splits: set[str] = set()
    odd = ColumnNotes(columns.attributes, columns.separator, records.header)

    def categories() -> Iterator[str]:
        for record in records:
            fields = record.fields
            if not record.fault and len(fields) >= len(records.header):
                odd.add(fields)
            if split_at < len(fields):
                splits.add(GIVEN.get(normalized(fields[split_at]).lower(), ""))
            yield normalized(fields[category_at]) if category_at < len(fields) else ""

    sizes = category_sizes(categories(), columns.category, name)
    notes = (*records.sentences(), *odd.sentences())
    return Survey(sizes.total(), sizes, frozenset(splits - {""}), notes, records.lines)


def _records(
    file: IO[bytes], encoding: str, delimiter: str, columns: Columns, name: str
) -> CsvRecords:
    records = CsvRecords(file, encoding, delimiter, name)
    records.require(columns.names, columns.id, columns.category)
    return records


def category_sizes(found: Iterable[str], column: str, name: str) -> Counter[str]:
    """Counts the rows of each category, of which there must be two.

    Args:
        found: The category of every row; "" where it has none.
        column: The column of the category in messages.
        name: The file or folder in messages.

    Raises:
        UserError: There is no row, or no two differ in their category.
    """
    sizes = Counter(found)
    _require_something_to_learn(sizes.total(), set(sizes), column, name)
    return sizes


def _require_something_to_learn(rows: int, categories: set[str], column: str, name: str) -> None:
    if not rows:
        raise UserError(f"{name} has no rows. Put a row for each product into it.")
    if len(categories - {""}) < 2:
        raise UserError(
            f"{name} has fewer than two different values in column `{column}`, so there "
            "is nothing to tell apart. Check `catalog.category` in the config."
        )


class _Unusable(Exception):
    """Carries the column, the `Reason` and what was found."""


class RowParser:
    """Makes a `Row` of a record."""

    def __init__(self, columns: Columns, domains: Mapping[str, Sequence[str]]) -> None:
        self._columns = columns
        self._judged = columns.judged
        self._single = (columns.category, columns.subcategory, *columns.slices)
        self._domains = {
            level: frozenset(map(normalized, labels)) for level, labels in domains.items()
        }

    def __call__(self, record: Record, header: list[str]) -> Row:
        """Judges a record of the CSV, as long as the header or not."""
        fields, fault = record.fields, record.fault
        while len(fields) > len(header) and not fields[-1].strip():
            fields.pop()
        if fault:
            id_at = header.index(self._columns.id)
            product_id = printable(normalized(fields[id_at])) if id_at < len(fields) else ""
            found = printable(fault.found)
            return Row("", Reject(record.number, product_id, fault.column, fault.reason, found))
        if len(fields) != len(header):
            lines = ""
            if record.line_count > 1:
                last = record.first_line + record.line_count - 1
                lines = f" in lines {record.first_line:,} to {last:,}"
            found = f"{len(fields)} fields{lines}, {len(header)} columns: {','.join(fields)}"
            return Row("", Reject(record.number, "", "", Reason.WRONG_FIELDS, printable(found)))
        return self.of_cells(record.number, dict(zip(header, fields, strict=True)))

    def of_cells(self, number: int, every: Mapping[str, str]) -> Row:
        """Judges a record whose cells are known by their columns' names."""
        columns = self._columns
        raw = {column: every[column] for column in self._judged}
        cells = {column: normalized(cell) for column, cell in raw.items()}
        product_id = printable(cells[columns.id])
        picture = ""

        def rejected(column: str, reason: Reason, found: str) -> Row:
            return Row(picture, Reject(number, product_id, column, reason, printable(found)))

        picture_column = columns.picture or columns.id
        names = dict.fromkeys((columns.id, columns.product or columns.id))
        for column in dict.fromkeys((*names, picture_column)):
            if reason := _unusable(raw[column]):
                return rejected(column, reason, raw[column].strip())
        for column in names:
            if not cells[column]:
                return rejected(column, Reason.EMPTY_ID, "")
            if len(cells[column]) > MOST_LETTERS:
                return rejected(column, Reason.TOO_LONG, cells[column])
        named = without_invisible(raw[picture_column])
        if not named and not columns.product:
            return rejected(picture_column, Reason.MISSING_PICTURE, "")
        pictures = []
        for one in self._names(named):
            # Normalized, a URL would lose a slash.
            path = one if is_url(one) else posixpath.normpath(one)
            if posixpath.isabs(path):
                picture = path
            if posixpath.isabs(path) or path.split("/")[0] == "..":
                return rejected(picture_column, Reason.OUTSIDE_IMAGES, one)
            pictures.append(path if columns.picture else one)
        picture = pictures[0] if pictures else ""
        for column, cell in raw.items():
            if reason := _unusable(cell):
                return rejected(column, reason, cell.strip())
        for column in self._single:
            if len(cells[column]) > MOST_LETTERS:
                return rejected(column, Reason.TOO_LONG, cells[column])
        belongs = bool(columns.product) and not (
            cells[columns.category] or cells[columns.subcategory]
        )
        for level in (features.CATEGORY, features.SUBCATEGORY):
            column = getattr(columns, level)
            if belongs:
                continue
            if not cells[column]:
                return rejected(column, Reason.EMPTY_LABEL, "")
            if not self._allowed(level, cells[column]):
                return rejected(column, Reason.UNKNOWN_LABEL, cells[column])
        try:
            attributes = self._attributes(raw, cells)
        except _Unusable as error:
            return rejected(*error.args)
        split = ""
        if columns.split:
            split = GIVEN.get(cells[columns.split].lower(), "")
            if not split and not belongs:
                return rejected(columns.split, Reason.UNKNOWN_SPLIT, cells[columns.split])
        return Row(
            picture,
            Product(
                number,
                cells[columns.id],
                cells[columns.category],
                cells[columns.subcategory],
                attributes,
                tuple(cells[column] or features.UNKNOWN for column in columns.slices),
                split,
                product=cells[columns.product or columns.id] if columns.several_pictures else "",
                fields=tuple(_carried(every[column]) for column in columns.fields),
            ),
            tuple(pictures[1:]),
        )

    def _attributes(self, raw: Mapping[str, str], cells: Mapping[str, str]) -> tuple[str, ...]:
        """The labels of the third level, each once.

        Raises:
            _Unusable: One is too long, or not allowed, or a flag is none.
        """
        found: list[str] = []
        for column in self._columns.attributes:
            for value in map(normalized, items(raw[column], self._columns.separator)):
                if len(value) > MOST_LETTERS:
                    raise _Unusable(column, Reason.TOO_LONG, value)
                if value:
                    found.append(self._attribute(column, column, value))
        for group, flags in self._columns.flags.items():
            for column in flags:
                said = cells[column].lower()
                if said in HAS:
                    found.append(self._attribute(column, group, column))
                elif said not in HAS_NOT:
                    raise _Unusable(column, Reason.NOT_A_FLAG, cells[column])
        return tuple(dict.fromkeys(found))

    def _attribute(self, column: str, group: str, value: str) -> str:
        label = features.attribute_label(group, value)
        if not self._allowed(features.ATTRIBUTES, label):
            raise _Unusable(column, Reason.UNKNOWN_LABEL, value)
        return label

    def _names(self, cell: str) -> list[str]:
        """The pictures that a cell names, each once."""
        if not self._columns.picture_separator:
            return [cell] if cell else []
        marks = _LIST_MARKS if cell.startswith("[") and cell.endswith("]") else None
        names = (name.strip(marks) for name in cell.split(self._columns.picture_separator))
        return list(dict.fromkeys(name for name in names if name))

    def _allowed(self, level: str, label: str) -> bool:
        return level not in self._domains or label in self._domains[level]


def _carried(cell: str) -> str:
    """The cell of a field: bytes that the encoding does not know show as its readers show them."""
    return _UNDECODED.sub("\ufffd", cell) if cell.strip() else ""


def _unusable(cell: str) -> Reason | None:
    """Why the text of a cell is none, if it is not."""
    if cell.isprintable():
        return None
    if any("\ud800" <= letter <= "\udfff" for letter in cell):
        return Reason.BAD_ENCODING
    return Reason.CONTROL_CHARACTER if has_control(cell) else None
