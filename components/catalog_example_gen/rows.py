"""Reads the CSV row by row, never the whole file, and checks what a row alone can tell."""

from __future__ import annotations

import csv
import io
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, NamedTuple, TypeAlias

from components.catalog_example_gen.rejects import Reason, Reject, printable
from components.catalog_example_gen.splits import GIVEN
from schema import features
from schema.errors import UserError


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
        )

    @property
    def names(self) -> list[str]:
        """Every column that is read, each once, in a fixed order."""
        picture = [self.picture] if self.picture else []
        split = [self.split] if self.split else []
        levels = [self.category, self.subcategory, *self.attributes]
        return list(dict.fromkeys([self.id, *picture, *levels, *self.slices, *split]))


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
    """

    row: int
    id: str
    category: str
    subcategory: str
    attributes: tuple[str, ...]
    slices: tuple[str, ...]
    split: str = ""
    box: Box | None = None


class Row(NamedTuple):
    """A row of the catalog: a product or the reason why it is none.

    Attributes:
        picture: The name under which its picture is looked up: the id, or the path below the
            folder of pictures. Empty where the row does not tell.
        result: What became of it.
    """

    picture: str
    result: Product | Reject


@dataclass(frozen=True)
class Survey:
    """What one quick reading of the rows tells.

    Attributes:
        rows: Rows below the header, blank lines not counted.
        sizes: How many of them each category has; "" where a row has none.
        splits: The splits that the catalog itself gives to some row; none where it does not.
        notes: Sentences on what is odd, but harms nothing.
    """

    rows: int
    sizes: Mapping[str, int]
    splits: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def read_rows(
    file: IO[bytes],
    encoding: str,
    columns: Columns,
    domains: Mapping[str, Sequence[str]],
    name: str = "labels.csv",
) -> Iterator[Row]:
    """Yields every row of the CSV. Cells lose the blanks around them; blank lines are skipped.

    Args:
        file: The CSV; quoted commas and line breaks, any line ends, with or without byte order
            mark. Undecodable bytes reject their row only.
        encoding: A text encoding of Python.
        columns: What to read.
        domains: The allowed labels of the levels that the schema closes.
        name: The file in messages.

    Raises:
        UserError: There is no header, a column is missing or there twice, or the encoding is no
            encoding, or cannot be that of the file.
    """
    reader = _Reader(file, encoding, name)
    reader.require(columns.names)
    parse = RowParser(columns, domains)
    for number, fields in reader:
        yield parse(number, fields, reader.header)


def glance(file: IO[bytes], encoding: str, columns: Columns, name: str = "labels.csv") -> None:
    """Reads the CSV until two categories were met, to refuse early what `survey` would refuse.

    Raises:
        UserError: As `survey`.
    """
    reader = _Reader(file, encoding, name)
    reader.require(columns.names)
    category_at = reader.header.index(columns.category)
    rows = 0
    categories: set[str] = set()
    for _, fields in reader:
        rows += 1
        categories.update(field.strip() for field in fields[category_at : category_at + 1])
        if len(categories - {""}) > 1:
            break
    _require_something_to_learn(rows, categories, columns.category, name)


def survey(file: IO[bytes], encoding: str, columns: Columns, name: str = "labels.csv") -> Survey:
    """Reads the CSV once to count its rows and to learn which splits it gives.

    Raises:
        UserError: As `read_rows`; the CSV has no row; or no two rows differ in their category.
    """
    reader = _Reader(file, encoding, name)
    reader.require(columns.names)
    category_at = reader.header.index(columns.category)
    split_at = reader.header.index(columns.split) if columns.split else len(reader.header)
    splits: set[str] = set()

    def categories() -> Iterator[str]:
        for _, fields in reader:
            if split_at < len(fields):
                splits.add(GIVEN.get(fields[split_at].strip().lower(), ""))
            yield fields[category_at].strip() if category_at < len(fields) else ""

    sizes = category_sizes(categories(), columns.category, name)
    return Survey(sizes.total(), sizes, frozenset(splits - {""}))


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


class _Reader:
    """The CSV's records with their row numbers."""

    def __init__(self, file: IO[bytes], encoding: str, name: str) -> None:
        self._name = name
        self._encoding = encoding
        try:
            text = io.TextIOWrapper(file, encoding, errors="surrogateescape", newline="")
        except LookupError as error:
            raise UserError(
                f"`{encoding}` is not a text encoding. Set `catalog.encoding` to utf-8-sig, "
                "latin-1, cp1252 or another that Python knows."
            ) from error
        self._records = csv.reader(text)
        header = next(self._next_records(), None)
        if header is None:
            raise UserError(f"{name} is empty. It must begin with a line of column names.")
        self.header = [column.strip() for column in header]
        while self.header and not self.header[-1]:
            self.header.pop()

    def _next_records(self) -> Iterator[list[str]]:
        while True:
            try:
                record = next(self._records)
            except StopIteration:
                return
            except UnicodeError as error:
                raise UserError(
                    f"{self._name} is not in the encoding `{self._encoding}` ({error}). Set "
                    "`catalog.encoding` to the one that it was saved in."
                ) from error
            except csv.Error as error:
                # A cell above the csv module's limit of 131,072 characters: nearly always a quote
                # that is never closed.
                record = [f"{error}, at line {self._records.line_num:,}"]
            yield record

    def require(self, names: Sequence[str]) -> None:
        missing = [column for column in names if column not in self.header]
        if missing:
            hint = ""
            if len(self.header) == 1 and any(mark in self.header[0] for mark in ";\t|"):
                hint = " Its fields seem not to be separated by commas, which they must be."
            raise UserError(
                f"{self._name} has no column {', '.join(f'`{column}`' for column in missing)}. "
                f"It has {', '.join(f'`{printable(column)}`' for column in self.header)}.{hint} "
                "Correct the section `catalog` of the config or the file."
            )
        doubled = [column for column in names if self.header.count(column) > 1]
        if doubled:
            raise UserError(
                f"{self._name} has the column `{doubled[0]}` more than once. Rename all but one."
            )

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        for number, record in enumerate(self._next_records(), start=2):
            if record:
                yield number, record


