"""Asks a model server about every product of a catalog, and writes one row for each.

The file that is written is all there is to know how far a walk came: every row of it is one of the
catalog's, in the same order, and names the product and the version of the model. A walk that was
cut off goes on behind the last whole row.
"""

from __future__ import annotations

import csv
import fcntl
import io
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from PIL import Image

from components.catalog_example_gen.csv_records import Record
from components.catalog_example_gen.rejects import IN_WORDS, Reason
from pipeline.catalog_table import CatalogCsv, CatalogTable, padded
from pipeline.product_pictures import NoPicture, ProductPictures
from schema.errors import UserError
from serving.client import Automatic, CatalogClient, Prediction, Refused, Result, tables

ROW, ID = "row", "id"

_FLUSH_S = 0.5


@dataclass
class Tally:
    """What came of a catalog's products.

    Attributes:
        rows: products that have a row in the file.
        total: products in the catalog.
        answered: rows with an answer.
        known: of these, by level, those whose score reaches the model's threshold.
        lanes: of these, those that need no person, or one; empty where nobody knows.
        refused: rows without, by the reason's first words.
        resumed: rows that were there before this walk began.
    """

    total: int
    rows: int = 0
    answered: int = 0
    known: Counter[str] = field(default_factory=Counter)
    lanes: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    resumed: int = 0

    def add(self, row: dict[str, Any]) -> None:
        """Counts a row of the file."""
        self.rows += 1
        if reason := row.get(tables.REFUSED):
            self.refused[reason.partition(":")[0]] += 1
            return
        self.answered += 1
        if lane := row.get(tables.LANE):
            self.lanes[lane] += 1
        for column, cell in row.items():
            if cell == tables.YES and column.endswith(tables.known("")):
                self.known[column] += 1


class _Asked(NamedTuple):
    number: int
    id: str
    picture: str


def walk(
    client: CatalogClient,
    table: CatalogTable,
    out: Path,
    anew: bool = False,
    concurrency: int = 4,
    on_progress: Callable[[Tally], None] = lambda tally: None,
    scores_of: Callable[[int | None], Automatic | None] = lambda version: None,
) -> Tally:
    """Writes the model's answer about every product of `table` to `out`.

    Memory does not grow with the catalog, but for some 80 bytes a file below its pictures' folder.

    Args:
        client: asks the server.
        table: the catalog.
        out: the CSV to write, or to go on with. Columns: `row` (as a spreadsheet counts), `id`,
            `picture` (its path below the folder), then those of `serving.client.tables`.
        anew: whether to begin again what is there.
        concurrency: requests that travel at a time.
        on_progress: is told after every row.
        scores_of: from the version that answers to the scores from which on its answers need no
            person; None where nobody knows. With them the file says which do.

    Raises:
        UserError: the catalog, the file or the server is of no use; what was written is kept.
    """
    required = [table.id, table.picture] if table.picture else [table.id]
    catalog = CatalogCsv(table.csv, table.encoding, required, table.category, table.delimiter)
    if out.exists() and (os.path.samefile(out, table.csv) or not out.is_file()):
        found = "no file" if not out.is_file() else "the catalog itself"
        raise UserError(f"{out} is {found}. Name another file with --out.")
    pictures = ProductPictures(table.images, table.picture is not None, table.links)
    products = _Products(table, catalog, pictures)
    tally = Tally(total=sum(1 for _ in catalog.rows()))
    if not tally.total:
        raise UserError(f"{table.csv} has no rows. Put a row for each product into it.")

    first = client.predict([_gray_picture()])[0]
    scores = scores_of(first.version)
    columns = [ROW, ID, tables.PICTURE]
    columns += tables.columns(first.extra_labels, lanes=scores is not None)
    if doubled := sorted({column for column in columns if columns.count(column) > 1}):
        raise UserError(
            f"The model names an extra label whose column {doubled[0]!r} {out.name} has for "
            "something else. Give it another name in the catalog, and train again."
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        file = open(out, "r+b" if out.exists() else "x+b")  # noqa: SIM115 It is closed below.
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}. Check --out.") from error
    with closing(file):
        _lock(file, out)
        rows = catalog.rows()
        record = _Walked(file, out, products, columns, _text(first.version))
        record.begin(anew, rows, tally)
        on_progress(tally)
        for asked, result in _ask(client, products, rows, concurrency):
            if isinstance(result, Prediction):
                record.check_version(_text(result.version), asked.number)
            row = {
                **{ROW: str(asked.number), ID: asked.id, tables.PICTURE: asked.picture},
                **tables.written(tables.cells(result, scores)),
            }
            record.add(row)
            tally.add(row)
            on_progress(tally)
    return tally


