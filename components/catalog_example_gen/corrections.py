"""Labels that people have decided on: read from corrections.csv and applied to the catalog's rows.

The file has a line for each decision, in the columns of `COLUMNS`:

| column | |
| --- | --- |
| `id` | the product's id; its name where `catalog.product` makes one product of several rows |
| `level` | `category`, `subcategory`, a slice column, or a group of attributes |
| `given` | the label that was decided on; attributes of one group are separated by `|` |
| `decision` | `keep`, `change` or `unsure` |
| `corrected` | the label that shall be there instead, where the decision is `change` |

Other columns are left alone. Decisions on one label are applied in the order of their lines, so
that what was corrected can be corrected again. One whose `given` is not what the catalog says is
out of date: the catalog has changed since, and nobody has looked at what it says now. Cells are
written as `schema.workbook` has them.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

from components import storage
from components.catalog_example_gen.csv_records import CsvRecords
from components.catalog_example_gen.rejects import printable
from components.catalog_example_gen.rows import Columns, Product, Row
from schema import features, workbook
from schema.errors import UserError
from schema.labels import items, normalized

COLUMNS = ("id", "level", "given", "decision", "corrected")

KEEP, CHANGE, UNSURE = "keep", "change", "unsure"
DECISIONS = (KEEP, CHANGE, UNSURE)

CHANGED, KEPT, ALREADY, STALE, REJECTED = "changed", "kept", "already so", "out of date", "rejected"
OUTCOMES = (CHANGED, KEPT, UNSURE, ALREADY, STALE, REJECTED)
"""What can become of a decision: the label was changed; or is right as it was; or nobody could
tell; or the catalog already says what was to be corrected to; or says something else than was
decided on; or the product's rows are all rejected."""

CORRECTIONS_FILE = "corrections.csv"
COUNTS_FILE = "corrections.json"

_SEPARATOR = "|"
_MOST_NAMED = 5


class Decision(NamedTuple):
    """A line of corrections.csv; see the module for its columns."""

    row: int
    id: str
    level: str
    given: str
    decision: str
    corrected: str


@dataclass(frozen=True)
class Corrections:
    """All decisions of a file; travels to every worker.

    Attributes:
        name: The file's path, for messages.
        of_product: The decisions on each product, in the order of their lines.
    """

    name: str
    of_product: Mapping[str, Sequence[Decision]]

    def applied(self, row: Row, columns: Columns) -> Row:
        """The row as it was decided that it shall be."""
        if not isinstance(row.result, Product):
            return row
        decisions = self.of_product.get(row.result.product or row.result.id)
        if not decisions:
            return row
        product, _ = _applied(row.result, decisions, columns)
        return row._replace(result=product)

    def corrected(self, rows: Iterable[Row], columns: Columns) -> Iterator[Row]:
        """All rows, `applied`."""
        return (self.applied(row, columns) for row in rows)


class Outcome(NamedTuple):
    """What became of a decision: one of `OUTCOMES`, and what the catalog says."""

    decision: Decision
    outcome: str
    found: str


def read_corrections(path: str, columns: Columns) -> Corrections:
    """Reads the decisions.

    Raises:
        UserError: the file cannot be read, lacks a column, or has a line that says what there is
            not: a level, a decision, or nothing where a label must be.
    """
    try:
        file = storage.opened(path)
    except OSError as error:
        raise UserError(
            f"The corrections {path} cannot be read: {error.strerror or error}. Check "
            "`catalog.corrections` in the config, or leave it out."
        ) from error
    of_product: defaultdict[str, list[Decision]] = defaultdict(list)
    with file:
        records = CsvRecords(file, "utf-8-sig", ",", path, ("its encoding", None))
        missing = [name for name in COLUMNS if name not in records.header]
        if missing:
            raise UserError(
                f"{path} has no column {', '.join(f'`{name}`' for name in missing)}; it has "
                f"{printable(', '.join(records.header))}. Corrections are in the columns "
                f"{', '.join(COLUMNS)}, separated by commas, as the page of the review saves them."
            )
        records.look_at("id", "level")
        places = [records.header.index(name) for name in COLUMNS]
        levels = levels_of(columns)
        for record in records:
            if record.fault or len(record.fields) < len(records.header):
                raise UserError(
                    f"{path}, row {record.number}: it has not the {len(records.header)} cells of "
                    "the header. Correct it, or take it out."
                )
            cells = (normalized(record.fields[place]) for place in places)
            line = Decision(record.number, *map(workbook.text_of, cells))
            _check_line(line, path, levels)
            of_product[line.id].append(line)
    return Corrections(path, dict(of_product))


