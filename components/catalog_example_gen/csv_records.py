"""The records of a CSV, and every one of its lines in one of them.

A quote that somebody forgot makes one cell of all lines up to the next quote, whole rows among
them, and a reader of CSV has no objection. So lines are counted, not records alone: where a cell
goes over lines that look like rows, or never ends, the quote's own line is a faulty record, and the
lines below it are read as if it did not stand there.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, NamedTuple, TypeVar

from components.catalog_example_gen.rejects import Reason, printable
from schema.errors import UserError
from schema.labels import normalized

DELIMITERS = {",": ",", ";": ";", "|": "|", "tab": "\t"}
"""What `catalog.delimiter` may be, and the letter that it means."""

_T = TypeVar("_T")

_HEAD_BYTES = 4096

_MOST_CATEGORIES = 10_000

_MOST_TOLD = 3

# What files begin with that are no CSV, what they are, and what to do.
_OTHER_FILES = (
    (b"\x1f\x8b", "gzip", "Unpack it (`gunzip`)"),
    (b"PK\x03\x04", "a workbook (.xlsx) or another ZIP file", "Save it as CSV in UTF-8"),
    (b"\xd0\xcf\x11\xe0", "a workbook (.xls)", "Save it as CSV in UTF-8"),
    (b"PAR1", "a Parquet file", "Write it as CSV in UTF-8"),
    (b"BZh", "bzip2", "Unpack it (`bunzip2`)"),
    (b"\xfd7zXZ\0", "xz", "Unpack it (`unxz`)"),
    (b"\x28\xb5\x2f\xfd", "Zstandard", "Unpack it (`unzstd`)"),
    (b"%PDF", "a PDF", "Save the table as CSV in UTF-8"),
    (b"<!DOCTYPE", "a web page", "Download the file itself, or save the page's table as CSV"),
    (b"<html", "a web page", "Download the file itself, or save the page's table as CSV"),
)

# The longer marks first: UTF-32's begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

SEPARATOR_LINE = re.compile(r'\ufeff*"?sep=(.)"?[\r\n]*', re.IGNORECASE)
"""Excel's first line that says what separates the fields of those below."""


class Fault(NamedTuple):
    """Why a record is no row.

    Attributes:
        column: The column at fault; empty where nobody knows.
        reason: A `Reason`.
        found: What was found, for a person.
    """

    column: str
    reason: Reason
    found: str