class RowParser:
    """Makes a `Row` of a record."""

    def __init__(self, columns: Columns, domains: Mapping[str, Sequence[str]]) -> None:
        self._columns = columns
        self._domains = {level: frozenset(labels) for level, labels in domains.items()}

    def __call__(self, number: int, fields: list[str], header: list[str]) -> Row:
        """Judges a record of the CSV, as long as the header or not."""
        while len(fields) > len(header) and not fields[-1].strip():
            fields.pop()
        if len(fields) != len(header):
            found = f"{len(fields)} fields, {len(header)} columns: {','.join(fields)}"
            return Row("", Reject(number, "", "", Reason.WRONG_FIELDS, printable(found)))
        return self.of_cells(number, dict(zip(header, fields, strict=True)))

    def of_cells(self, number: int, every: Mapping[str, str]) -> Row:
        """Judges a record whose cells are known by their columns' names."""
        columns = self._columns
        cells = {column: every[column].strip() for column in columns.names}
        product_id = printable(cells[columns.id])
        picture = ""

        def rejected(column: str, reason: Reason, found: str) -> Row:
            return Row(picture, Reject(number, product_id, column, reason, printable(found)))

        for column, cell in cells.items():
            if _undecodable(cell):
                return rejected(column, Reason.BAD_ENCODING, cell)
        if not product_id:
            return rejected(columns.id, Reason.EMPTY_ID, "")
        picture_column = columns.picture or columns.id
        named = cells[picture_column]
        if not named:
            return rejected(picture_column, Reason.MISSING_PICTURE, "")
        path = posixpath.normpath(named)
        if posixpath.isabs(path) or path.split("/")[0] == "..":
            return rejected(picture_column, Reason.OUTSIDE_IMAGES, named)
        picture = path if columns.picture else named
        for level in (features.CATEGORY, features.SUBCATEGORY):
            column = getattr(columns, level)
            if not cells[column]:
                return rejected(column, Reason.EMPTY_LABEL, "")
            if not self._allowed(level, cells[column]):
                return rejected(column, Reason.UNKNOWN_LABEL, cells[column])
        attributes: list[str] = []
        for column in columns.attributes:
            for value in cells[column].split(columns.separator):
                if value := value.strip():
                    label = features.attribute_label(column, value)
                    if not self._allowed(features.ATTRIBUTES, label):
                        return rejected(column, Reason.UNKNOWN_LABEL, value)
                    attributes.append(label)
        split = ""
        if columns.split:
            split = GIVEN.get(cells[columns.split].lower(), "")
            if not split:
                return rejected(columns.split, Reason.UNKNOWN_SPLIT, cells[columns.split])
        return Row(
            picture,
            Product(
                number,
                cells[columns.id],
                cells[columns.category],
                cells[columns.subcategory],
                tuple(dict.fromkeys(attributes)),
                tuple(cells[column] or features.UNKNOWN for column in columns.slices),
                split,
            ),
        )

    def _allowed(self, level: str, label: str) -> bool:
        return level not in self._domains or label in self._domains[level]


def _undecodable(cell: str) -> bool:
    return not cell.isascii() and any("\ud800" <= letter <= "\udfff" for letter in cell)
