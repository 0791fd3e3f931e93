"""A catalog's CSV again, with what was empty filled by the model where it is sure enough.

Works on what `catalog_walk` wrote, so that the model is not asked a second time.
"""

from __future__ import annotations

import csv
import io
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

from components.catalog_example_gen.csv_records import Record
from pipeline.catalog_table import CatalogCsv, CatalogTable, is_row, padded, with_cells
from pipeline.catalog_walk import ID, ROW
from schema import features
from schema.errors import UserError
from schema.labels import normalized
from serving.client import tables

COLUMN, VALUE, SCORE = "column", "value", "score"

_HAS = "1"
"""What a flag says of a product that has it."""

REPORT_COLUMNS = (ROW, ID, COLUMN, VALUE, SCORE)


@dataclass
class Filled:
    """What was filled.

    Attributes:
        cells: how many cells, by column.
        left: cells that the model could have filled and that were left empty, by the reason.
        without_column: levels that the model names and the CSV has no column of.
    """

    cells: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    without_column: list[str] = field(default_factory=list)


def report_of(out: Path) -> Path:
    """Where the report about the filled CSV `out` is."""
    return out.with_name(f"{out.stem}.report.csv")


def fill(table: CatalogTable, predictions: Path, out: Path, known_too: bool = False) -> Filled:
    """Writes the CSV of `table` again to `out`, and beside it which cells were filled.

    A cell is filled where it is empty and the answer needs no person, as `predictions` says; where
    that does not say, or with `known_too`, where the score reaches the model's own threshold. A
    sub-category is filled only where the row's category is empty too, or is what the model says.
    All else stays to the byte. The report has one row a filled cell: `row`, `id`, `column`,
    `value`, `score`; of several values in a cell, their scores in the same order.

    Args:
        table: the catalog.
        predictions: what `catalog_walk.walk` wrote about it, to the end.
        out: the file to write; it appears whole or not at all.
        known_too: whether answers that somebody should look at are filled in as well.

    Raises:
        UserError: the model has no thresholds, a named column is missing, or `predictions` is
            another catalog's.
    """
    named = [table.category, table.subcategory, *(table.attributes or ())]
    required = [table.id, *(column for column in named if column)]
    catalog = CatalogCsv(
        table.csv, table.encoding, list(dict.fromkeys(required)), table.category, table.delimiter
    )
    for other in (table.csv, predictions):
        if out.exists() and os.path.samefile(out, other):
            raise UserError(f"{out} is {other} itself. Name another file with --fill.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        open(predictions, encoding="utf-8", newline="") as answered,
        _whole(out) as filled,
        _whole(report_of(out)) as reported,
    ):
        answers = csv.DictReader(answered, restval="")
        filler = _Filler(table, catalog, answers.fieldnames or (), known_too)
        text = io.TextIOWrapper(reported, "utf-8", newline="")
        report = csv.writer(text, lineterminator="\n")
        report.writerow(REPORT_COLUMNS)
        filled.write(catalog.mark)
        for record in catalog.records():
            row = record.text
            if is_row(record):
                answer = next(answers, None)
                if answer is None or answer.get(ROW) != str(record.number):
                    raise UserError(
                        f"{predictions} has no answer about row {record.number} of {table.csv}: it "
                        "is another catalog's, or the walk has not come to its end."
                    )
                row, cells = filler.filled(record, answer)
                for cell in cells:
                    report.writerow([record.number, answer[ID], *cell])
            filled.write(catalog.encoded(row))
        if next(answers, None) is not None:
            raise UserError(
                f"{predictions} has more rows than {table.csv}: it is another catalog's."
            )
        text.detach()
    return filler.done


class _Cell(NamedTuple):
    """A filled cell, as in the report."""

    column: str
    value: str
    score: str