class _Products:
    """What a row of the catalog tells of its product."""

    def __init__(self, table: CatalogTable, catalog: CatalogCsv, pictures: ProductPictures):
        self.csv_name = table.csv.name
        self._images = table.images
        self._columns = len(catalog.header)
        self._id_at = catalog.header.index(table.id)
        self._picture_at = catalog.header.index(table.picture or table.id)
        self._separator = table.picture_separator
        self._pictures = pictures

    def id_of(self, record: Record) -> str:
        """The product's id; empty where the row has too many or too few fields."""
        fields = padded(record.fields, self._columns)
        is_there = self._id_at < len(fields) if record.fault else len(fields) == self._columns
        return _printable(fields[self._id_at].strip()) if is_there else ""

    def question(self, record: Record) -> tuple[_Asked, str | Refused]:
        """What to ask about the row: the path of its picture, or why there is none."""
        asked = _Asked(record.number, self.id_of(record), "")
        if record.fault:
            reason = IN_WORDS[record.fault.reason]
            return asked, Refused(f"{reason}: {_printable(record.fault.found)}")
        fields = padded(record.fields, self._columns)
        if len(fields) != self._columns:
            found = f"{len(fields)} fields, {self._columns} columns"
            return asked, Refused(f"{IN_WORDS[Reason.WRONG_FIELDS]}: {found}")
        try:
            cell = fields[self._picture_at]
            named = cell.split(self._separator)[0] if self._separator else cell
            path = self._pictures.find(named.strip(" []\"'") if self._separator else named.strip())
        except NoPicture as error:
            return asked, Refused(str(error))
        return asked._replace(picture=_printable(path)), os.path.join(self._images, path)


def _ask(
    client: CatalogClient, products: _Products, rows: Iterator[Record], concurrency: int
) -> Iterator[tuple[_Asked, Result]]:
    """The rows that are left, each with its answer."""
    waiting: deque[_Asked] = deque()

    def questions() -> Iterator[str | Refused]:
        for record in rows:
            asked, question = products.question(record)
            waiting.append(asked)
            yield question

    with closing(client.predict_many(questions(), concurrency=concurrency)) as results:
        for result in results:
            yield waiting.popleft(), result


