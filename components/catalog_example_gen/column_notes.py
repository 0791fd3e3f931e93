"""What is odd about the attribute columns of a catalog, and which option is probably meant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from components.catalog_example_gen.rejects import printable
from schema.labels import HAS, HAS_NOT, is_list, items, normalized

_SEPARATORS = (", ", ",", "; ", ";", " | ", "|", " / ", "/", "\n")

_MOST_CELLS = 1000
"""Different cells of a column that are looked at: what is odd shows among the first."""

_LEAST_SHARE = 0.1


class ColumnNotes:
    """Collects the cells of the attribute columns; memory does not grow with the rows.

    Args:
        columns: The attribute columns.
        separator: What separates several labels in a cell.
        header: The names of all columns.
    """

    def __init__(self, columns: Sequence[str], separator: str, header: Sequence[str]) -> None:
        self._separator = separator
        self._at = {column: header.index(column) for column in columns}
        self._cells: dict[str, Counter[str]] = {column: Counter() for column in columns}

    def add(self, fields: Sequence[str]) -> None:
        """Takes a row in, which has a field for every column."""
        for column, at in self._at.items():
            cells = self._cells[column]
            if fields[at] in cells or len(cells) < _MOST_CELLS:
                cells[fields[at]] += 1

    def sentences(self) -> Iterator[str]:
        """One for each thing that is odd."""
        flags = [column for column, cells in self._cells.items() if _are_flags(cells)]
        if flags:
            many = len(flags) > 1
            yield (
                f"The column{'s' if many else ''} {_named(flags)} of `catalog.attributes` "
                f"hold{'' if many else 's'} only flags, and what says no, `{flags[0]}=0` for "
                "example, is learned as a label too. Name them under `catalog.flags` instead: "
                f"`flags: {{GROUP: [{', '.join(map(printable, flags))}]}}`."
            )
        for column, cells in self._cells.items():
            if column not in flags:
                yield from self._of_column(f"`{printable(column)}`", cells)

    def _of_column(self, column: str, cells: Counter[str]) -> Iterator[str]:
        labels = {
            tuple(
                sorted(
                    {label for item in items(cell, self._separator) if (label := normalized(item))}
                )
            )
            for cell in cells
        }
        if len(labels) == 1 and cells.total() > 1:
            (same,) = labels
            said = (
                f"{' and '.join(f'`{printable(label)}`' for label in same)} in"
                if same
                else "nothing in"
            )
            yield (
                f"The attribute column {column} says {said} every row, so there is nothing to "
                "tell apart. Leave it out of `catalog.attributes`."
            )
            return
        filled = Counter({cell: count for cell, count in cells.items() if cell.strip()})
        lists = Counter({cell: count for cell, count in filled.items() if is_list(cell)})
        if lists:
            yield (
                f"{lists.total():,} of {cells.total():,} cells of {column} are lists, such as "
                f"`{printable(max(lists, key=len))}`, and are read as their items."
            )
        odd = [cell for cell in filled if _looks_like_a_list(cell) and not is_list(cell)]
        if odd:
            yield (
                f"Cells of {column} look like lists, such as `{printable(odd[0])}`, but cannot be "
                "read as such, so that each is one label. Write "
                f'`["Red", "Blue"]` or `Red{self._separator}Blue`.'
            )
        elif not lists:
            yield from self._other_separator(column, filled)

    def _other_separator(self, column: str, filled: Counter[str]) -> Iterator[str]:
        """Whether labels seem to be separated by something else than the option says."""
        if any(self._separator in cell for cell in filled):
            return
        for separator in _SEPARATORS:
            several = {cell: cell.split(separator) for cell in filled if separator in cell}
            rows = sum(filled[cell] for cell in several)
            if rows < max(2, _LEAST_SHARE * filled.total()):
                continue
            # A name such as `Black/White` is one label; parts of a list come again elsewhere.
            parts = Counter(
                normalized(part) for cell in filled for part in set(cell.split(separator))
            )
            again = [
                part
                for pieces in several.values()
                for part in map(normalized, pieces)
                if part and parts[part] > 1
            ]
            if len(set(again)) * 2 > len(
                {normalized(part) for of in several.values() for part in of}
            ):
                option = repr(separator.strip(" "))
                yield (
                    f"No cell of {column} holds `{printable(self._separator)}`, and {rows:,} of "
                    f"{filled.total():,} hold `{printable(separator)}`, with parts like "
                    f"`{printable(again[0])}` that other cells hold too: did you mean "
                    f"`catalog.separator: {option}`?"
                )
                return


def _are_flags(cells: Counter[str]) -> bool:
    said = {normalized(cell).lower() for cell in cells}
    return said <= HAS | HAS_NOT and bool(said & (HAS_NOT - {""})) and len(said - {""}) > 1


def _looks_like_a_list(cell: str) -> bool:
    cell = cell.strip()
    return len(cell) > 1 and (cell[0], cell[-1]) in (("[", "]"), ("{", "}"), ("(", ")"))


def _named(columns: Sequence[str]) -> str:
    *some, last = (f"`{printable(column)}`" for column in columns)
    return f"{', '.join(some)} and {last}" if some else last