def levels_of(columns: Columns) -> list[str]:
    """The levels whose labels can be decided on."""
    own = [features.CATEGORY, features.SUBCATEGORY]
    return list(dict.fromkeys([*own, *columns.slices, *columns.attributes, *columns.flags]))


def _check_line(line: Decision, path: str, levels: Sequence[str]) -> None:
    place = f"{path}, row {line.row}"
    if line.level not in levels:
        raise UserError(
            f"{place}: there is no level `{printable(line.level)}`; there are {', '.join(levels)}. "
            "Correct the row, or take it out."
        )
    if line.decision not in DECISIONS:
        raise UserError(
            f"{place}: `{printable(line.decision)}` is no decision; write {', '.join(DECISIONS)}."
        )
    single = line.level in (features.CATEGORY, features.SUBCATEGORY)
    if not line.id or (single and line.decision == CHANGE and not line.corrected):
        what = "corrected" if line.id else "id"
        raise UserError(f"{place}: the cell `{what}` is empty. Fill it, or take the row out.")


def check_corrections(
    corrections: Corrections, rows: Iterable[Row], columns: Columns
) -> list[Outcome]:
    """Holds the decisions against the catalog.

    Args:
        corrections: From `read_corrections`.
        rows: All rows of the catalog, not corrected.
        columns: What their columns mean.

    Returns:
        What becomes of each decision, in the order of their lines.

    Raises:
        UserError: an id is not in the catalog, or a label that was corrected to is not.
    """
    known: defaultdict[str, set[str]] = defaultdict(set)
    labels: defaultdict[int, list[Outcome]] = defaultdict(list)
    rejected: set[str] = set()
    for row in rows:
        product = row.result
        if not isinstance(product, Product):
            rejected.add(product.id)
            continue
        if not product.category:
            continue
        for level in levels_of(columns):
            known[level].update(_parts(level, _label(product, level, columns), columns))
        decisions = corrections.of_product.get(product.product or product.id, ())
        for outcome in _applied(product, decisions, columns)[1] if decisions else ():
            labels[outcome.decision.row].append(outcome)
    outcomes, unknown = [], []
    for decision in sorted(one for of in corrections.of_product.values() for one in of):
        if of_rows := labels.get(decision.row):
            # Of several rows of one product, which may contradict one another, one has it.
            outcomes.append(min(of_rows, key=lambda one: OUTCOMES.index(one.outcome)))
        elif printable(decision.id) in rejected:
            outcomes.append(Outcome(decision, REJECTED, ""))
        else:
            unknown.append(decision)
    if unknown:
        ids = list(dict.fromkeys(one.id for one in unknown))
        raise UserError(
            f"{corrections.name}: {_listed(ids)} "
            f"{'is not an id' if len(ids) == 1 else 'are not ids'} of the catalog. Take "
            f"{_listed_rows(unknown)} out, or check that the file belongs to this catalog."
        )
    strange = {
        (one.decision.level, part): one.decision
        for one in outcomes
        if one.decision.decision == CHANGE
        for part in _parts(one.decision.level, one.decision.corrected, columns)
        if part and part not in known[one.decision.level]
    }
    if strange:
        raise UserError(
            f"{corrections.name}: "
            f"{_listed([f'{label} ({level})' for level, label in strange])} "
            f"{'is a label' if len(strange) == 1 else 'are labels'} that no product of the catalog "
            f"has. Correct {_listed_rows(list(strange.values()))}."
        )
    return outcomes