class _Filler:
    """Fills one row after the other."""

    def __init__(
        self, table: CatalogTable, catalog: CatalogCsv, answered: Sequence[str], known_too: bool
    ):
        self.done = Filled()
        self._sure_alone = tables.LANE in answered and not known_too
        self._catalog = catalog
        self._separator = table.separator
        self._at = {
            column: place
            for place, column in enumerate(catalog.header)
            if catalog.header.count(column) == 1
        }
        # Columns that nobody named are those that are called like what the model names.
        levels = {
            features.CATEGORY: table.category or features.CATEGORY,
            features.SUBCATEGORY: table.subcategory or features.SUBCATEGORY,
        }
        for column in answered:
            level = column.removesuffix(tables.known(""))
            if level != column and level not in levels:
                levels[level] = level
        self._levels = {level: column for level, column in levels.items() if column in self._at}
        self.done.without_column = sorted(set(levels) - set(self._levels))
        self._groups = table.attributes
        self._flags = table.flags

    def filled(self, record: Record, answer: Mapping[str, str]) -> tuple[str, list[_Cell]]:
        """The row's text with its empty cells filled as far as the model knows, and which."""
        fields = padded(record.fields, len(self._catalog.header))
        if answer[tables.REFUSED] or len(fields) != len(self._catalog.header):
            return record.text, []
        if not answer[tables.known(features.CATEGORY)]:
            raise UserError(
                f"Version {answer[tables.MODEL_VERSION]} of the model says nothing of the scores "
                "from which its answers count, for an older Seamline exported it, so nothing can "
                "be filled. Train and push a model with this one."
            )
        cells = [
            cell
            for cell in (*self._labels(fields, answer), *self._attributes(fields, answer))
            if not fields[self._at[cell.column]].strip() and self._can_be_written(cell.value)
        ]
        if not cells:
            return record.text, []
        values = {self._at[cell.column]: cell.value for cell in cells}
        text = with_cells(record.text, self._catalog.delimiter, values)
        if text is None:
            self.done.left["quotes that could not be kept as they are"] += len(cells)
            return record.text, []
        self.done.cells.update(cell.column for cell in cells)
        return text, cells

    def _labels(self, fields: list[str], answer: Mapping[str, str]) -> Iterator[_Cell]:
        category = self._levels.get(features.CATEGORY)
        given = normalized(fields[self._at[category]]) if category else ""
        for level, column in self._levels.items():
            known = answer[tables.known(level)] == tables.YES
            if self._sure_alone and answer[tables.automatic(level)] != tables.YES:
                if known:
                    self._leave_to_a_person(fields, column)
                continue
            if not (known or self._sure_alone):
                continue
            if level == features.SUBCATEGORY and given not in ("", answer[features.CATEGORY]):
                # It would contradict what is there.
                if not fields[self._at[column]].strip():
                    self.done.left["sub-category of another category than the row's"] += 1
                continue
            yield _Cell(column, answer[level], answer[features.score(level)])

    def _leave_to_a_person(self, fields: list[str], column: str) -> None:
        if column in self._at and not fields[self._at[column]].strip():
            self.done.left["not sure enough to need no person"] += 1

    def _attributes(self, fields: list[str], answer: Mapping[str, str]) -> Iterator[_Cell]:
        of_group: dict[str, list[tuple[str, str]]] = {}
        unsure: dict[str, str] = {}
        for label, score, sure in self._attributes_with_scores(answer):
            group, value = features.split_attribute_label(label)
            if sure or not self._sure_alone:
                of_group.setdefault(group, []).append((value, score))
            elif self._has_column_of(group):
                unsure[value if group in self._flags else group] = group
        for column, group in unsure.items():
            if group in self._flags or group not in of_group:
                self._leave_to_a_person(fields, column)
        for group, found in of_group.items():
            if group in self._flags:
                for value, score in found:
                    if value in self._flags[group] and value in self._at:
                        yield _Cell(value, _HAS, score)
            elif self._has_column_of(group):
                values, scores = zip(*found, strict=True)
                joined = self._separator.join(values)
                yield _Cell(group, joined, tables.SEPARATOR.join(scores))

    def _attributes_with_scores(self, answer: Mapping[str, str]) -> list[tuple[str, str, bool]]:
        """Each attribute's label and score, and whether it needs no person."""
        if not answer[features.ATTRIBUTE_SCORES]:
            return []
        needs_none = answer.get(tables.automatic(features.ATTRIBUTES), "").split(tables.SEPARATOR)
        scores = answer[features.ATTRIBUTE_SCORES].split(tables.SEPARATOR)
        pieces = answer[features.ATTRIBUTES].split(tables.SEPARATOR)
        # A label is `group=value`, and a value may hold the separator, even with a `=` behind it:
        # then the groups that have a column tell where labels begin.
        for begins in (
            lambda piece: "=" in piece,
            lambda piece: self._has_column_of(features.split_attribute_label(piece)[0]),
        ):
            labels: list[str] = []
            for piece in pieces:
                if not labels or begins(piece):
                    labels.append(piece)
                else:
                    labels[-1] += tables.SEPARATOR + piece
            if len(labels) == len(scores):
                sure = [word == tables.YES for word in needs_none]
                return list(zip(labels, scores, sure + [False] * len(labels), strict=False))
        self.done.left["attributes in whose text one does not end where the next begins"] += 1
        return []

    def _has_column_of(self, group: str) -> bool:
        if group in self._flags:
            return True
        return group in self._at if self._groups is None else group in self._groups

    def _can_be_written(self, value: str) -> bool:
        try:
            self._catalog.encoded(value)
        except UnicodeEncodeError:
            self.done.left[f"letters that {self._catalog.written_encoding} does not have"] += 1
            return False
        return True


@contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name only once all of it is written."""
    try:
        descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with open(descriptor, "wb") as file:
                yield file
            os.chmod(scratch, 0o644)
            os.replace(scratch, path)
        except BaseException:
            os.unlink(scratch)
            raise
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}. Check --fill.") from error