class Record(NamedTuple):
    """One record below the header.

    Attributes:
        number: As a spreadsheet shows it: the header is row 1.
        fields: Its cells; none where it is a blank line.
        first_line: Its first line, from 1.
        line_count: How many lines it has.
        text: These lines, as they stand in the file.
        fault: Why it is no row; None where its cells can be looked at.
    """

    number: int
    fields: list[str]
    first_line: int
    line_count: int
    text: str
    fault: Fault | None = None

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing on its line."""
        return not self.fields and self.fault is None


class Lines(NamedTuple):
    """How the lines of a file are divided.

    Attributes:
        header: Lines of the header, and of Excel's `sep=` above it.
        rows: Lines of the records below it: accepted or rejected, they come to an end.
        blank: Lines with nothing on them.
    """

    header: int = 0
    rows: int = 0
    blank: int = 0


class CsvRecords:
    """The records of a CSV below its header, each once.

    Args:
        file: The CSV: quoted delimiters and line breaks, any line ends, with byte order marks or
            without. A first line `sep=;`, as Excel writes it, says what the delimiter is.
        encoding: A text encoding of Python.
        delimiter: One of `DELIMITERS`.
        name: The file in messages.
        options: What sets the encoding, and what the delimiter, in messages; nothing is said of a
            delimiter that cannot be set.

    Attributes:
        header: The columns' names, as `labels.normalized` has them.
        head: The lines that they stand in, and those above, as they stand in the file.
        delimiter: The letter that separates cells: what `delimiter` means, or what a first line
            `sep=` says.
        lines: Those read so far; all of them when the records have come to their end.

    Raises:
        UserError: The encoding is none, or cannot be the file's; the file is none of text; or it
            has no header.
    """

    def __init__(
        self,
        file: IO[bytes],
        encoding: str,
        delimiter: str,
        name: str,
        options: tuple[str, str | None] = ("catalog.encoding", "catalog.delimiter"),
    ) -> None:
        self._name = name
        self._encoding_option, self._delimiter_option = options
        self._encoding = _known_encoding(encoding, self._encoding_option)
        self.delimiter = DELIMITERS[delimiter]
        head = file.read(_HEAD_BYTES)
        self._check_head(head)
        content = io.BufferedReader(_FromTheStart(head, file))
        text = io.TextIOWrapper(content, self._encoding, errors="surrogateescape", newline="")
        self._source = _LinesOf(text)
        self.head = self._readable(self._source.peek)
        self._first = self.head.lstrip("\ufeff")
        if separator := SEPARATOR_LINE.fullmatch(self._first):
            self.delimiter = separator[1]
            next(self._source)
            self._first = self._readable(self._source.peek)
            self.head += self._first
        self._source.replace_next(self._first)
        self._records = csv.reader(self._source, delimiter=self.delimiter)
        self._id_at = self._category_at = -1
        self._categories: set[str] = set()
        self._stray: list[str] = []
        self._more_stray = 0
        self._number = 0
        self.header: list[str] = []
        while not self.header:
            if (found := self._next()) is None:
                raise UserError(f"{name} is empty. It must begin with a line of column names.")
            fields, self._header_lines, self._header_closed = found
            # The first of its lines may have lost a mark.
            self.head += "".join(self._header_lines[self._number == 1 :])
            self.header = [normalized(column) for column in fields]
            while self.header and not self.header[-1]:
                self.header.pop()
            if not self._header_closed:
                break
        self.lines = Lines(header=self._source.number)

    def require(self, names: Sequence[str], id_column: str, category: str) -> None:
        """Looks whether every column is there, once.

        Args:
            names: All columns that are read.
            id_column: Which of them says what a row is about; with `category` it tells rows from
                other lines.
            category: Which of them has the first level.

        Raises:
            UserError: One is missing, or there twice.
        """
        missing = [column for column in names if column not in self.header]
        if missing:
            raise UserError(
                f"{self._name} has no column "
                f"{', '.join(f'`{printable(column)}`' for column in missing)}. "
                f"It has {_listed(self.header)}.{self._hint(names)} "
                "Correct the section `catalog` of the config or the file."
            )
        doubled = [column for column in names if self.header.count(column) > 1]
        if doubled:
            raise UserError(
                f"{self._name} has the column `{printable(doubled[0])}` more than once. "
                "Rename all but one."
            )
        self.look_at(id_column, category)

    def look_at(self, id_column: str, category: str | None) -> None:
        """Says which columns tell rows from other lines, as in `require`.

        Args:
            id_column: What a row is about.
            category: What has few values, and each often; None for the last column.
        """
        self._id_at = self.header.index(id_column)
        self._category_at = -1 if category is None else self.header.index(category)

    def __iter__(self) -> Iterator[Record]:
        return (record for record in self.with_blanks() if not record.is_blank)

    def with_blanks(self) -> Iterator[Record]:
        """All records, and the lines with nothing on them, without fields, between them."""
        while (found := self._next()) is not None:
            fields, taken, closed = found
            if not fields and closed:
                self.lines = self.lines._replace(blank=self.lines.blank + len(taken))
                yield Record(self._number, [], self._source.number, len(taken), "".join(taken))
                continue
            fault = None
            if len(taken) > 1 or not closed:
                fault = self._swallowed(taken, closed)
            if fault:
                # The quote's line alone is the record; those below it have their own.
                self._source.again(taken[1:])
                taken = taken[:1]
                fields = self._alone(taken[0])
            elif len(fields) == len(self.header) and len(self._categories) < _MOST_CATEGORIES:
                self._categories.add(fields[self._category_at].strip())
            self.lines = self.lines._replace(rows=self.lines.rows + len(taken))
            first = self._source.number - len(taken) + 1
            yield Record(self._number, fields, first, len(taken), "".join(taken), fault)
        if self.lines.header + self.lines.rows + self.lines.blank != self._source.number:
            raise RuntimeError(
                f"Lines were lost or doubled, a bug: {self.lines} of {self._source.number}"
            )

    def sentences(self) -> Iterator[str]:
        """One for each of the first quotes that nobody closed where it was meant to be closed."""
        yield from self._stray
        if self._more_stray:
            yield f"{self._more_stray:,} more quotes of that kind are in rejects.csv."

    def _next(self) -> tuple[list[str], list[str], bool] | None:
        """The next record: its fields, its lines, and whether its last quote closes."""
        self._source.begin()
        self._number += 1
        try:
            fields = self._readable(lambda: next(self._records, None))
        except csv.Error:
            # A cell above the csv module's limit of 131,072 letters.
            return [], self._source.taken, False
        if fields is None:
            return None
        return fields, self._source.taken, not self._source.ended

    def _swallowed(self, taken: list[str], closed: bool) -> Fault | None:
        """Why a record of several lines, or one without an end, is no row."""
        first = self._source.number - len(taken) + 1
        if closed:
            if not self._look_like_rows(taken[1:]) and not self._end_where_another_begins(
                taken[1:]
            ):
                return None
            last = self._source.number
            found = (
                f"a quote opens in line {first:,} and closes in line {last:,}, over lines that "
                "are rows of their own and were read as such"
            )
        elif len(taken) == 1 and not self._source.ended:
            return Fault(
                "", Reason.TOO_LONG, f"line {first:,}: a cell of more than 131,072 letters"
            )
        else:
            below = len(taken) - 1
            end = "is never closed" if self._source.ended else "is not closed in 131,072 letters"
            found = f"a quote opens in line {first:,} and {end}"
            if below:
                found += f"; the {below:,} lines below it were read as if it were not there"
        fields = self._alone(taken[0])
        column = self.header[len(fields) - 1] if 0 < len(fields) <= len(self.header) else ""
        if len(self._stray) < _MOST_TOLD:
            place = f", column `{printable(column)}`" if column else ""
            self._stray.append(f"{self._name}{place}: {found}.")
        else:
            self._more_stray += 1
        return Fault(column, Reason.STRAY_QUOTE, f"{found}: {taken[0].strip()}")

    def _look_like_rows(self, lines: Sequence[str]) -> bool:
        """Whether most of the lines below a record's first are rows, and no text of a cell.

        Text may have as many commas as a row. But where a cell ends that began in a line above,
        only the rest of a row is left, and the words of a text are no categories.
        """
        written = [line for line in lines if line.strip()]
        delimiter = re.escape(self.delimiter)
        # The end of a first cell of several lines is followed by a whole row, its own.
        of_first_cell = re.match(f'[^"{delimiter}]*"{delimiter}', written[-1])
        rows = written[:-1] if of_first_cell else written
        categories = list(filter(None, map(self._category_of_row, rows)))
        if 2 * len(categories) <= len(written):
            return False
        known = sum(category in self._categories for category in categories)
        ends_with_a_row = not of_first_cell and self._category_of_row(written[-1])
        return bool(ends_with_a_row) or 2 * known > len(written)

    def _end_where_another_begins(self, lines: Sequence[str]) -> bool:
        """Whether the quote that ends a cell, in a line below its first, was to begin another."""
        for line in lines:
            # Doubled quotes stand for themselves.
            before, quote, behind = line.replace('""', "").partition('"')
            if quote:
                begins = not before or before.endswith(self.delimiter)
                return begins and behind.strip("\r\n")[:1] not in ("", self.delimiter)
        return False

    def _category_of_row(self, line: str) -> str:
        """The category of a line that is a whole row; empty where it is none."""
        fields = self._alone(line)
        while len(fields) > len(self.header) and not fields[-1].strip():
            fields.pop()
        if len(fields) != len(self.header) or not fields[self._id_at].strip():
            return ""
        return fields[self._category_at].strip()

    def _alone(self, line: str) -> list[str]:
        try:
            return next(csv.reader([line], delimiter=self.delimiter), [])
        except csv.Error:
            return []

    def _hint(self, names: Sequence[str]) -> str:
        """What may be the reason why columns are missing."""
        if len(self._header_lines) > 1:
            lines = len(self._header_lines)
            end = f"closes in line {self.lines.header}" if self._header_closed else "never closes"
            return (
                f" A quote that opens in line {self.lines.header - lines + 1} {end}, so that the "
                f"column names go over {lines:,} lines."
            )
        if "\0" in self._first:
            return (
                " There are zero bytes between its letters, as in UTF-16: set "
                f"`{self._encoding_option}` to utf-16-le or utf-16-be."
            )
        if not self._delimiter_option:
            return ""
        there = sum(column in self.header for column in names)
        for delimiter in DELIMITERS.values():
            fields = next(csv.reader([self._first], delimiter=delimiter), [])
            if sum(normalized(field) in names for field in fields) > there:
                return (
                    f" Its fields seem to be separated by {_shown(delimiter)}: set "
                    f"`{self._delimiter_option}` to {_quoted(delimiter)}."
                )
        return ""

    def _check_head(self, head: bytes) -> None:
        for begin, what, remedy in _OTHER_FILES:
            if head[: len(begin)].lower() == begin.lower():
                raise UserError(f"{self._name} is {what}, not a CSV. {remedy} first.")
        for mark, encoding in _MARKS:
            if head.startswith(mark):
                family = encoding.removesuffix("-sig")
                if not self._encoding.startswith(family):
                    raise UserError(
                        f"{self._name} begins with the byte order mark of {family.upper()}, and "
                        f"`{self._encoding_option}` is {self._encoding}. Set it to {encoding}."
                        f"{self._hint_in(head, encoding)}"
                    )
                break

    def _hint_in(self, head: bytes, encoding: str) -> str:
        """Whether the fields are separated by something else than the option says, too."""
        if not self._delimiter_option:
            return ""
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        first = next(iter(decoder.decode(head).splitlines()), "")
        most = max(DELIMITERS.values(), key=first.count)
        if first.count(most) <= first.count(self.delimiter):
            return ""
        return (
            f" Its fields seem to be separated by {_shown(most)}: set `{self._delimiter_option}` "
            f"to {_quoted(most)} as well."
        )

    def _readable(self, read: Callable[[], _T]) -> _T:
        try:
            return read()
        except UnicodeError as error:
            raise UserError(
                f"{self._name} is not in the encoding `{self._encoding}` ({error}). Set "
                f"`{self._encoding_option}` to the one that it was saved in."
            ) from error


class _LinesOf:
    """The lines of a text, of which some can be read again.

    Attributes:
        number: How many were read; the number of the last one.
        taken: Those read since `begin`.
        ended: Whether one more was asked for since then than there is.
    """

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._next: deque[str] = deque()
        self.number = 0
        self.begin()

    def begin(self) -> None:
        self.taken: list[str] = []
        self.ended = False

    def __iter__(self) -> _LinesOf:
        return self

    def __next__(self) -> str:
        line = self._next.popleft() if self._next else next(self._text, None)
        if line is None:
            self.ended = bool(self.taken)
            raise StopIteration
        self.number += 1
        self.taken.append(line)
        return line

    def again(self, lines: Sequence[str]) -> None:
        """Takes back the last lines."""
        self.number -= len(lines)
        self._next.extendleft(reversed(lines))

    def peek(self) -> str:
        """The next line; empty where there is none."""
        if not self._next and (line := next(self._text, None)) is not None:
            self._next.append(line)
        return self._next[0] if self._next else ""

    def replace_next(self, line: str) -> None:
        """Puts another line in the next one's place, if there is one."""
        if self._next:
            self._next[0] = line


class _FromTheStart(io.RawIOBase):
    """A file whose first bytes were read already."""

    def __init__(self, head: bytes, file: IO[bytes]) -> None:
        self._head = head
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._head[: len(buffer)]
        self._head = self._head[len(buffer) :]
        if not content:
            content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


def _known_encoding(encoding: str, option: str) -> str:
    try:
        io.TextIOWrapper(io.BytesIO(), encoding)
        return codecs.lookup(encoding).name
    except LookupError as error:
        raise UserError(
            f"`{encoding}` is not a text encoding. Set `{option}` to utf-8-sig, "
            "latin-1, cp1252 or another that Python knows."
        ) from error


def _listed(header: Sequence[str]) -> str:
    return ", ".join(f"`{printable(column)}`" for column in header)


def _shown(delimiter: str) -> str:
    return "tabs" if delimiter == "\t" else f"`{delimiter}`"


def _quoted(delimiter: str) -> str:
    return "tab" if delimiter == "\t" else f"'{delimiter}'"