def sentences(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """What there is to tell: what was changed, and what was not though it was asked for."""
    counts = Counter(one.outcome for one in outcomes)
    if outcomes:
        by_level = Counter(one.decision.level for one in outcomes if one.outcome == CHANGED)
        of_levels = ", ".join(f"{number:,} of {level}" for level, number in by_level.items())
        changed = counts[CHANGED]
        yield (
            f"{changed:,} {'label' if changed == 1 else 'labels'} corrected"
            f"{f' ({of_levels})' if of_levels else ''}, {counts[KEPT]:,} kept."
        )
    stale = [one for one in outcomes if one.outcome == STALE]
    if stale:
        named = [
            f"{one.decision.id} ({one.decision.level} `{one.decision.given}` was decided on, the "
            f"catalog has `{one.found}`)"
            for one in stale
        ]
        yield (
            f"{len(stale):,} {'decision is' if len(stale) == 1 else 'decisions are'} out of date "
            f"and not applied: {_listed(named)}. Look at these products again."
        )
    if counts[REJECTED]:
        ids = [one.decision.id for one in outcomes if one.outcome == REJECTED]
        yield f"{counts[REJECTED]:,} decisions are on rejected rows: {_listed(ids)}."


def write_outcomes(outcomes: Sequence[Outcome], file: IO[bytes]) -> None:
    """Writes a UTF-8 CSV: the columns of corrections.csv, what became of each line, and `found`."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow([*COLUMNS, "outcome", "found"])
    for decision, outcome, found in outcomes:
        writer.writerow(map(workbook.cell, [*decision[1:], outcome, found]))
    text.detach()


def read_outcomes(file: IO[bytes]) -> list[Outcome]:
    """Reads what `write_outcomes` has written."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    rows = csv.reader(text)
    next(rows, None)
    found = []
    for number, row in enumerate(rows, 2):
        *cells, outcome, other = map(workbook.text_of, row)
        found.append(Outcome(Decision(number, *cells), outcome, other))
    return found


def counts_json(
    outcomes: Sequence[Outcome], changed: Mapping[str, Mapping[str, int]]
) -> dict[str, Any]:
    """What corrections.json says: how many decisions came to which outcome, and what changed where.

    Args:
        outcomes: From `check_corrections`.
        changed: How many products of each split have a changed label, by level.
    """
    counts = Counter(one.outcome for one in outcomes)
    return {
        "outcomes": {outcome: counts[outcome] for outcome in OUTCOMES},
        "changed": {level: dict(of_split) for level, of_split in changed.items()},
    }


def write_counts(counts: Mapping[str, Any], file: IO[bytes]) -> None:
    """Writes `counts_json` as JSON."""
    file.write(json.dumps(counts, indent=2, ensure_ascii=False).encode())


def joined(values: Iterable[str]) -> str:
    """The labels of one group of attributes in one cell, in the order of their alphabet."""
    values = sorted(values)
    if any(_SEPARATOR in value for value in values):
        return json.dumps(values, ensure_ascii=False)
    return _SEPARATOR.join(values)


def _applied(
    product: Product, decisions: Sequence[Decision], columns: Columns
) -> tuple[Product, list[Outcome]]:
    outcomes = []
    changed = dict.fromkeys(product.corrected)
    for decision in decisions:
        found = _label(product, decision.level, columns)
        given, corrected = (
            _same(decision.level, label, columns) for label in (decision.given, decision.corrected)
        )
        if decision.decision == CHANGE and found == corrected:
            outcome = ALREADY
        elif found != given:
            outcome = STALE
        elif decision.decision == CHANGE:
            outcome = CHANGED
            product = _with_label(product, decision.level, corrected, columns)
            changed[decision.level] = None
        else:
            outcome = KEPT if decision.decision == KEEP else UNSURE
        outcomes.append(Outcome(decision, outcome, found))
    return product._replace(corrected=tuple(changed)), outcomes


def _is_group(level: str, columns: Columns) -> bool:
    own = (features.CATEGORY, features.SUBCATEGORY, *columns.slices)
    return level not in own


def _label(product: Product, level: str, columns: Columns) -> str:
    if level in (features.CATEGORY, features.SUBCATEGORY):
        return getattr(product, level)
    if level in columns.slices:
        return product.slices[columns.slices.index(level)]
    pairs = map(features.split_attribute_label, product.attributes)
    return joined(value for group, value in pairs if group == level)


def _with_label(product: Product, level: str, label: str, columns: Columns) -> Product:
    if level == features.CATEGORY:
        return product._replace(category=label)
    if level == features.SUBCATEGORY:
        return product._replace(subcategory=label)
    if level in columns.slices:
        values = list(product.slices)
        values[columns.slices.index(level)] = label or features.UNKNOWN
        return product._replace(slices=tuple(values))
    others = [one for one in product.attributes if features.split_attribute_label(one)[0] != level]
    new = [features.attribute_label(level, value) for value in _parts(level, label, columns)]
    return product._replace(attributes=(*others, *new))


def _parts(level: str, label: str, columns: Columns) -> list[str]:
    """The labels in a cell: several of a group of attributes, one otherwise."""
    if not _is_group(level, columns):
        return [label]
    return [value for value in map(normalized, items(label, _SEPARATOR)) if value]


def _same(level: str, label: str, columns: Columns) -> str:
    """The cell as `_label` writes it."""
    if level in columns.slices:
        return label or features.UNKNOWN
    return joined(_parts(level, label, columns)) if _is_group(level, columns) else label


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED:,} more" * (len(names) > _MOST_NAMED)
    return ", ".join(printable(name) for name in names[:_MOST_NAMED]) + more


def _listed_rows(decisions: Sequence[Decision]) -> str:
    rows = [str(one.row) for one in decisions]
    return f"{'row' if len(rows) == 1 else 'rows'} {_listed(rows)}"