class _Walked:
    """The file that a walk writes, and how far it came."""

    def __init__(
        self, file: IO[bytes], path: Path, products: _Products, columns: list[str], version: str
    ):
        self._file = file
        self._path = path
        self._products = products
        self._columns = columns
        self._version = version
        self._flushed = time.monotonic()

    def begin(self, anew: bool, rows: Iterator[Record], tally: Tally) -> None:
        """Goes to the place of the next row; takes from `rows` those that are there already.

        A last line that was torn, or is none of this command's, is cut off.

        Raises:
            UserError: the file is not this command's, or was begun with another model or catalog.
        """
        begins = self._file.read(1 << 16)
        self._file.seek(0)
        start = _line([ROW, ID, tables.PICTURE]).rstrip(b"\n")
        if begins[: len(start)] != start[: len(begins)]:
            raise UserError(
                f"{self._path} is there already and was not written by this command. Name another "
                "file with --out."
            )
        end = 0 if anew else self._recorded(rows, tally)
        self._file.seek(end)
        self._file.truncate()
        if not end:
            self._file.write(_line(self._columns))
        self._file.flush()

    def add(self, row: dict[str, str]) -> None:
        """Writes a row."""
        self._file.write(_line([row.get(column, "") for column in self._columns]))
        if time.monotonic() - self._flushed > _FLUSH_S:
            self._file.flush()
            self._flushed = time.monotonic()

    def check_version(self, version: str, number: int) -> None:
        """Looks at the version that a row was answered by.

        Raises:
            UserError: another version answered the rows before it.
        """
        if version != self._version:
            raise UserError(
                f"Version {self._version} of the model answered the rows of {self._path} up to "
                f"here, and version {version} answers row {number}. Ask about all of them anew "
                f"with --anew, or go on with --version {self._version} if it is still served."
            )

    def _recorded(self, rows: Iterator[Record], tally: Tally) -> int:
        """Compares what is there with the catalog; gives the end of the last whole row."""
        records = _complete_records(self._file)
        header, end = next(records, (None, 0))
        if header is None:
            return 0
        torn = False
        for fields, after in records:
            if torn:
                raise UserError(
                    f"{self._path} has a broken line behind row {tally.rows + 1}, and others after "
                    "it. Something else wrote into it: mend it, or begin again with --anew."
                )
            torn = fields is None or len(fields) != len(header)
            if not torn:
                row = dict(zip(header, fields, strict=True))
                self._check_row(row, next(rows, None))
                tally.add(row)
                end = after
        if tally.rows and header != self._columns:
            raise UserError(
                f"{self._path} was begun with the columns {', '.join(header)}, and the model that "
                f"answers now has {', '.join(self._columns)}. Begin again with --anew."
            )
        tally.resumed = tally.rows
        return end if tally.rows else 0

    def _check_row(self, row: dict[str, str], record: Record | None) -> None:
        csv_name = self._products.csv_name
        if record is None:
            raise UserError(
                f"{self._path} has more rows than {csv_name}: it was begun with another catalog. "
                "Name another file with --out, or begin again with --anew."
            )
        version = row.get(tables.MODEL_VERSION, "")
        if version and version != self._version:
            raise UserError(
                f"{self._path} was begun with version {version} of the model, and version "
                f"{self._version} answers now. Begin again with --anew, or go on with "
                f"--version {version} if it is still served."
            )
        product = self._products.id_of(record)
        if (row.get(ROW), row.get(ID)) != (str(record.number), product):
            raise UserError(
                f"Row {record.number} of {csv_name} is product {product!r}, and {self._path} has "
                f"product {row.get(ID)!r} there: it was begun with another catalog. Name another "
                "file with --out, or begin again with --anew."
            )


def _complete_records(file: IO[bytes]) -> Iterator[tuple[list[str] | None, int]]:
    """The records of a CSV that end as they should, and where; None for one that is no text."""
    held, quotes, end = [], 0, 0
    for line in file:
        held.append(line)
        quotes += line.count(b'"')
        if quotes % 2 or not line.endswith(b"\n"):
            continue
        content = b"".join(held)
        held, quotes, end = [], 0, end + len(content)
        try:
            text = io.StringIO(content.decode(), newline="")
            yield next(csv.reader(text), []), end
        except (UnicodeDecodeError, csv.Error):
            yield None, end


def _line(cells: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _lock(file: IO[bytes], path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise UserError(
            f"Another walk is writing {path}. Wait for it, or name another file with --out."
        ) from error


def _gray_picture() -> bytes:
    """A picture that every model answers, to learn what the answers are like."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "gray").save(buffer, "JPEG")
    return buffer.getvalue()


def _text(version: int | None) -> str:
    return "" if version is None else str(version)


def _printable(text: str) -> str:
    """The text, with bytes that could not be decoded shown."""
    return text.encode("utf-8", "backslashreplace").decode()
